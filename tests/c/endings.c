/* Calls where a process or a thread ends: in exit handlers and in destructors of thread-local data, where the library's own
 * thread-locals may be gone. Every function works there as elsewhere. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host.h"

/* The handles that were made and started before, and by which thread: one whose thread-locals exist. */
static replication_sender *early_sender;
static replication_receiver *early_receiver;
static uint16_t early_port;
static struct inbox *early_inbox;
static atomic_int finished;

static replication_sender_config *some_sender_config(struct events *events)
{
    replication_sender_config *config = sender_config_new();
    CHECK(config != NULL);
    CHECK_OK(sender_config_set_wal_dir(config, temp_path(events == NULL ? "early" : "late")));
    CHECK_OK(sender_config_set_stop_timeout_ms(config, 20));
    CHECK_OK(
        set_write_gate(config, 1, 1000, 0, REPLICATION_ACK_LEVEL_RECEIVED, REPLICATION_GATE_POLICY_SLOW, PATIENCE_MS));
    if (events != NULL)
        sender_config_listen_to(config, events);
    return config;
}

static void on_acked(void *user_data, int32_t status, size_t readers)
{
    (void)readers;
    atomic_fetch_add((atomic_int *)user_data, status == REPLICATION_STATUS_OK);
}

static void connections(replication_sender *sender)
{
    int pair[2];
    char address[200];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK_OK(sender_accept_connection(sender, pair[0]));
    close(pair[1]);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK_OK(sender_accept_reader(sender, pair[0], "given", 0));
    close(pair[1]);
    snprintf(address, sizeof address, "unix:%s", temp_path("socket"));
    CHECK_OK(sender_listen(sender, address, NULL));
    CHECK_ERROR(sender_accept_connection(sender, -1), REPLICATION_STATUS_BAD_DESCRIPTOR, "fd -1");
    CHECK_ERROR(sender_listen(sender, "nowhere", NULL), REPLICATION_STATUS_BAD_ADDRESS, "nowhere");
}

static void write_and_wait(replication_sender *sender, replication_receiver *receiver)
{
    atomic_int acked = 0;
    size_t readers = 0;
    uint64_t interval_ms = 0;
    char *json = NULL;
    const replication_slice slices[] = {{(const uint8_t *)"a", 1}, {(const uint8_t *)"b", 1}};
    WAIT_UNTIL(receiver_is_connected(receiver));
    uint64_t sequence = replicate_text(sender, "late");
    CHECK_OK(sender_replicate_batch(sender, 0, slices, COUNT(slices), &sequence));
    sequence += COUNT(slices) - 1;
    CHECK_OK(sender_wait_acked(sender, sequence, REPLICATION_ACK_LEVEL_APPLIED, 1, PATIENCE_MS, &readers));
    CHECK_STATUS(sender_wait_acked(sender, sequence, REPLICATION_ACK_LEVEL_APPLIED, 2, 1, &readers),
                 REPLICATION_STATUS_TIMEOUT);
    const struct place entry = replicate_place(sender, "with a token");
    replication_quorum *quorum = replication_quorum_new(), *any = replication_quorum_any(1);
    CHECK_OK(replication_quorum_add(quorum, NULL, 1));
    CHECK_OK(sender_wait_token(sender, PLACE(entry), REPLICATION_ACK_LEVEL_APPLIED, quorum, PATIENCE_MS, &readers));
    CHECK_OK(sender_acked(sender, PLACE(entry), REPLICATION_ACK_LEVEL_APPLIED, any, &readers));
    CHECK_OK(
        sender_on_acked(sender, PLACE(entry), REPLICATION_ACK_LEVEL_APPLIED, any, PATIENCE_MS, on_acked, &acked, NULL));
    WAIT_UNTIL(atomic_load(&acked) == 1);
    replication_quorum_free(quorum);
    replication_quorum_free(any);
    sequence = place_sequence(entry);
    CHECK_OK(sender_wait_durable(sender, sequence, PATIENCE_MS));
    CHECK(place_is(place_of_sender(sender), entry));
    CHECK_OK(sender_set_option(sender, "heartbeat_interval_ms", 77));
    CHECK_OK(sender_option(sender, "heartbeat_interval_ms", &interval_ms));
    CHECK_U64(interval_ms, 77);
    CHECK_OK(sender_stats_json(sender, &json));
    replication_string_free(json);
    CHECK_OK(sender_slots_json(sender, &json));
    replication_string_free(json);
    CHECK_U64(sender_current_sequence(sender), sequence);
    CHECK(sender_reader_count(sender) >= 1);

    CHECK_OK(receiver_wait_sequence(receiver, sequence, PATIENCE_MS));
    CHECK_STATUS(receiver_wait_sequence(receiver, sequence + 1, 1), REPLICATION_STATUS_TIMEOUT);
    CHECK_OK(receiver_pause(receiver));
    CHECK_OK(receiver_resume(receiver));
    CHECK_OK(receiver_wait_token(receiver, PLACE(entry), PATIENCE_MS));
    CHECK(place_is(place_of_receiver(receiver), entry));
    CHECK_OK(receiver_set_option(receiver, "ack_interval_ms", 7));
    CHECK_OK(receiver_option(receiver, "ack_interval_ms", &interval_ms));
    CHECK_U64(interval_ms, 7);
    CHECK_OK(receiver_stats_json(receiver, &json));
    replication_string_free(json);
    CHECK_U64(receiver_last_sequence(receiver), sequence);
    CHECK_OK(sender_remove_reader(sender, "reader"));
    CHECK_ERROR(sender_remove_reader(sender, "nobody"), REPLICATION_STATUS_NOT_FOUND, "nobody");
    CHECK_OK(sender_set_writable(sender, false));
    CHECK_OK(sender_set_writable(sender, true));
}

