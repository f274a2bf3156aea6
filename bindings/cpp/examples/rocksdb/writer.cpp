// Commits random batches from some threads, and replicates them.
//
//     rocksdb-writer DATABASE LOG-DIRECTORY ADDRESS
//
// Prints "listening", then for each commit a line "committed SEQUENCE NAME" when it is durable, until SIGTERM or SIGINT.
#include "replicated.hpp"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <random>
#include <thread>
#include <vector>

namespace
{

constexpr unsigned threads = 4;
constexpr unsigned keys = 500;

std::string key_of(std::mt19937_64 &random)
{
    return "key/" + std::to_string(random() % keys);
}

// Something of everything that a batch may do. The name of the commit is in the data, and they count the commits: what is
// lost, or there twice, is seen in them.
rocksdb::WriteBatch random_batch(std::mt19937_64 &random, const std::string &name)
{
    rocksdb::WriteBatch batch;
    batch.Put("commit/" + name, std::to_string(random()));
    batch.Merge("commits", "1");
    for (std::uint64_t count = random() % 8; count > 0; --count) {
        switch (random() % 8) {
        case 0:
            batch.Delete(key_of(random));
            break;
        case 1: {
            const std::string begin = key_of(random);
            batch.DeleteRange(begin, begin + '~');
            break;
        }
        default:
            batch.Put(key_of(random), std::string(random() % 300, static_cast<char>('a' + random() % 26)));
            break;
        }
    }
    return batch;
}

void commit_until(const std::atomic<bool> &is_over, replicated_writer &to)
{
    std::mt19937_64 random(std::random_device{}());
    while (!is_over && !to.is_failed()) {
        const std::string name = std::to_string(random());
        try {
            const std::uint64_t sequence = to.commit(random_batch(random, name));
            std::printf("committed %llu %s\n", static_cast<unsigned long long>(sequence), name.c_str());
            std::fflush(stdout);
        } catch (const std::exception &caught) {
            std::fprintf(stderr, "commit %s: %s\n", name.c_str(), caught.what());
        }
    }
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 4) {
        std::fprintf(stderr, "usage: %s DATABASE LOG-DIRECTORY ADDRESS\n", argv[0]);
        return 64;
    }
    // For this thread to wait for; blocked before there are others.
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, nullptr);
    try {
        replicated_writer writer(argv[1], argv[2]);
        writer.listen(argv[3]);
        std::printf("listening\n");
        std::fflush(stdout);
        std::atomic<bool> is_over{false};
        std::vector<std::thread> running;
        for (unsigned i = 0; i < threads; ++i)
            running.emplace_back([&] { commit_until(is_over, writer); });
        int signal = 0;
        sigwait(&ends, &signal);
        is_over = true;
        for (std::thread &each : running)
            each.join();
        writer.stop();
        return writer.is_failed() ? 1 : 0;
    } catch (const std::exception &caught) {
        std::fprintf(stderr, "%s: %s\n", argv[0], caught.what());
        return 1;
    }
}
