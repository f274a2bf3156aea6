#include "replicated.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include <sys/socket.h>

using namespace std::chrono_literals;

namespace
{

// Whether a receiver that hears of this will never get what it lacks.
bool is_final(const replication::event &event)
{
    switch (event.kind) {
    case replication::event_kind::gap:
    case replication::event_kind::regressed:
    case replication::event_kind::diverged:
        return true;
    default:
        return false;
    }
}

replication::sender open_log(const std::string &path)
{
    replication::sender_config config;
    config.wal_dir(path).wal_sync(replication::sync_policy::always);
    return replication::sender(config);
}

} // namespace

// ---- The writer --------------------------------------------------------------------------------------------------------

replicated_writer::replicated_writer(const std::string &database_path, const std::string &log_path)
    : db_(database_path), sender_(open_log(log_path))
{
    applied_ = db_.sequence().value_or(0);
    if (applied_ > sender_.current_sequence())
        throw std::runtime_error("the database is at " + std::to_string(applied_) + ", but the log ends at " +
                                 std::to_string(sender_.current_sequence()) + ": they do not belong together");
    sender_.start();
    if (applied_ < sender_.current_sequence())
        catch_up();
}

replicated_writer::~replicated_writer()
{
    sender_.reset();
    const rocksdb::Status ignored = db_.data().SyncWAL();
    static_cast<void>(ignored); // what it lacks comes from the log
}

// What the log has and the database has not: the process ended between the two. The writer's own database follows the log
// over a connection within the process, as a reader's does.
void replicated_writer::catch_up()
{
    static constexpr char own_id[] = "the writer itself";
    const std::uint64_t end = sender_.current_sequence();
    std::string refusal;
    std::mutex refusal_mutex;
    replication::receiver_config config;
    config.reader_id(own_id)
        .writer_addr("unix:the writer itself") // asked for, and not dialled
        .connect_handler([this](std::string_view) {
            int ends[2];
            if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
                throw std::system_error(errno, std::generic_category(), "socketpair");
            sender_.accept_connection(ends[0]);
            return ends[1];
        })
        .last_sequence(applied_)
        .event_handler([&](const replication::event &event) {
            if (!is_final(event))
                return;
            const std::lock_guard<std::mutex> lock(refusal_mutex);
            refusal = event.message;
        })
        .ingest_handler([this](const replication::delivery &entry) {
            rocksdb::WriteBatch batch;
            append(batch, entry.payload);
            db_.put_place(batch, entry.sequence);
            check(db_.data().Write(rocksdb::WriteOptions(), &batch), "writing");
        });
    replication::receiver receiver(config);
    receiver.start();
    while (!receiver.wait_sequence(end, 100ms)) {
        const std::lock_guard<std::mutex> lock(refusal_mutex);
        if (!refusal.empty())
            throw std::runtime_error("the database cannot follow the log: " + refusal);
    }
    receiver.reset();
    sender_.drop_slot(own_id); // it needs nothing more of the log
    applied_ = end;
}

void replicated_writer::listen(const std::string &address)
{
    sender_.listen(address);
}

std::uint64_t replicated_writer::commit(rocksdb::WriteBatch batch)
{
    std::uint64_t sequence = 0;
    try {
        sequence = sender_.replicate(batch.Data());
    } catch (const replication::indeterminate_error &) {
        fail(); // in the log or not: the log says so when it is opened again
        throw;
    }
    // It has happened. Into the database in the order of the log, and the place with it.
    std::unique_lock<std::mutex> lock(mutex_);
    turn_.wait(lock, [&] { return is_failed_ || applied_ + 1 == sequence; });
    if (is_failed_)
        throw std::runtime_error("an earlier commit is in the log and not in the database: start again");
    try {
        db_.put_place(batch, sequence);
        check(db_.data().Write(rocksdb::WriteOptions(), &batch), "writing");
    } catch (...) {
        is_failed_ = true;
        turn_.notify_all();
        throw;
    }
    applied_ = sequence;
    turn_.notify_all();
    return sequence;
}

void replicated_writer::fail()
{
    const std::lock_guard<std::mutex> lock(mutex_);
    is_failed_ = true;
    turn_.notify_all();
}

bool replicated_writer::is_failed() const
{
    const std::lock_guard<std::mutex> lock(mutex_);
    return is_failed_;
}

void replicated_writer::stop()
{
    sender_.stop();
}

// ---- A reader ----------------------------------------------------------------------------------------------------------

replicated_reader::replicated_reader(const std::string &database_path, const std::string &writer_address,
                                     const std::string &reader_id, std::function<void(std::uint64_t)> applied,
                                     std::function<void(const std::string &)> failed)
    : db_(database_path), applied_(std::move(applied))
{
    replication::receiver_config config;
    config.reader_id(reader_id)
        .writer_addr(writer_address)
        .protocol(replication::protocol::v2) // v1 has no tokens
        .handler_durable(true)               // apply() syncs
        .reconnect_interval(500ms)
        .event_handler([failed = std::move(failed)](const replication::event &event) {
            if (is_final(event))
                failed(std::string(event.message));
        })
        .ingest_batch_handler(0, [this](const replication::batch &entries) { apply(entries); });
    if (const auto token = db_.token())
        config.token(*token);
    receiver_.emplace(config);
    receiver_->start();
}

// All of them, and the place after the last, in one batch: after a crash they are there together or not at all.
void replicated_reader::apply(const replication::batch &entries)
{
    rocksdb::WriteBatch batch;
    for (const replication::entry entry : entries)
        append(batch, entry.payload);
    db_.put_place(batch, entries.token().value());
    rocksdb::WriteOptions synced;
    synced.sync = true;
    check(db_.data().Write(synced, &batch), "writing");
    applied_(entries.back().sequence);
}
