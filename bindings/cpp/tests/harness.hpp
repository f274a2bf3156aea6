// The C++ tests' harness: named tests, each in a process of its own, and doctest's assertions, which say what failed where.
//
// A test that fails ends its process at once, from whichever thread; a test that crashes or hangs is counted as failed and
// the next one runs. So AddressSanitizer looks for leaks in each test by itself. doctest's own test cases share a process, and
// are known when the program is compiled, as the scenarios are not.
#ifndef REPLICATION_CPP_TESTS_HARNESS_HPP
#define REPLICATION_CPP_TESTS_HARNESS_HPP

#include "replication.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <thread>

#define DOCTEST_CONFIG_NO_SHORT_MACRO_NAMES
#include <doctest/doctest.h>

#ifdef __SANITIZE_ADDRESS__
#define TEST_WITH_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_WITH_ASAN
#endif
#endif

namespace harness
{

// Adds a test; those of one program run in the order in which they were added.
struct registration {
    registration(std::string name, std::function<void()> run);
};

// A test that cannot be done here ends with this.
struct skipped {
    std::string why;
};

// Fails the test: prints the place and the text. Does not return.
[[noreturn]] void fail(const char *file, int line, const std::string &text);

// How many rounds to do of `full`: less under tools that slow the program down (environment TEST_SCALE).
std::size_t scaled(std::size_t full);

// A number from the environment, or the one given.
std::uint64_t environment_number(const char *name, std::uint64_t otherwise);

// This process's open descriptors and threads; its resident memory, and what of it the heap has given out.
std::size_t open_descriptors();
std::size_t running_threads();
std::size_t resident_bytes();
std::size_t allocated_bytes();

// A path inside a directory that goes away with the test.
std::string temp_path(const std::string &name);
std::string write_file(const std::string &name, const std::string &content);

// Runs `body` in a child, which ends by itself and at the latest with its parent; its result is the child's exit code.
// AddressSanitizer's allocator does not survive a fork beside other threads, so with it the test is skipped.
int in_child(const std::function<int()> &body);

// The exit code of a child, or minus the signal that ended it.
int wait_child(int pid);

// Deterministic random numbers (xorshift); the seed is told by the test that uses them.
class random
{
  public:
    explicit random(std::uint64_t seed) : state_(seed | 1)
    {
    }
    std::uint64_t next();
    std::uint64_t below(std::uint64_t bound);
    bool one_in(std::uint64_t count);

  private:
    std::uint64_t state_;
};
std::uint64_t random_seed(); // environment TEST_SEED, or the clock

void check_contains(const char *file, int line, const char *what, std::string_view got, std::string_view part);

// The call throws a replication::error with this status, whose text has this part.
template <class Call>
void check_throws(const char *file, int line, const char *what, replication::status expected, std::string_view part,
                  const Call &call)
{
    try {
        call();
    } catch (const replication::error &caught) {
        if (caught.code() != expected)
            fail(file, line,
                 std::string(what) + " threw " + caught.what() + ", expected " + replication::name(expected));
        check_contains(file, line, what, caught.what(), part);
        check_contains(file, line, what, caught.what(), replication::name(expected));
        return;
    }
    fail(file, line, std::string(what) + " threw nothing, expected " + replication::name(expected));
}

// Waiting for a condition: polls it until it holds; past the deadline the test fails.
inline constexpr std::chrono::seconds patience{20};
template <class Condition> void wait_until(const char *file, int line, const char *what, const Condition &condition)
{
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline)
            fail(file, line, std::string("still not true: ") + what);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

} // namespace harness

namespace replication
{
// What a check prints of a status.
inline doctest::String toString(status value)
{
    return name(value);
}
} // namespace replication

#define TEST(name)                                                                                                     \
    static void name();                                                                                                \
    static const harness::registration name##_registration(#name, name);                                               \
    static void name()
#define FAIL(text) harness::fail(__FILE__, __LINE__, (text))
#define CHECK DOCTEST_CHECK
#define CHECK_CONTAINS(got, part) harness::check_contains(__FILE__, __LINE__, #got, (got), (part))
#define CHECK_THROWS(expected, part, ...)                                                                              \
    harness::check_throws(__FILE__, __LINE__, #__VA_ARGS__, (expected), (part), [&] { static_cast<void>(__VA_ARGS__); })
#define WAIT_UNTIL(...) harness::wait_until(__FILE__, __LINE__, #__VA_ARGS__, [&] { return (__VA_ARGS__); })

#endif
