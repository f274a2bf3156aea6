// Follows a writer into a database of its own.
//
//     rocksdb-reader DATABASE ADDRESS READER-ID
//
// Prints "applied SEQUENCE" when the database has come so far, until SIGTERM or SIGINT.
#include "replicated.hpp"

#include <csignal>
#include <cstdio>

#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s DATABASE ADDRESS READER-ID\n", argv[0]);
        return 64;
    }
    // For this thread to wait for; blocked before there are others.
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &ends, nullptr);
    try {
        const replicated_reader reader(
            argv[1], argv[2], argv[3],
            [](std::uint64_t sequence) {
                std::printf("applied %llu\n", static_cast<unsigned long long>(sequence));
                std::fflush(stdout);
            },
            [](const std::string &why) {
                std::fprintf(stderr, "this database needs a new copy: %s\n", why.c_str());
                kill(getpid(), SIGUSR1);
            });
        int signal = 0;
        sigwait(&ends, &signal);
        return signal == SIGUSR1 ? 1 : 0;
    } catch (const std::exception &caught) {
        std::fprintf(stderr, "%s: %s\n", argv[0], caught.what());
        return 1;
    }
}
