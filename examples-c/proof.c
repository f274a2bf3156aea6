#include "proof.h"

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "common.h"

/* Runs a query that returns one row of up to three numbers. */
static bool query(sqlite3 *database, const char *sql, const char *parameter, struct account *account)
{
    sqlite3_stmt *statement = NULL;
    bool found = sqlite3_prepare_v2(database, sql, -1, &statement, NULL) == SQLITE_OK &&
                 (parameter == NULL || sqlite3_bind_text(statement, 1, parameter, -1, SQLITE_STATIC) == SQLITE_OK) &&
                 sqlite3_step(statement) == SQLITE_ROW;
    if (found)
        *account = (struct account){sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1),
                                    sqlite3_column_int64(statement, 2)};
    else
        say("%s: %s", sql, sqlite3_errmsg(database));
    sqlite3_finalize(statement);
    return found;
}

static bool attach(sqlite3 *database, const char *path, const char *name)
{
    char *sql = sqlite3_mprintf("ATTACH %Q AS %s", path, name);
    bool attached = sql != NULL && sqlite3_exec(database, sql, NULL, NULL, NULL) == SQLITE_OK;
    if (!attached)
        say("%s: %s", path, sqlite3_errmsg(database));
    sqlite3_free(sql);
    return attached;
}

static bool read_ledger(sqlite3 *database, const char *path, struct account *account)
{
    char text[4096] = "";
    FILE *file = fopen(path, "r");
    bool complete = file != NULL && fread(text, 1, sizeof text - 1, file) > 0 && !ferror(file);
    if (!complete)
        say("%s: %s", path, file == NULL ? strerror(errno) : "cannot be read, or is empty");
    if (file != NULL)
        fclose(file);
    return complete && query(database,
                             "SELECT json_extract(ledger, '$.entries'), json_extract(ledger, '$.records'),"
                             "       json_extract(ledger, '$.checksum') FROM (SELECT ?1 AS ledger)",
                             text, account);
}

static bool same(const char *path, const struct account *is, const struct account *should)
{
    if (is->entries == should->entries && is->records == should->records && is->checksum == should->checksum)
        return true;
    say("%s holds %" PRId64 " entries, %" PRId64 " rows, checksum %" PRId64 ", but the writer counted %" PRId64
        " entries, %" PRId64 " rows, checksum %" PRId64,
        path, is->entries, is->records, is->checksum, should->entries, should->records, should->checksum);
    return false;
}

bool prove(const char *ledger, const char *first, const char *second, struct account *account)
{
    sqlite3 *database = NULL;
    struct account a = {0};
    struct account b = {0};
    struct account common = {0};
    bool read = sqlite3_open(":memory:", &database) == SQLITE_OK && attach(database, first, "a") &&
                attach(database, second, "b") && read_ledger(database, ledger, account) &&
                query(database, "SELECT entries, records, checksum FROM a.ledger", NULL, &a) &&
                query(database, "SELECT entries, records, checksum FROM b.ledger", NULL, &b) &&
                /* The checksums compare the data as one number; this query compares every row and column. */
                query(database,
                      "SELECT count(DISTINCT sequence), count(*), 0"
                      " FROM a.samples AS x JOIN b.samples AS y USING (sequence, record)"
                      " WHERE x.timestamp_us = y.timestamp_us AND x.source = y.source AND x.name = y.name"
                      "   AND x.metric = y.metric AND x.value = y.value",
                      NULL, &common);
    bool proved = read && same(first, &a, account) && same(second, &b, account);
    if (proved && common.records != account->records) {
        say("only %" PRId64 " of %" PRId64 " rows are the same in both databases", common.records, account->records);
        proved = false;
    }
    sqlite3_close(database);
    return proved;
}

bool position_of(const char *database_path, int64_t *sequence)
{
    sqlite3 *database = NULL;
    struct account position = {0};
    bool read = sqlite3_open(":memory:", &database) == SQLITE_OK && attach(database, database_path, "a") &&
                query(database, "SELECT sequence FROM a.position", NULL, &position);
    *sequence = position.entries;
    sqlite3_close(database);
    return read;
}
