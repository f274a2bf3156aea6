/* Random lives: a sender and a receiver that are made, used by several threads and ended in whatever state they are in,
 * on any thread, inside a handler, with work in flight. 10 000 of them, and nothing may be left: no thread, no
 * descriptor, no memory.
 *
 * TEST_SEED repeats a run, as far as threads can repeat one; TEST_SCALE lives fewer. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "host.h"
#include "json.h"
#include "peer.h"

enum { THREADS = 4, NEVER = -1 };

/* One end of a life. Its host must see to it that no call runs when a handle is freed, so whoever calls is counted, and
 * the last one frees it: on its own thread, or in the callback that it is in. */
struct end {
    struct life *life;
    union {
        replication_sender *sender;
        replication_receiver *receiver;
    } handle;
    bool is_sender, given_up; /* with `users` under the life's lock; the life is a user until it gives up */
    int users;
    /* Of the callbacks, which come one at a time. */
    int64_t ends_in_call; /* the callback that gives the end up; NEVER */
    uint64_t random;
    uint64_t failing; /* handlers fail once in so many calls; 0 for never */
    uint64_t last_sequence;
    atomic_int inside;
    atomic_bool over; /* it was freed in a callback: no other begins */
};

struct life {
    pthread_mutex_t lock;
    pthread_cond_t called;
    uint64_t calls;        /* of callbacks, of both ends; under the lock */
    atomic_int references; /* who lives it, and each callback until its user_data is freed */
    struct end to, from;
    char address[200];
};

static atomic_int callbacks_left;
/* What happened, lest lives become so short that nothing does. */
static atomic_size_t entries_applied, handlers_failed, ended_in_callbacks, ended_by_the_last_call;

static void life_release(struct life *life)
{
    if (atomic_fetch_sub(&life->references, 1) != 1)
        return;
    CHECK(life->to.users == 0 && life->from.users == 0);
    pthread_cond_destroy(&life->called);
    pthread_mutex_destroy(&life->lock);
    free(life);
}

/* ---- who uses an end ---- */

/* False when it is being freed. */
static bool borrow(struct end *end)
{
    CHECK(pthread_mutex_lock(&end->life->lock) == 0);
    bool borrowed = !end->given_up;
    end->users += borrowed;
    CHECK(pthread_mutex_unlock(&end->life->lock) == 0);
    return borrowed;
}

/* Returns whether that freed it. */
static bool give_back(struct end *end)
{
    CHECK(pthread_mutex_lock(&end->life->lock) == 0);
    bool last = --end->users == 0;
    CHECK(pthread_mutex_unlock(&end->life->lock) == 0);
    if (last && end->is_sender)
        sender_free(end->handle.sender);
    else if (last)
        receiver_free(end->handle.receiver);
    return last;
}

static bool give_up(struct end *end)
{
    CHECK(pthread_mutex_lock(&end->life->lock) == 0);
    bool already = end->given_up;
    end->given_up = true;
    if (!already && end->users > 1)
        atomic_fetch_add(&ended_by_the_last_call, 1);
    CHECK(pthread_mutex_unlock(&end->life->lock) == 0);
    return !already && give_back(end);
}

/* ---- callbacks ---- */

/* The user_data of one more callback. */
static struct end *guest(struct end *end)
{
    atomic_fetch_add(&end->life->references, 1);
    atomic_fetch_add(&callbacks_left, 1);
    return end;
}

static void release(void *user_data)
{
    struct end *end = user_data;
    life_release(end->life);
    CHECK(atomic_fetch_sub(&callbacks_left, 1) > 0);
}

static struct end *enter(void *user_data)
{
    struct end *end = user_data;
    CHECK(atomic_load(&end->life->references) > 0);
    CHECK(!atomic_load(&end->over));
    CHECK(atomic_fetch_add(&end->inside, 1) == 0);
    return end;
}

