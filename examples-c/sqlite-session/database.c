#include "database.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SCHEMA_BYTES = 1 << 20 };

/* Finds tables that the session extension silently ignores: tables without a primary key, and virtual tables. It also
 * ignores rows whose key is NULL, and does not support generated columns. */
static const char not_recorded[] =
    "SELECT name FROM pragma_table_list AS t"
    "  WHERE schema = 'main' AND type IN ('table', 'virtual') AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    "    AND (type = 'virtual'"
    "      OR NOT EXISTS (SELECT 1 FROM pragma_table_info(t.name) WHERE pk > 0)"
    "      OR EXISTS (SELECT 1 FROM pragma_table_xinfo(t.name) WHERE hidden > 1)"
    "      OR (NOT wr AND EXISTS (SELECT 1 FROM pragma_table_info(t.name) WHERE pk > 0 AND NOT \"notnull\")"
    "        AND NOT (SELECT count(*) = 1 AND max(type) COLLATE NOCASE = 'INTEGER'"
    "                 FROM pragma_table_info(t.name) WHERE pk > 0)))"
    "  ORDER BY name";

bool database_fail(struct database *database, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(database->error, sizeof database->error, format, arguments);
    va_end(arguments);
    return false;
}

bool database_fail_sql(struct database *database, const char *what)
{
    return database_fail(database, "%s: %s", what, sqlite3_errmsg(database->handle));
}

bool database_run(struct database *database, const char *sql)
{
    return sqlite3_exec(database->handle, sql, NULL, NULL, NULL) == SQLITE_OK || database_fail_sql(database, sql);
}

bool database_prepare(struct database *database, const char *sql, sqlite3_stmt **statement)
{
    return sqlite3_prepare_v3(database->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) == SQLITE_OK ||
           database_fail_sql(database, sql);
}

bool database_step(struct database *database, sqlite3_stmt *statement)
{
    sqlite3_step(statement);
    return sqlite3_reset(statement) == SQLITE_OK || database_fail_sql(database, sqlite3_sql(statement));
}

bool database_number(struct database *database, const char *sql, sqlite3_int64 none, sqlite3_int64 *number)
{
    sqlite3_stmt *statement = NULL;
    if (!database_prepare(database, sql, &statement))
        return false;
    *number = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : none;
    return sqlite3_finalize(statement) == SQLITE_OK || database_fail_sql(database, sql);
}

void database_roll_back(struct database *database)
{
    /* After an error such as a full disk, SQLite may have rolled back already. */
    if (sqlite3_get_autocommit(database->handle) == 0)
        sqlite3_exec(database->handle, "ROLLBACK", NULL, NULL, NULL);
}

/* Returns the contents of the file, to be freed; NULL if it cannot be read. */
static char *read_schema(struct database *database, const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = malloc(MAX_SCHEMA_BYTES + 1);
    if (file == NULL || text == NULL) {
        database_fail(database, "%s: %s", path, strerror(errno));
    } else {
        size_t length = fread(text, 1, MAX_SCHEMA_BYTES + 1, file);
        if (!ferror(file) && length <= MAX_SCHEMA_BYTES) {
            text[length] = '\0';
            fclose(file);
            return text;
        }
        database_fail(database, "%s: cannot be read, or is longer than %d bytes", path, MAX_SCHEMA_BYTES);
    }
    if (file != NULL)
        fclose(file);
    free(text);
    return NULL;
}

static bool every_table_is_recorded(struct database *database)
{
    sqlite3_stmt *statement = NULL;
    if (!database_prepare(database, not_recorded, &statement))
        return false;
    bool found = sqlite3_step(statement) == SQLITE_ROW;
    if (found)
        database_fail(
            database,
            "the table '%s' cannot be replicated: it needs a PRIMARY KEY that is NOT NULL, and may neither be "
            "virtual nor have computed columns",
            (const char *)sqlite3_column_text(statement, 0));
    return (sqlite3_finalize(statement) == SQLITE_OK || database_fail_sql(database, "look at the tables")) && !found;
}

/* One transaction creates all tables. */
static bool make_tables(struct database *database, const char *schema_path, const char *own_tables)
{
    if (schema_path == NULL)
        return database_fail(database, "it is new: --schema must name a script with its tables");
    char *schema = read_schema(database, schema_path);
    bool made = schema != NULL && database_run(database, "BEGIN IMMEDIATE") && database_run(database, schema) &&
                database_run(database, own_tables) && every_table_is_recorded(database) &&
                database_run(database, "PRAGMA user_version = 1") && database_run(database, "COMMIT");
    free(schema);
    if (!made)
        database_roll_back(database);
    return made;
}

bool database_open(struct database *database, const char *path, const char *schema_path, const char *own_tables)
{
    *database = (struct database){0};
    if (sqlite3_open(path, &database->handle) != SQLITE_OK)
        return database_fail(database, "open: %s", sqlite3_errmsg(database->handle));
    sqlite3_busy_timeout(database->handle, 5000);
    /* WAL: others can read during a write. FULL: a commit is on disk when it returns. */
    sqlite3_int64 version = 0;
    return database_run(database, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL") &&
           database_number(database, "PRAGMA user_version", 0, &version) &&
           (version != 0 ? every_table_is_recorded(database) : make_tables(database, schema_path, own_tables));
}

void database_close(struct database *database)
{
    sqlite3_close(database->handle);
}
