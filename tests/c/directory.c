/* The directory of a log on disk, and what becomes of it while a host changes its own: its working directory, its root, its
 * standard streams. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"

enum { SEGMENT_BYTES = 65536, ENTRIES = 300 };

/* A directory of the test's own with `log` and `elsewhere` in it, in which the process is then. */
static const char *enter_base(void)
{
    static char base[200];
    snprintf(base, sizeof base, "%s", temp_path("base"));
    CHECK(mkdir(base, 0700) == 0);
    CHECK(chdir(base) == 0);
    CHECK(mkdir("elsewhere", 0700) == 0);
    return base;
}

static replication_sender_config *sender_with_log(const char *dir)
{
    replication_sender_config *config = sender_config_new();
    CHECK(config != NULL);
    CHECK_OK(sender_config_set_wal_dir(config, dir));
    CHECK_OK(sender_config_set_wal_segment_bytes(config, SEGMENT_BYTES));
    CHECK_OK(sender_config_set_wal_sync(config, REPLICATION_SYNC_POLICY_ALWAYS, 0, 0));
    /* Readers are served from the disk. */
    CHECK_OK(sender_config_set_buffer_size(config, 50));
    return config;
}

static replication_receiver_config *receiver_with_log(const char *address, const char *dir, struct inbox *inbox)
{
    replication_receiver_config *config = receiver_config_for("reader", address, inbox);
    CHECK_OK(receiver_config_set_wal_dir(config, dir));
    CHECK_OK(receiver_config_set_wal_segment_bytes(config, SEGMENT_BYTES));
    return config;
}

static size_t files_in(const char *dir)
{
    size_t files = 0;
    DIR *opened = opendir(dir);
    CHECK(opened != NULL);
    for (const struct dirent *entry; (entry = readdir(opened)) != NULL;)
        files += entry->d_name[0] != '.';
    closedir(opened);
    return files;
}

static void replicate_kilobytes(replication_sender *sender, size_t count)
{
    static const uint8_t payload[1024];
    for (size_t n = 0; n < count; n++)
        CHECK_OK(sender_replicate(sender, 1, payload, sizeof payload, NULL));
}

/* A sender and a receiver with logs in relative directories, of which `change` must not take notice. */
static void go_on_after(void (*change)(const char *base))
{
    const char *base = enter_base();
    struct inbox *inbox = inbox_new(), *late = inbox_new();
    replication_sender_config *config = sender_with_log("log");
    /* The path is that of the moment in which it is set. */
    CHECK(chdir("elsewhere") == 0);
    replication_sender *sender = start_sender(config);
    CHECK(chdir("..") == 0);
    uint16_t port = listen_tcp(sender);
    replication_receiver *receiver = start_receiver(receiver_with_log(tcp_address(port), "copy", inbox));
    replicate_kilobytes(sender, 10);
    wait_for(receiver, 10);
    CHECK_U64(files_in("elsewhere"), 0);
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(root >= 0);

    change(base);
    /* Many segments at both ends, and one that a reader has to be served from. */
    replicate_kilobytes(sender, ENTRIES);
    wait_for(receiver, 10 + ENTRIES);
    CHECK_OK(sender_wait_durable(sender, 10 + ENTRIES, PATIENCE_MS));
    replication_receiver *other = follow(port, "late", late);
    wait_for(other, 10 + ENTRIES);
    receiver_free(other);
    receiver_free(receiver);
    CHECK_OK(sender_stop(sender));
    sender_free(sender);

    if (geteuid() == 0)
        CHECK(fchdir(root) == 0 && chroot(".") == 0);
    CHECK(chdir(base) == 0);
    close(root);
    CHECK_U64(files_in("elsewhere"), 0);
    sender = start_sender(sender_with_log("log"));
    CHECK_U64(sender_current_sequence(sender), 10 + ENTRIES);
    sender_free(sender);
    sender = start_sender(sender_with_log("copy"));
    CHECK_U64(sender_current_sequence(sender), 10 + ENTRIES);
    sender_free(sender);
    inbox_free(inbox);
    inbox_free(late);
}

