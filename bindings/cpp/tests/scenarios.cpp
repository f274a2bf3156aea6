// Runs tests/scenarios/scenarios.json, the list of tests that every language's binding passes. Its README has the format.
#include "harness.hpp"
#include "json.hpp"
#include "net.hpp"

#include <condition_variable>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

namespace
{

using json::value;
using replication::status;
using std::chrono::milliseconds;

constexpr std::uint64_t entry_time_us = 1700000000000000;
constexpr std::uint64_t default_bytes = 64;
constexpr std::uint64_t default_timeout_ms = 20000;
constexpr std::size_t max_batch = 16;

[[noreturn]] void stop(const std::string &why)
{
    throw std::runtime_error(why);
}

// ---- Names of the file in this binding's terms -------------------------------------------------------------------------

/// The value of an enumeration with this name. All numbers are below 256.
template <class T> T named(const value &name)
{
    for (int number = 0; number < 256; number++)
        if (replication::name(static_cast<T>(number)) == json::text(name))
            return static_cast<T>(number);
    stop("unknown name " + json::text(name));
}

// ---- Bytes -------------------------------------------------------------------------------------------------------------

std::string unhex(const std::string &hex)
{
    std::string bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        bytes += static_cast<char>(std::stoul(hex.substr(i, 2), nullptr, 16));
    return bytes;
}

std::string hex(replication::bytes_view bytes)
{
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (const std::uint8_t byte : bytes) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

std::string pattern(std::uint64_t sequence, std::uint64_t bytes)
{
    std::string payload;
    payload.reserve(bytes);
    for (std::uint64_t i = 0; i < bytes; ++i)
        payload += static_cast<char>(31 * sequence + i);
    return payload;
}

std::uint64_t number_or(const value &step, const char *key, std::uint64_t otherwise)
{
    return step.contains(key) ? json::number(step.at(key)) : otherwise;
}

bool is_true(const value &step, const char *key)
{
    return step.contains(key) && step.at(key).get<bool>();
}

milliseconds timeout_of(const value &step)
{
    return milliseconds(number_or(step, "timeout_ms", default_timeout_ms));
}

// ---- What a call gave --------------------------------------------------------------------------------------------------

struct outcome {
    status code = status::ok;
    std::string text;
};

// Makes the call: what it throws, what it returns as an ack_result or as "in time or not", or OK.
template <class Call> outcome outcome_of(const Call &call)
{
    using result = std::invoke_result_t<const Call &>;
    try {
        if constexpr (std::is_same_v<result, replication::ack_result>) {
            const replication::ack_result got = call();
            return {got.status, got.message};
        } else if constexpr (std::is_same_v<result, bool>) {
            return {call() ? status::ok : status::timeout, {}};
        } else {
            call();
            return {};
        }
    } catch (const replication::error &caught) {
        return {caught.code(), caught.what()};
    }
}

void must_be(const outcome &got, const value &step)
{
    const status expected = step.contains("expect") ? named<status>(step.at("expect")) : status::ok;
    if (got.code != expected)
        stop(std::string("gave ") + name(got.code) + " (" + got.text + "), expected " + name(expected));
    if (step.contains("message") && got.text.find(json::text(step.at("message"))) == std::string::npos)
        stop("the text \"" + got.text + "\" lacks \"" + json::text(step.at("message")) + "\"");
}

template <class Condition> void expect(const std::string &what, const Condition &is_so)
{
    const auto deadline = std::chrono::steady_clock::now() + harness::patience;
    while (!is_so()) {
        if (std::chrono::steady_clock::now() > deadline)
            stop("still not so: " + what);
        std::this_thread::sleep_for(milliseconds(1));
    }
}

// ---- The objects of a scenario -----------------------------------------------------------------------------------------

// What an object's event and log handlers heard.
class ears
{
  public:
    void event(const replication::event &heard)
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        events_.push_back({heard.kind, heard.status, heard.sequence});
    }

    void log(const replication::log_record &heard)
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        records_.emplace_back(heard.level, json::text(json::parse(heard.fields_json).at("event")));
    }

    std::size_t count(const value &wanted) const
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::size_t found = 0;
        for (const heard_event &each : events_)
            found += name(each.kind) == json::text(wanted.at("kind")) &&
                     (!wanted.contains("status") || each.why == named<status>(wanted.at("status"))) &&
                     (!wanted.contains("sequence") || each.sequence == json::number(wanted.at("sequence")));
        return found;
    }

    bool has_logged(const std::string &level, const std::string &event) const
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (const auto &[each_level, each_event] : records_)
            if (name(each_level) == level && each_event == event)
                return true;
        return false;
    }

  private:
    struct heard_event {
        replication::event_kind kind;
        status why;
        std::uint64_t sequence;
    };

    mutable std::mutex mutex_;
    std::vector<heard_event> events_;
    std::vector<std::pair<replication::log_level, std::string>> records_;
};

// An object that stops itself in its handler, once.
class self_stop
{
  public:
    bool wanted = false;

    template <class Handle> void act(Handle &handle)
    {
        if (!wanted || is_done_)
            return;
        is_done_ = true;
        const status got = outcome_of([&] { handle.stop(); }).code;
        const std::lock_guard<std::mutex> lock(mutex_);
        got_ = got;
    }

    std::optional<status> got() const
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        return got_;
    }

  private:
    bool is_done_ = false;
    mutable std::mutex mutex_;
    std::optional<status> got_;
};

struct writer {
    ears heard;
    self_stop stopping;
    std::optional<replication::sender> handle;
};

struct taken_entry {
    std::uint64_t sequence;
    std::string payload;
    value records;
};

struct reader {
    ears heard;
    self_stop stopping;

    // The handler's, beside it.
    std::uint64_t fail_sequence = 0, fail_times = 0;

    std::mutex mutex;
    std::condition_variable changed;
    bool is_held = false;
    std::vector<taken_entry> taken;

    std::optional<replication::receiver> handle;

    void release()
    {
        const std::lock_guard<std::mutex> lock(mutex);
        is_held = false;
        changed.notify_all();
    }

    // What every kind of handler does before it takes anything.
    void before()
    {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [this] { return !is_held; });
        lock.unlock();
        stopping.act(*handle);
    }

    void may_fail(std::uint64_t sequence)
    {
        if (sequence == fail_sequence && fail_times > 0) {
            --fail_times;
            throw std::runtime_error("entry " + std::to_string(sequence) + " is not taken, as the scenario wants it");
        }
    }

    void take(std::uint64_t sequence, std::uint64_t timestamp_us, std::string payload, value records = {})
    {
        const std::lock_guard<std::mutex> lock(mutex);
        if (timestamp_us != entry_time_us)
            FAIL("entry " + std::to_string(sequence) + " has the time " + std::to_string(timestamp_us));
        if (!taken.empty() && sequence <= taken.back().sequence)
            FAIL("entry " + std::to_string(sequence) + " after " + std::to_string(taken.back().sequence));
        taken.push_back({sequence, std::move(payload), std::move(records)});
    }
};

