/* The host's process and the peers' processes: signals, peers that vanish, peers that freeze. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "host.h"
#include "peer.h"

/* A sender that replicates without end as soon as it has a reader, or one entry only. It writes its port to the
 * descriptor. */
static _Noreturn void be_writer(const char *report, const char *what)
{
    static const uint8_t payload[4096];
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_heartbeat_interval_ms(config, 50));
    CHECK_OK(sender_config_set_full_policy(config, REPLICATION_FULL_POLICY_WAIT, 60000)); /* nobody is cut off */
    replication_sender *sender = start_sender(config);
    uint16_t port = listen_tcp(sender);
    CHECK(write(atoi(report), &port, sizeof port) == sizeof port);
    replicate_text(sender, "one");
    while (strcmp(what, "idle") == 0)
        pause();
    WAIT_UNTIL(sender_reader_count(sender) > 0);
    for (;;)
        CHECK_OK(sender_replicate(sender, 1, payload, sizeof payload, NULL));
}

/* A reader that applies until it is killed. */
static _Noreturn void be_reader(const char *port, const char *id)
{
    struct inbox *inbox = inbox_new();
    inbox->drop_payloads = true;
    inbox->gaps_allowed = true;
    replication_receiver_config *config = receiver_config_for(id, tcp_address((uint16_t)atoi(port)), inbox);
    if (strstr(id, "v1") != NULL)
        CHECK_OK(receiver_config_set_protocol(config, REPLICATION_PROTOCOL_V1));
    CHECK_OK(receiver_config_set_ack_interval_ms(config, 1));
    (void)start_receiver(config);
    for (;;)
        pause();
}

struct writer_process {
    pid_t pid;
    uint16_t port;
};

static struct writer_process start_writer(const char *what)
{
    struct writer_process writer;
    int report[2];
    char number[16];
    CHECK(pipe(report) == 0);
    snprintf(number, sizeof number, "%d", report[1]);
    writer.pid = harness_start_role("--writer", number, what);
    close(report[1]);
    CHECK(read(report[0], &writer.port, sizeof writer.port) == sizeof writer.port);
    close(report[0]);
    return writer;
}

static pid_t start_reader(uint16_t port, const char *id)
{
    char number[16];
    snprintf(number, sizeof number, "%u", (unsigned)port);
    return harness_start_role("--reader", number, id);
}

static void end_process(pid_t pid)
{
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(harness_wait_child(pid) == -SIGKILL);
}

static atomic_bool over;

static void *write_until_over(void *sender)
{
    static const uint8_t payload[4096];
    while (!atomic_load(&over))
        CHECK_OK(sender_replicate(sender, 1, payload, sizeof payload, NULL));
    return NULL;
}

/* Readers attach, entries flow to all of them, and they are killed in the middle of it. */
static void kill_readers(void)
{
    enum { READERS = 4 };
    replication_sender_config *config = sender_config_new();
    /* Nobody is cut off: what ends the connections is the kill. */
    CHECK_OK(sender_config_set_full_policy(config, REPLICATION_FULL_POLICY_WAIT, 60000));
    CHECK_OK(sender_config_set_stop_timeout_ms(config, 0));
    replication_sender *sender = start_sender(config);
    uint16_t port = listen_tcp(sender);
    pid_t readers[READERS];
    for (size_t i = 0; i < READERS; i++) {
        char id[32];
        snprintf(id, sizeof id, "%s reader %zu", i % 2 == 0 ? "v1" : "v2", i);
        readers[i] = start_reader(port, id);
    }
    WAIT_UNTIL(sender_reader_count(sender) == READERS);
    atomic_store(&over, false);
    unsigned long writer = thread_start(write_until_over, sender);
    WAIT_UNTIL(sender_current_sequence(sender) >= 1000);
    CHECK_OK(sender_wait_acked(sender, 1000, REPLICATION_ACK_LEVEL_RECEIVED, READERS, PATIENCE_MS, NULL));
    for (size_t i = 0; i < READERS; i++)
        end_process(readers[i]);
    WAIT_UNTIL(sender_reader_count(sender) == 0);
    atomic_store(&over, true);
    thread_join(writer);
    sender_free(sender);
}

