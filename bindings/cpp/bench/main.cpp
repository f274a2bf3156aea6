// What an entry costs through replication.hpp, over what it costs through replication.h: both in one run, in turns.
//
//     bench-cpp [--rounds N] [--entries N] [--check]
//     bench-cpp --only c|cpp [--entries N]     one round of the first case, for a profiler
//
// Exit status: 0 measured, 1 the target was missed (only with --check), 2 something broke, 64 wrong usage.
#include "side.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace
{

constexpr double target = 1.05;

struct bench_case {
    const char *name;
    bool stamped, batch;
};

constexpr bench_case cases[] = {
    {"a call for each entry", false, false},
    {"and the clock's time", true, false},
    {"batch handler", false, true},
};

double median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// What the processors did for this process.
double cpu_ns()
{
    timespec used{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return static_cast<double>(used.tv_sec) * 1e9 + static_cast<double>(used.tv_nsec);
}

// The ratio of a case: the median over the rounds. In each round both sides run, one right after the other, so that a slow
// moment of the machine hits both; who goes first takes turns.
double measure(const bench_case &what, std::uint64_t entries, unsigned rounds)
{
    const job todo{entries, what.stamped, what.batch};
    std::vector<double> c, cpp, ratios, cpu_ratios;
    for (unsigned round = 0; round < rounds; ++round) {
        double took[2], used[2];
        for (const bool is_cpp : {round % 2 == 0, round % 2 != 0}) {
            const double before = cpu_ns();
            took[is_cpp] = static_cast<double>(is_cpp ? run_cpp(&todo) : run_c(&todo)) / static_cast<double>(entries);
            used[is_cpp] = cpu_ns() - before;
        }
        c.push_back(took[0]);
        cpp.push_back(took[1]);
        ratios.push_back(took[1] / took[0]);
        cpu_ratios.push_back(used[1] / used[0]);
    }
    std::printf("%-24s %8.1f ns %8.1f ns %8.3f   (%.3f to %.3f) %10.3f\n", what.name, median(c), median(cpp),
                median(ratios), *std::min_element(ratios.begin(), ratios.end()),
                *std::max_element(ratios.begin(), ratios.end()), median(cpu_ratios));
    std::fflush(stdout);
    return median(ratios);
}

[[noreturn]] void usage()
{
    std::fprintf(stderr, "usage: bench-cpp [--rounds N] [--entries N] [--check] | --only c|cpp [--entries N]\n");
    std::exit(64);
}

std::uint64_t number(const char *text)
{
    char *end = nullptr;
    const std::uint64_t found = text != nullptr ? std::strtoull(text, &end, 10) : 0;
    if (found == 0 || *end != '\0')
        usage();
    return found;
}

} // namespace

int main(int, char **argv)
{
    std::uint64_t entries = 1000000;
    unsigned rounds = 21;
    bool is_checked = false;
    std::string only;
    for (char **argument = argv + 1; *argument != nullptr; ++argument) {
        if (std::strcmp(*argument, "--check") == 0)
            is_checked = true;
        else if (std::strcmp(*argument, "--rounds") == 0 && argument[1] != nullptr)
            rounds = static_cast<unsigned>(number(*++argument));
        else if (std::strcmp(*argument, "--entries") == 0 && argument[1] != nullptr)
            entries = number(*++argument);
        else if (std::strcmp(*argument, "--only") == 0 && argument[1] != nullptr)
            only = *++argument;
        else
            usage();
    }
    if (!only.empty()) {
        const job todo{entries, cases[0].stamped, cases[0].batch};
        if (only == "c")
            run_c(&todo);
        else if (only == "cpp")
            run_cpp(&todo);
        else
            usage();
        return 0;
    }
    std::printf(
        "%llu entries of %d B a round, %u rounds, medians; an entry from the call to the handler that counts it\n",
        static_cast<unsigned long long>(entries), ENTRY_BYTES, rounds);
    std::printf("%-24s %11s %11s %8s %18s %11s\n", "", "C", "C++", "ratio", "", "of CPU time");
    double judged = 0;
    for (const bench_case &each : cases) {
        const double ratio = measure(each, entries, rounds);
        if (&each == cases)
            judged = ratio;
    }
    const bool is_met = judged <= target;
    std::printf("target: C++ at most %.2f x C, %s: %.3f, %s\n", target, cases[0].name, judged,
                is_met ? "met" : "MISSED");
    return is_checked && !is_met ? 1 : 0;
}