struct order {
    std::mutex mutex;
    std::optional<status> ended;
};

struct background_call {
    outcome got;
    std::thread thread; // joined before `got` goes
};

class scenario
{
  public:
    explicit scenario(const value &file) : file_(file)
    {
    }

    // Waits of calls in the background end with their handles; peers go before receivers, receivers before senders.
    ~scenario()
    {
        peers_.clear();
        for (auto &[name, each] : readers_)
            each->release();
        for (auto &[name, each] : readers_)
            if (each->handle)
                end(*each->handle);
        for (auto &[name, each] : writers_)
            if (each->handle)
                end(*each->handle);
        for (auto &[name, each] : background_)
            if (each->thread.joinable())
                each->thread.join();
        readers_.clear();
        writers_.clear();
    }

    void run(const value &step)
    {
        for (const auto &[key, unused] : step.items())
            if (known_keys().count(key) == 0)
                stop("unknown key " + key);
        const auto found = verbs().find(json::text(step.at("do")));
        if (found == verbs().end())
            stop("unknown verb " + json::text(step.at("do")));
        (this->*found->second)(step);
    }

  private:
    using verb = void (scenario::*)(const value &);

    template <class Handle> static void end(Handle &handle)
    {
        static_cast<void>(
            outcome_of([&handle] { handle.stop(); })); // what a scenario expects of a stop, it says itself
    }

    static const std::set<std::string> &known_keys();
    static const std::map<std::string, verb> &verbs();

    // ---- Objects by name

    template <class T> static T &at(std::map<std::string, std::unique_ptr<T>> &all, const std::string &name)
    {
        const auto found = all.find(name);
        if (found == all.end())
            stop("no object " + name);
        return *found->second;
    }
    writer &writer_of(const value &step)
    {
        return at(writers_, json::text(step.at("on")));
    }
    reader &reader_of(const value &step)
    {
        return at(readers_, json::text(step.at("on")));
    }
    replication::sender &sender_of(const value &step)
    {
        return *writer_of(step).handle;
    }
    replication::receiver &receiver_of(const value &step)
    {
        return *reader_of(step).handle;
    }
    net::socket &peer_of(const value &step)
    {
        return at(peers_, json::text(step.at("on")));
    }
    bool is_sender(const value &step) const
    {
        return writers_.count(json::text(step.at("on"))) != 0;
    }
    const ears &ears_of(const value &step)
    {
        return is_sender(step) ? writer_of(step).heard : reader_of(step).heard;
    }
    value stats_of(const value &step)
    {
        const value stats =
            json::parse(is_sender(step) ? sender_of(step).stats_json() : receiver_of(step).stats_json());
        return step.contains("path") ? json::at(stats, json::text(step.at("path"))) : stats;
    }

    // Makes a call whose status the step, or a later `join`, expects.
    template <class Call> void make(const value &step, Call call)
    {
        if (!step.contains("background"))
            return must_be(outcome_of(call), step);
        auto made = std::make_unique<background_call>();
        background_call &running = *made;
        background_.insert_or_assign(json::text(step.at("background")), std::move(made));
        running.thread = std::thread([&running, call = std::move(call)] { running.got = outcome_of(call); });
    }

    // ---- Senders

    const replication::token &token_of(const value &name) const
    {
        const auto found = tokens_.find(json::text(name));
        if (found == tokens_.end())
            stop("no token " + json::text(name));
        return found->second;
    }

    // From its cluster, its name, and a text with its bytes.
    static replication::secret secret_of(const value &list)
    {
        return replication::secret::from_bytes(json::text(list.at(0)), json::text(list.at(1)), json::text(list.at(2)));
    }

    static std::optional<std::string> path_of(const value &path)
    {
        if (path.is_null())
            return std::nullopt;
        return harness::temp_path(json::text(path));
    }

    static const char *c_text(const std::optional<std::string> &text)
    {
        return text ? text->c_str() : nullptr;
    }

    void set(replication::sender_config &config, const std::string &key, const value &given) const
    {
        const auto ms = [&given] { return milliseconds(json::number(given)); };
        const auto nth = [&given](std::size_t index) -> const value & { return given.at(index); };
        if (key == "buffer_size")
            config.buffer_size(json::number(given));
        else if (key == "buffer_bytes")
            config.buffer_bytes(json::number(given));
        else if (key == "full_policy")
            config.full_policy(named<replication::full_policy>(nth(0)), milliseconds(json::number(nth(1))));
        else if (key == "write_timeout_ms")
            config.write_timeout(ms());
        else if (key == "handshake_timeout_ms")
            config.handshake_timeout(ms());
        else if (key == "heartbeat_interval_ms")
            config.heartbeat_interval(ms());
        else if (key == "peer_timeout_ms")
            config.peer_timeout(ms());
        else if (key == "stop_timeout_ms")
            config.stop_timeout(ms());
        else if (key == "max_readers")
            config.max_readers(json::number(given));
        else if (key == "io_threads")
            config.io_threads(static_cast<std::uint32_t>(json::number(given)));
        else if (key == "last_sequence")
            config.last_sequence(json::number(given));
        else if (key == "token")
            config.token(token_of(nth(0)), json::number(nth(1)));
        else if (key == "access_rules")
            config.access_rules(json::text(given).c_str());
        else if (key == "secrets")
            for (const value &each : given)
                config.add_secret(secret_of(each));
        else if (key == "plain_secrets_allowed")
            config.plain_secrets_allowed(given.get<bool>());
        else if (key == "tls")
            config.tls(c_text(path_of(nth(0))), c_text(path_of(nth(1))), c_text(path_of(nth(2))));
        else if (key == "groups")
            for (const auto &[group, members] : given.items()) {
                std::vector<std::string> ids;
                for (const value &id : members)
                    ids.push_back(json::text(id));
                config.add_group(group, ids);
            }
        else if (key == "write_gate")
            config.write_gate({json::number(nth(0)), json::number(nth(1)), milliseconds(json::number(nth(2))),
                               named<replication::ack_level>(nth(3)), named<replication::gate_policy>(nth(4)),
                               milliseconds(json::number(nth(5)))});
        else if (key == "max_pending_acks")
            config.max_pending_acks(json::number(given));
        else if (key == "wal_dir")
            config.wal_dir(c_text(path_of(given)));
        else if (key == "wal_sync")
            config.wal_sync(named<replication::sync_policy>(nth(0)), milliseconds(json::number(nth(1))),
                            json::number(nth(2)));
        else if (key == "wal_segment_bytes")
            config.wal_segment_bytes(json::number(given));
        else if (key == "wal_retain_bytes")
            config.wal_retain_bytes(json::number(given));
        else if (key == "wal_retain_ms")
            config.log_retain(ms());
        else if (key == "slot_max_bytes")
            config.slot_max_bytes(json::number(given));
        else if (key == "slot_expiry_ms")
            config.slot_expiry(ms());
        else if (key == "wal_timeout_ms")
            config.log_timeout(ms());
        else
            stop("unknown option " + key);
    }

