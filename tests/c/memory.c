/* Without memory, what the header promises to fail does fail, and the process goes on. This program's malloc() and its
 * siblings, which the library finds before the C library's, fail where a test says. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

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

struct begin {
    void *(*run)(void *argument);
    void *argument;
};

/* Threads that were made, and those for which the C library has taken what it takes of memory as they begin. */
static _Atomic size_t threads_made, threads_begun;
static _Thread_local bool is_beginning;

extern int __cxa_thread_atexit_impl(void (*end)(void *object), void *object, void *library);

int __cxa_thread_atexit_impl(void (*end)(void *object), void *object, void *library)
{
    int (*real)(void (*)(void *), void *, void *);
    *(void **)&real = dlsym(RTLD_NEXT, "__cxa_thread_atexit_impl");
    const int failed = real(end, object, library);
    threads_begun += is_beginning;
    is_beginning = false;
    return failed;
}

static void *begin_late(void *context)
{
    const struct begin begin = *(struct begin *)context;
    free(context);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    is_beginning = true;
    return begin.run(begin.argument);
}

/* Threads begin late, as on a busy machine. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    struct begin *begin = __libc_malloc(sizeof *begin);
    if (begin == NULL)
        return EAGAIN;
    *begin = (struct begin){run, argument};
    const int failed = real(thread, attributes, begin_late, begin);
    if (failed)
        free(begin);
    else
        threads_made++;
    return failed;
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

/* [{"f":-2.5e-300,"s":"a\n\"","m":{"k":[1,{"b":bin(3),"x":ext(5)}]}},{1.5:nil,"u":2^63}] */
/* clang-format off */
static const uint8_t PACKED_ROWS[] = {
    0x92,
    0x83,
    0xa1, 'f', 0xcb, 0x81, 0xba, 0xc9, 0xa7, 0xb3, 0xb7, 0x30, 0x2f,
    0xa1, 's', 0xa3, 'a', '\n', '"',
    0xa1, 'm', 0x81, 0xa1, 'k', 0x92, 0x01, 0x82,
    0xa1, 'b', 0xc4, 0x03, 0x01, 0x02, 0x03,
    0xa1, 'x', 0xd4, 0x05, 0x09,
    0x82,
    0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0xc0,
    0xa1, 'u', 0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0,
};
/* clang-format on */

static bool records_made(replication_status status, replication_records *records)
{
    if (status != REPLICATION_STATUS_OK) {
        CHECK_STATUS(status, REPLICATION_STATUS_OUT_OF_MEMORY);
        CHECK(records == NULL);
        return made(records);
    }
    CHECK_U64(replication_records_count(records), 2);
    replication_records_free(records);
    return true;
}

static bool parse_records(void *context)
{
    (void)context;
    replication_records *records = NULL;
    const replication_status status = replication_records_parse(PACKED_ROWS, sizeof PACKED_ROWS, &records);
    return records_made(status, records);
}

static bool parse_records_within(void *context)
{
    (void)context;
    replication_records *records = NULL;
    const replication_status status =
        replication_records_parse_within(PACKED_ROWS, sizeof PACKED_ROWS, UINT64_MAX, &records);
    return records_made(status, records);
}

static void check_json(const replication_records *records)
{
    const char *json = NULL;
    size_t len = 0;
    CHECK_OK(replication_records_json(records, &json, &len));
    CHECK_TEXT(
        json,
        "[{\"f\":-2.5e-300,\"s\":\"a\\n\\\"\",\"m\":{\"k\":[1,{\"b\":\"AQID\",\"x\":{\"ext\":5,\"data\":\"CQ==\"}}]}},"
        "{\"1.5\":null,\"u\":9223372036854775808}]");
    CHECK_U64(len, strlen(json));
}

static bool write_json(void *context)
{
    (void)context;
    const long successes = allowed, failures = failing;
    fail_no_more();
    replication_records *records;
    CHECK_OK(replication_records_parse(PACKED_ROWS, sizeof PACKED_ROWS, &records));
    fail_after(successes, failures);
    const char *json = NULL;
    size_t len = 7;
    const replication_status status = replication_records_json(records, &json, &len);
    const long still_allowed = allowed, still_failing = failing;
    fail_no_more();
    const bool done = status == REPLICATION_STATUS_OK;
    if (!done) {
        CHECK_STATUS(status, REPLICATION_STATUS_OUT_OF_MEMORY);
        CHECK_CONTAINS(replication_last_error_message(), "no memory");
        CHECK(json == NULL && len == 7);
    }
    /* The failure has changed nothing. */
    check_json(records);
    replication_records_free(records);
    fail_after(still_allowed, still_failing);
    return done;
}