/* SIGPIPE has its default disposition here: one raised in this process would end it. */
TEST(p9_readers_killed_while_data_flows_do_not_signal_the_writer)
{
    struct sigaction action;
    CHECK(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    for (size_t round = 0; round < scaled(15); round++)
        kill_readers();
    CHECK(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
}

/* Peers that leave without reading, so that the next write is answered by a reset. */
TEST(p9_readers_that_leave_at_once_do_not_signal_the_writer)
{
    replication_sender *sender = start_sender(NULL);
    uint16_t port = listen_tcp(sender);
    unsigned long writer = thread_start(write_until_over, sender);
    for (size_t round = 0; round < scaled(200); round++) {
        struct peer peer;
        peer_open(&peer, dial_tcp(port));
        /* One that does not wait may be served late, and take the place of a later one with its id. */
        peer_send_sync(&peer, round % 2 == 0 ? "hasty" : "rude", 0, round % 3 == 0);
        if (round % 2 == 0)
            peer_expect_sync_ack(&peer, round % 3 == 0 ? 0x11 : SYNC_ACK);
        peer_close(&peer);
    }
    WAIT_UNTIL(sender_reader_count(sender) == 0);
    atomic_store(&over, true);
    thread_join(writer);
    sender_free(sender);
}

TEST(p9_a_writer_killed_while_data_flows_does_not_signal_the_reader)
{
    struct inbox *inbox = inbox_new();
    struct events *events = events_new();
    struct writer_process writer = start_writer("busy");
    inbox->drop_payloads = true;
    inbox->gaps_allowed = true;
    replication_receiver_config *config = receiver_config_for("reader", tcp_address(writer.port), inbox);
    CHECK_OK(receiver_config_set_ack_interval_ms(config, 1));
    receiver_config_listen_to(config, events);
    replication_receiver *receiver = start_receiver(config);
    WAIT_UNTIL(receiver_last_sequence(receiver) > 0);
    end_process(writer.pid);
    events_wait(events, REPLICATION_EVENT_KIND_DISCONNECTED);
    WAIT_UNTIL(!receiver_is_connected(receiver));
    receiver_free(receiver);
    inbox_free(inbox);
    events_free(events);
}

/* Go failure 8: a peer that is frozen (or whose machine is gone) was never noticed. */
TEST(go8_a_frozen_writer_is_noticed)
{
    struct inbox *inbox = inbox_new();
    struct events *events = events_new();
    struct writer_process writer = start_writer("idle");
    replication_receiver_config *config = receiver_config_for("reader", tcp_address(writer.port), inbox);
    CHECK_OK(receiver_config_set_protocol(config, REPLICATION_PROTOCOL_V2));
    CHECK_OK(receiver_config_set_heartbeat_interval_ms(config, 50));
    CHECK_OK(receiver_config_set_peer_timeout_ms(config, 500));
    receiver_config_listen_to(config, events);
    replication_receiver *receiver = start_receiver(config);
    wait_for(receiver, 1);
    CHECK(kill(writer.pid, SIGSTOP) == 0);
    CHECK_U64(events_wait(events, REPLICATION_EVENT_KIND_DISCONNECTED).status, REPLICATION_STATUS_PEER_TIMEOUT);
    CHECK(kill(writer.pid, SIGCONT) == 0);
    WAIT_UNTIL(receiver_is_connected(receiver));
    receiver_free(receiver);
    end_process(writer.pid);
    inbox_free(inbox);
    events_free(events);
}

TEST(go8_a_frozen_reader_is_noticed)
{
    struct events *events = events_new();
    uint16_t port = 0;
    close(listen_local(&port));
    pid_t reader = start_reader(port, "frozen");
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_heartbeat_interval_ms(config, 100));
    CHECK_OK(sender_config_set_peer_timeout_ms(config, 1500)); /* the reader's heartbeat is every second */
    CHECK_OK(sender_config_set_stop_timeout_ms(config, 100));
    sender_config_listen_to(config, events);
    replication_sender *sender = start_sender(config);
    CHECK_OK(sender_listen(sender, tcp_address(port), NULL));
    CHECK_TEXT(events_wait(events, REPLICATION_EVENT_KIND_CONNECTED).reader_id, "frozen");
    CHECK(kill(reader, SIGSTOP) == 0);
    CHECK_U64(events_wait(events, REPLICATION_EVENT_KIND_DISCONNECTED).status, REPLICATION_STATUS_PEER_TIMEOUT);
    CHECK_U64(sender_reader_count(sender), 0);
    end_process(reader);
    sender_free(sender);
    events_free(events);
}

/* Go failure 8, the other half: an idle link is not cut. */
TEST(go8_an_idle_link_stays)
{
    struct inbox *inbox = inbox_new();
    struct events *events = events_new();
    replication_sender_config *sender_config = sender_config_new();
    CHECK_OK(sender_config_set_heartbeat_interval_ms(sender_config, 50));
    CHECK_OK(sender_config_set_peer_timeout_ms(sender_config, 1000));
    replication_sender *sender = start_sender(sender_config);
    replication_receiver_config *config = receiver_config_for("idle", tcp_address(listen_tcp(sender)), inbox);
    CHECK_OK(receiver_config_set_heartbeat_interval_ms(config, 50));
    CHECK_OK(receiver_config_set_peer_timeout_ms(config, 1000));
    receiver_config_listen_to(config, events);
    replication_receiver *receiver = start_receiver(config);
    replicate_text(sender, "one");
    wait_for(receiver, 1);
    /* Nothing comes for three times the peers' patience. */
    CHECK_STATUS(receiver_wait_sequence(receiver, 2, 3000), REPLICATION_STATUS_TIMEOUT);
    CHECK_U64(events_count(events, REPLICATION_EVENT_KIND_DISCONNECTED), 0);
    wait_for(receiver, replicate_text(sender, "two"));
    CHECK_U64(events_count(events, REPLICATION_EVENT_KIND_CONNECTED), 1);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
    events_free(events);
}

/* The signals that a thread of this process blocks, as a bit mask; 0 when the thread is gone. */
static uint64_t blocked_signals(const char *task)
{
    char path[320], line[256];
    unsigned long long mask = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    FILE *status = fopen(path, "r");
    if (status == NULL)
        return 0;
    while (fgets(line, sizeof line, status) != NULL)
        (void)sscanf(line, "SigBlk: %llx", &mask);
    fclose(status);
    return mask;
}

static bool blocks(uint64_t mask, int number)
{
    return (mask >> (number - 1) & 1) == 1;
}

/* Whether each thread besides this one blocks every signal that a host might handle, but none that a thread causes itself. */
static bool library_threads_block_signals(size_t at_least)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCHLD, SIGWINCH, SIGPIPE};
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    char self[32];
    size_t threads = 0;
    bool right = true;
    snprintf(self, sizeof self, "%d", (int)getpid());
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks)) {
        if (task->d_name[0] == '.' || strcmp(task->d_name, self) == 0)
            continue;
        uint64_t mask = blocked_signals(task->d_name);
        for (size_t i = 0; i < COUNT(numbers); i++)
            right = right && blocks(mask, numbers[i]);
        for (size_t i = 0; i < COUNT(open); i++)
            right = right && !blocks(mask, open[i]);
        threads++;
    }
    closedir(tasks);
    return right && threads >= at_least;
}

