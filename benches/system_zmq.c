/* ZeroMQ. One reader: PUSH/PULL, which blocks at the high-water mark. Eight readers: PUB/SUB with XPUB_NODROP, which
 * blocks too. One context and one I/O thread a process (the default), one receiving thread a SUB socket.
 *
 * Variants: "hwm-default" (1000 messages), "hwm-64MiB" (as many messages as fit into the buffer that libreplication has
 * by default); for the round trip "req-rep" and "push-pull". */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "bench.h"
#include "clock.h"
#include "control.h"
#include "histogram.h"

static void check(int result, const char *what)
{
    if (result < 0) {
        bench_fail("%s: %s", what, zmq_strerror(zmq_errno()));
    }
}

static void *context_new(void)
{
    void *context = zmq_ctx_new();
    if (context == NULL) {
        bench_fail("zmq_ctx_new: %s", zmq_strerror(zmq_errno()));
    }
    return context;
}

static void *socket_new(void *context, int type, const struct bench_job *job)
{
    void *socket = zmq_socket(context, type);
    if (socket == NULL) {
        bench_fail("zmq_socket: %s", zmq_strerror(zmq_errno()));
    }
    if (strcmp(job->variant, "hwm-64MiB") == 0) {
        int messages = (int)((64u << 20) / job->size);
        check(zmq_setsockopt(socket, ZMQ_SNDHWM, &messages, sizeof messages), "ZMQ_SNDHWM");
        check(zmq_setsockopt(socket, ZMQ_RCVHWM, &messages, sizeof messages), "ZMQ_RCVHWM");
    }
    return socket;
}

static uint16_t listen_on(void *socket)
{
    char endpoint[64];
    size_t len = sizeof endpoint;
    unsigned port;
    check(zmq_bind(socket, "tcp://127.0.0.1:*"), "zmq_bind");
    check(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &len), "ZMQ_LAST_ENDPOINT");
    if (sscanf(endpoint, "tcp://127.0.0.1:%u", &port) != 1 || port > UINT16_MAX) {
        bench_fail("endpoint %s", endpoint);
    }
    return (uint16_t)port;
}

static void connect_to(void *socket, uint16_t port)
{
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", (unsigned)port);
    check(zmq_connect(socket, endpoint), "zmq_connect");
}

static void send_copy(void *socket, const void *data, size_t len)
{
    zmq_msg_t message;
    check(zmq_msg_init_size(&message, len), "zmq_msg_init_size");
    memcpy(zmq_msg_data(&message), data, len);
    check(zmq_msg_send(&message, socket, 0), "zmq_msg_send");
}

static void receive(void *socket, zmq_msg_t *message)
{
    check(zmq_msg_recv(message, socket, 0), "zmq_msg_recv");
}

static void write_throughput(const struct bench_job *job, void *context)
{
    bool fan_out = job->readers > 1;
    void *socket = socket_new(context, fan_out ? ZMQ_XPUB : ZMQ_PUSH, job);
    int on = 1;
    if (fan_out) {
        check(zmq_setsockopt(socket, ZMQ_XPUB_NODROP, &on, sizeof on), "ZMQ_XPUB_NODROP");
        /* Verbose: each reader's subscription is passed up, not only the first. */
        check(zmq_setsockopt(socket, ZMQ_XPUB_VERBOSE, &on, sizeof on), "ZMQ_XPUB_VERBOSE");
    }
    control_say("port %u", (unsigned)listen_on(socket));
    for (unsigned i = 0; fan_out && i < job->readers; i++) {
        zmq_msg_t subscription;
        zmq_msg_init(&subscription);
        receive(socket, &subscription);
        zmq_msg_close(&subscription);
    }
    uint8_t *payload = bench_alloc(job->size);
    send_copy(socket, payload, BENCH_HELLO_SIZE);
    control_say("ready");

    control_expect("go");
    uint64_t entries = 0;
    uint64_t begin_ns = clock_now_ns();
    uint64_t deadline_ns = begin_ns + (uint64_t)(job->seconds * 1e9);
    uint64_t burst = bench_entries_per_clock(job->size);
    do {
        for (uint64_t i = 0; i < burst; i++) {
            send_copy(socket, payload, job->size);
        }
        entries += burst;
    } while (clock_now_ns() < deadline_ns);
    send_copy(socket, &entries, BENCH_END_SIZE);
    entries *= job->readers;
    control_say("result entries=%llu bytes=%llu begin_ns=%llu", (unsigned long long)entries,
                (unsigned long long)(entries * job->size), (unsigned long long)begin_ns);
    control_expect("quit");
    free(payload);
    zmq_close(socket);
}

struct subscriber {
    void *socket;
    pthread_t thread;
    struct bench_counter *counter;
};

static void *read_stream(void *argument)
{
    struct subscriber *subscriber = argument;
    zmq_msg_t message;
    zmq_msg_init(&message);
    do {
        receive(subscriber->socket, &message);
    } while (!bench_count(subscriber->counter, zmq_msg_data(&message), zmq_msg_size(&message)));
    zmq_msg_close(&message);
    return NULL;
}

