/* The C tests' harness: named tests, each in a process of its own, and checks that say what failed where.
 *
 * A test that fails ends its process at once, from whichever thread; a test that crashes or hangs is counted as
 * failed and the next one runs. Under valgrind and AddressSanitizer each test's process is checked for leaks by itself. */
#ifndef REPLICATION_TESTS_HARNESS_H
#define REPLICATION_TESTS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "replication.h"

struct test_case {
    const char *name;
    void (*run)(void);
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEST(name) static void name(void)
#define CASE(name)                                                                                                     \
    {                                                                                                                  \
#name, name                                                                                                    \
    }
#define TEST_MAIN(...)                                                                                                 \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        static const struct test_case cases[] = {__VA_ARGS__};                                                         \
        return harness_main(argc, argv, cases, COUNT(cases));                                                          \
    }

/* Runs the cases, or those whose name contains argv[1]; 0 when all passed. */
int harness_main(int argc, char **argv, const struct test_case *cases, size_t count);

/* The case that this process runs. */
const struct test_case *harness_test(void);

/* A test that takes long says that it goes on: its time begins anew. */
void test_goes_on(void);

/* How many rounds to do of `full`: less under tools that slow the program down (environment TEST_SCALE). */
size_t scaled(size_t full);

/* Fails the test: prints the place, the text and the library's last error of this thread. Does not return. */
_Noreturn void harness_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

void harness_check_status(const char *file, int line, const char *call, int32_t got, int32_t expected);
void harness_check_error(const char *file, int line, const char *call, int32_t got, int32_t expected,
                         const char *culprit);
void harness_check_u64(const char *file, int line, const char *call, uint64_t got, uint64_t expected);
void harness_check_text(const char *file, int line, const char *call, const char *got, const char *expected);
void harness_check_contains(const char *file, int line, const char *call, const char *got, const char *part);

#define FAIL(...) harness_fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            harness_fail(__FILE__, __LINE__, "not true: %s", #condition);                                              \
    } while (0)
#define CHECK_STATUS(call, expected) harness_check_status(__FILE__, __LINE__, #call, (call), (expected))
#define CHECK_OK(call) CHECK_STATUS(call, REPLICATION_STATUS_OK)
/* The call fails with this status, and the error text names the culprit. */
#define CHECK_ERROR(call, expected, culprit)                                                                           \
    harness_check_error(__FILE__, __LINE__, #call, (call), (expected), (culprit))
#define CHECK_INVALID(call) CHECK_STATUS(call, REPLICATION_STATUS_INVALID_ARGUMENT)
#define CHECK_U64(got, expected) harness_check_u64(__FILE__, __LINE__, #got, (uint64_t)(got), (uint64_t)(expected))
#define CHECK_TEXT(got, expected) harness_check_text(__FILE__, __LINE__, #got, (got), (expected))
#define CHECK_CONTAINS(got, part) harness_check_contains(__FILE__, __LINE__, #got, (got), (part))

/* Waiting for a condition: polls it until it holds; past the deadline the test fails. */
#define PATIENCE_MS 20000
int64_t now_ms(void);
void harness_poll(const char *file, int line, const char *condition, int64_t since_ms);
#define WAIT_UNTIL(condition)                                                                                          \
    do {                                                                                                               \
        const int64_t wait_since_ = now_ms();                                                                          \
        while (!(condition))                                                                                           \
            harness_poll(__FILE__, __LINE__, #condition, wait_since_);                                                 \
    } while (0)

/* Processes and threads. */
/* Runs this very program again, with a role and two more arguments: a new process image, not a fork of one that has threads.
 * It ends with the process that started it. */
int harness_start_role(const char *role, const char *argument, const char *more);
int harness_wait_child(int pid); /* its exit code, or minus the signal that ended it */
typedef void *(*thread_main)(void *);
unsigned long thread_start(thread_main run, void *argument);
void thread_join(unsigned long thread);

/* This process's open descriptors and threads. */
size_t open_descriptors(void);
size_t running_threads(void);
bool descriptor_is_open(int fd);

/* A path inside a directory that goes away with the test. The result is good until the next call in this thread. */
const char *temp_path(const char *name);

/* Allocation that cannot fail, for the tests' own memory. */
void *must_alloc(size_t bytes);

/* Deterministic random numbers (xorshift); the seed is printed by the test that uses them. */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t bound);
uint64_t random_seed(void); /* environment TEST_SEED, or the clock */

#endif
