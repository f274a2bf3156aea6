/* The cross-core ping: how long a cache line takes from one processor to another. On a virtual machine it may flip between
 * two values within minutes, of about 40 and 190 ns, and what threads hand to one another costs up to twice as much with
 * the slower one. */
#ifndef BENCH_PING_H
#define BENCH_PING_H

enum ping_class {
    PING_NEAR,  /* the processors share a cache */
    PING_FAR,   /* they do not */
    PING_MIXED, /* it flipped during a measurement, which says nothing then */
    PING_CLASSES
};

extern const char *const ping_class_names[PING_CLASSES];

/* Above this, in nanoseconds, it is far. */
#define PING_NEAR_MAX_NS 100

/* Nanoseconds for one way, half of there and back, over about 20 ms; 0 where there is one processor only. */
double ping_measure(void);
/* The class of what was measured between two pings. */
enum ping_class ping_classify(double before_ns, double after_ns);

#endif
