/* Durable appends: several threads of one process, each of which appends one entry after another and waits for each. */
#ifndef BENCH_APPEND_H
#define BENCH_APPEND_H

#include "bench.h"

#define APPEND_THREADS 8

/* Appends one entry; returns when it is as durable as the policy says. `thread` is the caller's number. */
typedef void (*append_fn)(void *context, unsigned thread, const void *payload, size_t size);

/* The writer's whole part of the conversation: appends for the job's seconds in so many threads, and reports. */
void append_run(const struct bench_job *job, unsigned threads, append_fn append, void *context);

#endif