static void leave(struct end *end)
{
    if (end->ends_in_call != NEVER && end->ends_in_call-- == 0 && give_up(end)) {
        atomic_store(&end->over, true);
        atomic_fetch_add(&ended_in_callbacks, 1);
    }
    CHECK(atomic_fetch_sub(&end->inside, 1) == 1);
    CHECK(pthread_mutex_lock(&end->life->lock) == 0);
    end->life->calls++;
    CHECK(pthread_cond_broadcast(&end->life->called) == 0);
    CHECK(pthread_mutex_unlock(&end->life->lock) == 0);
}

static bool fails(struct end *end)
{
    bool failed = end->failing != 0 && random_below(&end->random, end->failing) == 0;
    atomic_fetch_add(&handlers_failed, failed);
    return failed;
}

static void apply(struct end *end, uint64_t sequence)
{
    if (sequence <= end->last_sequence)
        FAIL("P1: entry %llu came after %llu", (unsigned long long)sequence, (unsigned long long)end->last_sequence);
    end->last_sequence = sequence;
    atomic_fetch_add(&entries_applied, 1);
}

static int32_t ingest(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                      size_t payload_len)
{
    struct end *end = enter(user_data);
    (void)timestamp_us, (void)payload, (void)payload_len;
    bool failed = fails(end);
    if (!failed)
        apply(end, sequence);
    leave(end);
    return failed ? 7 : 0;
}

static int32_t ingest_batch(void *user_data, const replication_entry *entries, size_t count, size_t *applied)
{
    struct end *end = enter(user_data);
    bool failed = fails(end);
    size_t take = failed ? (size_t)random_below(&end->random, count) : count;
    for (size_t i = 0; i < take; i++)
        apply(end, entries[i].sequence);
    if (failed)
        *applied = take;
    leave(end);
    return failed ? -3 : 0;
}

/* The receiver's thread makes the connection, to the sender of the same life. */
static int connect_writer(void *user_data, const char *writer_addr)
{
    struct end *end = enter(user_data), *to = &end->life->to;
    int ends[2] = {-1, -1};
    (void)writer_addr;
    if (!fails(end) && borrow(to)) {
        socket_pair(ends);
        if (sender_accept_connection(to->handle.sender, ends[0]) != REPLICATION_STATUS_OK)
            close(ends[0]);
        give_back(to);
    }
    leave(end);
    return ends[1];
}

static void on_event(void *user_data, const replication_event *event)
{
    struct end *end = enter(user_data);
    CHECK(json_is_object(event->detail_json));
    leave(end);
}

static void on_log(void *user_data, int32_t level, const char *message, const char *fields_json)
{
    struct end *end = enter(user_data);
    (void)level, (void)message;
    CHECK(json_is_object(fields_json));
    leave(end);
}

static void on_acked(void *user_data, int32_t status, size_t readers)
{
    struct end *end = enter(user_data);
    (void)status, (void)readers;
    leave(end);
}

/* ---- a life ---- */

static bool one_in(uint64_t *random, uint64_t count)
{
    return random_below(random, count) == 0;
}

/* What a call in a random state may say. Anything else is a bug. */
static void legal(int32_t status, int32_t also)
{
    if (status != REPLICATION_STATUS_OK && status != REPLICATION_STATUS_CLOSED &&
        status != REPLICATION_STATUS_INVALID_STATE && status != REPLICATION_STATUS_TIMEOUT && status != also)
        FAIL("%s (%d)", replication_status_name(status), status);
}

static const char *log_directory(uint64_t *random)
{
    char name[32];
    snprintf(name, sizeof name, "log-%016llx", (unsigned long long)random_next(random));
    return temp_path(name);
}

static void end_init(struct end *end, struct life *life, bool is_sender, uint64_t *random)
{
    *end = (struct end){.life = life, .is_sender = is_sender, .users = 1, .random = random_next(random) | 1};
    end->ends_in_call = one_in(random, 4) ? (int64_t)random_below(random, is_sender ? 3 : 8) : NEVER;
    end->failing = one_in(random, 3) ? 1 + random_below(random, 10) : 0;
}

