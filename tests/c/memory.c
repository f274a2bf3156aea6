/* Without memory, what the header promises to fail does fail, and the process goes on. This program's malloc() and its
 * siblings, which the library finds before the C library's, fail where a test says. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "host.h"

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *memory, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

/* Allocations of this thread that still succeed, and how many fail after them. */
static _Thread_local long allowed = LONG_MAX, failing;

static bool fails(void)
{
    if (allowed > 0) {
        allowed -= allowed != LONG_MAX;
        return false;
    }
    if (failing == 0)
        return false;
    failing -= failing != LONG_MAX;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t bytes)
{
    return fails() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    return fails() ? NULL : __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return fails() ? NULL : __libc_memalign(alignment, bytes);
}

int posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    void *made = fails() ? NULL : __libc_memalign(alignment, bytes);
    if (made == NULL)
        return ENOMEM;
    *memory = made;
    return 0;
}

static void fail_after(long successes, long failures)
{
    failing = failures;
    allowed = successes;
}

static void fail_no_more(void)
{
    allowed = LONG_MAX;
    failing = 0;
}

/* One call: true when it succeeded; false when it said that there is no memory. */
typedef bool (*attempt_fn)(void *context);

/* Fails each allocation of the call in turn, alone and with all that follow. */
static void with_each_allocation_failing(attempt_fn attempt, void *context)
{
    for (int only_one = 0; only_one < 2; only_one++) {
        long successes = 0;
        for (bool done = false; !done; successes++) {
            CHECK(successes < 1000);
            fail_after(successes, only_one ? 1 : LONG_MAX);
            done = attempt(context);
            const bool reached = failing != (only_one ? 1 : LONG_MAX) || allowed == 0;
            fail_no_more();
            if (!done)
                CHECK(reached);
        }
        CHECK(successes > 1); /* else nothing of this program's malloc() is used */
    }
}

static bool made(void *pointer)
{
    if (pointer == NULL)
        CHECK_CONTAINS(replication_last_error_message(), "no memory");
    return pointer != NULL;
}

static bool make_sender_config(void *context)
{
    (void)context;
    replication_sender_config *config = sender_config_new();
    sender_config_free(config);
    return made(config);
}

static bool make_receiver_config(void *context)
{
    (void)context;
    replication_receiver_config *config = receiver_config_new();
    receiver_config_free(config);
    return made(config);
}

static bool make_quorum(void *context)
{
    (void)context;
    replication_quorum *quorum = replication_quorum_new();
    replication_quorum_free(quorum);
    return made(quorum);
}

TEST(p9_no_memory_for_a_sender_configuration)
{
    with_each_allocation_failing(make_sender_config, NULL);
}

TEST(p9_no_memory_for_a_receiver_configuration)
{
    with_each_allocation_failing(make_receiver_config, NULL);
}

TEST(p9_no_memory_for_a_quorum)
{
    with_each_allocation_failing(make_quorum, NULL);
}

/* With an address space that ends soon, as under "ulimit -v". */
enum { MOST_BYTES = 128 << 20 };

static void limit_memory(void)
{
    const struct rlimit limit = {.rlim_cur = MOST_BYTES, .rlim_max = RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static bool another_sender(void *config)
{
    replication_sender *sender = NULL;
    const replication_status status = sender_new(config, &sender);
    if (status != REPLICATION_STATUS_OK) {
        CHECK_STATUS(status, REPLICATION_STATUS_OUT_OF_MEMORY);
        CHECK(sender == NULL);
    }
    return made(sender);
}

static bool another_receiver(void *config)
{
    replication_receiver *receiver = NULL;
    const replication_status status = receiver_new(config, &receiver);
    if (status != REPLICATION_STATUS_OK) {
        CHECK_STATUS(status, REPLICATION_STATUS_OUT_OF_MEMORY);
        CHECK(receiver == NULL);
    }
    return made(receiver);
}

static bool another_sender_config(void *context)
{
    (void)context;
    return made(sender_config_new());
}

static bool another_receiver_config(void *context)
{
    (void)context;
    return made(receiver_config_new());
}

static bool another_quorum(void *context)
{
    (void)context;
    return made(replication_quorum_new());
}

/* Until there is no memory left; all of it goes with the process. */
static void until_memory_ends(attempt_fn another, void *context)
{
    limit_memory();
    size_t count = 0;
    while (another(context))
        count++;
    CHECK(count > 10);
    /* It is still so. */
    CHECK(!another(context));
}

TEST(p5_sender_configurations_until_memory_ends)
{
    until_memory_ends(another_sender_config, NULL);
}

TEST(p5_receiver_configurations_until_memory_ends)
{
    until_memory_ends(another_receiver_config, NULL);
}

TEST(p5_quorums_until_memory_ends)
{
    until_memory_ends(another_quorum, NULL);
}

TEST(p5_senders_until_memory_ends)
{
    until_memory_ends(another_sender, sender_config_new());
}

TEST(p5_receivers_until_memory_ends)
{
    replication_receiver_config *config = receiver_config_new();
    CHECK_OK(receiver_config_set_reader_id(config, "reader"));
    CHECK_OK(receiver_config_set_writer_addr(config, "127.0.0.1:1"));
    static struct token token;
    replication_receiver *first;
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &token, NULL));
    CHECK_OK(receiver_new(config, &first));
    /* The callback has moved to the first one, so each has one of its own. */
    limit_memory();
    size_t count = 0;
    for (;; count++) {
        CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, &token, NULL));
        if (!another_receiver(config))
            break;
    }
    CHECK(count > 10);
}

TEST_MAIN(CASE(p9_no_memory_for_a_sender_configuration), CASE(p9_no_memory_for_a_receiver_configuration),
          CASE(p9_no_memory_for_a_quorum), CASE(p5_sender_configurations_until_memory_ends),
          CASE(p5_receiver_configurations_until_memory_ends), CASE(p5_quorums_until_memory_ends),
          CASE(p5_senders_until_memory_ends), CASE(p5_receivers_until_memory_ends))
