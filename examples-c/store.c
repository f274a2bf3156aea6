#include "store.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "checksum.h"

static const char *const statements[STORE_STATEMENTS] = {
    [STORE_BEGIN] = "BEGIN IMMEDIATE",
    [STORE_SAVEPOINT] = "SAVEPOINT entry",
    [STORE_RELEASE] = "RELEASE entry",
    [STORE_UNDO_ENTRY] = "ROLLBACK TO entry",
    [STORE_COMMIT] = "COMMIT",
    [STORE_ROLLBACK] = "ROLLBACK",
    /* No "OR IGNORE": a duplicate entry must be an error and must not be hidden. */
    [STORE_ADD_ENTRY] = "INSERT INTO entry VALUES (?1, ?2)",
    [STORE_FIND_SERIES] = "SELECT id FROM series WHERE source = ?1 AND name = ?2 AND metric = ?3",
    [STORE_ADD_SERIES] = "INSERT INTO series (source, name, metric) VALUES (?1, ?2, ?3)",
    [STORE_ADD_SAMPLE] = "INSERT INTO sample VALUES (?1, ?2, ?3, ?4)",
    [STORE_READ_POSITION] = "SELECT sequence, timestamp_us, token FROM position",
    [STORE_MOVE_POSITION] = "UPDATE position SET sequence = ?1, timestamp_us = ?2, token = ?3",
};

/* The table series stores the name of a counter once, so that a sample takes only a few bytes. The views join them:
 * samples adds the names; ledger has the count and the checksum that the writer also keeps. */
static const char schema[] =
    "CREATE TABLE position ("
    "  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),"
    "  sequence INTEGER NOT NULL, timestamp_us INTEGER NOT NULL, token BLOB);"
    "INSERT INTO position VALUES (1, 0, 0, NULL);"
    "CREATE TABLE entry (sequence INTEGER PRIMARY KEY, timestamp_us INTEGER NOT NULL);"
    "CREATE TABLE series ("
    "  id INTEGER PRIMARY KEY, source TEXT NOT NULL, name TEXT NOT NULL, metric TEXT NOT NULL,"
    "  UNIQUE (source, name, metric));"
    "CREATE TABLE sample ("
    "  sequence INTEGER NOT NULL, record INTEGER NOT NULL, series INTEGER NOT NULL, value INTEGER NOT NULL,"
    "  PRIMARY KEY (sequence, record)) WITHOUT ROWID;"
    "CREATE VIEW samples AS"
    "  SELECT sequence, record, timestamp_us, source, name, metric, value"
    "  FROM sample JOIN entry USING (sequence) JOIN series ON series.id = sample.series;"
    "CREATE VIEW ledger AS"
    "  WITH RECURSIVE"
    "    hashing (id, rest, hash) AS ("
    "      SELECT id, source || '/' || name || '/' || metric, 0 FROM series"
    "      UNION ALL"
    "      SELECT id, substr(rest, 2), " CHECKSUM_CHARACTER_SQL " FROM hashing WHERE rest <> ''),"
    "    hashed (id, series_hash) AS (SELECT id, hash FROM hashing WHERE rest = ''),"
    "    mixing (mixed) AS ("
    "      SELECT " CHECKSUM_MIXED_SQL
    "      FROM sample JOIN entry USING (sequence) JOIN hashed ON hashed.id = sample.series)"
    "  SELECT (SELECT count(*) FROM entry) AS entries, count(*) AS records, " CHECKSUM_SQL " AS checksum FROM mixing;"
    "PRAGMA user_version = 3;";

enum { SCHEMA_VERSION = 3 };