static void make_sending_end(struct life *life, uint64_t *random)
{
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_stop_timeout_ms(config, random_below(random, 10)));
    CHECK_OK(sender_config_set_event_handler(config, on_event, guest(&life->to), release));
    if (one_in(random, 2))
        CHECK_OK(sender_config_set_log_handler(config, REPLICATION_LOG_LEVEL_DEBUG, on_log, guest(&life->to), release));
    if (one_in(random, 2))
        CHECK_OK(sender_config_set_max_pending_acks(config, 1));
    if (one_in(random, 50))
        CHECK_OK(sender_config_set_wal_dir(config, log_directory(random)));
    life->to.handle.sender = make_sender(config);
}

static void make_receiving_end(struct life *life, uint64_t *random)
{
    struct end *from = &life->from;
    replication_receiver_config *config = receiver_config_new();
    CHECK_OK(receiver_config_set_reader_id(config, "reader"));
    CHECK_OK(receiver_config_set_writer_addr(config, life->address));
    CHECK_OK(receiver_config_set_reconnect_interval_ms(config, 5));
    CHECK_OK(receiver_config_set_ack_interval_ms(config, 5));
    CHECK_OK(receiver_config_set_apply_policy(config, (uint32_t)random_below(random, 3), 0));
    if (one_in(random, 2))
        CHECK_OK(receiver_config_set_ingest_handler(config, ingest, guest(from), release));
    else
        CHECK_OK(receiver_config_set_ingest_batch_handler(config, 16, ingest_batch, guest(from), release));
    if (one_in(random, 2))
        CHECK_OK(receiver_config_set_event_handler(config, on_event, guest(from), release));
    if (one_in(random, 4))
        CHECK_OK(receiver_config_set_log_handler(config, REPLICATION_LOG_LEVEL_DEBUG, on_log, guest(from), release));
    if (one_in(random, 4))
        CHECK_OK(receiver_config_set_connect_handler(config, connect_writer, guest(from), release));
    if (one_in(random, 50))
        CHECK_OK(receiver_config_set_wal_dir(config, log_directory(random)));
    from->handle.receiver = make_receiver(config);
}

/* Both ends, each most often started; what is not may be started later. A callback may end one at once. */
static struct life *life_new(uint64_t *random)
{
    struct life *life = must_alloc(sizeof *life);
    uint16_t port = 0;
    *life = (struct life){.references = 1};
    CHECK(pthread_mutex_init(&life->lock, NULL) == 0);
    CHECK(pthread_cond_init(&life->called, NULL) == 0);
    end_init(&life->to, life, true, random);
    end_init(&life->from, life, false, random);
    make_sending_end(life, random);
    bool tcp = one_in(random, 2);
    char name[32];
    snprintf(name, sizeof name, "socket-%016llx", (unsigned long long)random_next(random));
    snprintf(life->address, sizeof life->address, tcp ? "127.0.0.1:0" : "unix:%s", temp_path(name));
    CHECK(borrow(&life->to));
    if (!one_in(random, 10)) {
        CHECK_OK(sender_start(life->to.handle.sender));
        legal(sender_listen(life->to.handle.sender, life->address, &port), REPLICATION_STATUS_OK);
    }
    give_back(&life->to);
    if (tcp)
        snprintf(life->address, sizeof life->address, "%s", tcp_address(port == 0 ? 1 : port));
    make_receiving_end(life, random);
    if (!one_in(random, 10)) {
        CHECK(borrow(&life->from));
        CHECK_OK(receiver_start(life->from.handle.receiver));
        give_back(&life->from);
    }
    return life;
}

