#include "side.h"

#include "replication.hpp"

#include <cstdio>
#include <cstdlib>

namespace
{

using std::chrono::milliseconds;

struct count {
    std::uint64_t entries = 0;
    std::uint64_t bytes = 0;
};

std::uint64_t run(const job &what)
{
    static const std::array<std::uint8_t, ENTRY_BYTES> payload{};
    count counted;

    replication::sender_config sending;
    sending.full_policy(replication::full_policy::wait, milliseconds(PATIENCE_MS));
    replication::sender sender(sending);
    sender.start();

    replication::receiver_config reading;
    reading.reader_id("reader").writer_addr("127.0.0.1:" + std::to_string(sender.listen("127.0.0.1:0")));
    if (what.batch)
        reading.ingest_batch_handler(BATCH_ENTRIES, [&counted](const replication::batch &entries) {
            for (const replication::entry entry : entries) {
                counted.entries++;
                counted.bytes += entry.payload.size();
            }
        });
    else
        reading.ingest_handler([&counted](const replication::delivery &entry) {
            counted.entries++;
            counted.bytes += entry.payload.size();
        });
    replication::receiver receiver(reading);
    receiver.start();

    const auto wait = [&receiver](std::uint64_t sequence) {
        if (!receiver.wait_sequence(sequence, milliseconds(PATIENCE_MS)))
            throw std::runtime_error("the last entry did not come");
    };
    constexpr replication::timestamp no_time{};
    std::uint64_t sequence = sender.replicate(payload, no_time); // until it is there, all is warm
    wait(sequence);

    const std::uint64_t begin = now_ns();
    if (what.stamped) {
        for (std::uint64_t i = 0; i < what.entries; i++)
            sequence = sender.replicate(payload);
    } else {
        for (std::uint64_t i = 0; i < what.entries; i++)
            sequence = sender.replicate(payload, no_time);
    }
    wait(sequence);
    const std::uint64_t took = now_ns() - begin;

    receiver.stop();
    if (counted.entries != what.entries + 1 || counted.bytes != counted.entries * ENTRY_BYTES)
        throw std::runtime_error("counted " + std::to_string(counted.entries) + " entries");
    return took;
}

} // namespace

std::uint64_t run_cpp(const job *what)
{
    try {
        return run(*what);
    } catch (const std::exception &caught) {
        std::fprintf(stderr, "C++: %s\n", caught.what());
        std::exit(2);
    }
}
