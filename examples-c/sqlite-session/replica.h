/* The reader's database: each transaction applies a changeset and stores the token of the position after it. */
#ifndef SQLITE_SESSION_REPLICA_H
#define SQLITE_SESSION_REPLICA_H

#include <stddef.h>
#include <stdint.h>

#include <replication.h>

#include "database.h"

struct replica {
    struct database database;
    sqlite3_stmt *move;
    uint8_t token[REPLICATION_TOKEN_MAX_BYTES]; /* stored when the database was opened */
    size_t token_len;                           /* 0: none */
};

/* Call this before any other function of SQLite. */
bool replica_init(void);

bool replica_open(struct replica *replica, const char *path, const char *schema_path);
void replica_close(struct replica *replica);

/* Applies a changeset and stores the token, in one transaction. */
bool replica_apply(struct replica *replica, uint64_t sequence, const uint8_t *changeset, size_t changeset_bytes,
                   const uint8_t *token, size_t token_len);

#endif