TEST(p9_no_memory_for_records)
{
    with_each_allocation_failing(parse_records, NULL);
    with_each_allocation_failing(parse_records_within, NULL);
}

TEST(p9_no_memory_for_the_json_of_records)
{
    with_each_allocation_failing(write_json, NULL);
}

/* Calls for acknowledgements that are ordered one after the other, each with its own data. */
struct orders {
    replication_sender *sender;
    replication_quorum *quorum;
    struct place entry;
    uint64_t timeout_ms;
    struct token token;
    int ordered, refused;
};

static void on_acked(void *user_data, int32_t status, size_t readers)
{
    (void)status, (void)readers;
    atomic_fetch_add(&((struct token *)user_data)->calls, 1);
}

static bool order_a_call(void *context)
{
    struct orders *orders = context;
    const replication_status status =
        sender_on_acked(orders->sender, PLACE(orders->entry), REPLICATION_ACK_LEVEL_APPLIED, orders->quorum,
                        orders->timeout_ms, on_acked, &orders->token, token_release);
    if (status != REPLICATION_STATUS_OK) {
        CHECK_STATUS(status, REPLICATION_STATUS_OUT_OF_MEMORY);
        CHECK_CONTAINS(replication_last_error_message(), "no memory");
        orders->refused++;
        return false;
    }
    orders->ordered++;
    return true;
}

/* Each call that was ordered is made once, at the latest when the sender ends, and the data of all is freed. */
static void order_calls(uint64_t timeout_ms, bool of_two_conditions, bool acknowledged)
{
    struct orders orders = {.timeout_ms = timeout_ms};
    const int rounds = 200;
    struct inbox *inbox = inbox_new();
    replication_receiver *receiver = NULL;
    orders.sender = start_sender(NULL);
    orders.entry = replicate_place(orders.sender, "entry");
    orders.quorum = replication_quorum_any(1);
    CHECK(orders.quorum != NULL);
    if (acknowledged) {
        receiver = follow(listen_tcp(orders.sender), "reader", inbox);
        CHECK_OK(wait_token_by(orders.sender, orders.entry, REPLICATION_ACK_LEVEL_APPLIED, 1, PATIENCE_MS, NULL));
    }
    if (of_two_conditions)
        CHECK_OK(replication_quorum_add(orders.quorum, NULL, acknowledged ? 1 : 2));
    /* What is kept of them grows now and then. */
    for (int i = 0; i < rounds; i++)
        with_each_allocation_failing(order_a_call, &orders);
    CHECK_U64(orders.ordered, 2 * rounds);
    CHECK(orders.refused > 2 * rounds);
    sender_free(orders.sender);
    receiver_free(receiver);
    inbox_free(inbox);
    replication_quorum_free(orders.quorum);
    CHECK_U64(orders.token.calls, orders.ordered);
    CHECK_U64(orders.token.released, orders.ordered + orders.refused);
}

TEST(p9_no_memory_for_a_call_that_is_ordered)
{
    order_calls(UINT64_MAX, false, false);
}

TEST(p9_no_memory_for_a_call_with_a_deadline)
{
    order_calls(3600000, false, false);
}

TEST(p9_no_memory_for_a_call_that_is_due_at_once)
{
    order_calls(0, false, false);
}

TEST(p9_no_memory_for_a_call_whose_entry_is_acknowledged)
{
    order_calls(3600000, false, true);
}

TEST(p9_no_memory_for_a_call_whose_quorum_is_complete)
{
    order_calls(3600000, true, true);
}

TEST(p9_no_memory_for_a_call_with_a_quorum)
{
    order_calls(3600000, true, false);
}

/* With an address space that ends soon, as under "ulimit -v". */
enum { MOST_BYTES = 64 << 20 };

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

static bool another_entry(void *sender)
{
    static const uint8_t payload[3000];
    const uint64_t before = sender_current_sequence(sender);
    uint64_t sequence = 0;
    const replication_status status = sender_replicate(sender, 0, payload, sizeof payload, &sequence);
    CHECK_U64(sender_current_sequence(sender), before + (status == REPLICATION_STATUS_OK));
    if (status == REPLICATION_STATUS_OK)
        return true;
    CHECK_STATUS(status, REPLICATION_STATUS_OUT_OF_MEMORY);
    CHECK_CONTAINS(replication_last_error_message(), "no memory");
    CHECK_U64(sequence, 0);
    return false;
}

/* Where memory ends after a handle was started, none of its threads is still to take what the C library cannot do
 * without: it would end the process. */
