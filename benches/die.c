#include "die.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *program = "bench";

void bench_set_program(const char *name)
{
    program = name;
}

noreturn void bench_fail(const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "%s: ", program);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    /* Not exit: other threads may be inside the measured library. */
    _Exit(1);
}

void *bench_alloc(size_t size)
{
    /* Aligned for struct bench_counter, and touched here and not in the measured time. */
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64);
    if (memory == NULL) {
        bench_fail("out of memory for %zu bytes", size);
    }
    memset(memory, 0, size);
    return memory;
}
