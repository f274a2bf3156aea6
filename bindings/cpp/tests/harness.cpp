#define DOCTEST_CONFIG_IMPLEMENT
#include "harness.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <vector>

#include <malloc.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace harness
{

namespace
{

constexpr int skipped_exit = 77;
constexpr unsigned test_seconds = 90;

struct test_case {
    std::string name;
    std::function<void()> run;
};

std::vector<test_case> &cases()
{
    static std::vector<test_case> all;
    return all;
}

std::mutex temp_mutex;
std::string temp_directory;
pid_t temp_owner;

void remove_temp_directory()
{
    if (temp_owner != getpid())
        return;
    std::error_code ignored;
    std::filesystem::remove_all(temp_directory, ignored);
}

std::size_t entries_of(const char *path)
{
    std::size_t count = 0;
    for ([[maybe_unused]] const auto &each : std::filesystem::directory_iterator(path))
        ++count;
    return count;
}

// The test's own process: killed by its alarm when it hangs.
[[noreturn]] void run_case(const test_case &test)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(static_cast<unsigned>(environment_number("TEST_SECONDS", test_seconds)));
    try {
        test.run();
    } catch (const skipped &reason) {
        std::printf("skip %s: %s\n", test.name.c_str(), reason.why.c_str());
        std::fflush(stdout);
        std::exit(skipped_exit);
    } catch (const std::exception &caught) {
        std::fprintf(stderr, "  threw: %s\n", caught.what());
        std::exit(1);
    }
    std::exit(0);
}

// What doctest calls when a check fails.
void check_failed(const doctest::AssertData &check)
{
    const std::string what = check.m_expr;
    if (check.m_threw)
        fail(check.m_file, check.m_line, what + " threw " + check.m_exception.c_str());
    fail(check.m_file, check.m_line, "not true: " + what + " (" + check.m_decomp.c_str() + ")");
}

enum class verdict { passed, failed, skipped };

verdict judge(const test_case &test)
{
    const auto begin = std::chrono::steady_clock::now();
    std::fflush(nullptr);
    const pid_t pid = fork();
    if (pid < 0) {
        std::perror("fork");
        std::exit(2);
    }
    if (pid == 0)
        run_case(test);
    const int code = wait_child(pid);
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
    const auto ms = static_cast<long long>(took.count());
    if (code == skipped_exit)
        return verdict::skipped;
    if (code == 0)
        std::printf("ok   %s (%lld ms)\n", test.name.c_str(), ms);
    else if (code == -SIGALRM)
        std::printf("FAIL %s: hangs (%lld ms)\n", test.name.c_str(), ms);
    else if (code < 0)
        std::printf("FAIL %s: ended by signal %d (%s)\n", test.name.c_str(), -code, strsignal(-code));
    else
        std::printf("FAIL %s: exit code %d\n", test.name.c_str(), code);
    std::fflush(stdout);
    return code == 0 ? verdict::passed : verdict::failed;
}

} // namespace

registration::registration(std::string name, std::function<void()> run)
{
    cases().push_back({std::move(name), std::move(run)});
}

void fail(const char *file, int line, const std::string &text)
{
    // One call, so that two failing threads do not mix their lines.
    std::fprintf(stderr, "  %s:%d: %s\n", file, line, text.c_str());
    remove_temp_directory();
    _exit(1);
}

void check_contains(const char *file, int line, const char *what, std::string_view got, std::string_view part)
{
    if (got.find(part) == std::string_view::npos)
        fail(file, line,
             std::string(what) + " is \"" + std::string(got) + "\", which lacks \"" + std::string(part) + "\"");
}

std::uint64_t environment_number(const char *name, std::uint64_t otherwise)
{
    const char *const text = std::getenv(name);
    if (text == nullptr || *text == '\0')
        return otherwise;
    char *end = nullptr;
    const unsigned long long number = std::strtoull(text, &end, 10);
    if (*end != '\0' || number == 0) {
        std::fprintf(stderr, "%s=%s is not a positive number\n", name, text);
        std::exit(2);
    }
    return number;
}

std::size_t scaled(std::size_t full)
{
    const std::size_t reduced = full / environment_number("TEST_SCALE", 1);
    return reduced == 0 ? 1 : reduced;
}

std::size_t open_descriptors()
{
    return entries_of("/proc/self/fd");
}

std::size_t running_threads()
{
    return entries_of("/proc/self/task");
}

std::size_t allocated_bytes()
{
    const auto heap = mallinfo2();
    return heap.uordblks + heap.hblkhd;
}

std::size_t resident_bytes()
{
    std::ifstream file("/proc/self/statm");
    std::size_t all = 0, resident = 0;
    file >> all >> resident;
    return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

std::string temp_path(const std::string &name)
{
    const std::lock_guard<std::mutex> lock(temp_mutex);
    if (temp_directory.empty()) {
        temp_directory = (std::filesystem::temp_directory_path() / "replication-cpp-XXXXXX").string();
        if (mkdtemp(temp_directory.data()) == nullptr)
            FAIL("mkdtemp: " + std::string(std::strerror(errno)));
        temp_owner = getpid();
        std::atexit(remove_temp_directory);
    }
    return temp_directory + "/" + name;
}

std::string write_file(const std::string &name, const std::string &content)
{
    const std::string path = temp_path(name);
    std::ofstream(path, std::ios::binary) << content;
    // It may be a key.
    if (chmod(path.c_str(), 0600) != 0)
        throw std::runtime_error("chmod " + path);
    return path;
}

int in_child(const std::function<int()> &body)
{
#ifdef TEST_WITH_ASAN
    static_cast<void>(body);
    throw skipped{"AddressSanitizer's allocator does not survive a fork beside other threads"};
#else
    const pid_t pid = fork();
    if (pid < 0)
        FAIL("fork: " + std::string(std::strerror(errno)));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(body());
    }
    return wait_child(pid);
#endif
}

int wait_child(int pid)
{
    int status = 0;
    pid_t ended = 0;
    do {
        ended = waitpid(pid, &status, 0);
    } while (ended < 0 && errno == EINTR);
    if (ended != pid)
        FAIL("waitpid: " + std::string(std::strerror(errno)));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::uint64_t random::next()
{
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * UINT64_C(0x2545F4914F6CDD1D);
}

std::uint64_t random::below(std::uint64_t bound)
{
    return next() % bound;
}

bool random::one_in(std::uint64_t count)
{
    return below(count) == 0;
}

std::uint64_t random_seed()
{
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return environment_number("TEST_SEED", static_cast<std::uint64_t>(now.tv_nsec) | 1);
}

} // namespace harness

int main(int argc, char **argv)
{
    doctest::Context checks;
    checks.setAssertHandler(harness::check_failed);
    checks.setAsDefaultForAssertsOutOfTestCases();
    const std::string filter = argc > 1 ? argv[1] : "";
    std::size_t passed = 0, failed = 0, skipped = 0;
    for (const auto &test : harness::cases()) {
        if (test.name.find(filter) == std::string::npos)
            continue;
        switch (harness::judge(test)) {
        case harness::verdict::passed:
            ++passed;
            break;
        case harness::verdict::failed:
            ++failed;
            break;
        case harness::verdict::skipped:
            ++skipped;
            break;
        }
    }
    if (passed + failed + skipped == 0)
        std::fprintf(stderr, "no test's name contains \"%s\"\n", filter.c_str());
    std::printf("%zu passed, %zu failed", passed, failed);
    if (skipped > 0)
        std::printf(", %zu skipped", skipped);
    std::printf("\n");
    return failed == 0 && passed + skipped > 0 ? 0 : 1;
}
