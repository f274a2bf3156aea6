/* What the example programs share: texts to stderr, option values, time, and an orderly end. */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <stdbool.h>
#include <stdint.h>

enum { EXIT_USAGE = 2 }; /* bad arguments; EXIT_FAILURE is everything else that went wrong */

/* The name that stands before every line on stderr. Call it first. */
void common_init(const char *program_name);

/* One line to stderr. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One line to stderr and the pointer to --help; exits with EXIT_USAGE. */
_Noreturn void usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The pointer to --help alone, when getopt has said what is wrong; exits with EXIT_USAGE. */
_Noreturn void usage_hint(void);

/* The number in `text`, which was given for `option`; a usage error unless it is min ..= max. */
uint64_t parse_number(const char *option, const char *text, uint64_t min, uint64_t max);

/* Microseconds since the Unix epoch, and of a clock that never jumps. */
uint64_t wall_clock_us(void);
uint64_t steady_clock_us(void);

/* SIGINT, SIGTERM and SIGHUP ask the program to end. They are blocked and read from a descriptor, so that no handler ever
 * interrupts the library's threads: call stop_init before the first thread is made, for threads inherit the mask. */
bool stop_init(void);

/* Asks the program to end, from any thread. */
void stop_request(void);

/* Waits that long; true as soon as the program was asked to end. */
bool stop_wait(uint64_t microseconds);

#endif
