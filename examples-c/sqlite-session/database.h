/* What writer and reader share: opening, querying and closing their SQLite databases. */
#ifndef SQLITE_SESSION_DATABASE_H
#define SQLITE_SESSION_DATABASE_H

#include <stdbool.h>

#include <sqlite3.h>

struct database {
    sqlite3 *handle;
    char error[1024]; /* of the last failure */
};

/* Opens a database whose commits are on disk when they return. Creates the tables of the script `schema_path` and of
 * `own_tables` in a new database; otherwise `schema_path` may be NULL. Returns false, with an error text, if the database
 * cannot be opened or has a table whose changes the session extension would not record. */
bool database_open(struct database *database, const char *path, const char *schema_path, const char *own_tables);
void database_close(struct database *database);

/* Stores the text of a failure. Always returns false. */
bool database_fail(struct database *database, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Stores `what` and SQLite's error text. Always returns false. */
bool database_fail_sql(struct database *database, const char *what);

/* Runs statements that return no rows. */
bool database_run(struct database *database, const char *sql);

/* Prepares a statement that is run many times. */
bool database_prepare(struct database *database, const char *sql, sqlite3_stmt **statement);

/* Runs a prepared statement that returns no rows, and resets it. */
bool database_step(struct database *database, sqlite3_stmt *statement);

/* Gets the first number that a query returns, or `none` if it returns no row. Returns false if the query fails. */
bool database_number(struct database *database, const char *sql, sqlite3_int64 none, sqlite3_int64 *number);

/* Rolls back a failed transaction. Keeps the error text. */
void database_roll_back(struct database *database);

#endif
