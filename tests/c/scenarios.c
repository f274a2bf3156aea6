/* Runs tests/scenarios/scenarios.json, the list that all languages share; its README.md defines every verb and key. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "scenario/step.h"

#define SCENARIOS_FILE "tests/scenarios/scenarios.json"

struct json_object *data;

/* The text of a member, or NULL. */
static const char *text_of(struct json_object *object, const char *key)
{
    return json_object_get_string(json_object_object_get(object, key));
}

/* Whether a word is among the strings of a list. */
static bool lists(struct json_object *list, const char *word)
{
    bool found = false;
    for (size_t i = 0; i < json_object_array_length(list) && !found; i++)
        found = strcmp(json_object_get_string(json_object_array_get_idx(list, i)), word) == 0;
    return found;
}

/* Verbs that belong to no kind of object ------------------------------------------------------------------------ */

static char *file_text(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        FAIL("cannot read %s", path);
    size_t len = 0, capacity = 1 << 20;
    char *bytes = must_alloc(capacity);
    len = fread(bytes, 1, capacity - 1, file);
    CHECK(feof(file));
    fclose(file);
    bytes[len] = '\0';
    return bytes;
}

/* The table of the data has the constants of the header that begin so, and no others. */
static void same_constants(struct step *step, const char *header, const char *prefix, const char *table)
{
    size_t found = 0;
    for (const char *at = strstr(header, prefix); at != NULL; at = strstr(at + 1, prefix)) {
        char name[64];
        long value = 0;
        if (sscanf(at + strlen(prefix), "%63[A-Z0-9_] = %ld,", name, &value) != 2)
            continue; /* it is only spoken of */
        found++;
        if (listed(step, table, name) != value)
            STEP_FAIL(step, "%s%s is %ld", prefix, name, value);
    }
    size_t entries = (size_t)json_object_object_length(json_object_object_get(data, table));
    if (found != entries)
        STEP_FAIL(step, "%s has %zu entries, the header %zu", table, entries, found);
}

static int32_t status_names(struct step *step)
{
    char *header = file_text("include/replication.h");
    same_constants(step, header, "REPLICATION_STATUS_", "statuses");
    same_constants(step, header, "REPLICATION_EVENT_KIND_", "event_kinds");
    same_constants(step, header, "REPLICATION_LOG_LEVEL_", "log_levels");
    free(header);
    json_object_object_foreach (json_object_object_get(data, "statuses"), name, number) {
        CHECK_TEXT(replication_status_name(json_object_get_int(number)), name);
    }
    return REPLICATION_STATUS_OK;
}

static int32_t file_is_damaged(struct step *step)
{
    const char *path = temp_path(text(step, "path"));
    off_t at = (off_t)number(step, "at");
    uint8_t byte = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || pread(fd, &byte, 1, at) != 1)
        STEP_FAIL(step, "cannot read %s", path);
    byte ^= 0x40;
    CHECK(pwrite(fd, &byte, 1, at) == 1);
    close(fd);
    return REPLICATION_STATUS_OK;
}

static int32_t join(struct step *step)
{
    struct object *object = step->on;
    thread_join(object->thread);
    int32_t status = object->call->status;
    memcpy(step->message, object->call->message, sizeof step->message);
    free(object->call);
    object->freed = true;
    return status;
}