static void read_throughput(const struct bench_job *job, void *context)
{
    struct bench_counter *counters = bench_alloc(job->readers * sizeof *counters);
    struct subscriber *subscribers = bench_alloc(job->readers * sizeof *subscribers);
    for (unsigned i = 0; i < job->readers; i++) {
        void *socket = socket_new(context, job->readers > 1 ? ZMQ_SUB : ZMQ_PULL, job);
        if (job->readers > 1) {
            check(zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0), "ZMQ_SUBSCRIBE");
        }
        connect_to(socket, job->port);
        subscribers[i].socket = socket;
        subscribers[i].counter = &counters[i];
    }
    for (unsigned i = 0; i < job->readers; i++) {
        zmq_msg_t hello;
        zmq_msg_init(&hello);
        receive(subscribers[i].socket, &hello);
        bench_count(&counters[i], zmq_msg_data(&hello), zmq_msg_size(&hello));
        zmq_msg_close(&hello);
    }
    for (unsigned i = 1; i < job->readers; i++) {
        int error = pthread_create(&subscribers[i].thread, NULL, read_stream, &subscribers[i]);
        if (error != 0) {
            bench_fail("pthread_create: %s", strerror(error));
        }
    }
    control_say("ready");
    read_stream(&subscribers[0]);
    for (unsigned i = 1; i < job->readers; i++) {
        pthread_join(subscribers[i].thread, NULL);
    }
    bench_report_counters(counters, job->readers);
    control_expect("quit");
    for (unsigned i = 0; i < job->readers; i++) {
        zmq_close(subscribers[i].socket);
    }
    free(subscribers);
    free(counters);
}

/* "req-rep" has one socket a side, "push-pull" one for each direction; the second one's port travels over the first. */
static void ping(const struct bench_job *job, void *context)
{
    bool one_socket = strcmp(job->variant, "req-rep") == 0;
    void *out = socket_new(context, one_socket ? ZMQ_REQ : ZMQ_PUSH, job);
    void *in = one_socket ? out : socket_new(context, ZMQ_PULL, job);
    control_say("port %u", (unsigned)listen_on(out));
    uint8_t *payload = bench_alloc(job->size);
    zmq_msg_t message;
    zmq_msg_init(&message);
    uint16_t port = one_socket ? 0 : listen_on(in);
    send_copy(out, &port, sizeof port);
    receive(in, &message);
    control_say("ready");

    struct histogram *histogram = histogram_new();
    double ns_per_tick = clock_calibrate();
    uint64_t overhead = clock_overhead_ticks();
    control_expect("go");
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)(job->seconds * 1e9);
    while (clock_now_ns() < deadline_ns) {
        uint64_t begin = clock_ticks_begin();
        send_copy(out, payload, job->size);
        receive(in, &message);
        histogram_add(histogram, clock_ticks_end() - begin);
    }
    send_copy(out, &histogram->count, BENCH_END_SIZE);
    histogram_report(histogram, ns_per_tick, overhead);
    control_expect("quit");
    zmq_msg_close(&message);
    histogram_free(histogram);
    free(payload);
    if (!one_socket) {
        zmq_close(in);
    }
    zmq_close(out);
}

static void echo(const struct bench_job *job, void *context)
{
    bool one_socket = strcmp(job->variant, "req-rep") == 0;
    void *in = socket_new(context, one_socket ? ZMQ_REP : ZMQ_PULL, job);
    void *out = one_socket ? in : socket_new(context, ZMQ_PUSH, job);
    struct bench_counter counter = {0};
    zmq_msg_t message;
    uint16_t port;
    zmq_msg_init(&message);
    connect_to(in, job->port);
    receive(in, &message);
    if (zmq_msg_size(&message) != sizeof port) {
        bench_fail("the greeting has %zu bytes", zmq_msg_size(&message));
    }
    memcpy(&port, zmq_msg_data(&message), sizeof port);
    if (!one_socket) {
        connect_to(out, port);
    }
    send_copy(out, &port, sizeof port);
    control_say("ready");
    for (;;) {
        receive(in, &message);
        if (bench_count(&counter, zmq_msg_data(&message), zmq_msg_size(&message))) {
            break;
        }
        check(zmq_msg_send(&message, out, 0), "zmq_msg_send");
    }
    control_say("result count=%llu", (unsigned long long)counter.entries);
    control_expect("quit");
    zmq_msg_close(&message);
    if (!one_socket) {
        zmq_close(out);
    }
    zmq_close(in);
}

static void writer(const struct bench_job *job)
{
    void *context = context_new();
    if (job->kind == BENCH_KIND_ROUND_TRIP) {
        ping(job, context);
    } else {
        write_throughput(job, context);
    }
    zmq_ctx_term(context);
}

static void reader(const struct bench_job *job)
{
    void *context = context_new();
    if (job->kind == BENCH_KIND_ROUND_TRIP) {
        echo(job, context);
    } else {
        read_throughput(job, context);
    }
    zmq_ctx_term(context);
}

const struct bench_system bench_system_zmq = {"zmq", "ZeroMQ", writer, reader};
