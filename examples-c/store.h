/* A reader's database: the records and the position of the last entry, which change together or not at all. */
#ifndef EXAMPLES_STORE_H
#define EXAMPLES_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include <replication.h>
#include <sqlite3.h>

/* How far a database has come, and in whose history. */
struct position {
    uint64_t sequence; /* 0 when it holds nothing yet */
    uint64_t timestamp_us;
    uint8_t token[REPLICATION_TOKEN_MAX_BYTES];
    size_t token_len; /* 0 when there is none: a v1 writer does not name its stream */
};

enum store_statement {
    STORE_BEGIN,
    STORE_SAVEPOINT,
    STORE_RELEASE,
    STORE_UNDO_ENTRY,
    STORE_COMMIT,
    STORE_ROLLBACK,
    STORE_ADD_ENTRY,
    STORE_FIND_SERIES,
    STORE_ADD_SERIES,
    STORE_ADD_SAMPLE,
    STORE_READ_POSITION,
    STORE_MOVE_POSITION,
    STORE_STATEMENTS /* how many there are */
};

struct store {
    sqlite3 *database;
    sqlite3_stmt *statements[STORE_STATEMENTS];
    struct position position; /* as committed */
    bool shared;              /* the last call failed because another process stores into it too */
    char error[512];          /* why the last call failed */
};

/* Opens or makes the database. With `sync_commits` a commit is on the disk when it returns; without, the operating
 * system writes it later and a power failure can take the last commits back (but never a part of one). */
bool store_open(struct store *store, const char *path, bool sync_commits);

/* Adds the entries of a call of `receiver` in one transaction, with the position after them. When an entry fails, those
 * before it are stored nevertheless; *applied says how many were, *records how many records they had. */
bool store_append(struct store *store, const replication_receiver *receiver, const replication_entry *entries,
                  size_t count, size_t *applied, uint64_t *records);

void store_close(struct store *store);

#endif
