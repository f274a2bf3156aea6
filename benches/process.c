#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "files.h"

enum { FINISH_TIMEOUT_MS = 30000 };

static void become(const struct bench_job *job, int in, int out)
{
    char size[24], readers[16], seconds[32], port[16], entries[24], bytes[24], wal_bytes[24];
    snprintf(size, sizeof size, "%zu", job->size);
    snprintf(readers, sizeof readers, "%u", job->readers);
    snprintf(seconds, sizeof seconds, "%.3f", job->seconds);
    snprintf(port, sizeof port, "%u", (unsigned)job->port);
    snprintf(entries, sizeof entries, "%" PRIu64, job->buffer_entries);
    snprintf(bytes, sizeof bytes, "%" PRIu64, job->buffer_bytes);
    snprintf(wal_bytes, sizeof wal_bytes, "%" PRIu64, job->wal_bytes);
    /* const away: execv does not write to them. */
    char *arguments[] = {
        (char *)"bench",
        (char *)"--role",
        (char *)(job->role == BENCH_ROLE_WRITER ? "writer" : "reader"),
        (char *)"--system",
        (char *)job->system->name,
        (char *)"--kind",
        (char *)bench_kind_name(job->kind),
        (char *)"--variant",
        (char *)job->variant,
        (char *)"--size",
        size,
        (char *)"--readers",
        readers,
        (char *)"--seconds",
        seconds,
        (char *)"--port",
        port,
        (char *)"--buffer-entries",
        entries,
        (char *)"--buffer-bytes",
        bytes,
        (char *)"--dir",
        (char *)job->dir,
        (char *)"--log-bytes",
        wal_bytes,
        NULL,
    };
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0) {
        bench_fail("dup2: %s", strerror(errno));
    }
    /* The driver ignores it; what is measured gets what a host's process has. */
    signal(SIGPIPE, SIG_DFL);
    execv("/proc/self/exe", arguments);
    bench_fail("cannot start itself: %s", strerror(errno));
}

bool child_start(struct child *child, const struct bench_job *job)
{
    int to[2], from[2];
    *child = (struct child){.role = job->role == BENCH_ROLE_WRITER ? "writer" : "reader"};
    if (pipe2(to, O_CLOEXEC) != 0) {
        fprintf(stderr, "bench: pipe: %s\n", strerror(errno));
        return false;
    }
    if (pipe2(from, O_CLOEXEC) != 0) {
        fprintf(stderr, "bench: pipe: %s\n", strerror(errno));
        close(to[0]);
        close(to[1]);
        return false;
    }
    pid_t driver = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != driver) {
            bench_fail("the driver is gone");
        }
        become(job, to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    if (pid < 0) {
        fprintf(stderr, "bench: fork: %s\n", strerror(errno));
        close(to[1]);
        close(from[0]);
        return false;
    }
    child->pid = pid;
    child->to = to[1];
    child->from = from[0];
    return true;
}

bool child_say(struct child *child, const char *word)
{
    char line[32];
    int len = snprintf(line, sizeof line, "%s\n", word);
    if (write(child->to, line, (size_t)len) != len) {
        fprintf(stderr, "bench: the %s does not listen: %s\n", child->role, strerror(errno));
        return false;
    }
    return true;
}

/* Moves the first line of the buffer to `line`. */
static bool take_line(struct child *child, char *line, size_t line_size)
{
    char *end = memchr(child->buffer, '\n', child->buffered);
    if (end == NULL) {
        return false;
    }
    size_t len = (size_t)(end - child->buffer);
    snprintf(line, line_size, "%.*s", (int)len, child->buffer);
    child->buffered -= len + 1;
    memmove(child->buffer, end + 1, child->buffered);
    return true;
}

bool child_expect(struct child *child, const struct child *partner, const char *word, double timeout_s, char *line,
                  size_t line_size)
{
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)(timeout_s * 1e9);
    while (!take_line(child, line, line_size)) {
        uint64_t now_ns = clock_now_ns();
        struct pollfd sources[2] = {
            {.fd = child->from, .events = POLLIN},
            {.fd = partner != NULL && partner->pid != 0 ? partner->from : -1, .events = 0},
        };
        int timeout_ms = now_ns < deadline_ns ? (int)((deadline_ns - now_ns) / 1000000) + 1 : 0;
        int ready = poll(sources, 2, timeout_ms);
        if (ready < 0 && errno == EINTR && !files_interrupted()) {
            continue;
        }
        if (ready <= 0) {
            fprintf(stderr, "bench: the %s did not say \"%s\" within %.0f s\n", child->role, word, timeout_s);
            return false;
        }
        /* A child closes its pipe only by its end, and none ends before it is told to. */
        if ((sources[1].revents & (POLLHUP | POLLERR)) != 0) {
            fprintf(stderr, "bench: the %s ended too early\n", partner->role);
            return false;
        }
        ssize_t count = read(child->from, child->buffer + child->buffered, sizeof child->buffer - child->buffered);
        if (count <= 0) {
            fprintf(stderr, "bench: the %s ended before it said \"%s\"\n", child->role, word);
            return false;
        }
        child->buffered += (size_t)count;
    }
    size_t len = strlen(word);
    if (strncmp(line, word, len) != 0 || (line[len] != '\0' && line[len] != ' ')) {
        fprintf(stderr, "bench: the %s said \"%s\" instead of \"%s\"\n", child->role, line, word);
        return false;
    }
    return true;
}

bool child_expect_result(struct child *child, const struct child *partner, double timeout_s, struct result *out)
{
    char line[sizeof child->buffer];
    if (!child_expect(child, partner, "result", timeout_s, line, sizeof line)) {
        return false;
    }
    *out = (struct result){0};
    char *rest = NULL;
    strtok_r(line, " ", &rest);
    for (char *field; (field = strtok_r(NULL, " ", &rest)) != NULL; out->count++) {
        char *value = strchr(field, '=');
        if (value == NULL || out->count == CHILD_MAX_FIELDS) {
            fprintf(stderr, "bench: a field of the %s's result: %s\n", child->role, field);
            return false;
        }
        *value = '\0';
        snprintf(out->fields[out->count].name, sizeof out->fields[0].name, "%s", field);
        out->fields[out->count].value = strtod(value + 1, NULL);
    }
    return true;
}

static void forget(struct child *child)
{
    close(child->to);
    close(child->from);
    child->pid = 0;
}

bool child_finish(struct child *child)
{
    /* Its end closes the pipe. */
    struct pollfd source = {.fd = child->from, .events = 0};
    int ready;
    do {
        ready = poll(&source, 1, FINISH_TIMEOUT_MS);
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0) {
        fprintf(stderr, "bench: the %s does not end\n", child->role);
        child_kill(child);
        return false;
    }
    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
    }
    forget(child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "bench: the %s ended with %s %d\n", child->role, WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return false;
    }
    return true;
}

void child_kill(struct child *child)
{
    if (child->pid != 0) {
        kill(child->pid, SIGKILL);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
        }
        forget(child);
    }
}

double result_get(const struct result *result, const char *name, double missing)
{
    for (unsigned i = 0; i < result->count; i++) {
        if (strcmp(result->fields[i].name, name) == 0) {
            return result->fields[i].value;
        }
    }
    return missing;
}
