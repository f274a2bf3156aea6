/* What the host may do inside a callback, when callbacks end, and what they are told. */
#include <stdio.h>
#include <stdlib.h>

#include "host.h"
#include "json.h"
#include "peer.h"

TEST(events_and_log_records_are_well_formed_and_serial)
{
    struct inbox *inbox = inbox_new();
    struct events *at_sender = events_new(), *at_receiver = events_new();
    replication_sender_config *sender_config = sender_config_new();
    sender_config_listen_to(sender_config, at_sender);
    CHECK_OK(sender_config_set_log_handler(sender_config, REPLICATION_LOG_LEVEL_DEBUG, events_log, at_sender, NULL));
    replication_sender *sender = start_sender(sender_config);
    uint16_t port = listen_tcp(sender);
    /* An id with what JSON must escape; what no terminal should get is not an id. */
    const char *id = "a\"b\\c/<&>\xf0\x9f\x98\x80";
    replication_receiver_config *config = receiver_config_for(id, tcp_address(port), inbox);
    receiver_config_listen_to(config, at_receiver);
    CHECK_OK(receiver_config_set_log_handler(config, REPLICATION_LOG_LEVEL_DEBUG, events_log, at_receiver, NULL));
    replication_receiver *receiver = start_receiver(config);
    replicate_many(sender, 10);
    wait_for(receiver, 10);
    struct seen_event connected = events_wait(at_sender, REPLICATION_EVENT_KIND_CONNECTED);
    CHECK_TEXT(connected.reader_id, id);
    CHECK_CONTAINS(connected.address, "127.0.0.1");
    CHECK_TEXT(connected.identity, "none"); /* of a peer over plain TCP, nobody knows more */
    CHECK(connected.message[0] != '\0');
    CHECK_U64(connected.status, REPLICATION_STATUS_OK);
    CHECK_CONTAINS(events_wait(at_receiver, REPLICATION_EVENT_KIND_CONNECTED).address, tcp_address(port));
    CHECK_OK(sender_remove_reader(sender, id));
    events_wait(at_sender, REPLICATION_EVENT_KIND_DISCONNECTED);
    events_wait(at_receiver, REPLICATION_EVENT_KIND_DISCONNECTED);
    WAIT_UNTIL(events_logged(at_sender) > 0 && events_logged(at_receiver) > 0);
    receiver_free(receiver);
    sender_free(sender);
    CHECK(inbox->thread == at_receiver->thread); /* one thread for all of a handle's callbacks */
    CHECK(at_sender->thread != at_receiver->thread);
    CHECK(at_sender->thread != (unsigned long)pthread_self());
    events_free(at_sender);
    events_free(at_receiver);
    inbox_free(inbox);
}

TEST(the_log_handler_gets_its_level_only)
{
    for (int32_t level = REPLICATION_LOG_LEVEL_ERROR; level <= REPLICATION_LOG_LEVEL_DEBUG; level++) {
        struct events *events = events_new();
        struct events *told = events_new();
        events->max_level = level;
        replication_sender_config *config = sender_config_new();
        sender_config_listen_to(config, told);
        CHECK_OK(sender_config_set_log_handler(config, level, events_log, events, events_release));
        replication_sender *sender = start_sender(config);
        int ends[2];
        struct peer peer;
        socket_pair(ends);
        CHECK_OK(sender_accept_connection(sender, ends[0])); /* a connection, an error of the protocol */
        peer_open(&peer, ends[1]);
        peer_send(&peer, "\0\0\0\0", 4);
        peer_drain(&peer);
        peer_close(&peer);
        socket_pair(ends);
        CHECK_OK(sender_accept_reader(sender, ends[0], "reader", 0));
        peer_open(&peer, ends[1]);
        peer_close(&peer);
        events_wait(told, REPLICATION_EVENT_KIND_DISCONNECTED);
        sender_free(sender);
        CHECK(atomic_load(&events->released) == 1);
        CHECK_U64(events->logged_above, 0);
        CHECK(level < REPLICATION_LOG_LEVEL_WARN || events->logged > 0);
        events_free(events);
        events_free(told);
    }
}