static pthread_t host_thread;
static volatile sig_atomic_t handled;
static volatile sig_atomic_t handled_elsewhere;

static void handle(int number)
{
    (void)number;
    if (pthread_equal(pthread_self(), host_thread))
        handled++;
    else
        handled_elsewhere++;
}

TEST(p9_the_hosts_signals_are_handled_on_the_hosts_threads)
{
    struct inbox *inbox = inbox_new();
    struct sigaction action = {.sa_handler = handle};
    host_thread = pthread_self();
    CHECK(sigaction(SIGTERM, &action, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    struct sigaction dispositions[64];
    sigset_t before, after;
    for (int number = 1; number < SIGRTMIN; number++)
        (void)sigaction(number, NULL, &dispositions[number]);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &before) == 0);
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = follow(listen_tcp(sender), "reader", inbox);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &after) == 0);
    for (int number = 1; number < SIGRTMIN; number++)
        CHECK(sigismember(&before, number) == sigismember(&after, number));
    replicate_many(sender, 100);
    wait_for(receiver, 100);
    /* Under valgrind a thread that waits for its turn has valgrind's mask, and its own when it sleeps. */
    WAIT_UNTIL(library_threads_block_signals(2));
    for (int i = 0; i < 100; i++) {
        int so_far = handled;
        CHECK(kill(getpid(), i % 2 == 0 ? SIGTERM : SIGUSR1) == 0);
        WAIT_UNTIL(handled > so_far || handled_elsewhere > 0);
    }
    CHECK(handled_elsewhere == 0);
    /* The host's dispositions are still the host's. */
    struct sigaction now;
    for (int number = 1; number < SIGRTMIN; number++)
        if (sigaction(number, NULL, &now) == 0)
            CHECK(now.sa_handler == dispositions[number].sa_handler);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