    void sender_new(const value &step)
    {
        auto made = std::make_unique<writer>();
        writer *const it = made.get();
        it->stopping.wanted = is_true(step, "stop_inside");
        const outcome got = outcome_of([&] {
            replication::sender_config config;
            config
                .event_handler([it](const replication::event &event) {
                    it->heard.event(event);
                    it->stopping.act(*it->handle);
                })
                .log_handler(replication::log_level::debug,
                             [it](const replication::log_record &record) { it->heard.log(record); });
            if (step.contains("config"))
                for (const auto &[key, given] : step.at("config").items())
                    set(config, key, given);
            it->handle.emplace(config);
        });
        must_be(got, step);
        if (got.code == status::ok)
            writers_.insert_or_assign(json::text(step.at("on")), std::move(made));
    }

    void sender_start(const value &step)
    {
        make(step, [&handle = sender_of(step)] { handle.start(); });
    }

    void sender_listen(const value &step)
    {
        std::string address = "127.0.0.1:0";
        if (step.contains("address")) {
            address = json::text(step.at("address"));
            if (const std::size_t tmp = address.find("{tmp}"); tmp != std::string::npos)
                address.replace(tmp, 5, harness::temp_path(""));
        } else if (step.contains("same_as")) {
            address = addresses_.at(json::text(step.at("same_as")));
        }
        make(step, [this, address, on = json::text(step.at("on")), &handle = sender_of(step)] {
            const std::uint16_t port = handle.listen(address);
            addresses_[on] = port == 0 ? address : "127.0.0.1:" + std::to_string(port);
        });
    }

    void sender_accept_connection(const value &step)
    {
        auto [ours, theirs] = net::pair();
        const int descriptor = ours.release();
        const bool is_closed = is_true(step, "closed");
        if (is_closed)
            close(descriptor);
        else
            peers_.insert_or_assign(json::text(step.at("peer")), std::make_unique<net::socket>(std::move(theirs)));
        make(step, [descriptor, &handle = sender_of(step)] { handle.accept_connection(descriptor); });
    }

    static replication::timestamp entry_time()
    {
        return replication::timestamp(std::chrono::microseconds(entry_time_us));
    }

    // One entry; the next sequence is what it gets.
    static void replicate(replication::sender &handle, const std::string &payload)
    {
        const std::uint64_t next = handle.current_sequence() + 1;
        const std::uint64_t sequence = handle.replicate(payload, entry_time());
        if (sequence != next)
            stop("the entry got the sequence " + std::to_string(sequence) + ", not " + std::to_string(next));
    }

    void sender_replicate(const value &step)
    {
        const std::uint64_t count = number_or(step, "count", 1), bytes = number_or(step, "bytes", default_bytes);
        make(step, [count, bytes, &handle = sender_of(step)] {
            for (std::uint64_t i = 0; i < count; ++i)
                replicate(handle, pattern(handle.current_sequence() + 1, bytes));
        });
    }

    void sender_replicate_batch(const value &step)
    {
        const std::uint64_t count = number_or(step, "count", 1), bytes = number_or(step, "bytes", default_bytes);
        make(step, [count, bytes, &handle = sender_of(step)] {
            const std::uint64_t next = handle.current_sequence() + 1;
            std::vector<std::string> payloads;
            for (std::uint64_t i = 0; i < count; ++i)
                payloads.push_back(pattern(next + i, bytes));
            if (handle.replicate_batch(payloads, entry_time()) != next)
                stop("the batch got another sequence");
        });
    }

    void sender_replicate_hex(const value &step)
    {
        std::vector<std::string> payloads;
        for (const value &each : step.at("payloads"))
            payloads.push_back(unhex(json::text(each)));
        make(step, [payloads, &handle = sender_of(step)] {
            for (const std::string &payload : payloads)
                replicate(handle, payload);
        });
    }

    void sender_replicate_in_child(const value &step)
    {
        replication::sender &handle = sender_of(step);
        const int code = harness::in_child(
            [&] { return static_cast<int>(outcome_of([&] { handle.replicate("in the child", entry_time()); }).code); });
        must_be({static_cast<status>(code), {}}, step);
    }

    void sender_remove_reader(const value &step)
    {
        make(step, [id = json::text(step.at("reader_id")), &handle = sender_of(step)] { handle.remove_reader(id); });
    }

    void sender_add_secret(const value &step)
    {
        make(step, [secret = secret_of(step.at("secret")), &handle = sender_of(step)] { handle.add_secret(secret); });
    }

    void sender_remove_secret(const value &step)
    {
        make(step, [name = json::text(step.at("name")), &handle = sender_of(step)] { handle.remove_secret(name); });
    }

    void receiver_set_secret(const value &step)
    {
        replication::receiver &handle = receiver_of(step);
        const value &given = step.at("secret");
        if (given.is_null())
            make(step, [&handle] { handle.remove_secret(); });
        else
            make(step, [secret = secret_of(given), &handle] { handle.set_secret(secret); });
    }

    void sender_set_writable(const value &step)
    {
        make(step, [writable = step.at("writable").get<bool>(), &handle = sender_of(step)] {
            handle.set_writable(writable);
        });
    }

    void sender_wait_acked(const value &step)
    {
        make(step,
             [sequence = json::number(step.at("sequence")), level = named<replication::ack_level>(step.at("level")),
              readers = json::number(step.at("readers")), timeout = timeout_of(step),
              &handle = sender_of(step)] { return handle.wait_acked(sequence, level, readers, timeout); });
    }

    // The readers of a step: a number of any, or numbers of groups.
    static std::shared_ptr<replication::quorum> quorum_of(const value &step)
    {
        if (!step.contains("quorum"))
            return std::make_shared<replication::quorum>(json::number(step.at("readers")));
        auto quorum = std::make_shared<replication::quorum>();
        for (const value &term : step.at("quorum")) {
            const value &group = term.at(0);
            const std::uint64_t readers = json::number(term.at(1));
            if (group.is_null())
                quorum->add(readers);
            else
                quorum->add(json::text(group), readers);
        }
        return quorum;
    }