/* A handler that calls back into its own handle. */
struct inner {
    replication_sender *_Atomic sender;
    replication_receiver *_Atomic receiver;
    atomic_int entries, events;
    atomic_int released;
    atomic_bool freed;
};

static void inner_release(void *user_data)
{
    struct inner *inner = user_data;
    atomic_fetch_add(&inner->released, 1);
}

/* Callbacks come on other threads, perhaps before the host has stored the handle. */
static replication_receiver *receiver_of(struct inner *inner)
{
    WAIT_UNTIL(atomic_load(&inner->receiver) != NULL);
    return atomic_load(&inner->receiver);
}

static replication_sender *sender_of(struct inner *inner)
{
    WAIT_UNTIL(atomic_load(&inner->sender) != NULL);
    return atomic_load(&inner->sender);
}

static void ask_receiver(replication_receiver *receiver)
{
    struct place place = {0};
    char *json = NULL;
    CHECK_ERROR(receiver_stop(receiver), REPLICATION_STATUS_WRONG_THREAD, "receiver_stop");
    CHECK_ERROR(receiver_wait_sequence(receiver, 1, 0), REPLICATION_STATUS_WRONG_THREAD, "receiver_wait_sequence");
    CHECK_ERROR(receiver_wait_token(receiver, PLACE(place_at(1, 1)), 0), REPLICATION_STATUS_WRONG_THREAD,
                "receiver_wait_token");
    CHECK_STATUS(receiver_start(receiver), REPLICATION_STATUS_INVALID_STATE);
    CHECK_OK(receiver_stats_json(receiver, &json));
    CHECK(json_is_object(json));
    replication_string_free(json);
    (void)receiver_token(receiver, PLACE_ROOM(place));
    (void)receiver_is_connected(receiver);
    (void)receiver_last_sequence(receiver);
}

static int32_t ask_from_ingest(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                               size_t payload_len)
{
    struct inner *inner = user_data;
    (void)timestamp_us, (void)payload, (void)payload_len;
    CHECK_U64(receiver_last_sequence(receiver_of(inner)), sequence - 1);
    ask_receiver(receiver_of(inner));
    CHECK_OK(receiver_pause(receiver_of(inner))); /* does not wait for itself */
    CHECK_OK(receiver_resume(receiver_of(inner)));
    atomic_fetch_add(&inner->entries, 1);
    return 0;
}

static void ask_from_receiver_event(void *user_data, const replication_event *event)
{
    struct inner *inner = user_data;
    (void)event;
    ask_receiver(receiver_of(inner));
    atomic_fetch_add(&inner->events, 1);
}

static void ask_from_sender_event(void *user_data, const replication_event *event)
{
    struct inner *inner = user_data;
    replication_sender *sender = sender_of(inner);
    uint64_t sequence = 0;
    char *json = NULL;
    CHECK_ERROR(sender_stop(sender), REPLICATION_STATUS_WRONG_THREAD, "sender_stop");
    CHECK_ERROR(sender_wait_acked(sender, 1, REPLICATION_ACK_LEVEL_APPLIED, 1, 0, NULL),
                REPLICATION_STATUS_WRONG_THREAD, "sender_wait_acked");
    CHECK_OK(sender_stats_json(sender, &json));
    replication_string_free(json);
    CHECK_ERROR(wait_token_by(sender, place_of_sender(sender), REPLICATION_ACK_LEVEL_APPLIED, 1, 0, NULL),
                REPLICATION_STATUS_WRONG_THREAD, "sender_wait_token");
    replication_status replicated = sender_replicate(sender, 1, (const uint8_t *)"from an event", 13, &sequence);
    /* The reader's leave may be told of while the sender is being freed. */
    if (event->kind != REPLICATION_EVENT_KIND_DISCONNECTED || replicated != REPLICATION_STATUS_CLOSED)
        CHECK_OK(replicated);
    CHECK(sender_current_sequence(sender) >= sequence);
    (void)sender_reader_count(sender);
    if (event->kind == REPLICATION_EVENT_KIND_CONNECTED)
        CHECK_OK(sender_set_writable(sender, true));
    atomic_fetch_add(&inner->events, 1);
}

