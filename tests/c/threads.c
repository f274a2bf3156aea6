/* What happens when the system has no thread left: this program's pthread_create(), which the library finds before the C
 * library's, makes as many as a test allows. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>

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
    atomic_store(&threads_left, INT_MAX);
    if (status != REPLICATION_STATUS_OK) {
        CHECK_STATUS(status, REPLICATION_STATUS_IO);
        CHECK_CONTAINS(replication_last_error_message(), "cannot start thread \"repl-");
    }
    return status == REPLICATION_STATUS_OK;
}

static bool start_sender_with(int threads, struct token *token)
{
    replication_sender_config *config = sender_config_new();
    CHECK_OK(sender_config_set_log_dir(config, temp_path("log")));
    CHECK_OK(sender_config_set_event_handler(config, token_event, token, token_release));
    replication_sender *sender = make_sender(config);
    atomic_store(&threads_left, threads);
    const bool enough = started(sender_start(sender));
    sender_free(sender);
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

TEST_MAIN(CASE(p9_a_sender_that_gets_no_thread), CASE(p9_a_receiver_that_gets_no_thread))