    void sender_replicate_token(const value &step)
    {
        const std::uint64_t bytes = number_or(step, "bytes", default_bytes);
        make(step, [this, bytes, name = json::text(step.at("token")), &handle = sender_of(step)] {
            const std::string payload = pattern(handle.current_sequence() + 1, bytes);
            tokens_.insert_or_assign(name, handle.replicate_token(payload, entry_time()));
        });
    }

    void sender_wait_token(const value &step)
    {
        make(step, [token = token_of(step.at("token")), level = named<replication::ack_level>(step.at("level")),
                    quorum = quorum_of(step), timeout = timeout_of(step),
                    &handle = sender_of(step)] { return handle.wait_token(token, level, *quorum, timeout); });
    }

    void sender_acked(const value &step)
    {
        make(step,
             [token = token_of(step.at("token")), level = named<replication::ack_level>(step.at("level")),
              quorum = quorum_of(step), &handle = sender_of(step)] { return handle.acked(token, level, *quorum); });
    }

    void sender_on_acked(const value &step)
    {
        auto made = std::make_shared<order>();
        orders_.insert_or_assign(json::text(step.at("order")), made);
        make(step, [made, token = token_of(step.at("token")), level = named<replication::ack_level>(step.at("level")),
                    quorum = quorum_of(step), timeout = timeout_of(step), &handle = sender_of(step)] {
            handle.on_acked(token, level, *quorum, timeout, [made](const replication::ack_notice &notice) {
                const std::lock_guard<std::mutex> lock(made->mutex);
                if (made->ended)
                    FAIL("an order ended twice");
                made->ended = notice.status;
            });
        });
    }

    void sender_set_option(const value &step)
    {
        make(step, [name = json::text(step.at("name")), number = json::number(step.at("value")),
                    &handle = sender_of(step)] { handle.set_option(name, number); });
    }

    void sender_wait_durable(const value &step)
    {
        make(step, [sequence = json::number(step.at("sequence")), timeout = timeout_of(step),
                    &handle = sender_of(step)] { return handle.wait_durable(sequence, timeout); });
    }

    void sender_drop_slot(const value &step)
    {
        make(step, [id = json::text(step.at("reader_id")), &handle = sender_of(step)] { handle.drop_slot(id); });
    }

    void sender_token(const value &step)
    {
        make(step, [this, name = json::text(step.at("token")), &handle = sender_of(step)] {
            tokens_.insert_or_assign(name, handle.token());
        });
    }

    void sender_stop(const value &step)
    {
        make(step, [&handle = sender_of(step)] { handle.stop(); });
    }

    void sender_free(const value &step)
    {
        writer_of(step).handle->reset();
        writers_.erase(json::text(step.at("on")));
    }

    // ---- Receivers

    void set(replication::receiver_config &config, const std::string &key, const value &given) const
    {
        const auto ms = [&given] { return milliseconds(json::number(given)); };
        const auto nth = [&given](std::size_t index) -> const value & { return given.at(index); };
        if (key == "reader_id")
            config.reader_id(json::text(given));
        else if (key == "writer_addr")
            config.writer_addr(json::text(given));
        else if (key == "last_sequence")
            config.last_sequence(json::number(given));
        else if (key == "token")
            config.token(token_of(given));
        else if (key == "protocol")
            config.protocol(named<replication::protocol>(given));
        else if (key == "coordinator_handshake")
            config.coordinator_handshake(given.get<bool>());
        else if (key == "gap_policy")
            config.gap_policy(named<replication::gap_policy>(given));
        else if (key == "apply_policy")
            config.apply_policy(named<replication::apply_policy>(nth(0)),
                                static_cast<std::uint32_t>(json::number(nth(1))));
        else if (key == "secret")
            config.secret(secret_of(given));
        else if (key == "plain_secrets_allowed")
            config.plain_secrets_allowed(given.get<bool>());
        else if (key == "handler_durable")
            config.handler_durable(given.get<bool>());
        else if (key == "reconnect_interval_ms")
            config.reconnect_interval(ms());
        else if (key == "ack_interval_ms")
            config.ack_interval(ms());
        else if (key == "connect_timeout_ms")
            config.connect_timeout(ms());
        else if (key == "heartbeat_interval_ms")
            config.heartbeat_interval(ms());
        else if (key == "peer_timeout_ms")
            config.peer_timeout(ms());
        else if (key == "buffer_bytes")
            config.buffer_bytes(json::number(given));
        else if (key == "max_epoch_jump")
            config.max_epoch_jump(json::number(given));
        else if (key == "tls") {
            const std::optional<std::string> name =
                nth(1).is_null() ? std::nullopt : std::optional<std::string>(json::text(nth(1)));
            config.tls(c_text(path_of(nth(0))), c_text(name), c_text(path_of(nth(2))), c_text(path_of(nth(3))));
        } else if (key == "wal_dir")
            config.wal_dir(c_text(path_of(given)));
        else if (key == "wal_sync")
            config.wal_sync(named<replication::sync_policy>(nth(0)), milliseconds(json::number(nth(1))),
                            json::number(nth(2)));
        else if (key == "wal_segment_bytes")
            config.wal_segment_bytes(json::number(given));
        else if (key == "wal_retain_bytes")
            config.wal_retain_bytes(json::number(given));
        else if (key == "wal_retain_ms")
            config.log_retain(ms());
        else
            stop("unknown option " + key);
    }

    static void set_handler(replication::receiver_config &config, reader *it, const std::string &kind)
    {
        if (kind == "entry") {
            config.ingest_handler([it](const replication::delivery &entry) {
                it->before();
                it->may_fail(entry.sequence);
                it->take(entry.sequence, entry.timestamp_us, entry.payload.to_string());
            });
        } else if (kind == "batch") {
            config.ingest_batch_handler(max_batch, [it](const replication::batch &batch) {
                it->before();
                if (batch.size() > max_batch)
                    FAIL("a batch is too large");
                for (const replication::entry entry : batch)
                    it->may_fail(entry.sequence);
                for (const replication::entry entry : batch)
                    it->take(entry.sequence, entry.timestamp_us, entry.payload.to_string());
            });
        } else if (kind == "record") {
            config.record_handler([it](const replication::record_delivery &entry) {
                it->before();
                it->may_fail(entry.sequence);
                it->take(entry.sequence, entry.timestamp_us, {}, json::parse(entry.records.json()));
            });
        } else {
            stop("unknown handler " + kind);
        }
    }