static int32_t file_grows(struct step *step)
{
    size_t len = 0;
    uint8_t *bytes = bytes_of(step, text(step, "hex"), &len);
    int fd = open(temp_path(text(step, "path")), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
        STEP_FAIL(step, "cannot append to %s", text(step, "path"));
    close(fd);
    free(bytes);
    return REPLICATION_STATUS_OK;
}

/* The files that tests/scenarios/trouble.c looks for. */
static int32_t disk_is_set(struct step *step)
{
    static const char *const states[] = {"full", "broken"};
    bool known = strcmp(text(step, "state"), "well") == 0;
    for (size_t i = 0; i < COUNT(states); i++) {
        char name[32];
        snprintf(name, sizeof name, "disk-is-%s", states[i]);
        unlink(temp_path(name));
        if (strcmp(text(step, "state"), states[i]) != 0)
            continue;
        int fd = open(temp_path(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        CHECK(fd >= 0);
        close(fd);
        known = true;
    }
    if (!known)
        STEP_FAIL(step, "unknown state %s", text(step, "state"));
    return REPLICATION_STATUS_OK;
}

static const struct verb other_verbs[] = {
    {"join", true, "", join},
    {"status.names", false, "", status_names},
    {"file.damage", false, " path at ", file_is_damaged},
    {"file.append", false, " path hex ", file_grows},
    {"disk.set", false, " state ", disk_is_set},
    {NULL, false, NULL, NULL},
};

/* What the scenarios reach -------------------------------------------------------------------------------------- */

enum { NUMBERS = 256 }; /* of statuses, and of event kinds: all are below */

/* Shared by the processes of all scenarios. */
struct reached {
    size_t scenarios; /* that ran to their end */
    bool statuses[NUMBERS], event_kinds[NUMBERS];
};
static struct reached *reached;

static void reach(const struct step *step, bool *numbers, const char *table, const char *key)
{
    if (given(step, key))
        numbers[listed(step, table, text(step, key))] = true;
}

/* Running ------------------------------------------------------------------------------------------------------- */

static bool has_word(const char *words, const char *word)
{
    char spaced[64];
    snprintf(spaced, sizeof spaced, " %s ", word);
    return strstr(words, spaced) != NULL;
}

/* A step of a scenario, whose verb is known and has no key that it should not have. */
static struct step step_of(struct json_object *steps, size_t index)
{
    static const struct verb *const tables[] = {sender_verbs, receiver_verbs, expect_verbs, peer_verbs,
                                                codec_verbs,  record_verbs,   token_verbs,  other_verbs};
    struct step step = {.number = index + 1, .node = json_object_array_get_idx(steps, index)};
    const char *name = text_of(step.node, "do");
    for (size_t i = 0; name != NULL && i < COUNT(tables); i++)
        for (const struct verb *verb = tables[i]; verb->name != NULL; verb++)
            if (strcmp(verb->name, name) == 0)
                step.verb = verb;
    if (step.verb == NULL)
        STEP_FAIL(&step, "there is no verb \"%s\"", name == NULL ? "" : name);
    json_object_object_foreach (step.node, key, value) {
        (void)value;
        if (!has_word(" do on ", key) && !has_word(step.verb->keys, key) &&
            !(step.verb->is_call && has_word(" expect message background ", key)))
            STEP_FAIL(&step, "%s has no key \"%s\"", step.verb->name, key);
    }
    return step;
}

/* Whether the verb makes its object, or has none. */
static bool needs_no_object(const struct step *step)
{
    return has_word(" sender.new receiver.new peer.connect ", step->verb->name) || !given(step, "on");
}

static void *run_verb(void *argument)
{
    struct step *step = argument;
    step->status = step->verb->run(step);
    if (step->message[0] == '\0')
        snprintf(step->message, sizeof step->message, "%s", replication_last_error_message());
    return NULL;
}

static void run_in_background(const struct step *step)
{
    struct object *object = object_new(step, text(step, "background"), CALL);
    object->call = must_alloc(sizeof *object->call);
    *object->call = *step;
    object->thread = thread_start(run_verb, object->call);
}

static void run_step(struct step step)
{
    if (!needs_no_object(&step)) {
        step.on = find(text(&step, "on"));
        if (step.on == NULL || step.on->freed)
            STEP_FAIL(&step, "there is no \"%s\"", text(&step, "on"));
    }
    if (given(&step, "background")) {
        run_in_background(&step);
        return;
    }
    run_verb(&step);
    const char *expected = given(&step, "expect") ? text(&step, "expect") : "OK";
    if (step.status != listed(&step, "statuses", expected))
        STEP_FAIL(&step, "%s gave %s, expected %s: %s", step.verb->name, replication_status_name(step.status), expected,
                  step.message);
    if (given(&step, "message") && strstr(step.message, text(&step, "message")) == NULL)
        STEP_FAIL(&step, "the text lacks \"%s\": %s", text(&step, "message"), step.message);
    reach(&step, reached->statuses, "statuses", "expect");
    reach(&step, reached->statuses, "statuses", "status");
    if (has_word(" expect.event ", step.verb->name))
        reach(&step, reached->event_kinds, "event_kinds", "kind");
}

static struct json_object *scenario_named(const char *name)
{
    struct json_object *scenarios = json_object_object_get(data, "scenarios"), *scenario = NULL;
    for (size_t i = 0; i < json_object_array_length(scenarios); i++) {
        scenario = json_object_array_get_idx(scenarios, i);
        if (strcmp(text_of(scenario, "name"), name) == 0)
            break;
    }
    return scenario;
}

/* Valgrind puts its own allocator in the place of every other. */
static bool lacks(const char *need)
{
    const char *mode = getenv("TEST_MODE");
    return strcmp(need, "memory") == 0 && mode != NULL && strcmp(mode, "valgrind") == 0;
}

static void run_scenario(void)
{
    struct json_object *scenario = scenario_named(harness_test()->name), *steps, *needs;
    if (json_object_object_get_ex(scenario, "needs", &needs))
        for (size_t i = 0; i < json_object_array_length(needs); i++) {
            const char *need = json_object_get_string(json_object_array_get_idx(needs, i));
            if (lacks(need)) {
                printf("     %s is left out: no %s\n", harness_test()->name, need);
                return;
            }
        }
    const size_t descriptors = open_descriptors(), threads = running_threads();
    steps = json_object_object_get(scenario, "steps");
    for (size_t i = 0; i < json_object_array_length(steps); i++)
        run_step(step_of(steps, i));
    objects_end();
    WAIT_UNTIL(running_threads() == threads); /* one that was joined may be seen for a moment longer */
    CHECK_U64(open_descriptors(), descriptors);
    reached->scenarios++;
}

/* The list itself ----------------------------------------------------------------------------------------------- */

static void check_words(struct json_object *list, const char *known)
{
    CHECK(json_object_array_length(list) > 0);
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        const char *word = json_object_get_string(json_object_array_get_idx(list, i));
        if (!has_word(known, word))
            FAIL("unknown: %s", word);
    }
}

static void check_scenario(struct json_object *scenario)
{
    const char *name = text_of(scenario, "name");
    struct json_object *steps = json_object_object_get(scenario, "steps"), *needs;
    json_object_object_foreach (scenario, part, value) {
        (void)value;
        if (!has_word(" name what needs steps ", part))
            FAIL("a scenario has no \"%s\"", part);
    }
    CHECK(name != NULL && text_of(scenario, "what") != NULL && json_object_array_length(steps) > 0);
    if (name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0' || scenario_named(name) != scenario)
        FAIL("not a name, or one that is taken: %s", name);
    if (json_object_object_get_ex(scenario, "needs", &needs))
        check_words(needs, " buffers descriptors disk fork memory messages records values ");
    for (size_t i = 0; i < json_object_array_length(steps); i++)
        (void)step_of(steps, i);
}

/* What is out of reach: a status or an event kind, of which languages, and why. */
static void check_unreachable(struct json_object *one)
{
    const char *status = text_of(one, "status"), *kind = text_of(one, "event_kind"), *why = text_of(one, "why");
    struct json_object *languages = json_object_object_get(one, "in");
    if (json_object_object_length(one) != 3 || why == NULL || *why == '\0' || languages == NULL ||
        (text_of(json_object_object_get(data, "statuses"), status == NULL ? "" : status) == NULL &&
         text_of(json_object_object_get(data, "event_kinds"), kind == NULL ? "" : kind) == NULL))
        FAIL("not a status or event kind, its languages, and why: %s", json_object_to_json_string(one));
    check_words(languages, " c cpp go python rust ");
}

TEST(the_list_is_well_formed)
{
    struct json_object *scenarios = json_object_object_get(data, "scenarios"),
                       *unreachable = json_object_object_get(data, "unreachable");
    CHECK(json_object_array_length(scenarios) > 0);
    for (size_t i = 0; i < json_object_array_length(scenarios); i++)
        check_scenario(json_object_array_get_idx(scenarios, i));
    for (size_t i = 0; i < json_object_array_length(unreachable); i++)
        check_unreachable(json_object_array_get_idx(unreachable, i));
}

/* Whether the list says that C cannot reach this one. */
static bool is_declared(const char *what, const char *name)
{
    struct json_object *unreachable = json_object_object_get(data, "unreachable");
    for (size_t i = 0; i < json_object_array_length(unreachable); i++) {
        struct json_object *one = json_object_array_get_idx(unreachable, i);
        const char *named = text_of(one, what);
        if (named != NULL && strcmp(named, name) == 0 && lists(json_object_object_get(one, "in"), "c"))
            return true;
    }
    return false;
}

static void check_reached(const char *table, const char *what, const bool *numbers)
{
    json_object_object_foreach (json_object_object_get(data, table), name, value) {
        uint64_t number = 0;
        CHECK(json_is_u64(value, &number) && number < NUMBERS);
        if (numbers[number] == is_declared(what, name))
            FAIL("%s is %s", name, numbers[number] ? "reached, and declared to be out of reach" : "not reached");
    }
}

TEST(every_value_not_declared_unreachable_was_reached)
{
    if (reached->scenarios < json_object_array_length(json_object_object_get(data, "scenarios"))) {
        printf("     not every scenario ran\n");
        return;
    }
    check_reached("statuses", "status", reached->statuses);
    check_reached("event_kinds", "event_kind", reached->event_kinds);
}

int main(int argc, char **argv)
{
    char *json = file_text(SCENARIOS_FILE);
    data = json_read(json);
    free(json);
    struct json_object *scenarios = json_object_object_get(data, "scenarios");
    CHECK(scenarios != NULL);
    reached = mmap(NULL, sizeof *reached, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(reached != MAP_FAILED);
    size_t scenario_count = json_object_array_length(scenarios), count = 0;
    struct test_case *cases = must_alloc((scenario_count + 2) * sizeof *cases);
    cases[count++] = (struct test_case)CASE(the_list_is_well_formed);
    for (size_t i = 0; i < scenario_count; i++) {
        const char *name = text_of(json_object_array_get_idx(scenarios, i), "name");
        cases[count++] = (struct test_case){name == NULL ? "without a name" : name, run_scenario};
    }
    cases[count++] = (struct test_case)CASE(every_value_not_declared_unreachable_was_reached);
    int code = harness_main(argc, argv, cases, count);
    free(cases);
    json_object_put(data);
    return code;
}