TEST(a_callback_may_ask_but_not_wait)
{
    struct inner at_sender = {0}, at_receiver = {0};
    struct inbox *unused = inbox_new();
    replication_sender_config *sender_config = sender_config_new();
    CHECK_OK(sender_config_set_event_handler(sender_config, ask_from_sender_event, &at_sender, inner_release));
    atomic_store(&at_sender.sender, make_sender(sender_config));
    CHECK_OK(sender_start(at_sender.sender));
    replication_receiver_config *config =
        receiver_config_for("reader", tcp_address(listen_tcp(at_sender.sender)), unused);
    CHECK_OK(receiver_config_set_ingest_handler(config, ask_from_ingest, &at_receiver, inner_release));
    CHECK_OK(receiver_config_set_event_handler(config, ask_from_receiver_event, &at_receiver, NULL));
    atomic_store(&at_receiver.receiver, make_receiver(config));
    CHECK_OK(receiver_start(at_receiver.receiver));
    replicate_many(at_sender.sender, 20);
    wait_for(at_receiver.receiver, 20);
    WAIT_UNTIL(atomic_load(&at_sender.events) > 0 && atomic_load(&at_receiver.events) > 0);
    /* WRONG_THREAD left both running. */
    wait_for(at_receiver.receiver, replicate_text(at_sender.sender, "still running"));
    receiver_free(at_receiver.receiver);
    sender_free(at_sender.sender);
    CHECK(atomic_load(&at_sender.released) == 1 && atomic_load(&at_receiver.released) == 1);
    inbox_free(unused);
}

static int32_t free_from_ingest(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                                size_t payload_len)
{
    struct inner *inner = user_data;
    (void)timestamp_us, (void)payload, (void)payload_len;
    CHECK(!atomic_load(&inner->freed));
    CHECK(atomic_load(&inner->released) == 0);
    if (sequence == 5) {
        atomic_store(&inner->freed, true);
        receiver_free(receiver_of(inner));
    }
    return 0;
}

static void forbid_after_free(void *user_data, const replication_event *event)
{
    struct inner *inner = user_data;
    (void)event;
    CHECK(!atomic_load(&inner->freed));
}

TEST(p9_a_receiver_freed_in_its_handler_ends_soon_and_silently)
{
    size_t threads = running_threads(), descriptors = open_descriptors();
    struct inner inner = {0};
    struct inbox *unused = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replicate_many(sender, 100);
    replication_receiver_config *config = receiver_config_for("reader", tcp_address(listen_tcp(sender)), unused);
    CHECK_OK(receiver_config_set_ingest_handler(config, free_from_ingest, &inner, inner_release));
    CHECK_OK(receiver_config_set_event_handler(config, forbid_after_free, &inner, inner_release));
    atomic_store(&inner.receiver, make_receiver(config));
    CHECK_OK(receiver_start(inner.receiver));
    WAIT_UNTIL(atomic_load(&inner.released) == 2);
    WAIT_UNTIL(sender_reader_count(sender) == 0);
    sender_free(sender);
    WAIT_UNTIL(running_threads() == threads);
    WAIT_UNTIL(open_descriptors() == descriptors);
    CHECK(atomic_load(&inner.released) == 2);
    inbox_free(unused);
}

static void free_from_receiver_event(void *user_data, const replication_event *event)
{
    struct inner *inner = user_data;
    CHECK(!atomic_load(&inner->freed));
    if (event->kind == REPLICATION_EVENT_KIND_CONNECTED) {
        atomic_store(&inner->freed, true);
        receiver_free(receiver_of(inner));
    }
}

static int32_t forbid_entry_after_free(void *user_data, uint64_t sequence, uint64_t timestamp_us,
                                       const uint8_t *payload, size_t payload_len)
{
    struct inner *inner = user_data;
    (void)sequence, (void)timestamp_us, (void)payload, (void)payload_len;
    CHECK(!atomic_load(&inner->freed));
    return 0;
}

