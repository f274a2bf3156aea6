#include "control.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "die.h"

void control_say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int written = vprintf(format, arguments);
    va_end(arguments);
    if (written < 0 || putchar('\n') == EOF || fflush(stdout) != 0) {
        bench_fail("cannot write to the driver");
    }
}

void control_expect(const char *word)
{
    char line[64];
    if (fgets(line, sizeof line, stdin) == NULL) {
        bench_fail("the driver is gone; expected \"%s\"", word);
    }
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, word) != 0) {
        bench_fail("the driver said \"%s\"; expected \"%s\"", line, word);
    }
}
