/* The verbs of tokens that no sender or receiver takes part in. */
#include "step.h"

static int32_t token_is_parsed(struct step *step)
{
    struct object *object = object_new(step, text(step, "token"), TOKEN);
    int32_t status = replication_token_parse(text(step, "text"), PLACE_ROOM(object->token));
    object->freed = status != REPLICATION_STATUS_OK;
    return status;
}

static int32_t token_is_printed(struct step *step)
{
    const struct place token = token_named(text(step, "token"));
    char *printed = NULL;
    CHECK_OK(replication_token_print(PLACE(token), &printed));
    if (strcmp(printed, text(step, "text")) != 0)
        STEP_FAIL(step, "the token is %s", printed);
    replication_string_free(printed);
    return REPLICATION_STATUS_OK;
}

static int32_t tokens_are_compared(struct step *step)
{
    static const char *const names[] = {
        [REPLICATION_TOKEN_ORDER_EQUAL] = "EQUAL",       [REPLICATION_TOKEN_ORDER_BEFORE] = "BEFORE",
        [REPLICATION_TOKEN_ORDER_AFTER] = "AFTER",       [REPLICATION_TOKEN_ORDER_UNKNOWN] = "UNKNOWN",
        [REPLICATION_TOKEN_ORDER_DIVERGED] = "DIVERGED",
    };
    const struct place first = token_named(text(step, "first")), second = token_named(text(step, "second"));
    int32_t order = -1;
    CHECK_OK(replication_token_compare(PLACE(first), PLACE(second), &order));
    CHECK(order >= 0 && (size_t)order < COUNT(names));
    if (strcmp(names[order], text(step, "order")) != 0)
        STEP_FAIL(step, "the order is %s", names[order]);
    return REPLICATION_STATUS_OK;
}

const struct verb token_verbs[] = {
    {"token.parse", true, " text token ", token_is_parsed},
    {"token.print", false, " token text ", token_is_printed},
    {"token.compare", false, " first second order ", tokens_are_compared},
    {NULL, false, NULL, NULL},
};