static void change_directory(const char *base)
{
    (void)base;
    /* Another log lies where the path would lead. */
    CHECK(chdir("elsewhere") == 0);
}

TEST(p10_logs_go_on_after_chdir)
{
    go_on_after(change_directory);
}

static void change_root(const char *base)
{
    char elsewhere[256];
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", base);
    CHECK(chroot(elsewhere) == 0);
    CHECK(chdir("/") == 0);
}

TEST(p10_logs_go_on_after_chroot)
{
    if (geteuid() != 0) {
        printf("only root may change the root directory\n");
        return;
    }
    go_on_after(change_root);
}

/* Also when nothing in the parent directory changes. */
TEST(p10_a_log_ends_when_something_is_mounted_over_it)
{
    if (unshare(CLONE_NEWNS) != 0) {
        printf("this user may not mount\n");
        return;
    }
    enter_base();
    CHECK(mount("none", "/", "none", MS_REC | MS_PRIVATE, "") == 0);
    struct events *events = events_new();
    replication_sender_config *config = sender_with_log("log");
    sender_config_listen_to(config, events);
    replication_sender *sender = start_sender(config);
    replicate_kilobytes(sender, 10);
    CHECK(mount("none", "log", "tmpfs", 0, "") == 0);
    struct seen_event event = events_wait(events, REPLICATION_EVENT_KIND_WAL_FAILED);
    CHECK_STATUS(event.status, REPLICATION_STATUS_IO);
    CHECK_CONTAINS(event.message, "took the place of the log's directory");
    CHECK_STATUS(sender_replicate(sender, 1, (const uint8_t *)"x", 1, NULL), REPLICATION_STATUS_IO);
    sender_free(sender);
    CHECK_U64(files_in("log"), 0);
    CHECK(umount("log") == 0);
    sender = start_sender(sender_with_log("log"));
    CHECK_U64(sender_current_sequence(sender), 10);
    sender_free(sender);
    events_free(events);
}

TEST(a_relative_path_without_a_working_directory_is_refused_when_it_is_set)
{
    const char *base = enter_base();
    CHECK(chdir("elsewhere") == 0);
    CHECK(rmdir("../elsewhere") == 0);
    replication_sender_config *config = sender_config_new();
    CHECK_ERROR(sender_config_set_wal_dir(config, "log"), REPLICATION_STATUS_IO, "log");
    CHECK_OK(sender_config_set_wal_dir(config, base));
    sender_config_free(config);
    replication_receiver_config *other = receiver_config_new();
    CHECK_ERROR(receiver_config_set_wal_dir(other, "log"), REPLICATION_STATUS_IO, "log");
    receiver_config_free(other);
}

/* What a directory's permissions do to a sender and to a receiver that open a log in it. */
static void check_directory(const char *dir, bool refused, bool reported)
{
    replication_sender *sender = NULL;
    replication_receiver *receiver = NULL;
    struct inbox *inbox = inbox_new();
    struct events *sending = events_new(), *receiving = events_new();
    replication_sender_config *writing = sender_with_log(dir);
    sender_config_listen_to(writing, sending);
    if (refused) {
        CHECK_ERROR(sender_new(writing, &sender), REPLICATION_STATUS_INVALID_ARGUMENT, dir);
        CHECK_CONTAINS(replication_last_error_message(), "`ch");
        CHECK_OK(sender_config_set_insecure_permissions_allowed(writing, true));
    }
    sender = start_sender(writing);
    replicate_kilobytes(sender, 1);
    if (reported)
        CHECK_CONTAINS(events_wait(sending, REPLICATION_EVENT_KIND_UNPROTECTED).detail, dir);
    sender_free(sender);
    CHECK_U64(events_count(sending, REPLICATION_EVENT_KIND_UNPROTECTED), reported);

    replication_receiver_config *reading = receiver_with_log("127.0.0.1:1", dir, inbox);
    receiver_config_listen_to(reading, receiving);
    if (refused) {
        CHECK_ERROR(receiver_new(reading, &receiver), REPLICATION_STATUS_INVALID_ARGUMENT, dir);
        CHECK_OK(receiver_config_set_insecure_permissions_allowed(reading, true));
    }
    receiver = start_receiver(reading);
    if (reported)
        CHECK_CONTAINS(events_wait(receiving, REPLICATION_EVENT_KIND_UNPROTECTED).message, dir);
    receiver_free(receiver);
    CHECK_U64(events_count(receiving, REPLICATION_EVENT_KIND_UNPROTECTED), reported);
    events_free(sending);
    events_free(receiving);
    inbox->drop_payloads = true;
    inbox_free(inbox);
}

