/* The verbs of senders. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hearing.h"
#include "options.h"

static int32_t sender_is_new(struct step *step)
{
    struct object *object = object_new(step, text(step, "on"), SENDER);
    replication_sender_config *config = sender_config_new();
    CHECK(config != NULL);
    int32_t status = REPLICATION_STATUS_OK;
    atomic_store(&object->stop_inside, truth(step, "stop_inside"));
    CHECK_OK(sender_config_set_event_handler(config, hear_event, object, NULL));
    CHECK_OK(sender_config_set_log_handler(config, REPLICATION_LOG_LEVEL_DEBUG, hear_log, object, NULL));
    if (given(step, "config"))
        status = sender_options(config, needed(step, "config"), token_named);
    if (status == REPLICATION_STATUS_OK)
        status = sender_new(config, &object->sender);
    sender_config_free(config);
    object->freed = status != REPLICATION_STATUS_OK;
    return status;
}

static int32_t sender_starts(struct step *step)
{
    return sender_start(step->on->sender);
}

static int32_t sender_listens(struct step *step)
{
    struct object *object = step->on;
    char address[sizeof object->address] = "127.0.0.1:0";
    if (given(step, "same_as")) {
        snprintf(address, sizeof address, "%s", find_kind(step, text(step, "same_as"), SENDER)->address);
    } else if (given(step, "address")) {
        static const char mark[] = "{tmp}/";
        const char *wanted = text(step, "address"), *at = strstr(wanted, mark);
        if (at == NULL)
            snprintf(address, sizeof address, "%s", wanted);
        else
            snprintf(address, sizeof address, "%.*s%s", (int)(at - wanted), wanted, temp_path(at + strlen(mark)));
    }
    uint16_t port = 0;
    int32_t status = sender_listen(object->sender, address, &port);
    if (status != REPLICATION_STATUS_OK)
        return status;
    object->port = port;
    snprintf(object->address, sizeof object->address, "%s", port == 0 ? address : tcp_address(port));
    return status;
}

static int32_t sender_accepts(struct step *step)
{
    int ends[2];
    socket_pair(ends);
    if (truth(step, "closed")) {
        close(ends[0]);
        close(ends[1]);
        return sender_accept_connection(step->on->sender, ends[0]);
    }
    peer_open(&object_new(step, text(step, "peer"), PEER)->peer, ends[1]);
    int32_t status = sender_accept_connection(step->on->sender, ends[0]);
    if (status != REPLICATION_STATUS_OK)
        close(ends[0]);
    return status;
}

static uint8_t *payload_for(uint64_t sequence, size_t len)
{
    uint8_t *payload = must_alloc(len);
    for (size_t i = 0; i < len; i++)
        payload[i] = payload_byte(sequence, i);
    return payload;
}

static int32_t replicate(struct step *step, const uint8_t *payload, size_t len)
{
    uint64_t expected = sender_current_sequence(step->on->sender) + 1, sequence = 0;
    int32_t status = sender_replicate(step->on->sender, TIMESTAMP_US, payload, len, &sequence);
    if (status == REPLICATION_STATUS_OK && sequence != expected)
        STEP_FAIL(step, "the entry got sequence %llu, not %llu", (unsigned long long)sequence,
                  (unsigned long long)expected);
    return status;
}

static int32_t sender_replicates(struct step *step)
{
    int32_t status = REPLICATION_STATUS_OK;
    uint64_t count = number_or(step, "count", 1);
    size_t len = number_or(step, "bytes", DEFAULT_BYTES);
    for (uint64_t i = 0; i < count && status == REPLICATION_STATUS_OK; i++) {
        uint8_t *payload = payload_for(sender_current_sequence(step->on->sender) + 1, len);
        status = replicate(step, payload, len);
        free(payload);
    }
    return status;
}

static int32_t sender_replicates_for_a_token(struct step *step)
{
    struct object *object = object_new(step, text(step, "token"), TOKEN);
    size_t len = number_or(step, "bytes", DEFAULT_BYTES);
    uint8_t *payload = payload_for(sender_current_sequence(step->on->sender) + 1, len);
    int32_t status = sender_replicate_token(step->on->sender, TIMESTAMP_US, payload, len, PLACE_ROOM(object->token));
    free(payload);
    object->freed = status != REPLICATION_STATUS_OK;
    return status;
}

static int32_t sender_replicates_a_batch(struct step *step)
{
    size_t count = number_or(step, "count", 1), len = number_or(step, "bytes", DEFAULT_BYTES);
    uint64_t expected = sender_current_sequence(step->on->sender) + 1, first = 0;
    replication_slice *payloads = must_alloc(count * sizeof *payloads);
    for (size_t i = 0; i < count; i++)
        payloads[i] = (replication_slice){payload_for(expected + i, len), len};
    int32_t status = sender_replicate_batch(step->on->sender, TIMESTAMP_US, payloads, count, &first);
    for (size_t i = 0; i < count; i++)
        free((void *)payloads[i].data);
    free(payloads);
    if (status == REPLICATION_STATUS_OK && first != expected)
        STEP_FAIL(step, "the batch begins at %llu, not %llu", (unsigned long long)first, (unsigned long long)expected);
    return status;
}

static int32_t sender_replicates_hex(struct step *step)
{
    int32_t status = REPLICATION_STATUS_OK;
    struct json_object *payloads = needed(step, "payloads");
    for (size_t i = 0; i < json_object_array_length(payloads) && status == REPLICATION_STATUS_OK; i++) {
        size_t len = 0;
        uint8_t *payload = bytes_of(step, json_object_get_string(json_object_array_get_idx(payloads, i)), &len);
        status = replicate(step, payload, len);
        free(payload);
    }
    return status;
}

/* The child tells its status through a pipe and ends by a signal: what it has from its parent is not given back, and no
 * tool is to complain of that at an exit. */
