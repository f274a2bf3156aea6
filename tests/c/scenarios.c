/* Runs tests/scenarios/scenarios.json, the list that all languages share; its README.md defines every verb and key. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "scenario/step.h"

struct tree *data;

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
    if (found != tree_get(data, table)->count)
        STEP_FAIL(step, "%s has %zu entries, the header %zu", table, tree_get(data, table)->count, found);
}

static int32_t status_names(struct step *step)
{
    char *header = file_text("include/replication.h");
    same_constants(step, header, "REPLICATION_STATUS_", "statuses");
    same_constants(step, header, "REPLICATION_EVENT_KIND_", "event_kinds");
    same_constants(step, header, "REPLICATION_LOG_LEVEL_", "log_levels");
    free(header);
    for (const struct tree *status = tree_get(data, "statuses")->first; status != NULL; status = status->next)
        CHECK_TEXT(replication_status_name(listed(step, "statuses", status->key)), status->key);
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
    if (given(step, key) != NULL)
        numbers[listed(step, table, text(step, key))] = true;
}

/* Running ------------------------------------------------------------------------------------------------------- */

static bool has_word(const char *words, const char *word)
{
    char spaced[64];
    snprintf(spaced, sizeof spaced, " %s ", word);
    return strstr(words, spaced) != NULL;
}

/* The step of the data, whose verb is known and has no key that it should not have. */
static struct step step_of(const struct tree *node)
{
    static const struct verb *const tables[] = {sender_verbs, receiver_verbs, expect_verbs, peer_verbs,
                                                codec_verbs,  record_verbs,   other_verbs};
    struct step step = {.node = node};
    const struct tree *name = tree_get(node, "do");
    for (size_t i = 0; name != NULL && i < COUNT(tables); i++)
        for (const struct verb *verb = tables[i]; verb->name != NULL; verb++)
            if (strcmp(verb->name, name->text) == 0)
                step.verb = verb;
    if (step.verb == NULL)
        STEP_FAIL(&step, "there is no verb \"%s\"", name == NULL ? "" : name->text);
    for (const struct tree *key = node->first; key != NULL; key = key->next)
        if (!has_word(" do on ", key->key) && !has_word(step.verb->keys, key->key) &&
            !(step.verb->is_call && has_word(" expect message background ", key->key)))
            STEP_FAIL(&step, "%s has no key \"%s\"", step.verb->name, key->key);
    return step;
}

