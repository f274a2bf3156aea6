/* libreplication as a system of the benchmark: what its files share. */
#ifndef BENCH_REPLICATION_SIDE_H
#define BENCH_REPLICATION_SIDE_H

#include <replication.h>

#include "bench.h"

/* How long readers may take to attach. */
enum { ATTACH_TIMEOUT_MS = 30000 };

void replication_check(replication_status status, const char *what);

/* The configuration that the job asks for; everything that is not asked for stays at the library's default. */
replication_sender_config *replication_config_new(const struct bench_job *job);
/* Makes and starts a sender, tells the driver its port, frees the configuration. */
replication_sender *replication_serve(replication_sender_config *config);
void replication_send(replication_sender *sender, const void *payload, size_t len, uint64_t *out_sequence);
/* Waits until this many readers are attached; they need not acknowledge anything. */
void replication_wait_readers(const replication_sender *sender, size_t readers);

/* replication_limits.c: readers that are raw sockets, and what they cost the writer. */
void replication_write_stalled(const struct bench_job *job);
void replication_read_stalled(const struct bench_job *job);
void replication_write_memory(const struct bench_job *job);
void replication_read_memory(const struct bench_job *job);

/* replication_durable.c: logs on disk. */
void replication_config_log(replication_sender_config *config, const char *dir, uint32_t policy);
/* Writes the job's log unless it is there, and reads it, so that the page cache has it. Returns how many entries it has. */
uint64_t replication_fill_log(const struct bench_job *job);
/* -1 when the file is none of a log's segments. */
int replication_open_segment(const char *path);
void replication_write_append(const struct bench_job *job);
void replication_write_trim(const struct bench_job *job);
void replication_write_catch_up(const struct bench_job *job);
void replication_write_reopen(const struct bench_job *job);

#endif