static int32_t sender_replicates_in_a_child(struct step *step)
{
    int ends[2];
    int32_t status = NOT_YET;
    CHECK(pipe(ends) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        status = sender_replicate(step->on->sender, TIMESTAMP_US, NULL, 0, NULL);
        CHECK(write(ends[1], &status, sizeof status) == sizeof status);
        raise(SIGKILL);
    }
    CHECK(harness_wait_child(pid) == -SIGKILL);
    CHECK(read(ends[0], &status, sizeof status) == sizeof status);
    close(ends[0]);
    close(ends[1]);
    return status;
}

static int32_t sender_removes_a_reader(struct step *step)
{
    return sender_remove_reader(step->on->sender, text(step, "reader_id"));
}

static int32_t sender_is_set_writable(struct step *step)
{
    needed(step, "writable");
    return sender_set_writable(step->on->sender, truth(step, "writable"));
}

static int32_t sender_waits_for_acks(struct step *step)
{
    return sender_wait_acked(step->on->sender, number(step, "sequence"), level(step), number(step, "readers"),
                             number_or(step, "timeout_ms", PATIENCE_MS), NULL);
}

/* The quorum of a step, to be freed, and the status of making it: "readers" of any group, or a list of
 * conditions. */
static replication_quorum *quorum_of(struct step *step, int32_t *status)
{
    replication_quorum *quorum = replication_quorum_new();
    CHECK(quorum != NULL);
    if (!given(step, "quorum")) {
        *status = replication_quorum_add(quorum, NULL, number(step, "readers"));
        return quorum;
    }
    *status = REPLICATION_STATUS_OK;
    struct json_object *conditions = needed(step, "quorum");
    for (size_t i = 0; i < json_object_array_length(conditions) && *status == REPLICATION_STATUS_OK; i++) {
        struct json_object *condition = json_object_array_get_idx(conditions, i);
        uint64_t readers = 0;
        if (!json_is_u64(json_object_array_get_idx(condition, 1), &readers))
            STEP_FAIL(step, "a condition is a group and a number of readers");
        *status =
            replication_quorum_add(quorum, json_object_get_string(json_object_array_get_idx(condition, 0)), readers);
    }
    return quorum;
}

static int32_t sender_waits_for_a_token(struct step *step)
{
    const struct place token = token_named(text(step, "token"));
    int32_t status;
    replication_quorum *quorum = quorum_of(step, &status);
    if (status == REPLICATION_STATUS_OK)
        status = sender_wait_token(step->on->sender, PLACE(token), level(step), quorum,
                                   number_or(step, "timeout_ms", PATIENCE_MS), NULL);
    replication_quorum_free(quorum);
    return status;
}

