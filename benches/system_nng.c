/* nng. One push socket a reader; a message for eight readers is duplicated and sent to eight sockets, because nng's
 * pub/sub drops messages for a reader that is behind and has no way not to. Round trip: req/rep.
 *
 * Variants: "default" and "buffered" (send and receive queues of 8192 messages, the most that nng takes). */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#include "bench.h"
#include "clock.h"
#include "control.h"
#include "histogram.h"

static void check(int result, const char *what)
{
    if (result != 0) {
        bench_fail("%s: %s", what, nng_strerror(result));
    }
}

/* A socket type without such a queue says NNG_ENOTSUP. */
static void set_queue(nng_socket socket, const char *option, const struct bench_job *job)
{
    if (strcmp(job->variant, "buffered") == 0) {
        int result = nng_socket_set_int(socket, option, 8192);
        if (result != NNG_ENOTSUP) {
            check(result, option);
        }
    }
}

static uint16_t listen_on(nng_socket socket)
{
    nng_listener listener;
    int port;
    check(nng_listen(socket, "tcp://127.0.0.1:0", &listener, 0), "nng_listen");
    check(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), "NNG_OPT_TCP_BOUND_PORT");
    return (uint16_t)port;
}

static void connect_to(nng_socket socket, uint16_t port)
{
    char url[64];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", (unsigned)port);
    check(nng_dial(socket, url, NULL, 0), "nng_dial");
}

static nng_msg *message_new(const void *data, size_t len)
{
    nng_msg *message;
    check(nng_msg_alloc(&message, len), "nng_msg_alloc");
    memcpy(nng_msg_body(message), data, len);
    return message;
}

static void send_to_all(const nng_socket *sockets, unsigned count, const void *data, size_t len)
{
    nng_msg *message = message_new(data, len);
    for (unsigned i = 0; i + 1 < count; i++) {
        nng_msg *copy;
        check(nng_msg_dup(&copy, message), "nng_msg_dup");
        check(nng_sendmsg(sockets[i], copy, 0), "nng_sendmsg");
    }
    check(nng_sendmsg(sockets[count - 1], message, 0), "nng_sendmsg");
}

static void write_throughput(const struct bench_job *job)
{
    nng_socket *sockets = bench_alloc(job->readers * sizeof *sockets);
    /* One line "port" a reader process: the sockets' ports travel over the first socket. */
    uint16_t *ports = bench_alloc(job->readers * sizeof *ports);
    for (unsigned i = 0; i < job->readers; i++) {
        check(nng_push0_open(&sockets[i]), "nng_push0_open");
        set_queue(sockets[i], NNG_OPT_SENDBUF, job);
        ports[i] = listen_on(sockets[i]);
    }
    control_say("port %u", (unsigned)ports[0]);
    send_to_all(sockets, 1, ports, job->readers * sizeof *ports);
    uint8_t *payload = bench_alloc(job->size);
    send_to_all(sockets, job->readers, payload, BENCH_HELLO_SIZE);
    control_say("ready");

    control_expect("go");
    uint64_t entries = 0;
    uint64_t begin_ns = clock_now_ns();
    uint64_t deadline_ns = begin_ns + (uint64_t)(job->seconds * 1e9);
    uint64_t burst = bench_entries_per_clock(job->size);
    do {
        for (uint64_t i = 0; i < burst; i++) {
            send_to_all(sockets, job->readers, payload, job->size);
        }
        entries += burst;
    } while (clock_now_ns() < deadline_ns);
    send_to_all(sockets, job->readers, &entries, BENCH_END_SIZE);
    entries *= job->readers;
    control_say("result entries=%llu bytes=%llu begin_ns=%llu", (unsigned long long)entries,
                (unsigned long long)(entries * job->size), (unsigned long long)begin_ns);
    control_expect("quit");
    for (unsigned i = 0; i < job->readers; i++) {
        nng_close(sockets[i]);
    }
    free(payload);
    free(ports);
    free(sockets);
}

struct puller {
    nng_socket socket;
    pthread_t thread;
    struct bench_counter *counter;
};

static bool receive_one(struct puller *puller)
{
    nng_msg *message;
    check(nng_recvmsg(puller->socket, &message, 0), "nng_recvmsg");
    bool end = bench_count(puller->counter, nng_msg_body(message), nng_msg_len(message));
    nng_msg_free(message);
    return end;
}

static void *read_stream(void *argument)
{
    while (!receive_one(argument)) {
    }
    return NULL;
}

