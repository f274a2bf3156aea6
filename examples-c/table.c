#include "table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

#include "common.h"

double table_seconds(const struct table *table)
{
    return (double)(steady_clock_us() - table->begin_us) / 1e6;
}

static const char *state_of(const struct process *process)
{
    switch (process->state) {
    case PROCESS_RUNNING:
        return "running";
    case PROCESS_PAUSED:
        return "PAUSED";
    case PROCESS_ENDED:
        return WIFSIGNALED(process->wait_status) ? "KILLED" : "ended";
    default:
        return "-";
    }
}

/* Computes how far a reader is behind the writer. A running reader reports this itself; for one that cannot, it is the
 * difference between the last reports of both. */
static void lag_of(const struct table *table, const struct member *reader, uint64_t *entries, double *ms)
{
    const struct member *writer = &table->members[0];
    *entries = writer->sequence > reader->sequence ? writer->sequence - reader->sequence : 0;
    *ms = reader->latency_ms;
    if (reader->process.state == PROCESS_RUNNING) {
        if (reader->lag >= 0)
            *entries = (uint64_t)reader->lag;
    } else if (*entries > 0 && writer->timestamp_us > reader->timestamp_us) {
        *ms = (double)(writer->timestamp_us - reader->timestamp_us) / 1000;
    }
}

static void draw(struct table *table)
{
    if (table->stands)
        printf("\033[%dA", MEMBERS + 2); /* moves up to overwrite the old table */
    table->stands = true;
    printf("\033[K%5.1f s  %s\n", table_seconds(table), table->phase);
    printf("\033[K         %-10s %-8s %10s %11s %12s %10s\n", "process", "state", "sequence", "entries/s",
           "lag entries", "lag ms");
    for (int i = 0; i < MEMBERS; i++) {
        const struct member *member = &table->members[i];
        printf("\033[K         %-10s %-8s %10" PRIu64, member->process.name, state_of(&member->process),
               member->sequence);
        if (member->process.state == PROCESS_RUNNING)
            printf(" %11.0f", member->rate);
        else
            printf(" %11s", "-");
        if (i > 0) {
            uint64_t entries = 0;
            double ms = 0;
            lag_of(table, member, &entries, &ms);
            printf(" %12" PRIu64 " %10.1f", entries, ms);
        }
        putchar('\n');
    }
    fflush(stdout);
}

static void print_line(const struct table *table)
{
    const struct member *writer = &table->members[0];
    printf("%5.1f s  writer at %" PRIu64 ", %.0f entries/s", table_seconds(table), writer->sequence, writer->rate);
    for (int i = 1; i < MEMBERS; i++) {
        const struct member *reader = &table->members[i];
        uint64_t entries = 0;
        double ms = 0;
        lag_of(table, reader, &entries, &ms);
        printf(" | %s %s at %" PRIu64 ", %.0f entries/s, lag %" PRIu64 " entries %.1f ms", reader->process.name,
               state_of(&reader->process), reader->sequence,
               reader->process.state == PROCESS_RUNNING ? reader->rate : 0.0, entries, ms);
    }
    putchar('\n');
    fflush(stdout);
}

void table_show(struct table *table)
{
    uint64_t now = steady_clock_us();
    if (now - table->drawn_us < (table->terminal ? 100000 : 1000000))
        return;
    table->drawn_us = now;
    if (table->terminal)
        draw(table);
    else
        print_line(table);
}

void table_begin_phase(struct table *table, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(table->phase, sizeof table->phase, format, arguments);
    va_end(arguments);
    table->drawn_us = steady_clock_us();
    if (table->terminal) {
        table->stands = false; /* keeps the old table on the screen */
        draw(table);
    } else {
        printf("%5.1f s  -- %s\n", table_seconds(table), table->phase);
        fflush(stdout);
    }
}