TEST(p9_a_receiver_freed_in_its_event_handler_ends_soon_and_silently)
{
    size_t threads = running_threads();
    struct inner inner = {0};
    struct inbox *unused = inbox_new();
    replication_sender *sender = start_sender(NULL);
    replicate_many(sender, 100);
    replication_receiver_config *config = receiver_config_for("reader", tcp_address(listen_tcp(sender)), unused);
    CHECK_OK(receiver_config_set_ingest_handler(config, forbid_entry_after_free, &inner, inner_release));
    CHECK_OK(receiver_config_set_event_handler(config, free_from_receiver_event, &inner, inner_release));
    atomic_store(&inner.receiver, make_receiver(config));
    CHECK_OK(receiver_start(inner.receiver));
    WAIT_UNTIL(atomic_load(&inner.released) == 2);
    sender_free(sender);
    WAIT_UNTIL(running_threads() == threads);
    inbox_free(unused);
}

static void free_from_sender_event(void *user_data, const replication_event *event)
{
    struct inner *inner = user_data;
    (void)event;
    CHECK(!atomic_load(&inner->freed));
    atomic_store(&inner->freed, true);
    sender_free(sender_of(inner));
}

TEST(p9_a_sender_freed_in_its_event_handler_ends_soon_and_silently)
{
    size_t threads = running_threads(), descriptors = open_descriptors();
    struct inner inner = {0};
    int ends[2];
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_event_handler(config, free_from_sender_event, &inner, inner_release));
    CHECK_OK(sender_config_set_stop_timeout_ms(config, 100));
    replication_sender *sender = start_sender(config);
    atomic_store(&inner.sender, sender);
    socket_pair(ends);
    CHECK_OK(sender_accept_reader(sender, ends[0], "reader", 0));
    WAIT_UNTIL(atomic_load(&inner.released) == 1);
    struct peer peer;
    peer_open(&peer, ends[1]);
    peer_drain(&peer);
    peer_close(&peer);
    WAIT_UNTIL(running_threads() == threads);
    WAIT_UNTIL(open_descriptors() == descriptors);
    CHECK(atomic_load(&inner.released) == 1);
}

/* Two handles: what one's callback does to the other is nobody's own thread. */
struct chain {
    replication_receiver *_Atomic other;
    atomic_int stopped;
};

static int32_t stop_the_other(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                              size_t payload_len)
{
    struct chain *chain = user_data;
    (void)sequence, (void)timestamp_us, (void)payload, (void)payload_len;
    CHECK_OK(receiver_stop(chain->other));
    atomic_fetch_add(&chain->stopped, 1);
    return 0;
}

TEST(a_callback_may_stop_another_handle)
{
    struct inbox *inbox = inbox_new();
    struct chain chain = {0};
    replication_sender *sender = start_sender(NULL);
    uint16_t port = listen_tcp(sender);
    atomic_store(&chain.other, follow(port, "other", inbox));
    replication_receiver_config *config = receiver_config_for("reader", tcp_address(port), inbox);
    CHECK_OK(receiver_config_set_ingest_handler(config, stop_the_other, &chain, NULL));
    replication_receiver *receiver = start_receiver(config);
    replicate_text(sender, "one");
    wait_for(receiver, 1);
    CHECK(atomic_load(&chain.stopped) == 1);
    CHECK_STATUS(receiver_wait_sequence(chain.other, UINT64_MAX, 0), REPLICATION_STATUS_CLOSED);
    receiver_free(receiver);
    receiver_free(chain.other);
    sender_free(sender);
    inbox_free(inbox);
}

/* A chain of nodes: what comes in goes on to readers of this node. */
static int32_t pass_on(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                       size_t payload_len)
{
    uint64_t passed = 0;
    CHECK_OK(sender_replicate(user_data, timestamp_us, payload, payload_len, &passed));
    CHECK_U64(passed, sequence);
    return 0;
}