static bool fail(struct store *store, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Stores the text of a failure. Always returns false. */
static bool fail(struct store *store, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(store->error, sizeof store->error, format, arguments);
    va_end(arguments);
    return false;
}

static bool fail_sql(struct store *store, const char *what)
{
    return fail(store, "%s: %s", what, sqlite3_errmsg(store->database));
}

/* SQLite's integers are signed: numbers above INT64_MAX are stored as the negative numbers with the same bits. */
static int bind_u64(sqlite3_stmt *statement, int index, uint64_t number)
{
    sqlite3_int64 bits;
    memcpy(&bits, &number, sizeof bits);
    return sqlite3_bind_int64(statement, index, bits);
}

static uint64_t column_u64(sqlite3_stmt *statement, int index)
{
    return (uint64_t)sqlite3_column_int64(statement, index);
}

/* Runs a statement that returns no rows. */
static bool run(struct store *store, enum store_statement which)
{
    sqlite3_step(store->statements[which]);
    if (sqlite3_reset(store->statements[which]) == SQLITE_OK)
        return true;
    return fail_sql(store, statements[which]);
}

static bool read_position(struct store *store, struct position *position)
{
    sqlite3_stmt *statement = store->statements[STORE_READ_POSITION];
    bool read = sqlite3_step(statement) == SQLITE_ROW;
    if (read) {
        *position = (struct position){.sequence = column_u64(statement, 0), .timestamp_us = column_u64(statement, 1)};
        const void *token = sqlite3_column_blob(statement, 2);
        size_t token_len = (size_t)sqlite3_column_bytes(statement, 2);
        if (token != NULL && token_len <= sizeof position->token) {
            memcpy(position->token, token, token_len);
            position->token_len = token_len;
        }
    }
    if (sqlite3_reset(statement) == SQLITE_OK && read)
        return true;
    return fail_sql(store, "read the position");
}

/* Returns the version of the schema: 0 in a new file, -1 if it cannot be read. */
static int schema_version(struct store *store)
{
    sqlite3_stmt *statement = NULL;
    bool prepared = sqlite3_prepare_v2(store->database, "PRAGMA user_version", -1, &statement, NULL) == SQLITE_OK;
    int version = prepared && sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : -1;
    if (version < 0)
        fail_sql(store, "read the schema's version");
    sqlite3_finalize(statement);
    return version;
}

static bool make_schema(struct store *store)
{
    if (sqlite3_exec(store->database, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return fail_sql(store, "lock the database");
    int version = schema_version(store); /* read under the lock: another process may be creating the schema */
    bool made = version == SCHEMA_VERSION;
    if (version == 0)
        made =
            sqlite3_exec(store->database, schema, NULL, NULL, NULL) == SQLITE_OK || fail_sql(store, "make the schema");
    else if (version > 0 && !made)
        fail(store, "its schema has version %d, this program knows version %d", version, SCHEMA_VERSION);
    if (made && sqlite3_exec(store->database, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
        return true;
    return made ? fail_sql(store, "make the schema") : false;
}

/* Switches to WAL mode: others can read during a write, and a commit takes one sequential write. The busy timeout does
 * not cover this change, which another process may be making too. */
static bool use_wal(struct store *store)
{
    int result = SQLITE_BUSY;
    for (int attempts = 0; result == SQLITE_BUSY && attempts < 100; attempts++) {
        if (attempts > 0)
            sqlite3_sleep(50);
        result = sqlite3_exec(store->database, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    }
    return result == SQLITE_OK || fail_sql(store, "use the WAL journal");
}

bool store_open(struct store *store, const char *path, bool sync_commits)
{
    *store = (struct store){0};
    if (sqlite3_open(path, &store->database) != SQLITE_OK)
        return fail(store, "open: %s", store->database ? sqlite3_errmsg(store->database) : "out of memory");
    sqlite3_busy_timeout(store->database, 5000);
    if (!use_wal(store))
        return false;
    const char *synchronous = sync_commits ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL";
    if (sqlite3_exec(store->database, synchronous, NULL, NULL, NULL) != SQLITE_OK)
        return fail_sql(store, synchronous);
    if (!make_schema(store))
        return false;
    for (int i = 0; i < STORE_STATEMENTS; i++)
        if (sqlite3_prepare_v3(store->database, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &store->statements[i],
                               NULL) != SQLITE_OK)
            return fail_sql(store, statements[i]);
    return read_position(store, &store->position);
}

void store_close(struct store *store)
{
    for (int i = 0; i < STORE_STATEMENTS; i++)
        sqlite3_finalize(store->statements[i]);
    sqlite3_close(store->database);
}

/* Binds a string of a record as a parameter of both statements that name a series. */
static bool bind_text(struct store *store, const replication_records *records, size_t row, const char *key, int index)
{
    const replication_value *value = NULL;
    const char *text = NULL;
    size_t length = 0;
    if (replication_records_get(records, row, key, &value) != REPLICATION_STATUS_OK ||
        replication_value_string(value, &text, &length) != REPLICATION_STATUS_OK)
        return fail(store, "record %zu, '%s': %s", row, key, replication_last_error_message());
    sqlite3_stmt *find = store->statements[STORE_FIND_SERIES];
    sqlite3_stmt *add = store->statements[STORE_ADD_SERIES];
    if (sqlite3_bind_text64(find, index, text, length, SQLITE_STATIC, SQLITE_UTF8) != SQLITE_OK ||
        sqlite3_bind_text64(add, index, text, length, SQLITE_STATIC, SQLITE_UTF8) != SQLITE_OK)
        return fail_sql(store, "bind a text");
    return true;
}

/* Finds the number of a record's series, or assigns one. */
static bool series_of(struct store *store, const replication_records *records, size_t row, sqlite3_int64 *series)
{
    if (!bind_text(store, records, row, "source", 1) || !bind_text(store, records, row, "name", 2) ||
        !bind_text(store, records, row, "metric", 3))
        return false;
    sqlite3_stmt *find = store->statements[STORE_FIND_SERIES];
    bool found = sqlite3_step(find) == SQLITE_ROW;
    if (found)
        *series = sqlite3_column_int64(find, 0);
    if (sqlite3_reset(find) != SQLITE_OK)
        return fail_sql(store, "find a series");
    if (found)
        return true;
    if (!run(store, STORE_ADD_SERIES))
        return false;
    *series = sqlite3_last_insert_rowid(store->database);
    return true;
}

static bool add_record(struct store *store, uint64_t sequence, const replication_records *records, size_t row)
{
    sqlite3_int64 series = 0;
    if (!series_of(store, records, row, &series))
        return false;
    const replication_value *value = NULL;
    int64_t small = 0;
    uint64_t number = 0;
    replication_status status = replication_records_get(records, row, "value", &value);
    if (status == REPLICATION_STATUS_OK) {
        /* Any integer: _i64 reads all except those above INT64_MAX, which _u64 reads. */
        if (replication_value_i64(value, &small) == REPLICATION_STATUS_OK)
            number = (uint64_t)small;
        else
            status = replication_value_u64(value, &number);
    }
    if (status != REPLICATION_STATUS_OK)
        return fail(store, "record %zu, 'value': %s", row, replication_last_error_message());
    sqlite3_stmt *add = store->statements[STORE_ADD_SAMPLE];
    bind_u64(add, 1, sequence);
    sqlite3_bind_int64(add, 2, (sqlite3_int64)row);
    sqlite3_bind_int64(add, 3, series);
    bind_u64(add, 4, number);
    return run(store, STORE_ADD_SAMPLE);
}

static bool add_records(struct store *store, const replication_entry *entry, const replication_records *records)
{
    bind_u64(store->statements[STORE_ADD_ENTRY], 1, entry->sequence);
    bind_u64(store->statements[STORE_ADD_ENTRY], 2, entry->timestamp_us);
    if (!run(store, STORE_ADD_ENTRY))
        return false;
    for (size_t row = 0; row < replication_records_count(records); row++)
        if (!add_record(store, entry->sequence, records, row))
            return false;
    return true;
}

static void roll_back(struct store *store)
{
    /* After an error such as a full disk, SQLite may have rolled back already. */
    if (sqlite3_get_autocommit(store->database) == 0) {
        sqlite3_step(store->statements[STORE_ROLLBACK]);
        sqlite3_reset(store->statements[STORE_ROLLBACK]);
    }
}

/* Adds an entry completely or not at all. */
static bool add_entry(struct store *store, const replication_entry *entry, uint64_t *record_count)
{
    replication_records *records = NULL;
    if (replication_records_parse(entry->payload, entry->payload_len, &records) != REPLICATION_STATUS_OK)
        return fail(store, "entry %" PRIu64 ": %s", entry->sequence, replication_last_error_message());
    bool added = run(store, STORE_SAVEPOINT) && add_records(store, entry, records) && run(store, STORE_RELEASE);
    *record_count = replication_records_count(records);
    replication_records_free(records);
    if (added)
        return true;
    char why[sizeof store->error];
    memcpy(why, store->error, sizeof why);
    if (!run(store, STORE_UNDO_ENTRY))
        roll_back(store);
    return fail(store, "entry %" PRIu64 ": %.460s", entry->sequence, why);
}

/* Returns whether the position in the database is still the one that this process stored. */
static bool unmoved(struct store *store)
{
    struct position now;
    if (!read_position(store, &now))
        return false;
    store->shared = now.sequence != store->position.sequence;
    return !store->shared || fail(store, "another process stores into this database too");
}

/* Begins a transaction unless another process stores into the same database, which would interleave with this one. A
 * check before taking the lock avoids waiting for it. */
static bool begin(struct store *store)
{
    return unmoved(store) && run(store, STORE_BEGIN) && unmoved(store);
}

/* Moves the position to after the last entry. */
static bool move_position(struct store *store, const struct position *to)
{
    sqlite3_stmt *move = store->statements[STORE_MOVE_POSITION];
    bind_u64(move, 1, to->sequence);
    bind_u64(move, 2, to->timestamp_us);
    if (to->token_len > 0)
        sqlite3_bind_blob(move, 3, to->token, (int)to->token_len, SQLITE_STATIC);
    else
        sqlite3_bind_null(move, 3);
    return run(store, STORE_MOVE_POSITION);
}

bool store_append(struct store *store, const replication_receiver *receiver, const replication_entry *entries,
                  size_t count, size_t *applied, uint64_t *records)
{
    *applied = 0;
    *records = 0;
    struct position position = store->position;
    size_t added = 0;
    uint64_t added_records = 0;
    bool begun = begin(store);
    for (uint64_t entry_records = 0; begun && added < count && add_entry(store, &entries[added], &entry_records);
         added++) {
        position.sequence = entries[added].sequence;
        position.timestamp_us = entries[added].timestamp_us;
        added_records += entry_records;
    }
    if (receiver_batch_token(receiver, added, position.token, sizeof position.token, &position.token_len) !=
        REPLICATION_STATUS_OK)
        position.token_len = 0;
    /* If a failure ended the transaction, the first entries are rolled back too, and the position must not move. */
    if (added > 0 && sqlite3_get_autocommit(store->database) == 0 && move_position(store, &position) &&
        run(store, STORE_COMMIT)) {
        store->position = position;
        *applied = added;
        *records = added_records;
        return added == count;
    }
    roll_back(store);
    return false;
}