    void receiver_new(const value &step)
    {
        auto made = std::make_unique<reader>();
        reader *const it = made.get();
        it->stopping.wanted = is_true(step, "stop_inside");
        it->is_held = is_true(step, "held");
        if (step.contains("fail")) {
            it->fail_sequence = json::number(step.at("fail").at("sequence"));
            it->fail_times = json::number(step.at("fail").at("times"));
        }
        const outcome got = outcome_of([&] {
            replication::receiver_config config;
            config.reader_id(json::text(step.at("on")))
                .reconnect_interval(milliseconds(100))
                .ack_interval(milliseconds(10))
                .event_handler([it](const replication::event &event) { it->heard.event(event); })
                .log_handler(replication::log_level::debug, [it](const replication::log_record &record) {
                    if (json::text(json::parse(record.fields_json).at("event")) != "HANDLER_THREW") // C++'s own
                        it->heard.log(record);
                });
            set_handler(config, it, step.contains("handler") ? json::text(step.at("handler")) : "entry");
            if (step.contains("of"))
                config.writer_addr(addresses_.at(json::text(step.at("of"))));
            if (step.contains("config"))
                for (const auto &[key, given] : step.at("config").items())
                    set(config, key, given);
            it->handle.emplace(config);
        });
        must_be(got, step);
        if (got.code == status::ok)
            readers_.insert_or_assign(json::text(step.at("on")), std::move(made));
    }

    void receiver_start(const value &step)
    {
        make(step, [&handle = receiver_of(step)] { handle.start(); });
    }

    void receiver_pause(const value &step)
    {
        make(step, [&handle = receiver_of(step)] { handle.pause(); });
    }

    void receiver_resume(const value &step)
    {
        make(step, [&handle = receiver_of(step)] { handle.resume(); });
    }

    void receiver_release(const value &step)
    {
        reader_of(step).release();
    }

    void receiver_wait_sequence(const value &step)
    {
        make(step, [sequence = json::number(step.at("sequence")), timeout = timeout_of(step),
                    &handle = receiver_of(step)] { return handle.wait_sequence(sequence, timeout); });
    }

    void receiver_wait_token(const value &step)
    {
        make(step, [token = token_of(step.at("token")), timeout = timeout_of(step), &handle = receiver_of(step)] {
            return handle.wait_token(token, timeout);
        });
    }

    void receiver_set_option(const value &step)
    {
        make(step, [name = json::text(step.at("name")), number = json::number(step.at("value")),
                    &handle = receiver_of(step)] { handle.set_option(name, number); });
    }

    // ---- Tokens

    void token_parse(const value &step)
    {
        make(step, [this, name = json::text(step.at("token")), text = json::text(step.at("text"))] {
            tokens_.insert_or_assign(name, replication::token::parse(text));
        });
    }

    void token_print(const value &step)
    {
        CHECK(token_of(step.at("token")).text() == json::text(step.at("text")));
    }

    void token_compare(const value &step)
    {
        static const std::map<std::string, replication::token_order> orders = {
            {"EQUAL", replication::token_order::equal},
            {"BEFORE", replication::token_order::before},
            {"AFTER", replication::token_order::after},
            {"UNKNOWN", replication::token_order::unknown},
            {"DIVERGED", replication::token_order::diverged}};
        const auto got = token_of(step.at("first")).compare(token_of(step.at("second")));
        CHECK(static_cast<int>(got) == static_cast<int>(orders.at(json::text(step.at("order")))));
    }

    // No token is an empty optional here, which stands for NOT_FOUND.
    void receiver_token(const value &step)
    {
        const std::optional<replication::token> found = receiver_of(step).token();
        must_be({found ? status::ok : status::not_found, {}}, step);
        if (found)
            tokens_.insert_or_assign(json::text(step.at("token")), *found);
    }

    void receiver_stop(const value &step)
    {
        make(step, [&handle = receiver_of(step)] { handle.stop(); });
    }

    void receiver_free(const value &step)
    {
        reader_of(step).handle->reset();
        readers_.erase(json::text(step.at("on")));
    }

    // ---- What is expected

    void expect_entries(const value &step)
    {
        std::vector<std::pair<std::uint64_t, std::uint64_t>> wanted; // sequence and bytes
        for (const value &range : step.at("entries")) {
            const std::uint64_t bytes = range.size() > 2 ? json::number(range.at(2)) : default_bytes;
            for (std::uint64_t sequence = json::number(range.at(0)); sequence <= json::number(range.at(1)); ++sequence)
                wanted.emplace_back(sequence, bytes);
        }
        reader &from = reader_of(step);
        expect(std::to_string(wanted.size()) + " entries", [&] {
            const std::lock_guard<std::mutex> lock(from.mutex);
            if (from.taken.size() > wanted.size())
                stop("too many entries");
            return from.taken.size() == wanted.size();
        });
        const std::lock_guard<std::mutex> lock(from.mutex);
        for (std::size_t i = 0; i < wanted.size(); ++i)
            if (from.taken[i].sequence != wanted[i].first ||
                from.taken[i].payload != pattern(wanted[i].first, wanted[i].second))
                stop("entry " + std::to_string(from.taken[i].sequence) + " is not what is expected at its place");
    }

    void expect_payloads(const value &step)
    {
        expect_each(step, "payloads", [](const taken_entry &entry, const value &wanted) {
            return hex(entry.payload) == json::text(wanted);
        });
    }

    void expect_records(const value &step)
    {
        expect_each(step, "records",
                    [](const taken_entry &entry, const value &wanted) { return entry.records == wanted; });
    }

    template <class Equal> void expect_each(const value &step, const char *key, const Equal &is_equal)
    {
        const value &wanted = step.at(key);
        reader &from = reader_of(step);
        expect(wanted.dump(), [&] {
            const std::lock_guard<std::mutex> lock(from.mutex);
            if (from.taken.size() != wanted.size())
                return false;
            for (std::size_t i = 0; i < wanted.size(); ++i)
                if (!is_equal(from.taken[i], wanted[i]))
                    return false;
            return true;
        });
    }

    void expect_get(const value &step)
    {
        const std::string &what = json::text(step.at("what"));
        const auto get = [&] {
            if (what == "current_sequence")
                return value(sender_of(step).current_sequence());
            if (what == "reader_count")
                return value(std::uint64_t{sender_of(step).reader_count()});
            if (what == "last_sequence")
                return value(receiver_of(step).last_sequence());
            if (what == "is_connected")
                return value(receiver_of(step).is_connected());
            stop("unknown question " + what);
        };
        expect(what + " is " + step.at("equals").dump(), [&] { return get() == step.at("equals"); });
    }

    void expect_option(const value &step)
    {
        const std::string &name = json::text(step.at("name"));
        const std::uint64_t got = is_sender(step) ? sender_of(step).option(name) : receiver_of(step).option(name);
        CHECK(got == json::number(step.at("equals")));
    }