static void decode(void)
{
    const uint8_t rows[] = {0x91, 0x81, 0xa1, 'k', 1};
    replication_records *records = NULL;
    const char *json = NULL;
    size_t len = 0;
    CHECK_OK(replication_records_parse(rows, sizeof rows, &records));
    CHECK_OK(replication_records_json(records, &json, &len));
    CHECK_TEXT(json, "[{\"k\":1}]");
    replication_records_free(records);
    CHECK_ERROR(replication_records_parse(rows, 2, &records), REPLICATION_STATUS_DECODE_FAILED, "");
    CHECK(strlen(replication_last_error_message()) > 0);
}

/* What was made before goes on, and ends as it should. */
static void use_the_early_ones(void)
{
    connections(early_sender);
    write_and_wait(early_sender, early_receiver);
    CHECK_OK(receiver_stop(early_receiver));
    CHECK_OK(sender_stop(early_sender));
    CHECK_STATUS(sender_listen(early_sender, "127.0.0.1:0", NULL), REPLICATION_STATUS_CLOSED);
    receiver_free(early_receiver);
    sender_free(early_sender);
    inbox_free(early_inbox);
}

/* The same with handles that are made here. */
static void use_late_ones(void)
{
    struct events *events = events_new();
    struct inbox *inbox = inbox_new();
    replication_sender_config *config = some_sender_config(events);
    replication_sender *sender = NULL;
    CHECK_OK(sender_new(config, &sender));
    sender_config_free(config);
    CHECK_STATUS(sender_listen(sender, "127.0.0.1:0", NULL), REPLICATION_STATUS_INVALID_STATE);
    CHECK_OK(sender_start(sender));
    replication_receiver *receiver = follow(listen_tcp(sender), "reader", inbox);
    connections(sender);
    write_and_wait(sender, receiver);
    receiver_free(receiver);
    sender_free(sender);
    CHECK(events_count(events, REPLICATION_EVENT_KIND_CONNECTED) > 0);
    events_free(events);
    inbox_free(inbox);
}

static void late(void)
{
    decode();
    use_the_early_ones();
    use_late_ones();
    atomic_fetch_add(&finished, 1);
}

static void start_early(void)
{
    early_inbox = inbox_new();
    early_sender = start_sender(some_sender_config(NULL));
    early_port = listen_tcp(early_sender);
    early_receiver = follow(early_port, "reader", early_inbox);
    /* Texts and runtimes have left something in this thread. */
    CHECK_ERROR(sender_listen(early_sender, "nowhere", NULL), REPLICATION_STATUS_BAD_ADDRESS, "nowhere");
    wait_for(early_receiver, replicate_text(early_sender, "early"));
}

static void must_have_finished(void)
{
    if (atomic_load(&finished) != 1)
        _exit(1);
}

