/* The proof of the demo: SQL queries over the readers' databases and the writer's ledger. */
#ifndef EXAMPLES_PROOF_H
#define EXAMPLES_PROOF_H

#include <stdbool.h>
#include <stdint.h>

/* The counts that a writer or a reader has. */
struct account {
    int64_t entries;
    int64_t records;
    int64_t checksum;
};

/* Compares both databases with the writer's ledger, and with each other row by row. If all three agree, sets *account to
 * their counts. Otherwise prints the difference to stderr and returns false. */
bool prove(const char *ledger, const char *first, const char *second, struct account *account);

/* Returns the sequence of the last entry in a reader's database. */
bool position_of(const char *database, int64_t *sequence);

#endif
