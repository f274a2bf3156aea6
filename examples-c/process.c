#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

/* Runs in the child process: sets it up and executes the program. */
static _Noreturn void become(const struct process *process, const char *path, char *const arguments[], int output,
                             pid_t parent)
{
    int log = open(process->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    sigset_t none;
    sigemptyset(&none);
    bool ready = log >= 0 && dup2(output, STDOUT_FILENO) >= 0 && dup2(log, STDERR_FILENO) >= 0 && setpgid(0, 0) == 0 &&
                 prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
                 sigprocmask(SIG_SETMASK, &none, NULL) == 0; /* children would inherit the blocked signals */
    signal(SIGPIPE, SIG_DFL);
    if (ready && getppid() == parent) /* the parent may have died before the prctl */
        execv(path, arguments);
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    _exit(127);
}

bool process_start(struct process *process, const char *path, char *const arguments[])
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        say("%s: %s", process->name, strerror(errno));
        return false;
    }
    pid_t parent = getpid();
    process->pid = fork();
    if (process->pid == 0)
        become(process, path, arguments, ends[1], parent);
    close(ends[1]);
    if (process->pid < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        say("%s: %s", process->name, strerror(errno));
        close(ends[0]);
        return false;
    }
    process->output = ends[0];
    process->line_length = 0;
    process->line_too_long = false;
    process->state = PROCESS_RUNNING;
    return true;
}

static void take_bytes(struct process *process, const char *bytes, size_t count, process_line_fn on_line,
                       void *user_data)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != '\n') {
            if (process->line_length == sizeof process->line - 1)
                process->line_too_long = true;
            else
                process->line[process->line_length++] = bytes[i];
            continue;
        }
        process->line[process->line_length] = '\0';
        if (!process->line_too_long)
            on_line(user_data, process, process->line);
        process->line_length = 0;
        process->line_too_long = false;
    }
}

/* Reads the available output, up to its end if the process has closed it. */
static void take_output(struct process *process, process_line_fn on_line, void *user_data)
{
    char bytes[16384];
    while (process->output >= 0) {
        ssize_t got = read(process->output, bytes, sizeof bytes);
        if (got > 0) {
            take_bytes(process, bytes, (size_t)got, on_line, user_data);
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            close(process->output);
            process->output = -1;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

void process_poll(struct process *const processes[], size_t count, int timeout_ms, process_line_fn on_line,
                  void *user_data)
{
    struct pollfd watched[8];
    size_t watching = 0;
    for (size_t i = 0; i < count && watching < sizeof watched / sizeof watched[0]; i++)
        if (processes[i]->state != PROCESS_NONE && processes[i]->output >= 0)
            watched[watching++] = (struct pollfd){.fd = processes[i]->output, .events = POLLIN};
    (void)poll(watched, watching, timeout_ms);
    for (size_t i = 0; i < count; i++) {
        struct process *process = processes[i];
        if (process->state == PROCESS_NONE)
            continue;
        /* First check whether it has ended, then read, so that its last line is read before its end is reported. */
        bool ended =
            process->state != PROCESS_ENDED && waitpid(process->pid, &process->wait_status, WNOHANG) == process->pid;
        take_output(process, on_line, user_data);
        if (ended)
            process->state = PROCESS_ENDED;
    }
}

bool process_signal(struct process *process, int signal_number)
{
    if (process->state != PROCESS_RUNNING && process->state != PROCESS_PAUSED) {
        say("%s does not run", process->name);
        return false;
    }
    if (kill(process->pid, signal_number) != 0) {
        say("%s: %s", process->name, strerror(errno));
        return false;
    }
    if (signal_number == SIGSTOP)
        process->state = PROCESS_PAUSED;
    else if (signal_number == SIGCONT)
        process->state = PROCESS_RUNNING;
    return true;
}

void process_describe_end(const struct process *process, char *text, size_t size)
{
    if (WIFSIGNALED(process->wait_status))
        snprintf(text, size, "was killed by signal %d (%s)", WTERMSIG(process->wait_status),
                 strsignal(WTERMSIG(process->wait_status)));
    else
        snprintf(text, size, "exited with %d", WEXITSTATUS(process->wait_status));
}

void process_clean_up(struct process *process)
{
    if (process->state == PROCESS_RUNNING || process->state == PROCESS_PAUSED) {
        kill(process->pid, SIGKILL);
        while (waitpid(process->pid, &process->wait_status, 0) < 0 && errno == EINTR)
            continue;
    }
    if (process->state != PROCESS_NONE && process->output >= 0)
        close(process->output);
    process->state = PROCESS_NONE;
}
