/* Prints what was measured: a table, or JSON lines. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "run.h"

void report_machine(const struct run_options *options, bool json);
/* Returns the number of targets that were missed. */
unsigned report_case(const struct bench_case *which, const struct samples *samples, bool json);

#endif
