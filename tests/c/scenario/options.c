#include "options.h"

#include <stdio.h>
#include <stdlib.h>

#define CONSTANT(enumeration, name)                                                                                    \
    {                                                                                                                  \
#enumeration, #name, REPLICATION_##enumeration##_##name                                                        \
    }

int64_t constant(const char *enumeration, const char *name)
{
    static const struct {
        const char *enumeration, *name;
        int64_t number;
    } constants[] = {
        CONSTANT(ACK_LEVEL, RECEIVED), CONSTANT(ACK_LEVEL, DURABLE),
        CONSTANT(ACK_LEVEL, APPLIED),  CONSTANT(FULL_POLICY, CUT_OFF_SLOWEST),
        CONSTANT(FULL_POLICY, REFUSE), CONSTANT(FULL_POLICY, WAIT),
        CONSTANT(SYNC_POLICY, ALWAYS), CONSTANT(SYNC_POLICY, GROUP),
        CONSTANT(SYNC_POLICY, OS),     CONSTANT(GATE_POLICY, REFUSE),
        CONSTANT(GATE_POLICY, SLOW),   CONSTANT(PROTOCOL, AUTO),
        CONSTANT(PROTOCOL, V1),        CONSTANT(PROTOCOL, V2),
        CONSTANT(GAP_POLICY, REFUSE),  CONSTANT(GAP_POLICY, CONTINUE),
        CONSTANT(APPLY_POLICY, RETRY), CONSTANT(APPLY_POLICY, STOP),
        CONSTANT(APPLY_POLICY, SKIP),
    };
    for (size_t i = 0; i < COUNT(constants); i++)
        if (strcmp(constants[i].enumeration, enumeration) == 0 && strcmp(constants[i].name, name) == 0)
            return constants[i].number;
    return -1;
}

/* The name of a setter, and its arguments: one as it is, more in a list. */
struct option {
    const char *name;
    struct json_object *value;
};

static struct json_object *argument(const struct option *option, size_t index)
{
    bool is_list = json_object_is_type(option->value, json_type_array);
    if (index >= (is_list ? json_object_array_length(option->value) : 1))
        FAIL("option \"%s\" lacks argument %zu", option->name, index);
    return is_list ? json_object_array_get_idx(option->value, index) : option->value;
}

static uint64_t number(const struct option *option, size_t index)
{
    uint64_t value = 0;
    if (!json_is_u64(argument(option, index), &value))
        FAIL("option \"%s\": argument %zu is no number", option->name, index);
    return value;
}

static const char *text(const struct option *option, size_t index)
{
    return json_object_get_string(argument(option, index)); /* NULL for null */
}

static bool truth(const struct option *option, size_t index)
{
    return json_object_get_boolean(argument(option, index));
}

static uint32_t named(const struct option *option, size_t index, const char *enumeration)
{
    int64_t value = constant(enumeration, text(option, index));
    if (value < 0)
        FAIL("option \"%s\": there is no %s %s", option->name, enumeration, text(option, index));
    return (uint32_t)value;
}

/* A copy of the path that lasts as long as the test. */
static const char *path(const struct option *option, size_t index)
{
    static char paths[4][200];
    CHECK(index < COUNT(paths));
    if (text(option, index) == NULL)
        return NULL;
    snprintf(paths[index], sizeof paths[index], "%s", temp_path(text(option, index)));
    return paths[index];
}

static int32_t add_groups(replication_sender_config *config, struct json_object *groups)
{
    const char *ids[16];
    int32_t status = REPLICATION_STATUS_OK;
    json_object_object_foreach (groups, group, members) {
        size_t count = json_object_array_length(members);
        CHECK(count <= COUNT(ids));
        for (size_t i = 0; i < count; i++)
            ids[i] = json_object_get_string(json_object_array_get_idx(members, i));
        if (status == REPLICATION_STATUS_OK)
            status = sender_config_add_group(config, group, ids, count);
    }
    return status;
}

int32_t secret_of(struct json_object *list, replication_secret **out)
{
    const char *parts[3];
    CHECK(json_object_array_length(list) == COUNT(parts));
    for (size_t i = 0; i < COUNT(parts); i++)
        parts[i] = json_object_get_string(json_object_array_get_idx(list, i));
    return replication_secret_from_bytes(parts[0], parts[1], (const uint8_t *)parts[2], strlen(parts[2]), out);
}

static int32_t add_secrets(replication_sender_config *config, struct json_object *secrets)
{
    int32_t status = REPLICATION_STATUS_OK;
    for (size_t i = 0; status == REPLICATION_STATUS_OK && i < json_object_array_length(secrets); i++) {
        replication_secret *secret = NULL;
        status = secret_of(json_object_array_get_idx(secrets, i), &secret);
        if (status == REPLICATION_STATUS_OK)
            status = sender_config_add_secret(config, secret);
        replication_secret_free(secret);
    }
    return status;
}

static int32_t set_secret(replication_receiver_config *config, struct json_object *list)
{
    replication_secret *secret = NULL;
    int32_t status = secret_of(list, &secret);
    if (status == REPLICATION_STATUS_OK)
        status = receiver_config_set_secret(config, secret);
    replication_secret_free(secret);
    return status;
}

