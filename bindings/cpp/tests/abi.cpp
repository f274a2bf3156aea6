// A program that was compiled for another ABI than the loaded library has must be told so, before anything else.
//
// A program of its own, as everything in it is compiled for that other ABI.
#include "replication.h"

#undef REPLICATION_ABI_VERSION
#define REPLICATION_ABI_VERSION 4711
#include "replication.hpp"

#include <cstdio>

namespace
{

template <class Make> bool is_refused(const char *what, const Make &make)
{
    for (int tries = 1; tries <= 2; ++tries) {
        try {
            make();
        } catch (const replication::error &caught) {
            const std::string text = caught.what();
            if (caught.code() == replication::status::invalid_state && text.find("4711") != std::string::npos &&
                text.find("ABI " + std::to_string(replication::abi_version())) != std::string::npos)
                continue;
            std::fprintf(stderr, "  %s: %s\n", what, caught.what());
            return false;
        }
        std::fprintf(stderr, "  %s was made\n", what);
        return false;
    }
    return true;
}

} // namespace

int main()
{
    const bool good =
        is_refused("a sender", [] { replication::sender(); }) &&
        is_refused("a sender's configuration", [] { replication::sender_config(); }) &&
        is_refused("a receiver's configuration", [] { replication::receiver_config(); }) &&
        is_refused("a receiver", [] { replication::receiver(static_cast<replication_receiver *>(nullptr)); }) &&
        is_refused("a quorum", [] { replication::quorum(); });
    std::printf("%s another_abi_is_refused\n%d passed, %d failed\n", good ? "ok  " : "FAIL", good, !good);
    return good ? 0 : 1;
}
