#include "outbox.h"

#include <inttypes.h>
#include <string.h>

/* A larger entry would not fit into the sender's buffer and could never leave the outbox. */
enum { MAX_CHANGESET_BYTES = 16 << 20 };

/* AUTOINCREMENT never reuses a number, even after the row with the highest number is deleted. */
static const char own_tables[] =
    "CREATE TABLE replication_outbox ("
    "  sequence INTEGER PRIMARY KEY AUTOINCREMENT, timestamp_us INTEGER NOT NULL, changeset BLOB NOT NULL);"
    "CREATE TABLE replication_log ("
    "  only_row INTEGER PRIMARY KEY CHECK (only_row = 1), token BLOB NOT NULL);";

static bool is_own_table(const char *table)
{
    return sqlite3_strnicmp(table, "replication_", 12) == 0;
}

/* Selects the tables to record, for sqlite3session_table_filter(). */
static int is_recorded(void *context, const char *table)
{
    (void)context;
    return !is_own_table(table);
}

/* For sqlite3_set_authorizer(): statements may change rows of the recorded tables and nothing else. A changeset does not
 * record new or dropped tables or other databases, and this program ends the transaction itself. */
static int authorize(void *context, int action, const char *table, const char *detail, const char *schema,
                     const char *trigger)
{
    (void)context;
    (void)detail;
    (void)trigger;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_FUNCTION:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
        return strcmp(schema, "main") == 0 && !is_own_table(table) && sqlite3_strnicmp(table, "sqlite_", 7) != 0
                   ? SQLITE_OK
                   : SQLITE_DENY;
    case SQLITE_PRAGMA: /* the session extension uses it to inspect a table */
        return strcmp(table, "table_info") == 0 || strcmp(table, "table_xinfo") == 0 ? SQLITE_OK : SQLITE_DENY;
    default:
        return SQLITE_DENY;
    }
}

bool outbox_open(struct outbox *outbox, const char *path, const char *schema_path)
{
    *outbox = (struct outbox){0};
    struct database *database = &outbox->database;
    sqlite3_int64 last = 0;
    bool opened =
        database_open(database, path, schema_path, own_tables) && database_run(database, "PRAGMA foreign_keys = ON") &&
        database_prepare(database, "INSERT INTO replication_outbox (timestamp_us, changeset) VALUES (?1, ?2)",
                         &outbox->add) &&
        database_prepare(database, "DELETE FROM replication_outbox WHERE sequence <= ?1", &outbox->remove) &&
        database_prepare(database,
                         "SELECT sequence, timestamp_us, changeset FROM replication_outbox WHERE sequence > ?1"
                         " ORDER BY sequence LIMIT 1",
                         &outbox->next) &&
        database_number(database, "SELECT seq FROM sqlite_sequence WHERE name = 'replication_outbox'", 0, &last) &&
        database_number(database, "PRAGMA data_version", 0, &outbox->data_version);
    outbox->last = (uint64_t)last;
    return opened;
}

void outbox_close(struct outbox *outbox)
{
    sqlite3_finalize(outbox->add);
    sqlite3_finalize(outbox->remove);
    sqlite3_finalize(outbox->next);
    database_close(&outbox->database);
}

/* Compares the log's position with the position that the database stored when it first saw its log, or stores it now. In
 * the same history, the position is never before the stored one. */
static bool is_own_log(struct outbox *outbox, const replication_sender *sender)
{
    struct database *database = &outbox->database;
    uint8_t token[REPLICATION_TOKEN_MAX_BYTES];
    size_t token_len = 0;
    int32_t order = REPLICATION_TOKEN_ORDER_UNKNOWN;
    sqlite3_stmt *statement = NULL;
    if (sender_token(sender, token, sizeof token, &token_len) != REPLICATION_STATUS_OK)
        return database_fail(database, "%s", replication_last_error_message());
    if (!database_prepare(database, "INSERT OR IGNORE INTO replication_log VALUES (1, ?1)", &statement))
        return false;
    sqlite3_bind_blob(statement, 1, token, (int)token_len, SQLITE_STATIC);
    bool noted = database_step(database, statement);
    sqlite3_finalize(statement);
    if (!noted || !database_prepare(database, "SELECT token FROM replication_log", &statement))
        return false;
    bool same = sqlite3_step(statement) == SQLITE_ROW &&
                replication_token_compare(sqlite3_column_blob(statement, 0), (size_t)sqlite3_column_bytes(statement, 0),
                                          token, token_len, &order) == REPLICATION_STATUS_OK &&
                (order == REPLICATION_TOKEN_ORDER_EQUAL || order == REPLICATION_TOKEN_ORDER_BEFORE);
    sqlite3_finalize(statement);
    return same || database_fail(database, "the log is another database's");
}