TEST(a_directory_that_others_may_change_is_refused)
{
    static const struct {
        mode_t mode;
        bool refused, reported;
    } cases[] = {{0700, false, false}, {0755, false, false}, {0770, false, true}, {0775, false, true},
                 {0777, true, true},   {0702, true, true},   {01777, true, true}};
    for (size_t n = 0; n < COUNT(cases); n++) {
        char dir[200], name[20];
        snprintf(name, sizeof name, "log-%zu", n);
        snprintf(dir, sizeof dir, "%s", temp_path(name));
        CHECK(mkdir(dir, 0700) == 0 && chmod(dir, cases[n].mode) == 0);
        check_directory(dir, cases[n].refused, cases[n].reported);
    }
    if (geteuid() == 0) {
        char dir[200];
        snprintf(dir, sizeof dir, "%s", temp_path("another's"));
        CHECK(mkdir(dir, 0700) == 0 && chown(dir, 65534, 65534) == 0);
        check_directory(dir, true, true);
    }
}

/* A host without standard streams: what C libraries write to 0, 1 and 2 must not reach a file of the library. */
TEST(p10_no_file_takes_the_place_of_a_standard_stream)
{
    const char *base = enter_base();
    struct inbox *inbox = inbox_new();
    int errors = fcntl(2, F_DUPFD_CLOEXEC, 100);
    CHECK(errors >= 100);
    close(0), close(1), close(2);
    replication_sender *sender = start_sender(sender_with_log("log"));
    replication_receiver *receiver = start_receiver(receiver_with_log(tcp_address(listen_tcp(sender)), "copy", inbox));
    /* With files in use at every place: those that are written, read and stored now and then. */
    replicate_kilobytes(sender, ENTRIES);
    wait_for(receiver, ENTRIES);
    bool is_ours = false;
    for (int fd = 0; fd <= 2; fd++) {
        char link[40], target[300] = {0};
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (readlink(link, target, sizeof target - 1) > 0 && strncmp(target, base, strlen(base)) == 0) {
            is_ours = true;
            (void)!write(fd, "what a library prints\n", 22);
        }
    }
    replicate_kilobytes(sender, 1);
    wait_for(receiver, ENTRIES + 1);
    receiver_free(receiver);
    sender_free(sender);
    sender = start_sender(sender_with_log("log"));
    uint64_t last = sender_current_sequence(sender);
    sender_free(sender);
    sender = start_sender(sender_with_log("copy"));
    uint64_t copied = sender_current_sequence(sender);
    sender_free(sender);
    for (int fd = 0; fd <= 2; fd++)
        CHECK(dup2(errors, fd) == fd);
    CHECK(!is_ours);
    CHECK_U64(last, ENTRIES + 1);
    CHECK_U64(copied, ENTRIES + 1);
    close(errors);
    inbox_free(inbox);
}

TEST_MAIN(CASE(p10_logs_go_on_after_chdir), CASE(p10_logs_go_on_after_chroot),
          CASE(p10_a_log_ends_when_something_is_mounted_over_it),
          CASE(a_relative_path_without_a_working_directory_is_refused_when_it_is_set),
          CASE(a_directory_that_others_may_change_is_refused), CASE(p10_no_file_takes_the_place_of_a_standard_stream))
