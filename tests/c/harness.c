#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TEST_SECONDS = 90, FAILED_EXIT = 1, VALGRIND_EXIT = 9 };

static char temp_directory[64];
static pid_t temp_owner;

static size_t environment_number(const char *name, size_t fallback)
{
    const char *text = getenv(name);
    if (text == NULL || *text == '\0')
        return fallback;
    char *end = NULL;
    unsigned long long number = strtoull(text, &end, 10);
    if (*end != '\0' || number == 0) {
        fprintf(stderr, "%s=%s is not a positive number\n", name, text);
        exit(2);
    }
    return (size_t)number;
}

size_t scaled(size_t full)
{
    size_t reduced = full / environment_number("TEST_SCALE", 1);
    return reduced == 0 ? 1 : reduced;
}

_Noreturn void harness_fail(const char *file, int line, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    /* One call, so that two failing threads do not mix their lines. */
    fprintf(stderr, "  %s:%d: %s\n    last error of this thread: %s\n", file, line, text,
            replication_last_error_message());
    _exit(FAILED_EXIT);
}

void harness_check_status(const char *file, int line, const char *call, int32_t got, int32_t expected)
{
    if (got != expected)
        harness_fail(file, line, "%s gave %s (%d), expected %s (%d)", call, replication_status_name(got), got,
                     replication_status_name(expected), expected);
}

void harness_check_error(const char *file, int line, const char *call, int32_t got, int32_t expected,
                         const char *culprit)
{
    harness_check_status(file, line, call, got, expected);
    const char *message = replication_last_error_message();
    if (strstr(message, culprit) == NULL)
        harness_fail(file, line, "%s: the error text does not name \"%s\"", call, culprit);
}

void harness_check_u64(const char *file, int line, const char *call, uint64_t got, uint64_t expected)
{
    if (got != expected)
        harness_fail(file, line, "%s is %llu, expected %llu", call, (unsigned long long)got,
                     (unsigned long long)expected);
}

void harness_check_text(const char *file, int line, const char *call, const char *got, const char *expected)
{
    if (got == NULL || strcmp(got, expected) != 0)
        harness_fail(file, line, "%s is \"%s\", expected \"%s\"", call, got == NULL ? "(NULL)" : got, expected);
}

void harness_check_contains(const char *file, int line, const char *call, const char *got, const char *part)
{
    if (got == NULL || strstr(got, part) == NULL)
        harness_fail(file, line, "%s is \"%.1500s\", which lacks \"%s\"", call, got == NULL ? "(NULL)" : got, part);
}

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void harness_poll(const char *file, int line, const char *condition, int64_t since_ms)
{
    if (now_ms() - since_ms > PATIENCE_MS)
        harness_fail(file, line, "still not true after %d ms: %s", PATIENCE_MS, condition);
    const struct timespec tick = {.tv_sec = 0, .tv_nsec = 1000000};
    nanosleep(&tick, NULL);
}

int harness_start_role(const char *role, const char *argument, const char *more)
{
    char program[512], *arguments[] = {program, (char *)role, (char *)argument, (char *)more, NULL};
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    CHECK(len > 0);
    program[len] = '\0'; /* valgrind leaves bytes of its own after it */
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execv(program, arguments);
    _exit(127);
}

int harness_wait_child(int pid)
{
    int status = 0;
    pid_t ended;
    do {
        ended = waitpid(pid, &status, 0);
    } while (ended < 0 && errno == EINTR);
    if (ended != pid)
        FAIL("waitpid(%d): %s", pid, strerror(errno));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

unsigned long thread_start(thread_main run, void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run, argument);
    if (error != 0)
        FAIL("pthread_create: %s", strerror(error));
    return (unsigned long)thread;
}

void thread_join(unsigned long thread)
{
    int error = pthread_join((pthread_t)thread, NULL);
    if (error != 0)
        FAIL("pthread_join: %s", strerror(error));
}

static size_t count_entries(const char *path)
{
    DIR *directory = opendir(path);
    if (directory == NULL)
        FAIL("%s: %s", path, strerror(errno));
    size_t count = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

size_t open_descriptors(void)
{
    return count_entries("/proc/self/fd") - 1; /* without the one that reads the directory */
}

size_t running_threads(void)
{
    return count_entries("/proc/self/task");
}

bool descriptor_is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void remove_tree(int parent, const char *name)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL)
        return;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            remove_tree(dirfd(directory), entry->d_name);
    closedir(directory);
    unlinkat(parent, name, AT_REMOVEDIR);
}

static void remove_temp_directory(void)
{
    if (temp_owner == getpid() && temp_directory[0] != '\0')
        remove_tree(AT_FDCWD, temp_directory);
}

const char *temp_path(const char *name)
{
    static _Thread_local char path[160];
    if (temp_owner != getpid()) {
        snprintf(temp_directory, sizeof temp_directory, "/tmp/replication-test-XXXXXX");
        if (mkdtemp(temp_directory) == NULL)
            FAIL("mkdtemp: %s", strerror(errno));
        temp_owner = getpid();
        atexit(remove_temp_directory);
    }
    snprintf(path, sizeof path, "%s/%s", temp_directory, name);
    return path;
}

void *must_alloc(size_t bytes)
{
    void *memory = malloc(bytes == 0 ? 1 : bytes);
    if (memory == NULL)
        FAIL("no memory for %zu bytes", bytes);
    return memory;
}

uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

uint64_t random_below(uint64_t *state, uint64_t bound)
{
    return random_next(state) % bound;
}

uint64_t random_seed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)environment_number("TEST_SEED", (size_t)now.tv_nsec | 1);
}

static const struct test_case *running;

const struct test_case *harness_test(void)
{
    return running;
}

void test_goes_on(void)
{
    alarm((unsigned)environment_number("TEST_SECONDS", TEST_SECONDS));
}

/* The test's own process: killed by its alarm when it hangs. */
static _Noreturn void run_case(const struct test_case *test)
{
    test_goes_on();
    running = test;
    test->run();
    exit(0);
}

static bool passed(const struct test_case *test)
{
    int64_t started = now_ms();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    if (pid == 0)
        run_case(test);
    int code = harness_wait_child(pid);
    long long took = (long long)(now_ms() - started);
    if (code == 0)
        printf("ok   %s (%lld ms)\n", test->name, took);
    else if (code == -SIGALRM)
        printf("FAIL %s: hangs (%lld ms)\n", test->name, took);
    else if (code < 0)
        printf("FAIL %s: ended by signal %d (%s)\n", test->name, -code, strsignal(-code));
    else if (code == VALGRIND_EXIT)
        printf("FAIL %s: valgrind found errors, or leaks after the failure above\n", test->name);
    else
        printf("FAIL %s: exit code %d\n", test->name, code);
    fflush(stdout);
    return code == 0;
}

int harness_main(int argc, char **argv, const struct test_case *cases, size_t count)
{
    const char *filter = argc > 1 ? argv[1] : "";
    size_t good = 0, bad = 0;
    for (size_t i = 0; i < count; i++) {
        if (strstr(cases[i].name, filter) == NULL)
            continue;
        if (passed(&cases[i]))
            good++;
        else
            bad++;
    }
    if (good + bad == 0)
        fprintf(stderr, "no test's name contains \"%s\"\n", filter);
    printf("%zu passed, %zu failed\n", good, bad);
    return bad == 0 && good > 0 ? 0 : 1;
}