static void read_throughput(const struct bench_job *job)
{
    struct bench_counter *counters = bench_alloc(job->readers * sizeof *counters);
    struct puller *pullers = bench_alloc(job->readers * sizeof *pullers);
    for (unsigned i = 0; i < job->readers; i++) {
        check(nng_pull0_open(&pullers[i].socket), "nng_pull0_open");
        set_queue(pullers[i].socket, NNG_OPT_RECVBUF, job);
        pullers[i].counter = &counters[i];
    }
    connect_to(pullers[0].socket, job->port);
    nng_msg *ports;
    check(nng_recvmsg(pullers[0].socket, &ports, 0), "nng_recvmsg");
    if (nng_msg_len(ports) != job->readers * sizeof(uint16_t)) {
        bench_fail("the greeting has %zu bytes", nng_msg_len(ports));
    }
    for (unsigned i = 1; i < job->readers; i++) {
        uint16_t port;
        memcpy(&port, (const uint8_t *)nng_msg_body(ports) + i * sizeof port, sizeof port);
        connect_to(pullers[i].socket, port);
    }
    nng_msg_free(ports);
    for (unsigned i = 0; i < job->readers; i++) {
        receive_one(&pullers[i]);
    }
    for (unsigned i = 1; i < job->readers; i++) {
        int error = pthread_create(&pullers[i].thread, NULL, read_stream, &pullers[i]);
        if (error != 0) {
            bench_fail("pthread_create: %s", strerror(error));
        }
    }
    control_say("ready");
    read_stream(&pullers[0]);
    for (unsigned i = 1; i < job->readers; i++) {
        pthread_join(pullers[i].thread, NULL);
    }
    bench_report_counters(counters, job->readers);
    control_expect("quit");
    for (unsigned i = 0; i < job->readers; i++) {
        nng_close(pullers[i].socket);
    }
    free(pullers);
    free(counters);
}

static void ping(const struct bench_job *job)
{
    nng_socket socket;
    nng_msg *answer;
    check(nng_req0_open(&socket), "nng_req0_open");
    control_say("port %u", (unsigned)listen_on(socket));
    uint8_t *payload = bench_alloc(job->size);
    send_to_all(&socket, 1, payload, BENCH_HELLO_SIZE);
    check(nng_recvmsg(socket, &answer, 0), "nng_recvmsg");
    nng_msg_free(answer);
    control_say("ready");

    struct histogram *histogram = histogram_new();
    double ns_per_tick = clock_calibrate();
    uint64_t overhead = clock_overhead_ticks();
    control_expect("go");
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)(job->seconds * 1e9);
    while (clock_now_ns() < deadline_ns) {
        uint64_t begin = clock_ticks_begin();
        send_to_all(&socket, 1, payload, job->size);
        check(nng_recvmsg(socket, &answer, 0), "nng_recvmsg");
        histogram_add(histogram, clock_ticks_end() - begin);
        nng_msg_free(answer);
    }
    send_to_all(&socket, 1, &histogram->count, BENCH_END_SIZE);
    histogram_report(histogram, ns_per_tick, overhead);
    control_expect("quit");
    nng_close(socket);
    histogram_free(histogram);
    free(payload);
}

static void echo(const struct bench_job *job)
{
    nng_socket socket;
    struct bench_counter counter = {0};
    check(nng_rep0_open(&socket), "nng_rep0_open");
    connect_to(socket, job->port);
    for (bool first = true;; first = false) {
        nng_msg *message;
        check(nng_recvmsg(socket, &message, 0), "nng_recvmsg");
        if (bench_count(&counter, nng_msg_body(message), nng_msg_len(message))) {
            nng_msg_free(message);
            break;
        }
        check(nng_sendmsg(socket, message, 0), "nng_sendmsg");
        if (first) {
            control_say("ready");
        }
    }
    control_say("result count=%llu", (unsigned long long)counter.entries);
    control_expect("quit");
    nng_close(socket);
}

static void writer(const struct bench_job *job)
{
    if (job->kind == BENCH_KIND_ROUND_TRIP) {
        ping(job);
    } else {
        write_throughput(job);
    }
}

static void reader(const struct bench_job *job)
{
    if (job->kind == BENCH_KIND_ROUND_TRIP) {
        echo(job);
    } else {
        read_throughput(job);
    }
}

const struct bench_system bench_system_nng = {"nng", "nng", writer, reader};
