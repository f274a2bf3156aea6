// Random lives: senders and receivers that are made, used by several threads and ended in whatever state they are in, on
// any thread, inside a handler, with work in flight. 10 000 of them, and nothing may be left: no thread, no descriptor, no
// memory.
//
// TEST_LIVES sets how many, TEST_SEED repeats a run.
#include "host.hpp"
#include "net.hpp"

#include <memory>

using namespace std::chrono_literals;
using replication::receiver;
using replication::sender;
using replication::status;

namespace
{

constexpr std::size_t all_lives = 10000;
constexpr std::size_t threads_of_storm = 4;

// What a call in a random state may say. Anything else is a bug.
template <class Call> void legal(std::initializer_list<status> also, const Call &call)
{
    try {
        call();
    } catch (const replication::error &caught) {
        for (const status each : {status::closed, status::invalid_state, status::timeout, status::wrong_thread})
            if (caught.code() == each)
                return;
        for (const status each : also)
            if (caught.code() == each)
                return;
        FAIL(caught.what());
    }
}

// One life: a sender and a receiver that may end in a handler, which then holds the last reference to what it ends.
class life : public std::enable_shared_from_this<life>
{
  public:
    explicit life(std::uint64_t seed) : random_(seed)
    {
    }

    void run()
    {
        make();
        std::thread beside;
        if (random_.one_in(3))
            beside = std::thread([this, seed = random_.next()] {
                harness::random random(seed);
                for (std::uint64_t steps = random.below(12); steps > 0; --steps)
                    step(random);
            });
        for (std::uint64_t steps = random_.below(16); steps > 0; --steps)
            step(random_);
        if (beside.joinable())
            beside.join();
        end();
    }

  private:
    // In which a handler ends its own object: at this call of it.
    struct self_destruction {
        std::atomic<std::int64_t> calls_left{-1};

        bool is_due()
        {
            return calls_left.load() >= 0 && calls_left.fetch_sub(1) == 0;
        }
    };

    void make()
    {
        replication::sender_config sending;
        sending.stop_timeout(std::chrono::milliseconds(random_.below(10)));
        if (random_.one_in(2))
            sending.log_handler(replication::log_level::debug, [](const replication::log_record &) {});
        const auto self = weak_from_this();
        if (random_.one_in(6))
            sender_ends_.calls_left = static_cast<std::int64_t>(random_.below(2));
        sending.event_handler([self, guest = guest_](const replication::event &) {
            if (const auto it = self.lock(); it && it->sender_ends_.is_due())
                it->take_sender().reset();
        });
        if (random_.one_in(50))
            sending.wal_dir(harness::temp_path("log-" + std::to_string(random_.next())));
        to_ = std::make_unique<sender>(sending);
        std::string address = "127.0.0.1:1";
        if (!random_.one_in(10)) {
            to_->start();
            address = "127.0.0.1:" + std::to_string(to_->listen("127.0.0.1:0"));
        }

        replication::receiver_config reading;
        reading.reader_id("reader").writer_addr(address).ack_interval(5ms).reconnect_interval(5ms);
        reading.apply_policy(random_.one_in(2) ? replication::apply_policy::skip : replication::apply_policy::stop, 0);
        if (random_.one_in(6))
            receiver_ends_.calls_left = static_cast<std::int64_t>(random_.below(20));
        const std::uint64_t throws_at = random_.one_in(4) ? random_.below(100) : 0;
        const auto handle = [self, throws_at](std::uint64_t sequence) {
            const auto it = self.lock();
            if (it && it->receiver_ends_.is_due())
                it->take_receiver().reset();
            if (sequence == throws_at)
                throw std::runtime_error("at random");
        };
        if (random_.one_in(2))
            reading.ingest_handler(
                [handle, guest = guest_](const replication::delivery &entry) { handle(entry.sequence); });
        else
            reading.ingest_batch_handler(
                16, [handle, guest = guest_](replication::batch &batch) { handle(batch.back().sequence); });
        if (random_.one_in(2))
            reading.event_handler([guest = guest_](const replication::event &) {});
        from_ = std::make_unique<receiver>(reading);
        if (!random_.one_in(10))
            from_->start();
    }

