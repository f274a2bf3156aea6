/* Lines of stdin, and signals that ask the program to end, whichever comes first. */
#ifndef SQLITE_SESSION_INPUT_H
#define SQLITE_SESSION_INPUT_H

#include <stdbool.h>
#include <stddef.h>

struct input {
    int signals; /* a descriptor from which SIGINT, SIGTERM and SIGHUP are read */
    bool ended;  /* stdin has no more */
    char *bytes; /* what was read and not yet given out */
    size_t begin;
    size_t end;
    size_t capacity;
};

enum input_event { INPUT_LINE, INPUT_TIMEOUT, INPUT_STOP, INPUT_FAILED };

/* Call it before the first thread is made: threads inherit the mask in which the signals are blocked. */
bool input_open(struct input *input);
void input_close(struct input *input);

/* Waits for a line, which stays until the next call, for a signal, or that long; for ever if negative. When stdin has ended
 * only a signal or the time ends the wait. */
enum input_event input_wait(struct input *input, int timeout_ms, const char **line);

#endif