static void step_sender(struct end *end, uint64_t *random)
{
    static const uint8_t payload[500];
    const replication_slice slices[] = {{payload, 100}, {NULL, 0}, {payload, sizeof payload}};
    replication_sender *sender = end->handle.sender;
    int32_t status;
    int ends[2];
    char *json = NULL;
    switch (random_below(random, 11)) {
    case 0:
    case 1:
    case 2:
        for (uint64_t count = random_below(random, 40); count > 0; count--)
            legal(sender_replicate(sender, 1, payload, random_below(random, sizeof payload), NULL),
                  REPLICATION_STATUS_NOT_WRITER);
        break;
    case 3:
        legal(sender_replicate_batch(sender, 1, slices, COUNT(slices), NULL), REPLICATION_STATUS_NOT_WRITER);
        break;
    case 4:
        legal(sender_remove_reader(sender, "reader"), REPLICATION_STATUS_NOT_FOUND);
        break;
    case 5:
        legal(sender_wait_acked(sender, sender_current_sequence(sender), REPLICATION_ACK_LEVEL_APPLIED, 1,
                                random_below(random, 3), NULL),
              REPLICATION_STATUS_OK);
        break;
    case 6:
        legal(on_acked_by(sender, place_of_sender(sender), REPLICATION_ACK_LEVEL_APPLIED, 1,
                          one_in(random, 2) ? UINT64_MAX : random_below(random, 3), on_acked, guest(end), release),
              REPLICATION_STATUS_BUFFER_FULL);
        break;
    case 7:
        socket_pair(ends);
        status = one_in(random, 2) ? sender_accept_connection(sender, ends[0])
                                   : sender_accept_reader(sender, ends[0], one_in(random, 2) ? "reader" : "other", 0);
        legal(status, REPLICATION_STATUS_BUFFER_FULL);
        if (status != REPLICATION_STATUS_OK)
            close(ends[0]);
        close(ends[1]);
        break;
    case 8:
        legal(sender_set_writable(sender, !one_in(random, 4)), REPLICATION_STATUS_OK);
        break;
    case 9:
        legal(sender_start(sender), REPLICATION_STATUS_OK);
        break;
    default:
        CHECK_OK(sender_stats_json(sender, &json));
        CHECK(json_is_object(json));
        replication_string_free(json);
        break;
    }
}

static void step_receiver(struct end *end, uint64_t *random)
{
    replication_receiver *receiver = end->handle.receiver;
    char *json = NULL;
    switch (random_below(random, 5)) {
    case 0:
        legal(receiver_pause(receiver), REPLICATION_STATUS_OK);
        break;
    case 1:
        legal(receiver_resume(receiver), REPLICATION_STATUS_OK);
        break;
    case 2:
        legal(receiver_wait_sequence(receiver, random_below(random, 50), random_below(random, 3)),
              REPLICATION_STATUS_APPLY_FAILED);
        break;
    case 3:
        legal(receiver_start(receiver), REPLICATION_STATUS_OK);
        break;
    default:
        CHECK_OK(receiver_stats_json(receiver, &json));
        CHECK(json_is_object(json));
        replication_string_free(json);
        break;
    }
}

static void step(struct life *life, uint64_t *random)
{
    struct end *end = one_in(random, 3) ? &life->from : &life->to;
    if (one_in(random, 50))
        give_up(end);
    if (!borrow(end))
        return;
    if (one_in(random, 30))
        legal(end->is_sender ? sender_stop(end->handle.sender) : receiver_stop(end->handle.receiver),
              REPLICATION_STATUS_OK);
    else if (end->is_sender)
        step_sender(end, random);
    else
        step_receiver(end, random);
    give_back(end);
}

/* Entries, and a while in which nothing of this thread is in the way: until so many callbacks have come, or perhaps they
 * do not. */
