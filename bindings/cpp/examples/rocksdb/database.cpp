#include "database.hpp"

#include <rocksdb/merge_operator.h>
#include <rocksdb/options.h>

#include <charconv>
#include <stdexcept>

namespace
{

constexpr char place_family[] = "replication";
constexpr char token_key[] = "token";
constexpr char sequence_key[] = "sequence";

std::uint64_t number_in(const rocksdb::Slice &text)
{
    std::uint64_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

// Adds decimal numbers. A batch that were applied twice would be counted twice.
class addition : public rocksdb::AssociativeMergeOperator
{
  public:
    bool Merge(const rocksdb::Slice &, const rocksdb::Slice *existing, const rocksdb::Slice &operand,
               std::string *merged, rocksdb::Logger *) const override
    {
        *merged = std::to_string((existing != nullptr ? number_in(*existing) : 0) + number_in(operand));
        return true;
    }

    const char *Name() const override
    {
        return "addition";
    }
};

// Repeats the operations of one batch in another.
class repeater : public rocksdb::WriteBatch::Handler
{
  public:
    explicit repeater(rocksdb::WriteBatch &batch) : batch_(batch)
    {
    }

    rocksdb::Status PutCF(std::uint32_t family, const rocksdb::Slice &key, const rocksdb::Slice &value) override
    {
        return is_data(family) ? batch_.Put(key, value) : refusal(family);
    }

    rocksdb::Status DeleteCF(std::uint32_t family, const rocksdb::Slice &key) override
    {
        return is_data(family) ? batch_.Delete(key) : refusal(family);
    }

    rocksdb::Status SingleDeleteCF(std::uint32_t family, const rocksdb::Slice &key) override
    {
        return is_data(family) ? batch_.SingleDelete(key) : refusal(family);
    }

    rocksdb::Status DeleteRangeCF(std::uint32_t family, const rocksdb::Slice &begin, const rocksdb::Slice &end) override
    {
        return is_data(family) ? batch_.DeleteRange(begin, end) : refusal(family);
    }

    rocksdb::Status MergeCF(std::uint32_t family, const rocksdb::Slice &key, const rocksdb::Slice &value) override
    {
        return is_data(family) ? batch_.Merge(key, value) : refusal(family);
    }

    void LogData(const rocksdb::Slice &) override
    {
        // A remark in RocksDB's log; no data.
    }

  private:
    static bool is_data(std::uint32_t family)
    {
        return family == 0;
    }

    static rocksdb::Status refusal(std::uint32_t family)
    {
        return rocksdb::Status::NotSupported("column family " + std::to_string(family) + " is not replicated");
    }

    rocksdb::WriteBatch &batch_;
};

} // namespace

void check(const rocksdb::Status &status, const std::string &what)
{
    if (!status.ok())
        throw std::runtime_error(what + ": " + status.ToString());
}

database::database(const std::string &path, bool read_only)
{
    rocksdb::ColumnFamilyOptions options;
    options.merge_operator = std::make_shared<addition>();
    const std::vector<rocksdb::ColumnFamilyDescriptor> families = {{rocksdb::kDefaultColumnFamilyName, options},
                                                                   {place_family, options}};
    rocksdb::DBOptions of_db;
    of_db.create_if_missing = true;
    of_db.create_missing_column_families = true;
    std::vector<rocksdb::ColumnFamilyHandle *> handles;
    rocksdb::DB *opened = nullptr;
    if (read_only)
        check(rocksdb::DB::OpenForReadOnly(of_db, path, families, &handles, &opened), "opening " + path);
    else
        check(rocksdb::DB::Open(of_db, path, families, &handles, &opened), "opening " + path);
    db_.reset(opened);
    data_ = handles[0];
    place_ = handles[1];
}

database::~database()
{
    db_->DestroyColumnFamilyHandle(data_);
    db_->DestroyColumnFamilyHandle(place_);
}

std::optional<std::string> database::stored(const char *key) const
{
    std::string value;
    const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), place_, key, &value);
    if (status.IsNotFound())
        return std::nullopt;
    check(status, "reading the place");
    return value;
}

std::optional<replication::token> database::token() const
{
    const auto found = stored(token_key);
    return found ? std::optional(replication::token(*found)) : std::nullopt;
}

std::optional<std::uint64_t> database::sequence() const
{
    const auto found = stored(sequence_key);
    return found ? std::optional(number_in(*found)) : std::nullopt;
}

void database::put_place(rocksdb::WriteBatch &batch, const replication::token &token) const
{
    const replication::bytes_view bytes = token;
    check(batch.Put(place_, token_key, rocksdb::Slice(bytes.text())), "adding the token");
}

void database::put_place(rocksdb::WriteBatch &batch, std::uint64_t sequence) const
{
    check(batch.Put(place_, sequence_key, std::to_string(sequence)), "adding the sequence");
}

void append(rocksdb::WriteBatch &batch, replication::bytes_view payload)
{
    repeater repeat(batch);
    check(rocksdb::WriteBatch(payload.to_string()).Iterate(&repeat), "an entry that is no write batch");
}