#define IS(setter) (strcmp(option->name, setter) == 0)
#define NUMBER(handle, name)                                                                                           \
    do {                                                                                                               \
        if (IS(#name))                                                                                                 \
            return handle##_config_set_##name(config, number(option, 0));                                              \
    } while (0)

static int32_t set_sender_option(replication_sender_config *config, const struct option *option,
                                 token_lookup token_named)
{
    NUMBER(sender, buffer_size);
    NUMBER(sender, buffer_bytes);
    NUMBER(sender, write_timeout_ms);
    NUMBER(sender, handshake_timeout_ms);
    NUMBER(sender, heartbeat_interval_ms);
    NUMBER(sender, peer_timeout_ms);
    NUMBER(sender, stop_timeout_ms);
    NUMBER(sender, max_readers);
    NUMBER(sender, last_sequence);
    NUMBER(sender, max_pending_acks);
    NUMBER(sender, wal_segment_bytes);
    NUMBER(sender, wal_retain_bytes);
    NUMBER(sender, wal_retain_ms);
    NUMBER(sender, slot_max_bytes);
    NUMBER(sender, slot_expiry_ms);
    NUMBER(sender, wal_timeout_ms);
    if (IS("io_threads"))
        return sender_config_set_io_threads(config, (uint32_t)number(option, 0));
    if (IS("full_policy"))
        return sender_config_set_full_policy(config, named(option, 0, "FULL_POLICY"), number(option, 1));
    if (IS("token")) {
        const struct place token = token_named(text(option, 0));
        return sender_config_set_token(config, PLACE(token), number(option, 1));
    }
    if (IS("access_rules"))
        return sender_config_set_access_rules(config, text(option, 0));
    if (IS("tls"))
        return sender_config_set_tls(config, path(option, 0), path(option, 1), path(option, 2));
    if (IS("secrets"))
        return add_secrets(config, option->value);
    if (IS("plain_secrets_allowed"))
        return sender_config_set_plain_secrets_allowed(config, truth(option, 0));
    if (IS("groups"))
        return add_groups(config, option->value);
    if (IS("write_gate"))
        return set_write_gate(config, number(option, 0), number(option, 1), number(option, 2),
                              named(option, 3, "ACK_LEVEL"), named(option, 4, "GATE_POLICY"), number(option, 5));
    if (IS("wal_dir"))
        return sender_config_set_wal_dir(config, path(option, 0));
    if (IS("wal_sync"))
        return sender_config_set_wal_sync(config, named(option, 0, "SYNC_POLICY"), number(option, 1),
                                          number(option, 2));
    FAIL("a sender has no option \"%s\"", option->name);
}

static int32_t set_receiver_option(replication_receiver_config *config, const struct option *option,
                                   token_lookup token_named)
{
    NUMBER(receiver, last_sequence);
    NUMBER(receiver, reconnect_interval_ms);
    NUMBER(receiver, ack_interval_ms);
    NUMBER(receiver, connect_timeout_ms);
    NUMBER(receiver, heartbeat_interval_ms);
    NUMBER(receiver, peer_timeout_ms);
    NUMBER(receiver, buffer_bytes);
    NUMBER(receiver, max_epoch_jump);
    NUMBER(receiver, wal_segment_bytes);
    NUMBER(receiver, wal_retain_bytes);
    NUMBER(receiver, wal_retain_ms);
    if (IS("reader_id"))
        return receiver_config_set_reader_id(config, text(option, 0));
    if (IS("writer_addr"))
        return receiver_config_set_writer_addr(config, text(option, 0));
    if (IS("protocol"))
        return receiver_config_set_protocol(config, named(option, 0, "PROTOCOL"));
    if (IS("coordinator_handshake"))
        return receiver_config_set_coordinator_handshake(config, truth(option, 0));
    if (IS("gap_policy"))
        return receiver_config_set_gap_policy(config, named(option, 0, "GAP_POLICY"));
    if (IS("apply_policy"))
        return receiver_config_set_apply_policy(config, named(option, 0, "APPLY_POLICY"), (uint32_t)number(option, 1));
    if (IS("handler_durable"))
        return receiver_config_set_handler_durable(config, truth(option, 0));
    if (IS("tls"))
        return receiver_config_set_tls(config, path(option, 0), text(option, 1), path(option, 2), path(option, 3));
    if (IS("wal_dir"))
        return receiver_config_set_wal_dir(config, path(option, 0));
    if (IS("wal_sync"))
        return receiver_config_set_wal_sync(config, named(option, 0, "SYNC_POLICY"), number(option, 1),
                                            number(option, 2));
    if (IS("token")) {
        const struct place token = token_named(text(option, 0));
        return receiver_config_set_token(config, PLACE(token));
    }
    if (IS("secret"))
        return set_secret(config, option->value);
    if (IS("plain_secrets_allowed"))
        return receiver_config_set_plain_secrets_allowed(config, truth(option, 0));
    FAIL("a receiver has no option \"%s\"", option->name);
}

int32_t sender_options(replication_sender_config *config, struct json_object *options, token_lookup token_named)
{
    int32_t status = REPLICATION_STATUS_OK;
    json_object_object_foreach (options, name, value) {
        if (status == REPLICATION_STATUS_OK)
            status = set_sender_option(config, &(struct option){name, value}, token_named);
    }
    return status;
}

int32_t receiver_options(replication_receiver_config *config, struct json_object *options, token_lookup token_named)
{
    int32_t status = REPLICATION_STATUS_OK;
    json_object_object_foreach (options, name, value) {
        if (status == REPLICATION_STATUS_OK)
            status = set_receiver_option(config, &(struct option){name, value}, token_named);
    }
    return status;
}