static void let_it_flow(struct life *life, uint64_t *random)
{
    if (!borrow(&life->to))
        return;
    for (int i = 0; i < 20; i++)
        legal(sender_replicate(life->to.handle.sender, 1, NULL, 0, NULL), REPLICATION_STATUS_OK);
    give_back(&life->to);
    const uint64_t calls = 1 + random_below(random, 6);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += 20000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    CHECK(pthread_mutex_lock(&life->lock) == 0);
    while (life->calls < calls && !(life->to.given_up && life->from.given_up) &&
           pthread_cond_clockwait(&life->called, &life->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    CHECK(pthread_mutex_unlock(&life->lock) == 0);
}

struct helper {
    struct life *life;
    uint64_t random;
};

static void *live_beside(void *argument)
{
    struct helper *helper = argument;
    for (uint64_t steps = random_below(&helper->random, 12); steps > 0; steps--)
        step(helper->life, &helper->random);
    return NULL;
}

static void *end_both(void *argument)
{
    struct helper *helper = argument;
    bool sender_first = one_in(&helper->random, 2);
    give_up(sender_first ? &helper->life->to : &helper->life->from);
    give_up(sender_first ? &helper->life->from : &helper->life->to);
    return NULL;
}

static void live_once(uint64_t *random)
{
    struct life *life = life_new(random);
    struct helper helper = {life, random_next(random) | 1}, ender = {life, random_next(random) | 1};
    bool beside = one_in(random, 2);
    if (one_in(random, 2))
        let_it_flow(life, random);
    unsigned long thread = beside ? thread_start(live_beside, &helper) : 0;
    for (uint64_t steps = random_below(random, 16); steps > 0; steps--)
        step(life, random);
    if (one_in(random, 3))
        thread_join(thread_start(end_both, &ender));
    else
        end_both(&ender);
    if (beside)
        thread_join(thread);
    life_release(life);
}

/* ---- many lives ---- */

static atomic_size_t lives_left;

static void *live_on(void *argument)
{
    uint64_t *random = argument;
    for (size_t before = atomic_load(&lives_left); before > 0;)
        if (atomic_compare_exchange_weak(&lives_left, &before, before - 1)) {
            live_once(random);
            test_goes_on();
        }
    return NULL;
}

/* Returns when everything that the lives started has ended, also what goes on after a life that ended in a callback. */
static void live(size_t lives, uint64_t seed, size_t threads, size_t descriptors)
{
    uint64_t randoms[THREADS];
    unsigned long livers[THREADS];
    atomic_store(&lives_left, lives);
    for (size_t i = 0; i < THREADS; i++) {
        randoms[i] = seed + 2 * i;
        livers[i] = thread_start(live_on, &randoms[i]);
    }
    for (size_t i = 0; i < THREADS; i++)
        thread_join(livers[i]);
    WAIT_UNTIL(atomic_load(&callbacks_left) == 0);
    WAIT_UNTIL(running_threads() == threads);
    WAIT_UNTIL(open_descriptors() == descriptors);
}

static size_t allocated_bytes(void)
{
    struct mallinfo2 heap = mallinfo2();
    return heap.uordblks + heap.hblkhd;
}

static size_t resident_bytes(void)
{
    unsigned long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%lu %lu", &all, &resident) == 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

TEST(p9_random_lives_end_well)
{
    const char *mode = getenv("TEST_MODE");
    const bool plain = mode == NULL || strcmp(mode, "plain") == 0;
    /* A life takes a hundred times as long under valgrind. */
    const size_t lives = scaled(mode != NULL && strcmp(mode, "valgrind") == 0 ? 2000 : 10000);
    const uint64_t seed = random_seed() | 1;
    temp_path(""); /* makes the directory, before there are threads */
    const size_t threads = running_threads(), descriptors = open_descriptors();
    fprintf(stderr, "  TEST_SEED=%llu, %zu lives\n", (unsigned long long)seed, lives);
    live(lives / 5 + 1, seed, threads, descriptors); /* what allocators and the C library keep, they have now */
    const size_t allocated = allocated_bytes(), resident = resident_bytes();
    live(lives - lives / 5, seed + 2 * THREADS, threads, descriptors);
    const int64_t allocated_more = (int64_t)allocated_bytes() - (int64_t)allocated;
    const int64_t resident_more = (int64_t)resident_bytes() - (int64_t)resident;
    fprintf(stderr, "  allocated memory grew by %lld B, resident memory by %lld KiB\n", (long long)allocated_more,
            (long long)resident_more / 1024);
    fprintf(stderr, "  %zu entries applied, %zu times not; ended: %zu in a callback, %zu while others called\n",
            atomic_load(&entries_applied), atomic_load(&handlers_failed), atomic_load(&ended_in_callbacks),
            atomic_load(&ended_by_the_last_call));
    if (!plain)
        return; /* the tools look for leaks themselves, and keep what is freed for a while */
    CHECK(allocated_more < 64 << 10);
    CHECK(resident_more < 32 << 20);
    if (lives >= 1000)
        CHECK(atomic_load(&entries_applied) > 0 && atomic_load(&handlers_failed) > 0 &&
              atomic_load(&ended_in_callbacks) > 0 && atomic_load(&ended_by_the_last_call) > 0);
}

TEST_MAIN(CASE(p9_random_lives_end_well))
