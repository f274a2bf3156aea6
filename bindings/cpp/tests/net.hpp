// Plain sockets for the tests: peers of the library that are not the library.
#ifndef REPLICATION_CPP_TESTS_NET_HPP
#define REPLICATION_CPP_TESTS_NET_HPP

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace net
{

// A connected stream socket, closed at the end. Reading gives up, and throws, after harness::patience.
class socket
{
  public:
    socket() = default;
    explicit socket(int descriptor);
    socket(socket &&other) noexcept : descriptor_(std::exchange(other.descriptor_, -1))
    {
    }
    socket &operator=(socket &&other) noexcept
    {
        std::swap(descriptor_, other.descriptor_);
        return *this;
    }
    ~socket();

    // Dials "127.0.0.1:port".
    static socket connect(const std::string &address);

    void send(std::string_view bytes);
    std::string receive(std::size_t count);
    // Reads to the end, which comes.
    void drain();

    // Gives the descriptor away.
    int release()
    {
        return std::exchange(descriptor_, -1);
    }

  private:
    int descriptor_ = -1;
};

std::pair<socket, socket> pair();

// A socket that listens at 127.0.0.1, and its port.
std::pair<socket, std::uint16_t> listen();

// A port of 127.0.0.1 that nobody listens at.
std::uint16_t free_port();

} // namespace net

#endif
