#include "report.h"

#include <inttypes.h>
#include <stdio.h>

#include "common.h"

bool succeeded(replication_status status, const char *what)
{
    if (status == REPLICATION_STATUS_OK)
        return true;
    say("%s: %s: %s", what, replication_status_name(status), replication_last_error_message());
    return false;
}

static const char *event_name(int32_t kind)
{
    static const char *const names[] = {
        [REPLICATION_EVENT_KIND_CONNECTED] = "connected",
        [REPLICATION_EVENT_KIND_DISCONNECTED] = "disconnected",
        [REPLICATION_EVENT_KIND_REFUSED] = "refused",
        [REPLICATION_EVENT_KIND_GAP] = "gap",
        [REPLICATION_EVENT_KIND_REGRESSED] = "regressed",
        [REPLICATION_EVENT_KIND_DIVERGED] = "diverged",
        [REPLICATION_EVENT_KIND_LAGGING] = "lagging",
        [REPLICATION_EVENT_KIND_CUT_OFF] = "cut off",
        [REPLICATION_EVENT_KIND_APPLY_FAILED] = "apply failed",
        [REPLICATION_EVENT_KIND_ENTRY_SKIPPED] = "entry skipped",
        [REPLICATION_EVENT_KIND_GAP_PASSED] = "gap passed",
        [REPLICATION_EVENT_KIND_STOPPED] = "stopped",
        [REPLICATION_EVENT_KIND_PROTOCOL_ERROR] = "protocol error",
        [REPLICATION_EVENT_KIND_ENTRY_REFUSED] = "entry refused",
        [REPLICATION_EVENT_KIND_EVENTS_LOST] = "events lost",
        [REPLICATION_EVENT_KIND_SLOT_LOST] = "slot lost",
        [REPLICATION_EVENT_KIND_SLOT_EXPIRED] = "slot expired",
        [REPLICATION_EVENT_KIND_WAL_STALLED] = "log stalled",
        [REPLICATION_EVENT_KIND_WAL_RESUMED] = "log resumed",
        [REPLICATION_EVENT_KIND_WAL_FAILED] = "log failed",
        [REPLICATION_EVENT_KIND_WAL_RECOVERED] = "log recovered",
        [REPLICATION_EVENT_KIND_WAL_TRIMMED] = "log trimmed",
        [REPLICATION_EVENT_KIND_SLOT_REFUSED] = "slot refused",
        [REPLICATION_EVENT_KIND_READER_REWOUND] = "reader rewound",
        [REPLICATION_EVENT_KIND_DESCRIPTORS_LOW] = "descriptors low",
        [REPLICATION_EVENT_KIND_LISTEN_INCOMPLETE] = "listen incomplete",
        [REPLICATION_EVENT_KIND_UNPROTECTED] = "unprotected",
    };
    /* A newer library may report kinds that this program does not know. */
    bool known = kind > 0 && (size_t)kind < sizeof names / sizeof names[0] && names[kind] != NULL;
    return known ? names[kind] : "event";
}

void print_event(void *user_data, const replication_event *event)
{
    (void)user_data;
    char sequence[32] = "";
    if (event->sequence != 0)
        snprintf(sequence, sizeof sequence, " at %" PRIu64, event->sequence);
    say("%s%s [%s] reader '%s' %s: %s %s", event_name(event->kind), sequence, replication_status_name(event->status),
        event->reader_id, event->address, event->message, event->detail_json);
}

void print_log(void *user_data, int32_t level, const char *message, const char *fields_json)
{
    (void)user_data;
    static const char *const names[] = {"?", "error", "warning", "info", "debug"};
    bool known = level >= REPLICATION_LOG_LEVEL_ERROR && level <= REPLICATION_LOG_LEVEL_DEBUG;
    say("%s: %s %s", names[known ? level : 0], message, fields_json);
}