bool outbox_fits(struct outbox *outbox, const replication_sender *sender, uint64_t logged)
{
    struct database *database = &outbox->database;
    struct outbox_entry oldest;
    if (logged > outbox->last)
        return database_fail(database,
                             "the log has %" PRIu64 " entries, the database has committed %" PRIu64
                             ": the database is an older copy, or the log is another's",
                             logged, outbox->last);
    if (!is_own_log(outbox, sender) || !outbox_next(outbox, logged, &oldest))
        return false;
    outbox_done(outbox);
    uint64_t first = oldest.sequence != 0 ? oldest.sequence : outbox->last + 1;
    return first == logged + 1 || database_fail(database,
                                                "the log ends with entry %" PRIu64 ", the outbox begins with %" PRIu64
                                                ": the log is an older copy",
                                                logged, first);
}

/* Returns whether only this connection has changed the database: changes of other connections are not recorded. */
static bool is_untouched(struct outbox *outbox)
{
    sqlite3_int64 version = 0;
    return database_number(&outbox->database, "PRAGMA data_version", 0, &version) &&
           (version == outbox->data_version ||
            database_fail(&outbox->database, "another process changed the database: readers will not get what it did"));
}

/* Runs the statements and returns their changeset, to be freed with sqlite3_free(). */
static bool record(struct outbox *outbox, const char *sql, void **changeset, int *bytes)
{
    struct database *database = &outbox->database;
    sqlite3_session *session = NULL;
    if (sqlite3session_create(database->handle, "main", &session) != SQLITE_OK)
        return database_fail_sql(database, "record the changes");
    sqlite3session_table_filter(session, is_recorded, NULL);
    bool recorded = sqlite3session_attach(session, NULL) == SQLITE_OK || database_fail(database, "out of memory");
    if (recorded) {
        sqlite3_set_authorizer(database->handle, authorize, NULL);
        recorded = sqlite3_exec(database->handle, sql, NULL, NULL, NULL) == SQLITE_OK ||
                   database_fail(database, "%s", sqlite3_errmsg(database->handle));
        sqlite3_set_authorizer(database->handle, NULL, NULL);
    }
    if (recorded) {
        /* This also reports failures during recording. */
        int result = sqlite3session_changeset(session, bytes, changeset);
        recorded = result == SQLITE_OK || database_fail(database, "make the changeset: %s", sqlite3_errstr(result));
    }
    sqlite3session_delete(session);
    return recorded;
}

/* Adds the changeset to the outbox, removes the rows that the log has, and commits. */
static bool commit(struct outbox *outbox, const void *changeset, int bytes, uint64_t timestamp_us, uint64_t logged)
{
    struct database *database = &outbox->database;
    if (bytes > MAX_CHANGESET_BYTES)
        return database_fail(database, "its changes are %d bytes, more than the %d that an entry may have", bytes,
                             MAX_CHANGESET_BYTES);
    sqlite3_bind_int64(outbox->remove, 1, (sqlite3_int64)logged);
    sqlite3_bind_int64(outbox->add, 1, (sqlite3_int64)timestamp_us);
    sqlite3_bind_blob(outbox->add, 2, changeset, bytes, SQLITE_STATIC);
    return database_step(database, outbox->remove) && database_step(database, outbox->add) &&
           database_run(database, "COMMIT");
}

enum outbox_result outbox_execute(struct outbox *outbox, const char *sql, uint64_t timestamp_us, uint64_t logged)
{
    struct database *database = &outbox->database;
    if (!database_run(database, "BEGIN IMMEDIATE"))
        return OUTBOX_REFUSED;
    void *changeset = NULL;
    int bytes = 0;
    enum outbox_result result = OUTBOX_REFUSED;
    if (!is_untouched(outbox)) {
        result = OUTBOX_FAILED;
    } else if (record(outbox, sql, &changeset, &bytes)) {
        if (bytes == 0) {
            result = OUTBOX_UNCHANGED;
        } else if (commit(outbox, changeset, bytes, timestamp_us, logged)) {
            outbox->last = (uint64_t)sqlite3_last_insert_rowid(database->handle);
            result = OUTBOX_COMMITTED;
        }
    }
    sqlite3_free(changeset);
    database_roll_back(database); /* if it is not committed */
    return result;
}

bool outbox_next(struct outbox *outbox, uint64_t after, struct outbox_entry *entry)
{
    *entry = (struct outbox_entry){0};
    sqlite3_bind_int64(outbox->next, 1, (sqlite3_int64)after);
    int result = sqlite3_step(outbox->next);
    if (result == SQLITE_ROW)
        *entry = (struct outbox_entry){
            .sequence = (uint64_t)sqlite3_column_int64(outbox->next, 0),
            .timestamp_us = (uint64_t)sqlite3_column_int64(outbox->next, 1),
            .changeset = sqlite3_column_blob(outbox->next, 2),
            .changeset_bytes = (size_t)sqlite3_column_bytes(outbox->next, 2),
        };
    else
        outbox_done(outbox);
    return result == SQLITE_ROW || result == SQLITE_DONE || database_fail_sql(&outbox->database, "read the outbox");
}

void outbox_done(struct outbox *outbox)
{
    sqlite3_reset(outbox->next);
}