    void expect_stat(const value &step)
    {
        expect("the statistics' " + json::text(step.at("path")), [&] {
            try {
                const value found = stats_of(step);
                return step.contains("equals") ? found == step.at("equals")
                                               : json::number(found) >= json::number(step.at("at_least"));
            } catch (const json::value::exception &) {
                return false; // not there yet, or of another type
            }
        });
    }

    void expect_keys(const value &step)
    {
        expect("the keys " + step.at("keys").dump(), [&] {
            try {
                const value found = stats_of(step);
                for (const value &key : step.at("keys"))
                    if (!found.contains(json::text(key)))
                        return false;
                return true;
            } catch (const json::value::exception &) {
                return false; // the path is not there yet
            }
        });
    }

    void expect_event(const value &step)
    {
        const std::size_t wanted = number_or(step, "at_least", 1);
        expect("an event " + step.dump(), [&] { return ears_of(step).count(step) >= wanted; });
    }

    void expect_log(const value &step)
    {
        expect("a log record " + step.dump(),
               [&] { return ears_of(step).has_logged(json::text(step.at("level")), json::text(step.at("event"))); });
    }

    void expect_acked(const value &step)
    {
        const auto found = orders_.find(json::text(step.at("on")));
        if (found == orders_.end())
            stop("no order " + json::text(step.at("on")));
        order &from = *found->second;
        std::optional<status> got;
        expect("the order ends", [&] {
            const std::lock_guard<std::mutex> lock(from.mutex);
            got = from.ended;
            return got.has_value();
        });
        if (*got != named<status>(step.at("status")))
            stop(std::string("the order ended with ") + name(*got));
    }

    void expect_stopped_inside(const value &step)
    {
        const self_stop &from = is_sender(step) ? writer_of(step).stopping : reader_of(step).stopping;
        expect("the handler stopped its object", [&] { return from.got().has_value(); });
        if (*from.got() != named<status>(step.at("status")))
            stop(std::string("the stop gave ") + name(*from.got()));
    }

    void join(const value &step)
    {
        background_call &from = at(background_, json::text(step.at("on")));
        from.thread.join();
        must_be(from.got, step);
    }

    // ---- Peers

    static std::string frame(const value &step)
    {
        if (step.contains("hex"))
            return unhex(json::text(step.at("hex")));
        const std::string &text = json::text(step.at("json"));
        const std::size_t length = text.size() + 1;
        std::string bytes;
        for (const int shift : {24, 16, 8, 0})
            bytes += static_cast<char>(length >> shift);
        return bytes + static_cast<char>(json::number(step.at("type"))) + text;
    }

    void peer_connect(const value &step)
    {
        peers_.insert_or_assign(json::text(step.at("on")), std::make_unique<net::socket>(net::socket::connect(
                                                               addresses_.at(json::text(step.at("of"))))));
    }

    void peer_send(const value &step)
    {
        peer_of(step).send(frame(step));
    }

    void peer_receive(const value &step)
    {
        const std::string wanted = frame(step);
        const std::string got = peer_of(step).receive(wanted.size());
        if (got != wanted)
            stop("received " + hex(got) + ", expected " + hex(wanted));
    }

    void peer_closed(const value &step)
    {
        peer_of(step).drain();
    }

    void peer_close(const value &step)
    {
        peers_.erase(json::text(step.at("on")));
    }

    // ---- Messages

    // The message has the step's bytes, and read again its type; returns its JSON.
    static std::string written(const value &step, const std::vector<std::uint8_t> &message)
    {
        if (hex(message) != json::text(step.at("hex")))
            stop("wrote " + hex(message));
        const replication::codec::message read = replication::codec::read_message(message);
        if (read.consumed != message.size() || read.type != message.at(4))
            stop("the message is not read as it was written");
        if (const auto next = replication::codec::next_message(message); !next || next->payload != read.payload)
            stop("the message is read in another way when it may be cut short");
        return read.payload.to_string();
    }

    void codec_read(const value &step)
    {
        const std::string bytes = unhex(json::text(step.at("hex")));
        make(step, [&] {
            const replication::codec::message found = replication::codec::read_message(bytes);
            if (found.type != json::number(step.at("type")) ||
                found.payload != replication::bytes_view(json::text(step.at("json"))))
                stop("read another message");
        });
    }

    void codec_write(const value &step)
    {
        make(step, [&] {
            const auto type = static_cast<std::uint8_t>(json::number(step.at("type")));
            written(step, replication::codec::write_message(type, json::text(step.at("json"))));
        });
    }

    void codec_entry(const value &step)
    {
        const std::string payload =
            step.at("payload").is_null() ? std::string() : unhex(json::text(step.at("payload")));
        const replication::bytes_view bytes =
            step.at("payload").is_null() ? replication::bytes_view() : replication::bytes_view(payload);
        const auto found = replication::codec::parse_entry(
            written(step, replication::codec::write_entry(json::number(step.at("sequence")),
                                                          json::number(step.at("timestamp_us")), bytes)));
        if (found.sequence != json::number(step.at("sequence")) ||
            found.timestamp_us != json::number(step.at("timestamp_us")) ||
            replication::bytes_view(found.payload) != replication::bytes_view(payload))
            stop("the entry is another one");
    }

    void codec_ack(const value &step)
    {
        const auto found = replication::codec::parse_ack(
            written(step, replication::codec::write_ack(json::number(step.at("last_sequence")),
                                                        json::text(step.at("reader_id")))));
        if (found.last_sequence != json::number(step.at("last_sequence")) ||
            found.reader_id != json::text(step.at("reader_id")))
            stop("the ack is another one");
    }

    void codec_sync(const value &step)
    {
        const auto found = replication::codec::parse_sync(
            written(step, replication::codec::write_sync(json::text(step.at("reader_id")),
                                                         json::number(step.at("last_known_sequence")))));
        if (found.last_known_sequence != json::number(step.at("last_known_sequence")) ||
            found.reader_id != json::text(step.at("reader_id")))
            stop("the sync is another one");
    }

    void codec_sync_ack(const value &step)
    {
        const auto found = replication::codec::parse_sync_ack(written(
            step, replication::codec::write_sync_ack(json::number(step.at("current_sequence")),
                                                     step.at("can_resume").get<bool>(), json::text(step.at("error")))));
        if (found.current_sequence != json::number(step.at("current_sequence")) ||
            found.can_resume != step.at("can_resume").get<bool>() || found.error != json::text(step.at("error")))
            stop("the sync ack is another one");
    }

    void codec_error(const value &step)
    {
        const auto found = replication::codec::parse_error(
            written(step, replication::codec::write_error(json::text(step.at("code")), json::text(step.at("text")))));
        if (found.code != json::text(step.at("code")) || found.message != json::text(step.at("text")))
            stop("the error is another one");
    }

