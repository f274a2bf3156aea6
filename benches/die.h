/* The end of a process that cannot go on. */
#ifndef BENCH_DIE_H
#define BENCH_DIE_H

#include <stddef.h>
#include <stdnoreturn.h>

/* Names the process in its error messages. */
void bench_set_program(const char *name);
noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Zeroed memory, touched, or the end. */
void *bench_alloc(size_t size);

#endif
