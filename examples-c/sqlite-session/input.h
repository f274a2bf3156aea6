/* Waits for a line of stdin or for a signal that asks the program to stop. */
#ifndef SQLITE_SESSION_INPUT_H
#define SQLITE_SESSION_INPUT_H

#include <stdbool.h>
#include <stddef.h>

struct input {
    int signals; /* a descriptor from which SIGINT, SIGTERM and SIGHUP are read */
    bool ended;  /* stdin is at its end */
    char *bytes; /* read but not yet returned */
    size_t begin;
    size_t end;
    size_t capacity;
};

enum input_event { INPUT_LINE, INPUT_TIMEOUT, INPUT_STOP, INPUT_FAILED };

/* Blocks the signals. Threads inherit the mask, so call this before the first thread starts. */
bool input_open(struct input *input);
void input_close(struct input *input);

/* Waits for a line, for a signal, or until the time has passed; a negative time never passes. The line is valid until the
 * next call. At the end of stdin, only a signal or the time ends the wait. */
enum input_event input_wait(struct input *input, int timeout_ms, const char **line);

#endif
