/* The sum by which a writer and its readers prove that they hold the same records. It is told twice, in C for the writer
 * and in SQL for the readers, in arithmetic that both do alike: signed 64-bit integers that never overflow, division
 * towards zero. So the readers' side can be recomputed by anyone with a SQL prompt; no stored hash has to be believed. */
#ifndef EXAMPLES_CHECKSUM_H
#define EXAMPLES_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#define CHECKSUM_PRIME 2147483647 /* 2^31 - 1: a remainder times a factor below it stays under 2^62 */
#define CHECKSUM_FACTOR 1000003

/* Goes on with `hash` over ASCII text. */
static inline int64_t checksum_text(int64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash * CHECKSUM_FACTOR + (unsigned char)*text) % CHECKSUM_PRIME;
    return hash;
}

/* One record. The sum over all records is the checksum: each number has its place in it, so that a record that is
 * missing, doubled, altered or put under another sequence changes the sum. */
static inline int64_t checksum_record(const char *source, const char *name, const char *metric, int64_t sequence,
                                      int64_t record, int64_t timestamp_us, int64_t value)
{
    int64_t hash = checksum_text(0, source);
    hash = checksum_text(checksum_text(hash, "/"), name);
    hash = checksum_text(checksum_text(hash, "/"), metric);
    const int64_t numbers[] = {sequence, record, timestamp_us, value / CHECKSUM_PRIME, value};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        hash = (hash * CHECKSUM_FACTOR + numbers[i] % CHECKSUM_PRIME) % CHECKSUM_PRIME;
    return hash;
}

#define CHECKSUM_TEXT_OF(number) #number
#define CHECKSUM_TEXT(number) CHECKSUM_TEXT_OF(number)
#define CHECKSUM_STEP_SQL(hash, number) \
    "((" hash ") * " CHECKSUM_TEXT(CHECKSUM_FACTOR) " + (" number ") % " CHECKSUM_TEXT(CHECKSUM_PRIME) ") % " \
        CHECKSUM_TEXT(CHECKSUM_PRIME)

/* The same for rows with these columns, where `series_hash` is the hash of 'source/name/metric'. */
#define CHECKSUM_RECORD_SQL \
    CHECKSUM_STEP_SQL(CHECKSUM_STEP_SQL(CHECKSUM_STEP_SQL(CHECKSUM_STEP_SQL(CHECKSUM_STEP_SQL( \
        "series_hash", "sequence"), "record"), "timestamp_us"), "value / " CHECKSUM_TEXT(CHECKSUM_PRIME)), "value")

#endif
