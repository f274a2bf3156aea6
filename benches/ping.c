#include "ping.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "clock.h"

/* The median of many short batches: one in which a thread lost its processor does not count. */
enum { BATCHES = 101, ROUND_TRIPS = 500, STOP = -1 };

const char *const ping_class_names[PING_CLASSES] = {"near", "far", "mixed"};

struct court {
    int processors[2];
    _Alignas(64) atomic_int ball; /* odd: it is on the other thread's side */
};

static bool stay_on(int processor)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    return pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0;
}

static void *play(void *argument)
{
    struct court *court = argument;
    stay_on(court->processors[1]);
    for (;;) {
        int ball = atomic_load_explicit(&court->ball, memory_order_acquire);
        if (ball == STOP) {
            return NULL;
        }
        if (ball % 2 == 1) {
            atomic_store_explicit(&court->ball, ball + 1, memory_order_release);
        }
    }
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double rally(struct court *court)
{
    double batches[BATCHES];
    for (int batch = 0; batch < BATCHES; batch++) {
        uint64_t begin_ns = clock_now_ns();
        for (int i = 0; i < ROUND_TRIPS; i++) {
            atomic_store_explicit(&court->ball, 1, memory_order_release);
            while (atomic_load_explicit(&court->ball, memory_order_acquire) == 1) {
            }
        }
        batches[batch] = (double)(clock_now_ns() - begin_ns) / (2 * ROUND_TRIPS);
    }
    qsort(batches, BATCHES, sizeof *batches, ascending);
    return batches[BATCHES / 2];
}

double ping_measure(void)
{
    struct court court = {.ball = 0};
    cpu_set_t allowed;
    pthread_t other;
    int found = 0;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        return 0;
    }
    for (int processor = 0; processor < CPU_SETSIZE && found < 2; processor++) {
        if (CPU_ISSET(processor, &allowed)) {
            court.processors[found++] = processor;
        }
    }
    if (found < 2 || pthread_create(&other, NULL, play, &court) != 0) {
        return 0;
    }
    double ns = stay_on(court.processors[0]) ? rally(&court) : 0;
    atomic_store(&court.ball, STOP);
    pthread_join(other, NULL);
    /* The children are not bound. */
    sched_setaffinity(0, sizeof allowed, &allowed);
    return ns;
}

enum ping_class ping_classify(double before_ns, double after_ns)
{
    bool far_before = before_ns > PING_NEAR_MAX_NS, far_after = after_ns > PING_NEAR_MAX_NS;
    return far_before != far_after ? PING_MIXED : far_before ? PING_FAR : PING_NEAR;
}