/* Signals interrupt the host's waits: they go on waiting. */
TEST(a_signal_does_not_end_a_wait)
{
    struct inbox *inbox = inbox_new();
    struct sigaction action = {.sa_handler = handle};
    host_thread = pthread_self();
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    replication_sender *sender = start_sender(NULL);
    replication_receiver *receiver = follow(listen_tcp(sender), "reader", inbox);
    pid_t parent = getpid(), child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        while (kill(parent, SIGUSR1) == 0)
            harness_poll(__FILE__, __LINE__, "signals", now_ms());
        _exit(0);
    }
    uint64_t last = replicate_text(sender, "one");
    wait_for(receiver, last);
    int64_t started = now_ms();
    CHECK_STATUS(receiver_wait_sequence(receiver, last + 1, 300), REPLICATION_STATUS_TIMEOUT);
    CHECK_STATUS(sender_wait_acked(sender, last, REPLICATION_ACK_LEVEL_APPLIED, 2, 300, NULL),
                 REPLICATION_STATUS_TIMEOUT);
    CHECK(now_ms() - started >= 598);
    CHECK(handled > 10);
    end_process(child);
    receiver_free(receiver);
    sender_free(sender);
    inbox_free(inbox);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        CASE(p9_readers_killed_while_data_flows_do_not_signal_the_writer),
        CASE(p9_readers_that_leave_at_once_do_not_signal_the_writer),
        CASE(p9_a_writer_killed_while_data_flows_does_not_signal_the_reader),
        CASE(go8_a_frozen_writer_is_noticed),
        CASE(go8_a_frozen_reader_is_noticed),
        CASE(go8_an_idle_link_stays),
        CASE(p9_the_hosts_signals_are_handled_on_the_hosts_threads),
        CASE(a_signal_does_not_end_a_wait),
    };
    if (argc == 4 && strcmp(argv[1], "--writer") == 0)
        be_writer(argv[2], argv[3]);
    if (argc == 4 && strcmp(argv[1], "--reader") == 0)
        be_reader(argv[2], argv[3]);
    return harness_main(argc, argv, cases, COUNT(cases));
}
