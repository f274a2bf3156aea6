#include "input.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common.h"

enum { READ_BYTES = 64 << 10, MAX_LINE_BYTES = 64 << 20 };

bool input_open(struct input *input)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    *input = (struct input){.signals = -1};
    if (sigprocmask(SIG_BLOCK, &signals, NULL) == 0)
        input->signals = signalfd(-1, &signals, SFD_CLOEXEC);
    if (input->signals < 0) {
        say("cannot watch for signals: %s", strerror(errno));
        return false;
    }
    signal(SIGPIPE, SIG_IGN); /* writing to a closed pipe fails and does not end the process */
    return true;
}

void input_close(struct input *input)
{
    if (input->signals >= 0)
        close(input->signals);
    free(input->bytes);
}

/* Makes room after the bytes that are buffered. */
static bool make_room(struct input *input)
{
    memmove(input->bytes, input->bytes + input->begin, input->end - input->begin);
    input->end -= input->begin;
    input->begin = 0;
    if (input->capacity - input->end > READ_BYTES)
        return true;
    size_t capacity = 2 * input->capacity + 2 * READ_BYTES;
    char *bytes = input->end < MAX_LINE_BYTES ? realloc(input->bytes, capacity) : NULL;
    if (bytes == NULL) {
        say("a line is longer than %zu bytes", input->end);
        return false;
    }
    input->bytes = bytes;
    input->capacity = capacity;
    return true;
}

static bool read_more(struct input *input)
{
    if (!make_room(input))
        return false;
    ssize_t got = read(STDIN_FILENO, input->bytes + input->end, READ_BYTES);
    if (got > 0) {
        input->end += (size_t)got;
    } else if (got == 0) {
        input->ended = true;
        if (input->end > 0)
            input->bytes[input->end++] = '\n'; /* the last line may have no newline */
    } else if (errno != EINTR && errno != EAGAIN) {
        say("cannot read stdin: %s", strerror(errno));
        return false;
    }
    return true;
}

/* Takes the next complete line. */
static bool take_line(struct input *input, const char **line)
{
    char *start = input->bytes + input->begin;
    char *newline = input->end > input->begin ? memchr(start, '\n', input->end - input->begin) : NULL;
    if (newline == NULL)
        return false;
    *newline = '\0';
    *line = start;
    input->begin = (size_t)(newline + 1 - input->bytes);
    return true;
}

enum input_event input_wait(struct input *input, int timeout_ms, const char **line)
{
    for (;;) {
        bool has_line = take_line(input, line);
        struct pollfd watched[] = {{.fd = input->signals, .events = POLLIN},
                                   {.fd = has_line || input->ended ? -1 : STDIN_FILENO, .events = POLLIN}};
        int ready = poll(watched, 2, has_line ? 0 : timeout_ms);
        if (ready < 0 && errno != EINTR) {
            say("cannot wait for input: %s", strerror(errno));
            return INPUT_FAILED;
        }
        if (ready > 0 && watched[0].revents != 0)
            return INPUT_STOP;
        if (has_line)
            return INPUT_LINE;
        if (ready == 0)
            return INPUT_TIMEOUT;
        if (ready > 0 && !read_more(input))
            return INPUT_FAILED;
    }
}