TEST(a_handler_may_replicate)
{
    struct inbox *inbox = inbox_new();
    replication_sender *first = start_sender(NULL), *second = start_sender(NULL);
    replication_receiver_config *config = receiver_config_for("between", tcp_address(listen_tcp(first)), inbox);
    CHECK_OK(receiver_config_set_ingest_handler(config, pass_on, second, NULL));
    replication_receiver *between = start_receiver(config);
    replication_receiver *last = follow(listen_tcp(second), "last", inbox);
    replicate_many(first, 500);
    wait_for(last, 500);
    CHECK_U64(inbox_count(inbox), 500);
    receiver_free(between);
    receiver_free(last);
    sender_free(first);
    sender_free(second);
    inbox_free(inbox);
}

/* P9: when stop returns no handler runs, and none runs later. */
TEST(p9_no_callback_runs_after_stop)
{
    for (size_t round = 0; round < scaled(20); round++) {
        struct inbox *inbox = inbox_new();
        replication_sender *sender = start_sender(NULL);
        replication_receiver *receiver = follow(listen_tcp(sender), "reader", inbox);
        replicate_many(sender, 500);
        wait_for(receiver, 1 + round * 20 % 400);
        CHECK_OK(receiver_stop(receiver));
        CHECK(atomic_load(&inbox->inside) == 0);
        uint64_t last = receiver_last_sequence(receiver);
        CHECK_U64(inbox_count(inbox), last);
        replicate_many(sender, 100);
        receiver_free(receiver);
        CHECK_U64(inbox_count(inbox), last);
        CHECK(atomic_load(&inbox->released) == 1);
        sender_free(sender);
        inbox_free(inbox);
    }
}

/* Events wait for a slow host, up to a bound; beyond it they are counted. */
struct slow_ears {
    pthread_mutex_t gate;
    atomic_int heard;
    _Atomic uint64_t lost;
};

static void hear_slowly(void *user_data, const replication_event *event)
{
    struct slow_ears *ears = user_data;
    CHECK(pthread_mutex_lock(&ears->gate) == 0);
    CHECK(pthread_mutex_unlock(&ears->gate) == 0);
    if (event->kind == REPLICATION_EVENT_KIND_EVENTS_LOST)
        atomic_fetch_add(&ears->lost, json_u64(event->detail_json, "lost"));
    else
        atomic_fetch_add(&ears->heard, 1);
}

TEST(p2_events_that_a_slow_host_misses_are_counted)
{
    enum { PEERS = 3000 };
    struct slow_ears ears = {.gate = PTHREAD_MUTEX_INITIALIZER};
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_event_handler(config, hear_slowly, &ears, NULL));
    replication_sender *sender = start_sender(config);
    CHECK(pthread_mutex_lock(&ears.gate) == 0);
    for (int i = 0; i < PEERS; i++) {
        int ends[2];
        struct peer peer;
        socket_pair(ends);
        CHECK_OK(sender_accept_connection(sender, ends[0]));
        peer_open(&peer, ends[1]);
        peer_send(&peer, "\0\0\0\0", 4);
        peer_drain(&peer); /* closed: its event has come or is about to */
        peer_close(&peer);
    }
    CHECK(pthread_mutex_unlock(&ears.gate) == 0);
    WAIT_UNTIL(atomic_load(&ears.lost) > 0);
    sender_free(sender);
    CHECK((uint64_t)atomic_load(&ears.heard) + atomic_load(&ears.lost) >= PEERS);
}

TEST_MAIN(CASE(events_and_log_records_are_well_formed_and_serial), CASE(the_log_handler_gets_its_level_only),
          CASE(a_callback_may_ask_but_not_wait), CASE(p9_a_receiver_freed_in_its_handler_ends_soon_and_silently),
          CASE(p9_a_receiver_freed_in_its_event_handler_ends_soon_and_silently),
          CASE(p9_a_sender_freed_in_its_event_handler_ends_soon_and_silently), CASE(a_callback_may_stop_another_handle),
          CASE(a_handler_may_replicate), CASE(p9_no_callback_runs_after_stop),
          CASE(p2_events_that_a_slow_host_misses_are_counted))
