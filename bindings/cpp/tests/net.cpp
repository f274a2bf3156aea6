#include "net.hpp"

#include "harness.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace net
{

namespace
{

[[noreturn]] void fail(const char *what)
{
    throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
}

sockaddr_in loopback(std::uint16_t port)
{
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

} // namespace

socket::socket(int descriptor) : descriptor_(descriptor)
{
    const timeval limit{harness::patience.count(), 0};
    if (setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0)
        fail("setsockopt");
}

socket::~socket()
{
    if (descriptor_ >= 0)
        close(descriptor_);
}

socket socket::connect(const std::string &address)
{
    const sockaddr_in to = loopback(static_cast<std::uint16_t>(std::stoul(address.substr(address.rfind(':') + 1))));
    socket made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(made.descriptor_, reinterpret_cast<const sockaddr *>(&to), sizeof to) != 0)
        fail("connect");
    return made;
}

void socket::send(std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0)
            fail("send");
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
}

std::string socket::receive(std::size_t count)
{
    std::string bytes(count, '\0');
    for (std::size_t have = 0; have < count;) {
        const ssize_t got = recv(descriptor_, bytes.data() + have, count - have, 0);
        if (got <= 0)
            throw std::runtime_error(got == 0 ? "the peer ended the connection" : std::strerror(errno));
        have += static_cast<std::size_t>(got);
    }
    return bytes;
}

void socket::drain()
{
    char buffer[4096];
    ssize_t got = 0;
    do
        got = recv(descriptor_, buffer, sizeof buffer, 0);
    while (got > 0);
    if (got < 0 && errno != ECONNRESET)
        fail("recv");
}

std::pair<socket, socket> pair()
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        fail("socketpair");
    return {socket(ends[0]), socket(ends[1])};
}

std::pair<socket, std::uint16_t> listen()
{
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socket made(descriptor);
    if (bind(descriptor, reinterpret_cast<const sockaddr *>(&address), size) != 0 || ::listen(descriptor, 16) != 0 ||
        getsockname(descriptor, reinterpret_cast<sockaddr *>(&address), &size) != 0)
        fail("listen");
    return {std::move(made), ntohs(address.sin_port)};
}

std::uint16_t free_port()
{
    return listen().second;
}

} // namespace net