TEST(p9_calls_in_an_exit_handler)
{
    atexit(must_have_finished); /* the last one registered runs first */
    (void)temp_path("");
    atexit(late);
    start_early();
}

static void *call_exit(void *unused)
{
    (void)unused;
    start_early();
    exit(0);
}

TEST(p9_calls_in_an_exit_handler_of_another_thread_than_main)
{
    atexit(must_have_finished);
    (void)temp_path("");
    atexit(late);
    thread_join(thread_start(call_exit, NULL));
}

static void destructor(void *unused)
{
    (void)unused;
    late();
}

static void *end_with_a_destructor(void *started)
{
    pthread_key_t key;
    CHECK(pthread_key_create(&key, destructor) == 0);
    CHECK(pthread_setspecific(key, &finished) == 0);
    if (started == NULL)
        start_early();
    return NULL;
}

TEST(p9_calls_in_a_destructor_of_a_thread_that_called_before)
{
    thread_join(thread_start(end_with_a_destructor, NULL));
    must_have_finished();
}

TEST(p9_calls_in_a_destructor_of_a_thread_that_did_not)
{
    start_early();
    thread_join(thread_start(end_with_a_destructor, &finished));
    must_have_finished();
}

/* A handler of the host's ends the process. Its exit handlers run on the callback thread, which cannot wait for itself. */
static void on_the_callback_thread(void)
{
    CHECK_STATUS(receiver_stop(early_receiver), REPLICATION_STATUS_WRONG_THREAD);
    CHECK_STATUS(receiver_wait_sequence(early_receiver, 1, 1000), REPLICATION_STATUS_WRONG_THREAD);
    receiver_free(early_receiver);
    CHECK_OK(sender_listen(early_sender, "127.0.0.1:0", NULL));
    CHECK_OK(sender_stop(early_sender));
    sender_free(early_sender);
    use_late_ones();
    atomic_fetch_add(&finished, 1);
}

static int32_t exit_at_once(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload,
                            size_t len)
{
    (void)user_data, (void)sequence, (void)timestamp_us, (void)payload, (void)len;
    exit(0);
}

TEST(p9_calls_in_an_exit_handler_of_a_callback)
{
    atexit(must_have_finished);
    (void)temp_path("");
    atexit(on_the_callback_thread);
    early_sender = start_sender(some_sender_config(NULL));
    replication_receiver_config *config = receiver_config_new();
    CHECK_OK(receiver_config_set_reader_id(config, "exits"));
    CHECK_OK(receiver_config_set_writer_addr(config, tcp_address(listen_tcp(early_sender))));
    CHECK_OK(receiver_config_set_ingest_handler(config, exit_at_once, NULL, NULL));
    early_receiver = start_receiver(config);
    (void)replicate_text(early_sender, "the end");
    for (;;)
        pause();
}

/* The text that says what failed is there in a destructor too, though shorter. */
static void fail_at_length(void *sender)
{
    char address[600];
    memset(address, 'x', sizeof address - 1);
    address[sizeof address - 1] = '\0';
    CHECK_ERROR(sender_listen(sender, address, NULL), REPLICATION_STATUS_BAD_ADDRESS, "xxx");
    CHECK_ERROR(sender_listen(sender, "short", NULL), REPLICATION_STATUS_BAD_ADDRESS, "short");
    atomic_fetch_add(&finished, 1);
}

static void *fail_in_a_destructor(void *sender)
{
    pthread_key_t key;
    CHECK(pthread_key_create(&key, fail_at_length) == 0);
    CHECK(pthread_setspecific(key, sender) == 0);
    CHECK_ERROR(sender_listen(sender, "before", NULL), REPLICATION_STATUS_BAD_ADDRESS, "before");
    return NULL;
}

TEST(p9_error_texts_in_a_destructor)
{
    replication_sender *sender = start_sender(NULL);
    thread_join(thread_start(fail_in_a_destructor, sender));
    must_have_finished();
    sender_free(sender);
}

TEST_MAIN(CASE(p9_calls_in_an_exit_handler), CASE(p9_calls_in_an_exit_handler_of_another_thread_than_main),
          CASE(p9_calls_in_a_destructor_of_a_thread_that_called_before),
          CASE(p9_calls_in_a_destructor_of_a_thread_that_did_not), CASE(p9_calls_in_an_exit_handler_of_a_callback),
          CASE(p9_error_texts_in_a_destructor))
