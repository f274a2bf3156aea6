/* The verbs of receivers. */
#include "hearing.h"
#include "options.h"

static void set_handler(const struct step *step, replication_receiver_config *config, struct object *object)
{
    const char *handler = given(step, "handler") ? text(step, "handler") : "entry";
    if (strcmp(handler, "entry") == 0)
        CHECK_OK(receiver_config_set_ingest_handler(config, take_entry, object, NULL));
    else if (strcmp(handler, "batch") == 0)
        CHECK_OK(receiver_config_set_ingest_batch_handler(config, BATCH_ENTRIES, take_batch, object, NULL));
    else if (strcmp(handler, "record") == 0)
        CHECK_OK(receiver_config_set_record_handler(config, take_records, object, NULL));
    else
        STEP_FAIL(step, "there is no handler \"%s\"", handler);
    CHECK_OK(receiver_config_set_event_handler(config, hear_event, object, NULL));
    CHECK_OK(receiver_config_set_log_handler(config, REPLICATION_LOG_LEVEL_DEBUG, hear_log, object, NULL));
}

static int32_t receiver_is_new(struct step *step)
{
    struct object *object = object_new(step, text(step, "on"), RECEIVER);
    replication_receiver_config *config = receiver_config_new();
    CHECK(config != NULL);
    uint64_t times = 0;
    struct json_object *fail = given(step, "fail") ? needed(step, "fail") : NULL;
    if (fail != NULL && (!json_is_u64(json_object_object_get(fail, "sequence"), &object->fail_sequence) ||
                         !json_is_u64(json_object_object_get(fail, "times"), &times)))
        STEP_FAIL(step, "\"fail\" has a sequence and times");
    atomic_store(&object->fail_times, (int)times);
    atomic_store(&object->stop_inside, truth(step, "stop_inside"));
    inbox_hold(object->inbox, truth(step, "held"));
    set_handler(step, config, object);
    CHECK_OK(receiver_config_set_reader_id(config, object->name));
    CHECK_OK(receiver_config_set_reconnect_interval_ms(config, 100));
    CHECK_OK(receiver_config_set_ack_interval_ms(config, 10));
    if (given(step, "of"))
        CHECK_OK(receiver_config_set_writer_addr(config, find_kind(step, text(step, "of"), SENDER)->address));
    int32_t status = REPLICATION_STATUS_OK;
    if (given(step, "config"))
        status = receiver_options(config, needed(step, "config"), token_named);
    if (status == REPLICATION_STATUS_OK)
        status = receiver_new(config, &object->receiver);
    receiver_config_free(config);
    object->freed = status != REPLICATION_STATUS_OK;
    return status;
}

static int32_t receiver_starts(struct step *step)
{
    return receiver_start(step->on->receiver);
}

static int32_t receiver_pauses(struct step *step)
{
    return receiver_pause(step->on->receiver);
}

static int32_t receiver_resumes(struct step *step)
{
    return receiver_resume(step->on->receiver);
}

static int32_t receiver_is_released(struct step *step)
{
    inbox_hold(step->on->inbox, false);
    return REPLICATION_STATUS_OK;
}

static int32_t receiver_waits(struct step *step)
{
    return receiver_wait_sequence(step->on->receiver, number(step, "sequence"),
                                  number_or(step, "timeout_ms", PATIENCE_MS));
}

static int32_t receiver_waits_for_a_token(struct step *step)
{
    const struct place token = token_named(text(step, "token"));
    return receiver_wait_token(step->on->receiver, PLACE(token), number_or(step, "timeout_ms", PATIENCE_MS));
}

static int32_t receiver_gives_a_token(struct step *step)
{
    struct object *object = object_new(step, text(step, "token"), TOKEN);
    return receiver_token(step->on->receiver, PLACE_ROOM(object->token));
}

static int32_t receivers_option_is_set(struct step *step)
{
    return receiver_set_option(step->on->receiver, text(step, "name"), number(step, "value"));
}

static int32_t receivers_secret_is_set(struct step *step)
{
    struct json_object *list = NULL;
    CHECK(json_object_object_get_ex(step->node, "secret", &list));
    replication_secret *secret = NULL;
    if (list != NULL)
        CHECK_OK(secret_of(list, &secret));
    int32_t status = receiver_set_secret(step->on->receiver, secret);
    replication_secret_free(secret);
    return status;
}

static int32_t receiver_stops(struct step *step)
{
    return receiver_stop(step->on->receiver);
}

const struct verb receiver_verbs[] = {
    {"receiver.new", true, " of config handler fail held stop_inside ", receiver_is_new},
    {"receiver.start", true, "", receiver_starts},
    {"receiver.pause", true, "", receiver_pauses},
    {"receiver.resume", true, "", receiver_resumes},
    {"receiver.release", false, "", receiver_is_released},
    {"receiver.wait_sequence", true, " sequence timeout_ms ", receiver_waits},
    {"receiver.wait_token", true, " token timeout_ms ", receiver_waits_for_a_token},
    {"receiver.token", true, " token ", receiver_gives_a_token},
    {"receiver.set_option", true, " name value ", receivers_option_is_set},
    {"receiver.set_secret", true, " secret ", receivers_secret_is_set},
    {"receiver.stop", true, "", receiver_stops},
    {"receiver.free", false, "", object_is_freed},
    {NULL, false, NULL, NULL},
};
