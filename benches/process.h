/* Children of the driver: this same program in a role, with a pipe in each direction. */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "bench.h"

#define CHILD_MAX_FIELDS 8

struct child {
    const char *role;
    pid_t pid; /* 0: not running */
    int to;
    int from;
    char buffer[1024];
    size_t buffered;
};

/* The fields of a result line. */
struct result {
    unsigned count;
    struct {
        char name[24];
        double value;
    } fields[CHILD_MAX_FIELDS];
};

/* What goes wrong with a child is told on standard error; then these return false. */
bool child_start(struct child *child, const struct bench_job *job);
bool child_say(struct child *child, const char *word);
/* Waits for a line that begins with `word`. Gives up when `partner` dies first: then it will not come. */
bool child_expect(struct child *child, const struct child *partner, const char *word, double timeout_s, char *line,
                  size_t line_size);
bool child_expect_result(struct child *child, const struct child *partner, double timeout_s, struct result *out);
/* Waits for the end, which must be a success. */
bool child_finish(struct child *child);
/* Ends it at once, whatever it does. */
void child_kill(struct child *child);

/* The value of a field, or `missing`. */
double result_get(const struct result *result, const char *name, double missing);

#endif
