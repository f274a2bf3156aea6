/* The verbs of plain sockets. */
#include <stdlib.h>
#include <sys/socket.h>

#include "step.h"

static int32_t peer_connects(struct step *step)
{
    uint16_t port = find_kind(step, text(step, "of"), SENDER)->port;
    peer_open(&object_new(step, text(step, "on"), PEER)->peer, dial_tcp(port));
    return REPLICATION_STATUS_OK;
}

/* The bytes that a step gives in hexadecimal, or as type and JSON; to be freed. */
static uint8_t *bytes_given(struct step *step, size_t *out_len)
{
    if (given(step, "hex"))
        return bytes_of(step, text(step, "hex"), out_len);
    const char *json = text(step, "json");
    uint8_t *bytes = must_alloc(REPLICATION_HEADER_SIZE + strlen(json));
    CHECK_OK(replication_write_message((uint8_t)number(step, "type"), (const uint8_t *)json, strlen(json), bytes,
                                       REPLICATION_HEADER_SIZE + strlen(json), out_len));
    return bytes;
}

static int32_t peer_sends(struct step *step)
{
    size_t len = 0;
    uint8_t *bytes = bytes_given(step, &len);
    peer_send(&step->on->peer, bytes, len);
    free(bytes);
    return REPLICATION_STATUS_OK;
}

static int32_t peer_receives(struct step *step)
{
    size_t len = 0;
    uint8_t *expected = bytes_given(step, &len), *got = must_alloc(len);
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    CHECK(setsockopt(step->on->peer.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    if (recv(step->on->peer.fd, got, len, MSG_WAITALL) != (ssize_t)len || memcmp(got, expected, len) != 0)
        STEP_FAIL(step, "other bytes came, or too few");
    free(got);
    free(expected);
    return REPLICATION_STATUS_OK;
}

static int32_t peer_is_closed(struct step *step)
{
    peer_drain(&step->on->peer);
    return REPLICATION_STATUS_OK;
}

const struct verb peer_verbs[] = {
    {"peer.connect", false, " of ", peer_connects},
    {"peer.send", false, " hex type json ", peer_sends},
    {"peer.receive", false, " hex type json ", peer_receives},
    {"peer.closed", false, "", peer_is_closed},
    {"peer.close", false, "", object_is_freed},
    {NULL, false, NULL, NULL},
};
