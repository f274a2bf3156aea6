// JSON as nlohmann/json reads it: whole numbers stay exact up to 2^64 - 1, and a value that is read as what it is not
// throws, as text that is no JSON does.
#ifndef REPLICATION_CPP_TESTS_JSON_HPP
#define REPLICATION_CPP_TESTS_JSON_HPP

#define JSON_USE_IMPLICIT_CONVERSIONS 0
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace json
{

using value = nlohmann::json;

inline value parse(std::string_view text)
{
    return value::parse(text);
}

inline const std::string &text(const value &of)
{
    return of.get_ref<const std::string &>();
}

// A whole number from 0 on; get() would make one of any number.
inline std::uint64_t number(const value &of)
{
    return of.get_ref<const std::uint64_t &>();
}

// The value at keys and indexes that are joined by dots.
inline const value &at(const value &of, std::string path)
{
    std::replace(path.begin(), path.end(), '.', '/');
    return of.at(value::json_pointer("/" + path));
}

} // namespace json

#endif
