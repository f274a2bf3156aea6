/* The writer's transactions: what each changed stands in an outbox, which is a table of the same database, until the log has
 * it. A transaction and its changeset are therefore committed together or not at all.
 *
 * The number of a row in the outbox is the sequence that its entry has, or will have, in the stream: both count what was
 * committed, from 1 on. So after a crash the log itself tells which rows it has. */
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
    uint64_t last;              /* the sequence of the last transaction that changed anything */
    sqlite3_int64 data_version; /* rises when another process changes the database */
};

/* What came of a transaction. */
enum outbox_result {
    OUTBOX_COMMITTED, /* with the sequence outbox->last */
    OUTBOX_UNCHANGED, /* it left everything as it was */
    OUTBOX_REFUSED,   /* rolled back, see the error */
    OUTBOX_FAILED,    /* rolled back, and the database is not to be used any more */
};

/* A committed transaction, as the log is to have it. */
struct outbox_entry {
    uint64_t sequence;
    uint64_t timestamp_us;
    const uint8_t *changeset;
    size_t changeset_bytes;
};

bool outbox_open(struct outbox *outbox, const char *path, const char *schema_path);
void outbox_close(struct outbox *outbox);

/* Whether the log of the sender is this database's and can go on from it: `logged` is the last sequence in the log. */
bool outbox_fits(struct outbox *outbox, const replication_sender *sender, uint64_t logged);

/* Runs statements in a transaction. Rows that the log has on its disk, up to `logged`, leave the outbox in the same one. */
enum outbox_result outbox_execute(struct outbox *outbox, const char *sql, uint64_t timestamp_us, uint64_t logged);

/* The oldest entry after a sequence; valid until outbox_done(). True with a sequence of 0 when there is none. */
bool outbox_next(struct outbox *outbox, uint64_t after, struct outbox_entry *entry);
void outbox_done(struct outbox *outbox);

#endif
