// What a host brings: handlers that remember what they were called with, and handles made in one line.
#ifndef REPLICATION_CPP_TESTS_HOST_HPP
#define REPLICATION_CPP_TESTS_HOST_HPP

#include "harness.hpp"

#include <mutex>
#include <string>
#include <vector>

namespace host
{

// Something that counts how often it exists, to be captured in a handler: when the handler is destroyed it is one less.
class guest
{
  public:
    guest() : count_(std::make_shared<int>())
    {
    }
    long others() const
    {
        return count_.use_count() - 1;
    }

  private:
    std::shared_ptr<int> count_;
};

// The entries that a receiver took. Each must have a higher sequence than the one before.
class inbox
{
  public:
    struct taken {
        std::uint64_t sequence;
        std::uint64_t timestamp_us;
        std::string payload;
    };

    void take(const replication::entry &entry)
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!entries_.empty() && entry.sequence <= entries_.back().sequence)
            FAIL("entry " + std::to_string(entry.sequence) + " after " + std::to_string(entries_.back().sequence));
        entries_.push_back({entry.sequence, entry.timestamp_us, entry.payload.to_string()});
    }

    std::vector<taken> entries() const
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        return entries_;
    }

    std::string payloads() const
    {
        std::string all;
        for (const taken &each : entries())
            all += (all.empty() ? "" : " ") + each.payload;
        return all;
    }

  private:
    mutable std::mutex mutex_;
    std::vector<taken> entries_;
};

// The events of a handle, with copies of their texts.
class events
{
  public:
    struct heard {
        replication::event_kind kind;
        replication::status status;
        std::uint64_t sequence;
        std::string reader_id, address, message, detail, cause, identity;
    };

    void operator()(const replication::event &event)
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        heard_.push_back({event.kind, event.status, event.sequence, std::string(event.reader_id),
                          std::string(event.address), std::string(event.message), std::string(event.detail_json),
                          std::string(event.cause), std::string(event.identity)});
    }

    std::vector<heard> of(replication::event_kind kind) const
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<heard> found;
        for (const heard &each : heard_)
            if (each.kind == kind)
                found.push_back(each);
        return found;
    }

    // The first event of the kind, waited for.
    heard wait(replication::event_kind kind) const
    {
        WAIT_UNTIL(!of(kind).empty());
        return of(kind).front();
    }

  private:
    mutable std::mutex mutex_;
    std::vector<heard> heard_;
};

// The log records of a handle.
class log
{
  public:
    void operator()(const replication::log_record &record)
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        lines_.push_back(std::string(name(record.level)) + " " + std::string(record.message) + " " +
                         std::string(record.fields_json));
    }

    std::size_t count(std::string_view part) const
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::size_t found = 0;
        for (const std::string &line : lines_)
            found += line.find(part) != std::string::npos;
        return found;
    }

  private:
    mutable std::mutex mutex_;
    std::vector<std::string> lines_;
};

// A sender that listens at 127.0.0.1.
struct writer {
    replication::sender sender;
    std::string address;

    writer()
    {
        listen();
    }
    explicit writer(replication::sender_config &config) : sender(config)
    {
        listen();
    }

  private:
    void listen()
    {
        sender.start();
        address = "127.0.0.1:" + std::to_string(sender.listen("127.0.0.1:0"));
    }
};

// A configuration of a quick reader, without a handler.
inline replication::receiver_config reader_config(const std::string &address, const std::string &id = "reader")
{
    replication::receiver_config config;
    config.reader_id(id)
        .writer_addr(address)
        .reconnect_interval(std::chrono::milliseconds(50))
        .ack_interval(std::chrono::milliseconds(10));
    return config;
}

// A reader that takes everything.
struct reader {
    inbox entries;
    replication::receiver receiver;

    explicit reader(const std::string &address, const std::string &id = "reader") : reader(reader_config(address, id))
    {
    }
    explicit reader(replication::receiver_config config)
        : receiver(config.ingest_handler([this](const replication::delivery &entry) { entries.take(entry); }))
    {
        receiver.start();
    }
};

inline void wait_for(replication::receiver &receiver, std::uint64_t sequence)
{
    CHECK(receiver.wait_sequence(sequence, harness::patience));
}

} // namespace host

#endif