    void step(harness::random &random)
    {
        static const std::string payload(500, 'x');
        // Shared, so that nobody destroys what another thread calls: that is the host's part.
        const std::shared_ptr<sender> to = borrow_sender();
        const std::shared_ptr<receiver> from = borrow_receiver();
        if (!to || !from)
            return;
        switch (random.below(11)) {
        case 0:
        case 1:
        case 2:
            for (std::uint64_t count = random.below(40); count > 0; --count)
                legal({status::not_writer}, [&] { to->replicate({payload.data(), random.below(payload.size())}); });
            break;
        case 3:
            legal({status::not_writer}, [&] { to->replicate_batch(std::vector<std::string>(5, payload)); });
            break;
        case 4:
            legal({status::not_found}, [&] { to->remove_reader("reader"); });
            break;
        case 5:
            legal({}, [&] { from->pause(); });
            break;
        case 6:
            legal({}, [&] { from->resume(); });
            break;
        case 7:
            legal({status::apply_failed}, [&] {
                static_cast<void>(
                    from->wait_sequence(to->current_sequence(), std::chrono::milliseconds(random.below(3))));
            });
            break;
        case 8:
            legal({}, [&] {
                to->on_acked(to->token(), replication::ack_level::applied, 1, replication::forever,
                             [guest = guest_](const replication::ack_notice &) {});
            });
            break;
        case 9: {
            auto [ours, theirs] = net::pair();
            const int descriptor = ours.release();
            bool is_taken = false;
            legal({status::buffer_full}, [&] {
                to->accept_connection(descriptor);
                is_taken = true;
            });
            if (!is_taken)
                net::socket closed(descriptor);
            break;
        }
        default:
            legal({}, [&] {
                static_cast<void>(to->stats_json());
                static_cast<void>(from->stats_json());
                to->set_writable(!random.one_in(4));
            });
            break;
        }
    }

    // Ends what is left, in either order, stopped before or not, here or on another thread.
    void end()
    {
        if (random_.one_in(3))
            if (const auto to = borrow_sender())
                legal({}, [&] { to->stop(); });
        if (random_.one_in(3))
            if (const auto from = borrow_receiver())
                legal({}, [&] { from->stop(); });
        const auto end_both = [this, sender_first = random_.one_in(2)] {
            if (sender_first)
                take_sender().reset();
            take_receiver().reset();
            take_sender().reset();
        };
        if (random_.one_in(3))
            std::thread(end_both).join();
        else
            end_both();
    }

    std::shared_ptr<sender> borrow_sender()
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        return to_;
    }
    std::shared_ptr<receiver> borrow_receiver()
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        return from_;
    }
    std::shared_ptr<sender> take_sender()
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        return std::move(to_);
    }
    std::shared_ptr<receiver> take_receiver()
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        return std::move(from_);
    }

  public:
    static host::guest guest_; // how many handlers there are

  private:
    harness::random random_;
    std::mutex mutex_;
    std::shared_ptr<sender> to_;
    std::shared_ptr<receiver> from_;
    self_destruction sender_ends_, receiver_ends_;
};

host::guest life::guest_;

void live(std::size_t lives, std::uint64_t seed)
{
    std::atomic<std::size_t> left{lives};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < threads_of_storm; ++i)
        threads.emplace_back([&left, random = harness::random(seed + 2 * i)]() mutable {
            for (std::size_t before = left.load(); before > 0;)
                if (left.compare_exchange_weak(before, before - 1))
                    std::make_shared<life>(random.next())->run();
        });
    for (std::thread &each : threads)
        each.join();
}

} // namespace

TEST(ten_thousand_random_lives)
{
    const std::uint64_t seed = harness::random_seed();
    const std::size_t lives = harness::environment_number("TEST_LIVES", harness::scaled(all_lives));
    std::fprintf(stderr, "  TEST_SEED=%llu, %zu lives\n", static_cast<unsigned long long>(seed), lives);
    const std::size_t threads = harness::running_threads(), descriptors = harness::open_descriptors();
    live(lives / 5 + 1, seed); // what allocators and the C library keep, they have now
    WAIT_UNTIL(harness::running_threads() == threads);
    const std::size_t resident = harness::resident_bytes(), allocated = harness::allocated_bytes();
    live(lives - lives / 5, seed + 1);
    WAIT_UNTIL(harness::running_threads() == threads);
    WAIT_UNTIL(harness::open_descriptors() == descriptors);
    WAIT_UNTIL(life::guest_.others() == 0);
    const auto grown = [](std::size_t before, std::size_t now) { return now > before ? now - before : 0; };
    const std::size_t resident_more = grown(resident, harness::resident_bytes());
    const std::size_t allocated_more = grown(allocated, harness::allocated_bytes());
    std::fprintf(stderr, "  resident memory grew by %zu KiB, what is allocated by %zu B\n", resident_more >> 10,
                 allocated_more);
#ifndef TEST_WITH_ASAN // which keeps what is freed for a while, and looks for leaks itself
    CHECK(allocated_more < 64 << 10);
    CHECK(resident_more < std::size_t{32} << 20); // the C library keeps stacks of ended threads
#endif
}
