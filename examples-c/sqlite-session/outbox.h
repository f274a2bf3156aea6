/* The writer's transactions. The changeset of each is kept in an outbox, a table of the same database, until the log has it.
 * So a transaction and its changeset are committed together or not at all.
 *
 * The number of a row in the outbox is the sequence of its entry in the stream: both count committed transactions from 1.
 * After a crash, the log's last sequence therefore tells which rows the log has. */
#ifndef SQLITE_SESSION_OUTBOX_H
#define SQLITE_SESSION_OUTBOX_H

#include <stddef.h>
#include <stdint.h>

#include <replication.h>

#include "database.h"

struct outbox {
    struct database database;
    sqlite3_stmt *add;
    sqlite3_stmt *remove;
    sqlite3_stmt *next;
    uint64_t last;              /* the sequence of the last transaction with changes */
    sqlite3_int64 data_version; /* increases when another process changes the database */
};

/* The result of a transaction. */
enum outbox_result {
    OUTBOX_COMMITTED, /* its sequence is outbox->last */
    OUTBOX_UNCHANGED, /* it changed nothing */
    OUTBOX_REFUSED,   /* rolled back, see the error */
    OUTBOX_FAILED,    /* rolled back; do not use the database any more */
};

/* A committed transaction, as it is passed to the log. */
struct outbox_entry {
    uint64_t sequence;
    uint64_t timestamp_us;
    const uint8_t *changeset;
    size_t changeset_bytes;
};

bool outbox_open(struct outbox *outbox, const char *path, const char *schema_path);
void outbox_close(struct outbox *outbox);

/* Returns whether the sender's log belongs to this database and can be continued. `logged` is its last sequence. */
bool outbox_fits(struct outbox *outbox, const replication_sender *sender, uint64_t logged);

/* Runs statements in a transaction, which also removes the rows up to `logged` from the outbox: the log has them on disk. */
enum outbox_result outbox_execute(struct outbox *outbox, const char *sql, uint64_t timestamp_us, uint64_t logged);

/* Gets the oldest entry after a sequence, valid until outbox_done(). Without one, sets its sequence to 0 and returns true. */
bool outbox_next(struct outbox *outbox, uint64_t after, struct outbox_entry *entry);
void outbox_done(struct outbox *outbox);

#endif
