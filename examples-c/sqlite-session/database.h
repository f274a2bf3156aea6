/* What writer and reader do alike with their SQLite databases. */
#ifndef SQLITE_SESSION_DATABASE_H
#define SQLITE_SESSION_DATABASE_H

#include <stdbool.h>

#include <sqlite3.h>

struct database {
    sqlite3 *handle;
    char error[1024]; /* of the last failure */
};

/* Opens a database whose commits are on the disk when they return. A new one gets the tables of the script `schema_path`,
 * which may be NULL otherwise, and those of `own_tables`. False, with the text, when it cannot be opened, and when it has a
 * table whose changes the session extension would not record. */
bool database_open(struct database *database, const char *path, const char *schema_path, const char *own_tables);
void database_close(struct database *database);

/* Keeps the text of a failure. Always false. */
bool database_fail(struct database *database, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with SQLite's text after `what`. Always false. */
bool database_fail_sql(struct database *database, const char *what);

/* Runs statements that give no rows. */
bool database_run(struct database *database, const char *sql);

/* A statement to be used again and again. */
bool database_prepare(struct database *database, const char *sql, sqlite3_stmt **statement);

/* Runs a prepared statement that gives no rows, and makes it ready for the next time. */
bool database_step(struct database *database, sqlite3_stmt *statement);

/* The number that a query gives first; `none` when it gives no row. False when it fails. */
bool database_number(struct database *database, const char *sql, sqlite3_int64 none, sqlite3_int64 *number);

/* Ends a transaction that failed. The text of the failure stays. */
void database_roll_back(struct database *database);

#endif
