/* What the host of a scenario hears: entries, events, log records, and how ordered calls ended. `user_data` is the
 * object. */
#ifndef REPLICATION_TESTS_HEARING_H
#define REPLICATION_TESTS_HEARING_H

#include "step.h"

int32_t take_entry(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                   size_t payload_len);
int32_t take_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied);
int32_t take_records(void *user_data, uint64_t sequence, uint64_t timestamp_us, const replication_records *records);
void hear_event(void *user_data, const replication_event *event);
void hear_log(void *user_data, int32_t level, const char *message, const char *fields_json);
void hear_acked(void *user_data, int32_t status, size_t readers);

#endif