TEST(p5_the_threads_of_a_handle_have_begun_when_it_is_started)
{
    replication_sender_config *of_sender = sender_config_new();
    CHECK_OK(sender_config_set_wal_dir(of_sender, temp_path("log")));
    CHECK_OK(sender_config_set_wal_sync(of_sender, REPLICATION_SYNC_POLICY_OS, 0, 0));
    replication_sender *sender = start_sender(of_sender);
    const size_t senders = threads_made;
    CHECK(senders >= 5);
    CHECK_U64(threads_begun, threads_made);

    replication_receiver_config *of_receiver = receiver_config_new();
    static struct token token;
    replication_receiver *receiver;
    CHECK_OK(receiver_config_set_reader_id(of_receiver, "reader"));
    CHECK_OK(receiver_config_set_writer_addr(of_receiver, "127.0.0.1:1"));
    CHECK_OK(receiver_config_set_ingest_handler(of_receiver, token_ingest, &token, NULL));
    CHECK_OK(receiver_new(of_receiver, &receiver));
    receiver_config_free(of_receiver);
    CHECK_OK(receiver_start(receiver));
    CHECK(threads_made >= senders + 2);
    CHECK_U64(threads_begun, threads_made);
    receiver_free(receiver);
    sender_free(sender);
}

/* One that opens another piece of the log's memory. */
static bool another_large_entry(void *sender)
{
    static const uint8_t payload[200000];
    const uint64_t before = sender_current_sequence(sender);
    const replication_status status = sender_replicate(sender, 0, payload, sizeof payload, NULL);
    CHECK_U64(sender_current_sequence(sender), before + (status == REPLICATION_STATUS_OK));
    if (status == REPLICATION_STATUS_OK)
        return true;
    CHECK_STATUS(status, REPLICATION_STATUS_OUT_OF_MEMORY);
    CHECK_CONTAINS(replication_last_error_message(), "no memory");
    return false;
}

TEST(p9_no_memory_for_an_entry)
{
    replication_sender *sender = start_sender(NULL);
    for (int i = 0; i < 50; i++)
        with_each_allocation_failing(another_large_entry, sender);
    sender_free(sender);
}

TEST(p5_entries_until_memory_ends)
{
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_buffer_size(config, 100000000));
    CHECK_OK(sender_config_set_buffer_bytes(config, UINT64_C(1) << 40));
    replication_sender *sender = start_sender(config);
    (void)another_entry(sender);
    until_memory_ends(another_entry, sender);
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

TEST(p5_records_without_memory_are_an_error_and_no_end)
{
    /* An array of empty maps, a byte each, whose rows take far more than is left. */
    enum { ROWS = 3 << 20, HEAD = 5 };
    const uint8_t head[HEAD] = {0xdd, ROWS >> 24, (uint8_t)(ROWS >> 16), (uint8_t)(ROWS >> 8), (uint8_t)ROWS};
    uint8_t *payload = must_alloc(HEAD + ROWS);
    memcpy(payload, head, HEAD);
    memset(payload + HEAD, 0x80, ROWS);
    limit_memory();
    replication_records *records = NULL;
    CHECK_ERROR(replication_records_parse_within(payload, HEAD + ROWS, UINT64_MAX, &records),
                REPLICATION_STATUS_OUT_OF_MEMORY, "no memory");
    CHECK(records == NULL);
    free(payload);
}

TEST_MAIN(CASE(p9_no_memory_for_a_sender_configuration), CASE(p9_no_memory_for_a_receiver_configuration),
          CASE(p9_no_memory_for_a_quorum), CASE(p9_no_memory_for_records), CASE(p9_no_memory_for_the_json_of_records),
          CASE(p9_no_memory_for_a_call_that_is_ordered), CASE(p9_no_memory_for_a_call_with_a_deadline),
          CASE(p9_no_memory_for_a_call_that_is_due_at_once), CASE(p9_no_memory_for_a_call_whose_entry_is_acknowledged),
          CASE(p9_no_memory_for_a_call_whose_quorum_is_complete), CASE(p9_no_memory_for_a_call_with_a_quorum),
          CASE(p5_sender_configurations_until_memory_ends), CASE(p5_receiver_configurations_until_memory_ends),
          CASE(p5_quorums_until_memory_ends), CASE(p5_the_threads_of_a_handle_have_begun_when_it_is_started),
          CASE(p9_no_memory_for_an_entry), CASE(p5_entries_until_memory_ends), CASE(p5_senders_until_memory_ends),
          CASE(p5_receivers_until_memory_ends), CASE(p5_records_without_memory_are_an_error_and_no_end))
