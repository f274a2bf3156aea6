#include "counters.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

static void copy_name(char *to, const char *from)
{
    size_t length = 0;
    for (; from[length] != '\0' && length < COUNTER_NAME_BYTES - 1; length++)
        to[length] = from[length] > ' ' && from[length] < 127 ? from[length] : '?';
    to[length] = '\0';
}

static bool add(struct counters *counters, const char *source, const char *name, const char *metric, uint64_t value)
{
    if (counters->count == counters->capacity) {
        size_t capacity = counters->capacity == 0 ? 256 : counters->capacity * 2;
        struct counter *items = realloc(counters->items, capacity * sizeof *items);
        if (items == NULL) {
            say("out of memory for %zu counters", capacity);
            return false;
        }
        counters->items = items;
        counters->capacity = capacity;
    }
    struct counter *counter = &counters->items[counters->count++];
    counter->source = source;
    copy_name(counter->name, name);
    copy_name(counter->metric, metric);
    counter->value = value;
    return true;
}

/* Returns the next word of a line; NULL at its end. */
static char *next_word(char **line)
{
    char *word = *line + strspn(*line, " \t");
    if (*word == '\0')
        return NULL;
    *line = word + strcspn(word, " \t");
    if (**line != '\0')
        *(*line)++ = '\0';
    return word;
}

/* Adds a counter for each column that has a name. If the kernel has fewer columns, there are fewer counters. */
static bool add_columns(struct counters *counters, const char *source, const char *name, char *line,
                        const char *const *metrics, size_t metric_count)
{
    for (size_t i = 0; i < metric_count; i++) {
        const char *word = next_word(&line);
        if (word == NULL)
            return true;
        if (metrics[i] != NULL && !add(counters, source, name, metrics[i], strtoull(word, NULL, 10)))
            return false;
    }
    return true;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* "cpu0 3704 0 2709 ..." in ticks, and "ctxt 12345" */
static bool add_stat(struct counters *counters, char *line)
{
    static const char *const ticks[] = {"user", "nice",    "system", "idle",  "iowait",
                                        "irq",  "softirq", "steal",  "guest", "guest_nice"};
    static const char *const totals[] = {"intr", "ctxt", "processes", "procs_running", "procs_blocked"};
    const char *name = next_word(&line);
    if (name == NULL)
        return true;
    if (strncmp(name, "cpu", 3) == 0)
        return add_columns(counters, "cpu", name, line, ticks, COUNT(ticks));
    for (size_t i = 0; i < COUNT(totals); i++)
        if (strcmp(name, totals[i]) == 0)
            return add_columns(counters, "cpu", "kernel", line, &totals[i], 1);
    return true;
}

/* "MemTotal:  24684084 kB", and counts without a unit */
static bool add_meminfo(struct counters *counters, char *line)
{
    char *metric = next_word(&line);
    const char *number = next_word(&line);
    const char *unit = next_word(&line);
    if (metric == NULL || number == NULL)
        return true;
    metric[strcspn(metric, ":")] = '\0';
    uint64_t scale = unit != NULL && strcmp(unit, "kB") == 0 ? 1024 : 1;
    return add(counters, "memory", "memory", metric, strtoull(number, NULL, 10) * scale);
}

/* "eth0: 65519782 2584 0 7 ..."; the two heading lines have no colon */
static bool add_net(struct counters *counters, char *line)
{
    static const char *const metrics[] = {
        "receive_bytes",  "receive_packets",  "receive_errors",  "receive_drops", NULL, NULL, NULL, NULL,
        "transmit_bytes", "transmit_packets", "transmit_errors", "transmit_drops"};
    char *colon = strrchr(line, ':');
    if (colon == NULL)
        return true;
    *colon = '\0';
    char *columns = colon + 1;
    const char *name = next_word(&line);
    return name == NULL || add_columns(counters, "network", name, columns, metrics, COUNT(metrics));
}

/* "254 0 vda 52676 8449 4601306 ..." */
static bool add_diskstats(struct counters *counters, char *line)
{
    static const char *const metrics[] = {"reads",           NULL,       "read_sectors", "read_ms", "writes", NULL,
                                          "written_sectors", "write_ms", "in_flight",    "busy_ms"};
    (void)next_word(&line);
    (void)next_word(&line);
    const char *name = next_word(&line);
    /* Skip devices without any activity, such as unused loop devices. */
    if (name == NULL || line[strspn(line, "0 ")] == '\0')
        return true;
    return add_columns(counters, "disk", name, line, metrics, COUNT(metrics));
}

static const struct {
    const char *path;
    bool (*add_line)(struct counters *counters, char *line);
} files[COUNTER_FILES] = {
    {"/proc/stat", add_stat},
    {"/proc/meminfo", add_meminfo},
    {"/proc/net/dev", add_net},
    {"/proc/diskstats", add_diskstats},
};

bool counters_open(struct counters *counters)
{
    *counters = (struct counters){0};
    size_t opened = 0;
    for (size_t i = 0; i < COUNTER_FILES; i++) {
        counters->descriptors[i] = open(files[i].path, O_RDONLY | O_CLOEXEC);
        if (counters->descriptors[i] >= 0)
            opened++;
        else
            say("%s: %s; going on without it", files[i].path, strerror(errno));
    }
    return opened > 0;
}

/* Reads a whole file again from the beginning. */
static bool read_text(struct counters *counters, size_t file)
{
    size_t length = 0;
    for (;;) {
        if (counters->text_capacity - length < 2) {
            size_t capacity = counters->text_capacity == 0 ? 16384 : counters->text_capacity * 2;
            char *text = realloc(counters->text, capacity);
            if (text == NULL) {
                say("out of memory for %s", files[file].path);
                return false;
            }
            counters->text = text;
            counters->text_capacity = capacity;
        }
        size_t space = counters->text_capacity - length - 1;
        ssize_t got = pread(counters->descriptors[file], counters->text + length, space, (off_t)length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            say("%s: %s", files[file].path, strerror(errno));
            return false;
        }
        if (got == 0)
            break;
        length += (size_t)got;
    }
    counters->text[length] = '\0';
    return true;
}

bool counters_sample(struct counters *counters)
{
    counters->count = 0;
    for (size_t i = 0; i < COUNTER_FILES; i++) {
        if (counters->descriptors[i] < 0)
            continue;
        if (!read_text(counters, i))
            return false;
        char *rest = NULL;
        for (char *line = strtok_r(counters->text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
            if (!files[i].add_line(counters, line))
                return false;
    }
    return true;
}

void counters_close(struct counters *counters)
{
    for (size_t i = 0; i < COUNTER_FILES; i++)
        if (counters->descriptors[i] >= 0)
            close(counters->descriptors[i]);
    free(counters->items);
    free(counters->text);
}
