/* nng. One push socket a reader; a message for eight readers is duplicated and sent to eight sockets, because nng's
 * pub/sub drops messages for a reader that is behind and has no way not to. The send queue is 8192 messages, the most
 * that nng takes, and receiving is done in the callback of an asynchronous operation: both are several times faster
 * here than nng's defaults and nng_recvmsg. Round trip: req/rep. */
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

enum { SEND_QUEUE = 8192 };

static void check(int result, const char *what)
{
    if (result != 0) {
        bench_fail("%s: %s", what, nng_strerror(result));
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
        check(nng_socket_set_int(sockets[i], NNG_OPT_SENDBUF, SEND_QUEUE), "NNG_OPT_SENDBUF");
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

struct pull {
    nng_socket socket;
    nng_aio *aio;
    struct bench_counter *counter;
    struct finish *finish;
};

/* How many pull sockets have not seen the end yet. */
struct finish {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned missing;
};

static void receive_hello(struct pull *pull)
{
    nng_msg *message;
    check(nng_recvmsg(pull->socket, &message, 0), "nng_recvmsg");
    if (bench_count(pull->counter, nng_msg_body(message), nng_msg_len(message))) {
        bench_fail("the stream ended before it began");
    }
    nng_msg_free(message);
}

static void on_message(void *argument)
{
    struct pull *pull = argument;
    check(nng_aio_result(pull->aio), "nng_recv_aio");
    nng_msg *message = nng_aio_get_msg(pull->aio);
    bool end = bench_count(pull->counter, nng_msg_body(message), nng_msg_len(message));
    nng_msg_free(message);
    if (!end) {
        nng_recv_aio(pull->socket, pull->aio);
        return;
    }
    pthread_mutex_lock(&pull->finish->mutex);
    pull->finish->missing--;
    pthread_cond_signal(&pull->finish->changed);
    pthread_mutex_unlock(&pull->finish->mutex);
}

static void read_throughput(const struct bench_job *job)
{
    struct bench_counter *counters = bench_alloc(job->readers * sizeof *counters);
    struct pull *pulls = bench_alloc(job->readers * sizeof *pulls);
    for (unsigned i = 0; i < job->readers; i++) {
        check(nng_pull0_open(&pulls[i].socket), "nng_pull0_open");
        pulls[i].counter = &counters[i];
    }
    connect_to(pulls[0].socket, job->port);
    nng_msg *ports;
    check(nng_recvmsg(pulls[0].socket, &ports, 0), "nng_recvmsg");
    if (nng_msg_len(ports) != job->readers * sizeof(uint16_t)) {
        bench_fail("the greeting has %zu bytes", nng_msg_len(ports));
    }
    for (unsigned i = 1; i < job->readers; i++) {
        uint16_t port;
        memcpy(&port, (const uint8_t *)nng_msg_body(ports) + i * sizeof port, sizeof port);
        connect_to(pulls[i].socket, port);
    }
    nng_msg_free(ports);
    struct finish finish = {
        .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .missing = job->readers};
    for (unsigned i = 0; i < job->readers; i++) {
        receive_hello(&pulls[i]);
        pulls[i].finish = &finish;
        check(nng_aio_alloc(&pulls[i].aio, on_message, &pulls[i]), "nng_aio_alloc");
    }
    for (unsigned i = 0; i < job->readers; i++) {
        nng_recv_aio(pulls[i].socket, pulls[i].aio);
    }
    control_say("ready");
    pthread_mutex_lock(&finish.mutex);
    while (finish.missing > 0) {
        pthread_cond_wait(&finish.changed, &finish.mutex);
    }
    pthread_mutex_unlock(&finish.mutex);
    bench_report_counters(counters, job->readers);
    control_expect("quit");
    for (unsigned i = 0; i < job->readers; i++) {
        nng_aio_free(pulls[i].aio);
        nng_close(pulls[i].socket);
    }
    free(pulls);
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
