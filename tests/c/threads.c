/* What happens when the system has no thread left: this program's pthread_create(), which the library finds before the C
 * library's, makes as many as a test allows. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "host.h"

static atomic_int threads_left = INT_MAX;

typedef int (*create_fn)(pthread_t *, const pthread_attr_t *, thread_main, void *);

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, thread_main run, void *argument)
{
    create_fn real;
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return atomic_fetch_sub(&threads_left, 1) > 0 ? real(thread, attributes, run, argument) : EAGAIN;
}

static bool started(replication_status status)
{
    if (status != REPLICATION_STATUS_OK) {
        CHECK_STATUS(status, REPLICATION_STATUS_IO);
        CHECK_CONTAINS(replication_last_error_message(), "cannot start thread \"repl-");
    }
    return status == REPLICATION_STATUS_OK;
}

/* One that could not be started is as before or stopped, and nothing between. */
static bool can_start_again(replication_status status)
{
    if (status != REPLICATION_STATUS_OK)
        CHECK_STATUS(status, REPLICATION_STATUS_CLOSED);
    return status == REPLICATION_STATUS_OK;
}

/* A sender that got no thread more than it needs to start serves readers, and stores their slots. */
static void serves(replication_sender *sender, replication_receiver *receiver, const char *address)
{
    CHECK_OK(sender_listen(sender, address, NULL));
    const uint64_t sequence = replicate_text(sender, "entry");
    CHECK_OK(receiver_wait_sequence(receiver, sequence, PATIENCE_MS));
    for (bool acknowledged = false; !acknowledged;) {
        char *json;
        CHECK_OK(sender_slots_json(sender, &json));
        acknowledged = strstr(json, "\"acknowledged\":true") != NULL;
        replication_string_free(json);
    }
}

static bool start_sender_with(int threads, struct token *token)
{
    char address[200];
    snprintf(address, sizeof address, "unix:%s", temp_path("socket"));
    struct inbox *inbox = inbox_new();
    replication_receiver_config *following = receiver_config_new();
    CHECK_OK(receiver_config_set_reader_id(following, "reader"));
    CHECK_OK(receiver_config_set_writer_addr(following, address));
    CHECK_OK(receiver_config_set_reconnect_interval_ms(following, 20));
    CHECK_OK(receiver_config_set_ingest_handler(following, inbox_ingest, inbox, inbox_release));
    replication_receiver *receiver = start_receiver(following);

    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_io_threads(config, 3));
    CHECK_OK(sender_config_set_wal_dir(config, temp_path("log")));
    CHECK_OK(sender_config_set_event_handler(config, token_event, token, token_release));
    replication_sender *sender = make_sender(config);
    atomic_store(&threads_left, threads);
    const bool enough = started(sender_start(sender));
    if (enough)
        serves(sender, receiver, address);
    atomic_store(&threads_left, INT_MAX);
    if (!enough && can_start_again(sender_start(sender)))
        serves(sender, receiver, address);
    sender_free(sender);
    receiver_free(receiver);
    inbox_free(inbox);
    return enough;
}

static bool start_receiver_with(int threads, struct token *token)
{
    replication_receiver_config *config = receiver_config_new();
    CHECK_OK(receiver_config_set_reader_id(config, "reader"));
    CHECK_OK(receiver_config_set_writer_addr(config, "127.0.0.1:1"));
    CHECK_OK(receiver_config_set_ingest_handler(config, token_ingest, token, token_release));
    replication_receiver *receiver = make_receiver(config);
    atomic_store(&threads_left, threads);
    const bool enough = started(receiver_start(receiver));
    atomic_store(&threads_left, INT_MAX);
    if (!enough)
        can_start_again(receiver_start(receiver));
    receiver_free(receiver);
    return enough;
}

/* Whichever thread cannot be had: the handle says so, and its end is as always. */
static void with_ever_more_threads(bool (*start)(int threads, struct token *token))
{
    const size_t before = running_threads();
    bool enough = false;
    int threads = 0;
    for (; !enough; threads++) {
        struct token token = {0};
        enough = start(threads, &token);
        CHECK_U64(token.released, 1);
        WAIT_UNTIL(running_threads() == before);
    }
    CHECK(threads > 2);
}

TEST(p9_a_sender_that_gets_no_thread)
{
    with_ever_more_threads(start_sender_with);
}

TEST(p9_a_receiver_that_gets_no_thread)
{
    with_ever_more_threads(start_receiver_with);
}

/* While a library is loaded, no thread can begin, which is nothing that a handle waits for. */
TEST(p9_handles_are_started_by_a_constructor)
{
    char path[PATH_MAX], *slash;
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof "plugin.so");
    CHECK(length > 0);
    path[length] = '\0';
    CHECK((slash = strrchr(path, '/')) != NULL);
    strcpy(slash + 1, "plugin.so");
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL)
        FAIL("%s", dlerror());
    CHECK_OK(*(int32_t *)dlsym(plugin, "plugin_sender_started"));
    CHECK_OK(*(int32_t *)dlsym(plugin, "plugin_receiver_started"));
    replication_sender *sender = *(replication_sender **)dlsym(plugin, "plugin_sender");
    struct inbox *inbox = inbox_new();
    replication_receiver *receiver = follow(listen_tcp(sender), "reader", inbox);
    CHECK_OK(receiver_wait_sequence(receiver, replicate_text(sender, "entry"), PATIENCE_MS));
    receiver_free(receiver);
    receiver_free(*(replication_receiver **)dlsym(plugin, "plugin_receiver"));
    sender_free(sender);
    inbox_free(inbox);
}

TEST_MAIN(CASE(p9_a_sender_that_gets_no_thread), CASE(p9_a_receiver_that_gets_no_thread),
          CASE(p9_handles_are_started_by_a_constructor))
