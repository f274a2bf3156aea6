#include "replica.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static const char own_tables[] =
    "CREATE TABLE replication_place ("
    "  only_row INTEGER PRIMARY KEY CHECK (only_row = 1), sequence INTEGER NOT NULL, token BLOB NOT NULL);";

/* sqlite3changeset_apply() skips changes of a table that differs from the writer's, and reports that only in SQLite's log.
 * So this log is observed while a changeset is applied. */
static _Thread_local struct database *applying;
static _Thread_local bool mismatched;

static void hear_log(void *context, int code, const char *message)
{
    (void)context;
    if (applying == NULL || code != SQLITE_SCHEMA)
        return;
    mismatched = true;
    database_fail(applying, "%s", message);
}

bool replica_init(void)
{
    return sqlite3_config(SQLITE_CONFIG_LOG, hear_log, NULL) == SQLITE_OK;
}

static bool read_token(struct replica *replica)
{
    sqlite3_stmt *statement = NULL;
    if (!database_prepare(&replica->database, "SELECT token FROM replication_place", &statement))
        return false;
    if (sqlite3_step(statement) == SQLITE_ROW && (size_t)sqlite3_column_bytes(statement, 0) <= sizeof replica->token) {
        replica->token_len = (size_t)sqlite3_column_bytes(statement, 0);
        memcpy(replica->token, sqlite3_column_blob(statement, 0), replica->token_len);
    }
    return sqlite3_finalize(statement) == SQLITE_OK || database_fail_sql(&replica->database, "read the token");
}

bool replica_open(struct replica *replica, const char *path, const char *schema_path)
{
    *replica = (struct replica){0};
    struct database *database = &replica->database;
    return database_open(database, path, schema_path, own_tables) &&
           /* The changeset contains the effects of triggers and foreign keys, so they must not act again here. */
           database_run(database, "PRAGMA foreign_keys = OFF") &&
           sqlite3_db_config(database->handle, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL) == SQLITE_OK &&
           database_prepare(database, "INSERT OR REPLACE INTO replication_place VALUES (1, ?1, ?2)", &replica->move) &&
           read_token(replica);
}

void replica_close(struct replica *replica)
{
    sqlite3_finalize(replica->move);
    database_close(&replica->database);
}

/* For sqlite3changeset_apply(): every conflict is an error, since a reader has exactly what the writer had before. */
static int refuse_conflict(void *context, int kind, sqlite3_changeset_iter *change)
{
    static const char *const kinds[] = {
        [SQLITE_CHANGESET_DATA] = "the row has other values",
        [SQLITE_CHANGESET_NOTFOUND] = "the row is not there",
        [SQLITE_CHANGESET_CONFLICT] = "a row with this key is there already",
        [SQLITE_CHANGESET_CONSTRAINT] = "a constraint forbids it",
        [SQLITE_CHANGESET_FOREIGN_KEY] = "foreign keys point nowhere",
    };
    struct replica *replica = context;
    const char *table = "";
    const char *operation = "change";
    int columns = 0;
    int code = 0;
    int indirect = 0;
    if (kind != SQLITE_CHANGESET_FOREIGN_KEY &&
        sqlite3changeset_op(change, &table, &columns, &code, &indirect) == SQLITE_OK)
        operation = code == SQLITE_INSERT ? "INSERT" : code == SQLITE_UPDATE ? "UPDATE" : "DELETE";
    database_fail(&replica->database, "%s of '%s': %s: somebody else changed this database", operation, table,
                  kinds[kind]);
    return SQLITE_CHANGESET_ABORT;
}

static bool apply_changes(struct replica *replica, const uint8_t *changeset, size_t changeset_bytes)
{
    struct database *database = &replica->database;
    if (changeset_bytes > INT_MAX)
        return database_fail(database, "its changeset has %zu bytes", changeset_bytes);
    database->error[0] = '\0';
    applying = database;
    mismatched = false;
    int result = sqlite3changeset_apply(database->handle, (int)changeset_bytes, (void *)(uintptr_t)changeset, NULL,
                                        refuse_conflict, replica);
    applying = NULL;
    if (result == SQLITE_OK)
        return !mismatched;
    /* The conflict handler gave a better text than the code. */
    return database->error[0] != '\0' ? false : database_fail(database, "%s", sqlite3_errstr(result));
}

static bool move_place(struct replica *replica, uint64_t sequence, const uint8_t *token, size_t token_len)
{
    sqlite3_bind_int64(replica->move, 1, (sqlite3_int64)sequence);
    sqlite3_bind_blob(replica->move, 2, token, (int)token_len, SQLITE_STATIC);
    return database_step(&replica->database, replica->move);
}

bool replica_apply(struct replica *replica, uint64_t sequence, const uint8_t *changeset, size_t changeset_bytes,
                   const uint8_t *token, size_t token_len)
{
    struct database *database = &replica->database;
    bool applied = database_run(database, "BEGIN IMMEDIATE") && apply_changes(replica, changeset, changeset_bytes) &&
                   move_place(replica, sequence, token, token_len) && database_run(database, "COMMIT");
    if (!applied)
        database_roll_back(database);
    return applied;
}