static int32_t sender_is_asked_for_acks(struct step *step)
{
    const struct place token = token_named(text(step, "token"));
    int32_t status;
    replication_quorum *quorum = quorum_of(step, &status);
    if (status == REPLICATION_STATUS_OK)
        status = sender_acked(step->on->sender, PLACE(token), level(step), quorum, NULL);
    replication_quorum_free(quorum);
    return status;
}

static int32_t sender_orders_a_call(struct step *step)
{
    const struct place token = token_named(text(step, "token"));
    struct object *order = object_new(step, text(step, "order"), ORDER);
    int32_t status;
    replication_quorum *quorum = quorum_of(step, &status);
    if (status == REPLICATION_STATUS_OK)
        status = sender_on_acked(step->on->sender, PLACE(token), level(step), quorum,
                                 number_or(step, "timeout_ms", PATIENCE_MS), hear_acked, order, NULL);
    replication_quorum_free(quorum);
    return status;
}

static int32_t sender_waits_for_the_disk(struct step *step)
{
    return sender_wait_durable(step->on->sender, number(step, "sequence"), number_or(step, "timeout_ms", PATIENCE_MS));
}

static int32_t sender_drops_a_slot(struct step *step)
{
    return sender_drop_slot(step->on->sender, text(step, "reader_id"));
}

static int32_t sender_gives_a_token(struct step *step)
{
    struct object *object = object_new(step, text(step, "token"), TOKEN);
    return sender_token(step->on->sender, PLACE_ROOM(object->token));
}

static int32_t senders_option_is_set(struct step *step)
{
    return sender_set_option(step->on->sender, text(step, "name"), number(step, "value"));
}

static int32_t sender_adds_a_secret(struct step *step)
{
    replication_secret *secret = NULL;
    CHECK_OK(secret_of(needed(step, "secret"), &secret));
    int32_t status = sender_add_secret(step->on->sender, secret);
    replication_secret_free(secret);
    return status;
}

static int32_t sender_removes_a_secret(struct step *step)
{
    return sender_remove_secret(step->on->sender, text(step, "name"));
}

static int32_t sender_stops(struct step *step)
{
    return sender_stop(step->on->sender);
}

const struct verb sender_verbs[] = {
    {"sender.new", true, " config stop_inside ", sender_is_new},
    {"sender.start", true, "", sender_starts},
    {"sender.listen", true, " address same_as ", sender_listens},
    {"sender.accept_connection", true, " peer closed ", sender_accepts},
    {"sender.replicate", true, " count bytes ", sender_replicates},
    {"sender.replicate_token", true, " token bytes ", sender_replicates_for_a_token},
    {"sender.replicate_batch", true, " count bytes ", sender_replicates_a_batch},
    {"sender.replicate_hex", true, " payloads ", sender_replicates_hex},
    {"sender.replicate_in_child", true, "", sender_replicates_in_a_child},
    {"sender.remove_reader", true, " reader_id ", sender_removes_a_reader},
    {"sender.set_writable", true, " writable ", sender_is_set_writable},
    {"sender.wait_acked", true, " sequence level readers timeout_ms ", sender_waits_for_acks},
    {"sender.wait_token", true, " token level readers quorum timeout_ms ", sender_waits_for_a_token},
    {"sender.acked", true, " token level readers quorum ", sender_is_asked_for_acks},
    {"sender.on_acked", true, " token level readers quorum timeout_ms order ", sender_orders_a_call},
    {"sender.wait_durable", true, " sequence timeout_ms ", sender_waits_for_the_disk},
    {"sender.drop_slot", true, " reader_id ", sender_drops_a_slot},
    {"sender.token", true, " token ", sender_gives_a_token},
    {"sender.set_option", true, " name value ", senders_option_is_set},
    {"sender.add_secret", true, " secret ", sender_adds_a_secret},
    {"sender.remove_secret", true, " name ", sender_removes_a_secret},
    {"sender.stop", true, "", sender_stops},
    {"sender.free", false, "", object_is_freed},
    {NULL, false, NULL, NULL},
};