    void codec_parse(const value &step)
    {
        const std::string &kind = json::text(step.at("kind")), &text = json::text(step.at("json"));
        make(step, [&] {
            if (kind == "entry")
                static_cast<void>(replication::codec::parse_entry(text));
            else if (kind == "ack")
                static_cast<void>(replication::codec::parse_ack(text));
            else if (kind == "sync")
                static_cast<void>(replication::codec::parse_sync(text));
            else if (kind == "sync_ack")
                static_cast<void>(replication::codec::parse_sync_ack(text));
            else if (kind == "error")
                static_cast<void>(replication::codec::parse_error(text));
            else
                stop("unknown kind " + kind);
        });
    }

    void codec_buffer(const value &step)
    {
        std::vector<std::uint8_t> room(json::number(step.at("capacity")));
        make(step, [&] {
            replication::codec::write_message(replication::codec::buffer{room.data(), room.size()}, 0x10,
                                              json::text(step.at("json")));
        });
    }

    // ---- Records

    void records_parse(const value &step)
    {
        const std::string bytes = unhex(json::text(step.at("hex")));
        make(step, [&] {
            const replication::records found{replication::bytes_view(bytes)};
            const value records = json::parse(found.json());
            if (!(records == step.at("records")) || found.size() != records.size())
                stop("the records are " + records.dump());
        });
    }

    void records_value(const value &step)
    {
        const std::string bytes = unhex(json::text(step.at("hex")));
        const replication::records found{replication::bytes_view(bytes)};
        const std::string &as = json::text(step.at("as"));
        make(step, [&] {
            const replication::value it = found.get(json::number(step.at("row")), json::text(step.at("key")));
            value got;
            if (as == "bool")
                got = value(it.as_bool());
            else if (as == "i64" && it.as_i64() < 0)
                got = value(it.as_i64());
            else if (as == "i64")
                got = value(static_cast<std::uint64_t>(it.as_i64()));
            else if (as == "u64")
                got = value(it.as_u64());
            else if (as == "f64")
                got = value(it.as_f64());
            else if (as == "string")
                got = value(std::string(it.as_string()));
            else
                stop("unknown type " + as);
            if (!(got == step.at("value")))
                stop("the value is " + got.dump());
        });
    }

    // ---- Others

    void status_names(const value &)
    {
        for (const auto &[text, number] : file_.at("statuses").items()) {
            const status found = named<status>(value(text));
            if (static_cast<std::uint64_t>(found) != json::number(number) || name(found) != text)
                stop("the status " + text);
        }
        for (const auto &[text, number] : file_.at("event_kinds").items())
            if (name(static_cast<replication::event_kind>(json::number(number))) != text)
                stop("the event kind " + text);
        for (const auto &[text, number] : file_.at("log_levels").items())
            if (name(static_cast<replication::log_level>(json::number(number))) != text)
                stop("the log level " + text);
    }

    void file_damage(const value &step)
    {
        const std::string path = harness::temp_path(json::text(step.at("path")));
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        const auto at = static_cast<std::streamoff>(json::number(step.at("at")));
        file.seekg(at);
        const int byte = file.get();
        file.seekp(at);
        file.put(static_cast<char>(byte ^ 0x40));
        if (!file)
            stop("cannot damage " + path);
    }

    void file_append(const value &step)
    {
        const std::string path = harness::temp_path(json::text(step.at("path")));
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::ate | std::ios::binary);
        file << unhex(json::text(step.at("hex")));
        if (!file.flush())
            stop("cannot append to " + path);
    }

    // The files that tests/scenarios/trouble.c looks for.
    void disk_set(const value &step)
    {
        const std::string &state = json::text(step.at("state"));
        bool is_known = state == "well";
        for (const std::string each : {"full", "broken"}) {
            const std::string mark = "disk-is-" + each;
            unlink(harness::temp_path(mark).c_str());
            if (state != each)
                continue;
            harness::write_file(mark, "");
            is_known = true;
        }
        if (!is_known)
            stop("unknown state " + state);
    }

    const value &file_;
    std::map<std::string, std::string> addresses_;
    std::map<std::string, replication::token> tokens_;
    std::map<std::string, std::shared_ptr<order>> orders_;
    std::map<std::string, std::unique_ptr<background_call>> background_;
    std::map<std::string, std::unique_ptr<writer>> writers_;
    std::map<std::string, std::unique_ptr<reader>> readers_;
    std::map<std::string, std::unique_ptr<net::socket>> peers_;
};

const std::set<std::string> &scenario::known_keys()
{
    static const std::set<std::string> all = {
        "address",
        "as",
        "at",
        "at_least",
        "background",
        "bytes",
        "can_resume",
        "capacity",
        "closed",
        "code",
        "config",
        "count",
        "current_sequence",
        "do",
        "entries",
        "equals",
        "error",
        "event",
        "expect",
        "fail",
        "first",
        "handler",
        "held",
        "hex",
        "json",
        "key",
        "keys",
        "kind",
        "last_known_sequence",
        "last_sequence",
        "level",
        "message",
        "name",
        "of",
        "on",
        "order",
        "path",
        "payload",
        "payloads",
        "peer",
        "quorum",
        "reader_id",
        "readers",
        "records",
        "row",
        "same_as",
        "second",
        "secret",
        "sequence",
        "state",
        "status",
        "stop_inside",
        "text",
        "timeout_ms",
        "timestamp_us",
        "token",
        "type",
        "value",
        "what",
        "writable",
    };
    return all;
}

