#include "replication.hpp"
#include <iostream>

int main()
{
    replication::sender sender; // every option at its default
    sender.start();
    const std::uint16_t port = sender.listen("127.0.0.1:0");

    replication::receiver_config config;
    config.reader_id("reader-1")
        .writer_addr("127.0.0.1:" + std::to_string(port))
        .ingest_handler([](const replication::delivery &entry) {
            std::cout << entry.sequence << ": " << entry.payload.text() << '\n'; // return: applied; throw: again
        });
    replication::receiver receiver(config);
    receiver.start();

    sender.replicate("insert");
    const std::uint64_t sequence = sender.replicate("commit");
    return receiver.wait_sequence(sequence, std::chrono::seconds(5)) ? 0 : 1; // read your writes, within 5 s
}
