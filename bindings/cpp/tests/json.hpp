// A reader of JSON for the tests: whole numbers stay exact up to 2^64 - 1.
#ifndef REPLICATION_CPP_TESTS_JSON_HPP
#define REPLICATION_CPP_TESTS_JSON_HPP

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace json
{

class value;
using array = std::vector<value>;
using object = std::map<std::string, value, std::less<>>;

enum class kind { null, boolean, natural, negative, real, text, elements, members };

// A whole number is `natural`, or `negative` when it is below 0, so that equal numbers are equal values. Reading a value as
// what it is not throws std::runtime_error.
class value
{
  public:
    value() = default;
    explicit value(bool truth);
    explicit value(std::uint64_t number);
    explicit value(std::int64_t number);
    explicit value(double number);
    explicit value(std::string text);
    explicit value(json::array elements);
    explicit value(json::object members);

    json::kind kind() const
    {
        return kind_;
    }
    bool is_null() const
    {
        return kind_ == kind::null;
    }
    bool truth() const;
    std::uint64_t number() const;
    double real() const;
    const std::string &text() const;
    const json::array &elements() const;
    const json::object &members() const;

    bool has(std::string_view key) const;
    // A member that must be there.
    const value &at(std::string_view key) const;
    // Keys and indexes joined by dots; the value itself for "".
    const value &path(std::string_view path) const;
    std::string dump() const;

    friend bool operator==(const value &one, const value &other);

  private:
    void must_be(json::kind kind) const;

    json::kind kind_ = kind::null;
    bool truth_ = false;
    std::uint64_t natural_ = 0;
    std::int64_t negative_ = 0;
    double real_ = 0;
    std::string text_;
    json::array elements_;
    json::object members_;
};

// Throws std::runtime_error with the offset for text that is not one JSON value.
value parse(std::string_view text);

} // namespace json

#endif
