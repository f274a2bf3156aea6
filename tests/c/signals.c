/* Handlers of the host's for signals that a thread causes itself run in callbacks as on the host's own threads: those of
 * crash reporters and managed runtimes (SIGSEGV, SIGFPE, ...), and of sandboxes (SIGSYS). */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host.h"

static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};

static _Thread_local sigjmp_buf after_fault;
static _Thread_local char *alternate; /* the signal stack of this thread */
static _Thread_local volatile sig_atomic_t handled_here;
static atomic_int handled; /* on all threads */

enum { STACK_BYTES = 64 << 10 };

static void count(int signal)
{
    (void)signal;
    handled_here++;
    atomic_fetch_add(&handled, 1);
}

static void recover(int signal)
{
    const char here = 0;
    const uintptr_t at = (uintptr_t)&here, stack = (uintptr_t)alternate;
    CHECK(signal == SIGSEGV && at > stack && at < stack + STACK_BYTES);
    atomic_fetch_add(&handled, 1);
    siglongjmp(after_fault, 1);
}

static void handle(int signal, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_flags = flags};
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    CHECK(sigaction(signal, &action, NULL) == 0);
}

static int is_blocked(int signal)
{
    sigset_t mask;
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0);
    return sigismember(&mask, signal);
}

/* As a managed runtime checks for null: by the fault. */
static void fault(void)
{
    static volatile int *volatile nowhere = NULL;
    alternate = must_alloc(STACK_BYTES);
    const stack_t stack = {.ss_sp = alternate, .ss_size = STACK_BYTES}, none = {.ss_flags = SS_DISABLE};
    CHECK(sigaltstack(&stack, NULL) == 0);
    if (sigsetjmp(after_fault, 1) == 0)
        *nowhere = 1;
    CHECK(sigaltstack(&none, NULL) == 0);
    free(alternate);
}

static void raise_all(void)
{
    for (size_t i = 0; i < COUNT(synchronous); i++) {
        const int before = handled_here;
        CHECK(is_blocked(synchronous[i]) == 0);
        CHECK(raise(synchronous[i]) == 0);
        CHECK_U64(handled_here, before + 1);
    }
}

/* What is sent to the process stays away. */
static void look_at_the_others(void)
{
    const int others[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCHLD, SIGPIPE, SIGPROF};
    for (size_t i = 0; i < COUNT(others); i++)
        CHECK(is_blocked(others[i]) == 1);
}

static void call_what_is_forbidden(void)
{
    const int before = handled_here;
    (void)syscall(SYS_getppid);
    CHECK_U64(handled_here, before + 1);
}

static void (*trouble)(void);
static atomic_int troubled;

static void make_trouble(void)
{
    trouble();
    atomic_fetch_add(&troubled, 1);
}

static int32_t on_entry(void *user_data, uint64_t sequence, uint64_t timestamp_us, const uint8_t *payload, size_t len)
{
    (void)user_data, (void)sequence, (void)timestamp_us, (void)payload, (void)len;
    make_trouble();
    return 0;
}

static void on_event(void *user_data, const replication_event *event)
{
    (void)user_data;
    if (event->kind == REPLICATION_EVENT_KIND_CONNECTED)
        make_trouble();
}

static void on_acked(void *user_data, int32_t status, size_t readers)
{
    (void)user_data, (void)readers;
    CHECK_STATUS(status, REPLICATION_STATUS_OK);
    make_trouble();
}

/* The trouble on a thread of the host's, then in a handler, in two event handlers and in an ordered call. */
static void in_every_callback(void (*what)(void))
{
    trouble = what;
    replication_sender_config *sender_config = sender_config_new();
    CHECK_OK(sender_config_set_event_handler(sender_config, on_event, NULL, NULL));
    replication_sender *sender = start_sender(sender_config);
    replication_receiver_config *config = receiver_config_new();
    CHECK_OK(receiver_config_set_reader_id(config, "reader"));
    CHECK_OK(receiver_config_set_writer_addr(config, tcp_address(listen_tcp(sender))));
    CHECK_OK(receiver_config_set_ingest_handler(config, on_entry, NULL, NULL));
    CHECK_OK(receiver_config_set_event_handler(config, on_event, NULL, NULL));
    replication_receiver *receiver = start_receiver(config);
    CHECK_OK(on_acked_by(sender, replicate_place(sender, "entry"), REPLICATION_ACK_LEVEL_APPLIED, 1, UINT64_MAX,
                         on_acked, NULL, NULL));
    WAIT_UNTIL(atomic_load(&troubled) == 4);
    receiver_free(receiver);
    sender_free(sender);
}

TEST(p9_a_fault_in_a_callback_reaches_its_handler)
{
    handle(SIGSEGV, recover, SA_ONSTACK | SA_NODEFER);
    fault();
    in_every_callback(fault);
    CHECK_U64(atomic_load(&handled), 5);
}

TEST(p9_every_synchronous_signal_reaches_its_handler)
{
    for (size_t i = 0; i < COUNT(synchronous); i++)
        handle(synchronous[i], count, 0);
    in_every_callback(raise_all);
    CHECK_U64(atomic_load(&handled), 4 * COUNT(synchronous));
}

TEST(p9_signals_to_the_process_stay_away_from_callbacks)
{
    in_every_callback(look_at_the_others);
}

/* A thread of the host's that blocks everything, as many do, starts the handles. */
TEST(p9_the_mask_of_the_starting_thread_is_not_inherited)
{
    sigset_t all, before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    for (size_t i = 0; i < COUNT(synchronous); i++)
        handle(synchronous[i], count, 0);
    in_every_callback(raise_all);
    CHECK(is_blocked(SIGSEGV) == 1);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

TEST(p9_a_sandbox_hears_of_forbidden_calls_in_callbacks)
{
    struct sock_filter instructions[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = {.len = COUNT(instructions), .filter = instructions};
    handle(SIGSYS, count, 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        FAIL("no seccomp filter can be set: %s", strerror(errno));
    call_what_is_forbidden();
    in_every_callback(call_what_is_forbidden);
    CHECK_U64(atomic_load(&handled), 5);
}

TEST_MAIN(CASE(p9_a_fault_in_a_callback_reaches_its_handler), CASE(p9_every_synchronous_signal_reaches_its_handler),
          CASE(p9_signals_to_the_process_stay_away_from_callbacks),
          CASE(p9_the_mask_of_the_starting_thread_is_not_inherited),
          CASE(p9_a_sandbox_hears_of_forbidden_calls_in_callbacks))
