/* The verbs of records. */
#include <stdio.h>
#include <stdlib.h>

#include "step.h"

static int32_t records_parse(struct step *step)
{
    size_t len = 0, json_len = 0;
    uint8_t *payload = bytes_of(step, text(step, "hex"), &len);
    replication_records *records = NULL;
    int32_t status = replication_records_parse(payload, len, &records);
    free(payload);
    if (status != REPLICATION_STATUS_OK)
        return status;
    const char *json = NULL;
    CHECK_OK(replication_records_json(records, &json, &json_len));
    same_json(step, json, needed(step, "records"));
    replication_records_free(records);
    return status;
}

/* Reads the value as the type that the step asks for, and writes it as JSON. */
static int32_t value_as(struct step *step, const replication_value *value, char json[256])
{
    const char *as = text(step, "as"), *string = "";
    bool boolean = false;
    int64_t whole = 0;
    uint64_t positive = 0;
    double real = 0;
    size_t len = 0;
    int32_t status = REPLICATION_STATUS_OK;
    if (strcmp(as, "bool") == 0) {
        status = replication_value_bool(value, &boolean);
        snprintf(json, 256, "%s", boolean ? "true" : "false");
    } else if (strcmp(as, "i64") == 0) {
        status = replication_value_i64(value, &whole);
        snprintf(json, 256, "%lld", (long long)whole);
    } else if (strcmp(as, "u64") == 0) {
        status = replication_value_u64(value, &positive);
        snprintf(json, 256, "%llu", (unsigned long long)positive);
    } else if (strcmp(as, "f64") == 0) {
        status = replication_value_f64(value, &real);
        snprintf(json, 256, "%.17g", real);
    } else if (strcmp(as, "string") == 0) {
        status = replication_value_string(value, &string, &len);
        snprintf(json, 256, "\"%.*s\"", (int)len, string);
    } else {
        STEP_FAIL(step, "there is no type \"%s\"", as);
    }
    return status;
}

static int32_t records_value(struct step *step)
{
    char json[256];
    size_t len = 0;
    uint8_t *payload = bytes_of(step, text(step, "hex"), &len);
    replication_records *records = NULL;
    const replication_value *value = NULL;
    CHECK_OK(replication_records_parse(payload, len, &records));
    free(payload);
    int32_t status = replication_records_get(records, number(step, "row"), text(step, "key"), &value);
    if (status == REPLICATION_STATUS_OK)
        status = value_as(step, value, json);
    if (status == REPLICATION_STATUS_OK)
        same_json(step, json, needed(step, "value"));
    replication_records_free(records);
    return status;
}

const struct verb record_verbs[] = {
    {"records.parse", true, " hex records ", records_parse},
    {"records.value", true, " hex row key as value ", records_value},
    {NULL, false, NULL, NULL},
};
