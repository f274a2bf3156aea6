/* The sum by which a writer and its readers prove that they hold the same records. It is told twice, in C for the writer
 * and in SQL for the readers, in arithmetic that both do alike: signed 64-bit integers that never overflow, division
 * towards zero. So the readers' side can be recomputed by anyone with a SQL prompt; no stored hash has to be believed.
 *
 * Every number is taken modulo 2^31 - 1 before it is multiplied, and every factor is below 2^27, so that no sum passes 2^63.
 * The square ties the columns of a record together: values that changed places would leave a plain sum as it was. */
#ifndef EXAMPLES_CHECKSUM_H
#define EXAMPLES_CHECKSUM_H

#include <stdint.h>

/* The hash of a series' name, 'source/name/metric' in ASCII, begins with 0 and takes one character after the other. */
#define CHECKSUM_CHARACTER_SQL "(hash * 1000003 + unicode(rest)) % 2147483647"

static inline int64_t checksum_text(int64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash * 1000003 + (unsigned char)*text) % 2147483647;
    return hash;
}

/* A record is mixed from its columns and adds the remainder of its square to the checksum. */
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
