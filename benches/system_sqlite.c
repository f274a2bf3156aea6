/* SQLite as a durable log: WAL mode, synchronous=FULL, one transaction an entry. Its writers exclude each other, so
 * there is no group commit.
 *
 * Variants: "connections" (each thread has its own, and SQLite's locks decide whose turn it is), "mutex" (one
 * connection, and a mutex in this process). */
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "append.h"
#include "bench.h"

enum { BUSY_TIMEOUT_MS = 30000 };

struct connection {
    sqlite3 *db;
    sqlite3_stmt *begin;
    sqlite3_stmt *insert;
    sqlite3_stmt *commit;
};

struct log {
    bool shared;
    pthread_mutex_t mutex;
    struct connection connections[APPEND_THREADS];
};

static void check(sqlite3 *db, int code, int expected, const char *what)
{
    if (code != expected) {
        bench_fail("%s: %s", what, sqlite3_errmsg(db));
    }
}

static void execute(sqlite3 *db, const char *sql)
{
    check(db, sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, sql);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;
    check(db, sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL), SQLITE_OK, sql);
    return statement;
}

static void step(sqlite3 *db, sqlite3_stmt *statement)
{
    check(db, sqlite3_step(statement), SQLITE_DONE, sqlite3_sql(statement));
    sqlite3_reset(statement);
}

static void open_one(struct connection *connection, const char *path)
{
    check(
        NULL,
        sqlite3_open_v2(path, &connection->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL),
        SQLITE_OK, path);
    sqlite3_busy_timeout(connection->db, BUSY_TIMEOUT_MS);
    execute(connection->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                            "CREATE TABLE IF NOT EXISTS log (sequence INTEGER PRIMARY KEY, payload BLOB NOT NULL);");
    connection->begin = prepare(connection->db, "BEGIN IMMEDIATE");
    connection->insert = prepare(connection->db, "INSERT INTO log (payload) VALUES (?)");
    connection->commit = prepare(connection->db, "COMMIT");
}

static void append(void *context, unsigned thread, const void *payload, size_t size)
{
    struct log *log = context;
    struct connection *connection = &log->connections[log->shared ? 0 : thread];
    if (log->shared) {
        pthread_mutex_lock(&log->mutex);
    }
    step(connection->db, connection->begin);
    check(connection->db, sqlite3_bind_blob(connection->insert, 1, payload, (int)size, SQLITE_STATIC), SQLITE_OK,
          "bind");
    step(connection->db, connection->insert);
    step(connection->db, connection->commit);
    if (log->shared) {
        pthread_mutex_unlock(&log->mutex);
    }
}

static void writer(const struct bench_job *job)
{
    static struct log log = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    char path[4096];
    snprintf(path, sizeof path, "%s/log.db", job->dir);
    log.shared = strcmp(job->variant, "mutex") == 0;
    unsigned connections = log.shared ? 1 : APPEND_THREADS;
    for (unsigned i = 0; i < connections; i++) {
        open_one(&log.connections[i], path);
    }
    append_run(job, APPEND_THREADS, append, &log);
    for (unsigned i = 0; i < connections; i++) {
        sqlite3_finalize(log.connections[i].begin);
        sqlite3_finalize(log.connections[i].insert);
        sqlite3_finalize(log.connections[i].commit);
        sqlite3_close(log.connections[i].db);
    }
}

const struct bench_system bench_system_sqlite = {"sqlite", "SQLite", writer, bench_read_nothing};
