/* A checksum with which a writer and its readers prove that they hold the same records. It is defined twice, in C for the
 * writer and in SQL for the readers, with arithmetic that both do in the same way: signed 64-bit integers that never
 * overflow, and division towards zero. So anyone with an SQL prompt can recompute the readers' side and need not trust a
 * stored hash.
 *
 * Numbers are reduced modulo 2^31 - 1 before they are multiplied, and every factor is below 2^27, so no sum exceeds 2^63.
 * The square ties the columns of a record together: two swapped values would not change a plain sum. */
#ifndef EXAMPLES_CHECKSUM_H
#define EXAMPLES_CHECKSUM_H

#include <stdint.h>

/* The hash of a series' name, 'source/name/metric' in ASCII, starts at 0 and takes one character at a time. */
#define CHECKSUM_CHARACTER_SQL "(hash * 1000003 + unicode(rest)) % 2147483647"

static inline int64_t checksum_text(int64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash * 1000003 + (unsigned char)*text) % 2147483647;
    return hash;
}

/* The columns of a record are mixed into one number, whose square modulo the prime is added to the checksum. */
#define CHECKSUM_MIXED_SQL                                                                                             \
    "(series_hash * 15485863 + sequence % 2147483647 * 32452843 + record * 49979687"                                   \
    " + timestamp_us % 2147483647 * 67867967 + value / 2147483647 * 86028121 + value % 2147483647 * 104395301)"        \
    " % 2147483647"
#define CHECKSUM_SQL "coalesce(sum(mixed * mixed % 2147483647), 0)"

static inline int64_t checksum_record(const char *source, const char *name, const char *metric, int64_t sequence,
                                      int64_t record, int64_t timestamp_us, int64_t value)
{
    int64_t series_hash = checksum_text(0, source);
    series_hash = checksum_text(checksum_text(series_hash, "/"), name);
    series_hash = checksum_text(checksum_text(series_hash, "/"), metric);
    int64_t mixed =
        (series_hash * 15485863 + sequence % 2147483647 * 32452843 + record * 49979687 +
         timestamp_us % 2147483647 * 67867967 + value / 2147483647 * 86028121 + value % 2147483647 * 104395301) %
        2147483647;
    return mixed * mixed % 2147483647;
}

#endif
