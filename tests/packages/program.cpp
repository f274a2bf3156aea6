// The same as program.c, with the C++ binding.
#include <replication.hpp>

#include <chrono>
#include <iostream>
#include <string>

int main()
{
    std::cout << "libreplication " << replication_version() << std::endl;
    replication::sender sender;
    sender.start();
    const std::uint16_t port = sender.listen("127.0.0.1:0");

    replication::receiver_config config;
    config.reader_id("reader")
        .writer_addr("127.0.0.1:" + std::to_string(port))
        .ingest_handler([](const replication::delivery &entry) {
            std::cout << entry.sequence << ": " << entry.payload.text() << std::endl;
        });
    replication::receiver receiver(config);
    receiver.start();
    return receiver.wait_sequence(sender.replicate("insert"), std::chrono::seconds(30)) ? 0 : 1;
}
