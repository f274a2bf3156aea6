/* The proof of the demo: SQL over the readers' databases and the writer's ledger. */
#ifndef EXAMPLES_PROOF_H
#define EXAMPLES_PROOF_H

#include <stdbool.h>
#include <stdint.h>

/* What somebody counted. */
struct account {
    int64_t entries;
    int64_t records;
    int64_t checksum;
};

/* Compares both databases with the writer's ledger and with each other, row by row. *account is then what all three hold.
 * False, with the difference on stderr, when they are not the same. */
bool prove(const char *ledger, const char *first, const char *second, struct account *account);

/* The sequence of the last entry in a reader's database. */
bool position_of(const char *database, int64_t *sequence);

#endif
