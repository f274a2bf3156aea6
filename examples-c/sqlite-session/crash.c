/* Preloaded by the test: kills the process at a chosen step of a chosen transaction, as SIGKILL would.
 *
 * CRASH=STEP:N names the step (before-commit, after-commit or after-replicate) and its Nth occurrence. Creating the tables
 * of a new database is a commit, too. */
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <replication.h>
#include <sqlite3.h>

static void reach(const char *step)
{
    static atomic_int times;
    const char *wanted = getenv("CRASH");
    size_t length = strlen(step);
    if (wanted != NULL && strncmp(wanted, step, length) == 0 && wanted[length] == ':' &&
        atomic_fetch_add(&times, 1) + 1 == atoi(wanted + length + 1))
        raise(SIGKILL);
}

int sqlite3_exec(sqlite3 *database, const char *sql, int (*callback)(void *, int, char **, char **), void *user_data,
                 char **error)
{
    int (*real)(sqlite3 *, const char *, int (*)(void *, int, char **, char **), void *, char **) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "sqlite3_exec");
    bool commits = strcmp(sql, "COMMIT") == 0;
    if (commits)
        reach("before-commit");
    int result = real(database, sql, callback, user_data, error);
    if (commits)
        reach("after-commit");
    return result;
}

replication_status sender_replicate(replication_sender *sender, uint64_t timestamp_us, const uint8_t *payload,
                                    size_t payload_len, uint64_t *out_sequence)
{
    replication_status (*real)(replication_sender *, uint64_t, const uint8_t *, size_t, uint64_t *) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "sender_replicate");
    replication_status status = real(sender, timestamp_us, payload, payload_len, out_sequence);
    reach("after-replicate");
    return status;
}
