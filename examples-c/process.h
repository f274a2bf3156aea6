/* The processes of the demo: starts them, reads their output, signals and ends them. */
#ifndef EXAMPLES_PROCESS_H
#define EXAMPLES_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { PROCESS_LINE_BYTES = 65536 };

enum process_state { PROCESS_NONE, PROCESS_RUNNING, PROCESS_PAUSED, PROCESS_ENDED };

struct process {
    const char *name;
    char log_path[512]; /* its stderr */
    enum process_state state;
    pid_t pid;
    int wait_status; /* of waitpid, when ended */
    int output;      /* its stdout, not blocking; -1 when closed */
    char line[PROCESS_LINE_BYTES];
    size_t line_length;
    bool line_too_long;
};

/* Called with each complete line of a process's stdout. */
typedef void (*process_line_fn)(void *user_data, struct process *process, const char *line);

/* Starts a program, which dies when this process dies, however that happens. The terminal's Ctrl-C does not reach it. */
bool process_start(struct process *process, const char *path, char *const arguments[]);

/* Waits up to the given time for output of any process, passes on its lines, and then checks which processes ended. */
void process_poll(struct process *const processes[], size_t count, int timeout_ms, process_line_fn on_line,
                  void *user_data);

/* Sends a signal. SIGSTOP and SIGCONT also change the state. */
bool process_signal(struct process *process, int signal_number);

/* Describes the end of a process: "exited with 1", "was killed by SIGKILL". */
void process_describe_end(const struct process *process, char *text, size_t size);

/* Kills the process if it runs, and frees its resources. */
void process_clean_up(struct process *process);

#endif
