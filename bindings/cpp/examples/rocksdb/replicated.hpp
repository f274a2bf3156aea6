// The two ends: a database whose commits are replicated, and one that follows it.
#ifndef ROCKSDB_EXAMPLE_REPLICATED_HPP
#define ROCKSDB_EXAMPLE_REPLICATED_HPP

#include "database.hpp"

#include <condition_variable>
#include <functional>
#include <mutex>

// The writer. The log comes first: what is in it has happened, and the database, like those of the readers, follows it.
class replicated_writer
{
  public:
    // Opens the database and the log, and brings the database up to the log's end.
    replicated_writer(const std::string &database_path, const std::string &log_path);
    ~replicated_writer();

    // Readers may come at this address.
    void listen(const std::string &address);

    // Commits a batch and returns its sequence: it is durable, in the database, and on its way to the readers. Any number of
    // threads may commit at once; they share the log's syncs. When this throws and the database goes on taking commits, the
    // batch was not committed. When it does not (`is_failed`), the process has to end, and starting it again decides.
    std::uint64_t commit(rocksdb::WriteBatch batch);

    bool is_failed() const;

    // Lets the readers catch up, and ends. Throws when one did not within the time.
    void stop();

  private:
    void catch_up();
    void fail();

    database db_;
    replication::sender sender_;

    mutable std::mutex mutex_;
    std::condition_variable turn_;
    std::uint64_t applied_ = 0; // commits up to here are in the database
    bool is_failed_ = false;
};

// A reader. It goes on where its database is.
class replicated_reader
{
  public:
    // `applied` hears how far the database has come, `failed` why it cannot go on by itself.
    replicated_reader(const std::string &database_path, const std::string &writer_address, const std::string &reader_id,
                      std::function<void(std::uint64_t)> applied, std::function<void(const std::string &)> failed);

  private:
    void apply(const replication::batch &entries);

    database db_;
    std::function<void(std::uint64_t)> applied_;
    std::optional<replication::receiver> receiver_; // ends first, as its handler uses the others
};

#endif
