/* What the example programs share: messages, option values, time, and an orderly shutdown. */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <stdbool.h>
#include <stdint.h>

enum { EXIT_USAGE = 2 }; /* bad arguments; EXIT_FAILURE stands for all other failures */

/* Sets the name that begins every line on stderr. Call this first. */
void common_init(const char *program_name);

/* Prints a line to stderr. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints a line to stderr, refers to --help, and exits with EXIT_USAGE. */
_Noreturn void usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Refers to --help, after getopt has reported the mistake, and exits with EXIT_USAGE. */
_Noreturn void usage_hint(void);

/* Returns the number in `text`, the value of `option`. Any other text, or a number outside min..max, is a usage error. */
uint64_t parse_number(const char *option, const char *text, uint64_t min, uint64_t max);

/* Return microseconds: since the Unix epoch, and of a monotonic clock. */
uint64_t wall_clock_us(void);
uint64_t steady_clock_us(void);

/* SIGINT, SIGTERM and SIGHUP ask the program to stop. They are blocked and read from a descriptor, so no signal handler
 * interrupts the library's threads. Threads inherit the mask, so call stop_init() before the first thread starts. */
bool stop_init(void);

/* Asks the program to stop; any thread may call it. */
void stop_request(void);

/* Waits for the given time. Returns true as soon as the program is asked to stop. */
bool stop_wait(uint64_t microseconds);

#endif
