// A RocksDB database that is replicated: its data, and beside them the place in the stream up to which it has them.
#ifndef ROCKSDB_EXAMPLE_DATABASE_HPP
#define ROCKSDB_EXAMPLE_DATABASE_HPP

#include "replication.hpp"

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <memory>
#include <optional>
#include <string>

// Throws std::runtime_error when RocksDB says no.
void check(const rocksdb::Status &status, const std::string &what);

// The data are in the default column family, the place in one of its own, so that a batch can change both at once and a scan
// of the data does not see it. A place is the token of a reader, or the sequence of a writer, whose log knows the rest.
class database
{
  public:
    // Makes it if it is not there. `read_only`: beside a process that has it open.
    explicit database(const std::string &path, bool read_only = false);
    ~database();
    database(const database &) = delete;
    database &operator=(const database &) = delete;

    rocksdb::DB &data() const
    {
        return *db_;
    }

    // The place, in the two forms in which it may be stored. Without either nothing was applied yet.
    std::optional<replication::token> token() const;
    std::optional<std::uint64_t> sequence() const;

    // Adds the place to a batch, which then moves the data and the place together.
    void put_place(rocksdb::WriteBatch &batch, const replication::token &token) const;
    void put_place(rocksdb::WriteBatch &batch, std::uint64_t sequence) const;

  private:
    std::optional<std::string> stored(const char *key) const;

    std::unique_ptr<rocksdb::DB> db_;
    rocksdb::ColumnFamilyHandle *data_ = nullptr;
    rocksdb::ColumnFamilyHandle *place_ = nullptr;
};

// Adds what a payload, the bytes of a WriteBatch, does to a batch. Throws std::runtime_error for other bytes, and for a
// column family that is not replicated.
void append(rocksdb::WriteBatch &batch, replication::bytes_view payload);

#endif