const std::map<std::string, scenario::verb> &scenario::verbs()
{
    static const std::map<std::string, verb> all = {
        {"sender.new", &scenario::sender_new},
        {"sender.start", &scenario::sender_start},
        {"sender.listen", &scenario::sender_listen},
        {"sender.accept_connection", &scenario::sender_accept_connection},
        {"sender.replicate", &scenario::sender_replicate},
        {"sender.replicate_batch", &scenario::sender_replicate_batch},
        {"sender.replicate_hex", &scenario::sender_replicate_hex},
        {"sender.replicate_in_child", &scenario::sender_replicate_in_child},
        {"sender.remove_reader", &scenario::sender_remove_reader},
        {"sender.add_secret", &scenario::sender_add_secret},
        {"sender.remove_secret", &scenario::sender_remove_secret},
        {"sender.set_writable", &scenario::sender_set_writable},
        {"sender.wait_acked", &scenario::sender_wait_acked},
        {"sender.acked", &scenario::sender_acked},
        {"sender.wait_token", &scenario::sender_wait_token},
        {"sender.replicate_token", &scenario::sender_replicate_token},
        {"sender.set_option", &scenario::sender_set_option},
        {"sender.on_acked", &scenario::sender_on_acked},
        {"sender.wait_durable", &scenario::sender_wait_durable},
        {"sender.drop_slot", &scenario::sender_drop_slot},
        {"sender.token", &scenario::sender_token},
        {"sender.stop", &scenario::sender_stop},
        {"sender.free", &scenario::sender_free},
        {"receiver.new", &scenario::receiver_new},
        {"receiver.start", &scenario::receiver_start},
        {"receiver.pause", &scenario::receiver_pause},
        {"receiver.resume", &scenario::receiver_resume},
        {"receiver.release", &scenario::receiver_release},
        {"receiver.wait_sequence", &scenario::receiver_wait_sequence},
        {"receiver.wait_token", &scenario::receiver_wait_token},
        {"receiver.set_option", &scenario::receiver_set_option},
        {"receiver.set_secret", &scenario::receiver_set_secret},
        {"receiver.token", &scenario::receiver_token},
        {"token.parse", &scenario::token_parse},
        {"token.print", &scenario::token_print},
        {"token.compare", &scenario::token_compare},
        {"receiver.stop", &scenario::receiver_stop},
        {"receiver.free", &scenario::receiver_free},
        {"expect.entries", &scenario::expect_entries},
        {"expect.payloads", &scenario::expect_payloads},
        {"expect.records", &scenario::expect_records},
        {"expect.get", &scenario::expect_get},
        {"expect.option", &scenario::expect_option},
        {"expect.stat", &scenario::expect_stat},
        {"expect.keys", &scenario::expect_keys},
        {"expect.event", &scenario::expect_event},
        {"expect.log", &scenario::expect_log},
        {"expect.acked", &scenario::expect_acked},
        {"expect.stopped_inside", &scenario::expect_stopped_inside},
        {"join", &scenario::join},
        {"peer.connect", &scenario::peer_connect},
        {"peer.send", &scenario::peer_send},
        {"peer.receive", &scenario::peer_receive},
        {"peer.closed", &scenario::peer_closed},
        {"peer.close", &scenario::peer_close},
        {"codec.read", &scenario::codec_read},
        {"codec.write", &scenario::codec_write},
        {"codec.entry", &scenario::codec_entry},
        {"codec.ack", &scenario::codec_ack},
        {"codec.sync", &scenario::codec_sync},
        {"codec.sync_ack", &scenario::codec_sync_ack},
        {"codec.error", &scenario::codec_error},
        {"codec.parse", &scenario::codec_parse},
        {"codec.buffer", &scenario::codec_buffer},
        {"records.parse", &scenario::records_parse},
        {"records.value", &scenario::records_value},
        {"status.names", &scenario::status_names},
        {"file.damage", &scenario::file_damage},
        {"file.append", &scenario::file_append},
        {"disk.set", &scenario::disk_set},
    };
    return all;
}

// ---- What the scenarios reach ------------------------------------------------------------------------------------------

constexpr std::size_t numbers = 256; // of statuses, and of event kinds: all are below

// Shared by the processes of all scenarios.
struct reached {
    std::size_t scenarios; // that ran to their end
    bool statuses[numbers], event_kinds[numbers];
};

reached &seen()
{
    static reached *const shared = [] {
        void *const memory = mmap(nullptr, sizeof(reached), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            stop("no memory to share");
        return new (memory) reached();
    }();
    return *shared;
}

void reach(const value &file, const value &step)
{
    for (const char *const key : {"expect", "status"})
        if (step.contains(key))
            seen().statuses[json::number(file.at("statuses").at(json::text(step.at(key))))] = true;
    if (json::text(step.at("do")) == "expect.event")
        seen().event_kinds[json::number(file.at("event_kinds").at(json::text(step.at("kind"))))] = true;
}

// Whether the list says that C++ cannot reach this one.
bool is_declared(const value &file, const char *what, const std::string &name)
{
    for (const value &each : file.at("unreachable"))
        if (each.contains(what) && json::text(each.at(what)) == name)
            for (const value &language : each.at("in"))
                if (json::text(language) == "cpp")
                    return true;
    return false;
}

void check_reached(const value &file, const char *table, const char *what, const bool *reached_numbers)
{
    for (const auto &[name, number] : file.at(table).items()) {
        const bool is_reached = reached_numbers[json::number(number)];
        if (is_reached == is_declared(file, what, name))
            stop(name + " is " + (is_reached ? "reached, and declared to be out of reach" : "not reached"));
    }
}

void check_reached(const value &file)
{
    if (seen().scenarios < file.at("scenarios").size())
        throw harness::skipped{"not every scenario ran"};
    check_reached(file, "statuses", "status", seen().statuses);
    check_reached(file, "event_kinds", "event_kind", seen().event_kinds);
}

// ---- The list ----------------------------------------------------------------------------------------------------------

// Threads and descriptors, which a scenario leaves none of.
struct footprint {
    std::size_t threads = harness::running_threads();
    std::size_t descriptors = harness::open_descriptors();

    bool is_left() const
    {
        return harness::running_threads() == threads && harness::open_descriptors() == descriptors;
    }
};

void run_steps(const value &file, const value &steps)
{
    scenario it(file);
    std::size_t number = 0;
    for (const value &step : steps) {
        ++number;
        try {
            it.run(step);
        } catch (const std::exception &caught) {
            stop("step " + std::to_string(number) + ", " + step.dump() + ": " + caught.what());
        }
        reach(file, step);
    }
}

void run(const value &file, const value &each)
{
    static const std::set<std::string> has = {"buffers", "descriptors", "disk",    "fork",
                                              "memory",  "messages",    "records", "values"};
    if (each.contains("needs"))
        for (const value &need : each.at("needs"))
            if (has.count(json::text(need)) == 0)
                stop("unknown need " + json::text(need));
    const footprint before;
    run_steps(file, each.at("steps"));
    WAIT_UNTIL(before.is_left());
    ++seen().scenarios;
}

// Each scenario is a test, and after them what they reached. A list that cannot be read is one that fails.
const bool is_listed = [] {
    const char *const given = std::getenv("TEST_SCENARIOS");
    const std::string path = given != nullptr ? given : "tests/scenarios/scenarios.json";
    try {
        std::ifstream in(path, std::ios::binary);
        if (!in)
            stop("cannot open " + path);
        static const value file = json::parse(std::string(std::istreambuf_iterator<char>(in), {}));
        for (const value &each : file.at("scenarios"))
            harness::registration(json::text(each.at("name")), [&each] { run(file, each); });
        static_cast<void>(seen());
        harness::registration("every_value_not_declared_unreachable_was_reached", [] { check_reached(file); });
    } catch (const std::exception &caught) {
        harness::registration("the_list_is_read", [why = std::string(caught.what())] { stop(why); });
    }
    return true;
}();

} // namespace
