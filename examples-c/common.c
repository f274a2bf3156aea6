#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static const char *program = "example";
static int signal_descriptor = -1;
static int request_descriptor = -1;

void common_init(const char *program_name)
{
    program = program_name;
}

static void say_list(const char *format, va_list arguments)
{
    char line[2048];
    vsnprintf(line, sizeof line, format, arguments);
    fprintf(stderr, "%s: %s\n", program, line); /* one call, so that lines of two threads do not mix */
}

void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say_list(format, arguments);
    va_end(arguments);
}

_Noreturn void usage_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say_list(format, arguments);
    va_end(arguments);
    usage_hint();
}

_Noreturn void usage_hint(void)
{
    fprintf(stderr, "Try '%s --help'.\n", program);
    exit(EXIT_USAGE);
}

uint64_t parse_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    /* strtoull accepts "-1" and " 1"; a number here begins with a digit. */
    bool valid = text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
    if (!valid || number < min || number > max)
        usage_error("%s takes a number from %" PRIu64 " to %" PRIu64 ", not '%s'", option, min, max, text);
    return number;
}

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t wall_clock_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

uint64_t steady_clock_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

bool stop_init(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* ignored under nohup */
        sigaddset(&signals, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) == 0) {
        signal_descriptor = signalfd(-1, &signals, SFD_CLOEXEC);
        request_descriptor = eventfd(0, EFD_CLOEXEC);
    }
    if (signal_descriptor < 0 || request_descriptor < 0) {
        say("cannot watch for signals: %s", strerror(errno));
        return false;
    }
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write and does not end the process */
    return true;
}

void stop_request(void)
{
    uint64_t one = 1;
    if (write(request_descriptor, &one, sizeof one) < 0)
        say("cannot ask for the end: %s", strerror(errno));
}

bool stop_wait(uint64_t microseconds)
{
    /* Neither descriptor is ever read, so a request stays visible. */
    struct pollfd watched[] = {{.fd = signal_descriptor, .events = POLLIN},
                               {.fd = request_descriptor, .events = POLLIN}};
    struct timespec timeout = {.tv_sec = (time_t)(microseconds / 1000000),
                               .tv_nsec = (long)(microseconds % 1000000) * 1000};
    return ppoll(watched, 2, &timeout, NULL) > 0;
}