/* Whether the verb makes its object, or has none. */
static bool needs_no_object(const struct step *step)
{
    return has_word(" sender.new receiver.new peer.connect ", step->verb->name) || given(step, "on") == NULL;
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

static void run_step(const struct tree *node)
{
    struct step step = step_of(node);
    if (!needs_no_object(&step)) {
        step.on = find(text(&step, "on"));
        if (step.on == NULL || step.on->freed)
            STEP_FAIL(&step, "there is no \"%s\"", text(&step, "on"));
    }
    if (given(&step, "background") != NULL) {
        run_in_background(&step);
        return;
    }
    run_verb(&step);
    const char *expected = given(&step, "expect") == NULL ? "OK" : text(&step, "expect");
    if (step.status != listed(&step, "statuses", expected))
        STEP_FAIL(&step, "%s gave %s, expected %s: %s", step.verb->name, replication_status_name(step.status), expected,
                  step.message);
    if (given(&step, "message") != NULL && strstr(step.message, text(&step, "message")) == NULL)
        STEP_FAIL(&step, "the text lacks \"%s\": %s", text(&step, "message"), step.message);
    reach(&step, reached->statuses, "statuses", "expect");
    reach(&step, reached->statuses, "statuses", "status");
    if (has_word(" expect.event ", step.verb->name))
        reach(&step, reached->event_kinds, "event_kinds", "kind");
}

static const struct tree *scenario_named(const char *name)
{
    const struct tree *scenario = tree_get(data, "scenarios")->first;
    while (scenario != NULL && strcmp(tree_get(scenario, "name")->text, name) != 0)
        scenario = scenario->next;
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
    const struct tree *scenario = scenario_named(harness_test()->name), *needs = tree_get(scenario, "needs");
    for (const struct tree *need = needs == NULL ? NULL : needs->first; need != NULL; need = need->next)
        if (lacks(need->text)) {
            printf("     %s is left out: no %s\n", harness_test()->name, need->text);
            return;
        }
    const size_t descriptors = open_descriptors(), threads = running_threads();
    for (const struct tree *step = tree_get(scenario, "steps")->first; step != NULL; step = step->next)
        run_step(step);
    objects_end();
    WAIT_UNTIL(running_threads() == threads); /* one that was joined may be seen for a moment longer */
    CHECK_U64(open_descriptors(), descriptors);
    reached->scenarios++;
}

/* The list itself ----------------------------------------------------------------------------------------------- */

TEST(the_list_is_well_formed)
{
    const struct tree *scenarios = tree_get(data, "scenarios");
    CHECK(scenarios != NULL && scenarios->count > 0);
    for (const struct tree *scenario = scenarios->first; scenario != NULL; scenario = scenario->next) {
        for (const struct tree *part = scenario->first; part != NULL; part = part->next)
            if (!has_word(" name what needs steps ", part->key))
                harness_fail(SCENARIOS_FILE, part->line, "a scenario has no \"%s\"", part->key);
        const struct tree *name = tree_get(scenario, "name"), *needs = tree_get(scenario, "needs");
        CHECK(name != NULL && tree_get(scenario, "what") != NULL && tree_get(scenario, "steps")->count > 0);
        if (name->text[strspn(name->text, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0' ||
            scenario_named(name->text) != scenario)
            harness_fail(SCENARIOS_FILE, name->line, "not a name, or one that is taken: %s", name->text);
        for (const struct tree *need = needs == NULL ? NULL : needs->first; need != NULL; need = need->next)
            if (!has_word(" buffers descriptors disk fork memory values ", need->text))
                harness_fail(SCENARIOS_FILE, need->line, "unknown need: %s", need->text);
        for (const struct tree *step = tree_get(scenario, "steps")->first; step != NULL; step = step->next)
            (void)step_of(step);
    }
    for (const struct tree *one = tree_get(data, "unreachable")->first; one != NULL; one = one->next) {
        const struct tree *status = tree_get(one, "status"), *kind = tree_get(one, "event_kind");
        const struct tree *languages = tree_get(one, "in"), *why = tree_get(one, "why");
        if (one->count != 3 || why == NULL || strlen(why->text) == 0 || languages == NULL || languages->count == 0 ||
            (tree_get(tree_get(data, "statuses"), status == NULL ? "" : status->text) == NULL &&
             tree_get(tree_get(data, "event_kinds"), kind == NULL ? "" : kind->text) == NULL))
            harness_fail(SCENARIOS_FILE, one->line, "not a status or event kind, its languages, and why");
        for (const struct tree *language = languages->first; language != NULL; language = language->next)
            if (!has_word(" c cpp go python ", language->text))
                harness_fail(SCENARIOS_FILE, language->line, "unknown language: %s", language->text);
    }
}

/* Whether the list says that C cannot reach this one. */
static bool is_declared(const char *what, const char *name)
{
    for (const struct tree *one = tree_get(data, "unreachable")->first; one != NULL; one = one->next) {
        const struct tree *named = tree_get(one, what), *languages = tree_get(one, "in");
        if (named == NULL || strcmp(named->text, name) != 0)
            continue;
        for (const struct tree *language = languages->first; language != NULL; language = language->next)
            if (strcmp(language->text, "c") == 0)
                return true;
    }
    return false;
}

static void check_reached(const char *table, const char *what, const bool *numbers)
{
    for (const struct tree *name = tree_get(data, table)->first; name != NULL; name = name->next) {
        uint64_t number = 0;
        CHECK(tree_is_u64(name, &number) && number < NUMBERS);
        if (numbers[number] == is_declared(what, name->key))
            FAIL("%s is %s", name->key, numbers[number] ? "reached, and declared to be out of reach" : "not reached");
    }
}

TEST(every_value_not_declared_unreachable_was_reached)
{
    if (reached->scenarios < tree_get(data, "scenarios")->count) {
        printf("     not every scenario ran\n");
        return;
    }
    check_reached("statuses", "status", reached->statuses);
    check_reached("event_kinds", "event_kind", reached->event_kinds);
}

int main(int argc, char **argv)
{
    char *json = file_text(SCENARIOS_FILE);
    data = tree_parse(json);
    free(json);
    const struct tree *scenarios = tree_get(data, "scenarios");
    CHECK(scenarios != NULL);
    reached = mmap(NULL, sizeof *reached, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(reached != MAP_FAILED);
    struct test_case *cases = must_alloc((scenarios->count + 2) * sizeof *cases);
    size_t count = 0;
    cases[count++] = (struct test_case)CASE(the_list_is_well_formed);
    for (const struct tree *scenario = scenarios->first; scenario != NULL; scenario = scenario->next) {
        const struct tree *name = tree_get(scenario, "name");
        cases[count++] = (struct test_case){name == NULL ? "without a name" : name->text, run_scenario};
    }
    cases[count++] = (struct test_case)CASE(every_value_not_declared_unreachable_was_reached);
    int code = harness_main(argc, argv, cases, count);
    free(cases);
    tree_free(data);
    return code;
}
