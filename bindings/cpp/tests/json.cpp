#include "json.hpp"

#include <charconv>
#include <stdexcept>

namespace json
{

namespace
{

class parser
{
  public:
    explicit parser(std::string_view text) : text_(text)
    {
    }

    value all()
    {
        value found = any();
        space();
        if (at_ != text_.size())
            fail("something after the value");
        return found;
    }

  private:
    [[noreturn]] void fail(const std::string &what) const
    {
        throw std::runtime_error("JSON, byte " + std::to_string(at_) + ": " + what);
    }

    char peek() const
    {
        return at_ < text_.size() ? text_[at_] : '\0';
    }

    void space()
    {
        while (peek() == ' ' || peek() == '\n' || peek() == '\t' || peek() == '\r')
            ++at_;
    }

    bool take(std::string_view token)
    {
        if (text_.substr(at_, token.size()) != token)
            return false;
        at_ += token.size();
        return true;
    }

    void expect(std::string_view token)
    {
        if (!take(token))
            fail("expected " + std::string(token));
    }

    value any()
    {
        space();
        switch (peek()) {
        case '{':
            return members();
        case '[':
            return elements();
        case '"':
            return value(string());
        default:
            break;
        }
        if (take("null"))
            return value();
        if (take("true"))
            return value(true);
        if (take("false"))
            return value(false);
        return number();
    }

    value members()
    {
        object found;
        expect("{");
        space();
        if (take("}"))
            return value(std::move(found));
        do {
            space();
            std::string key = string();
            space();
            expect(":");
            if (!found.emplace(std::move(key), any()).second)
                fail("a key twice");
            space();
        } while (take(","));
        expect("}");
        return value(std::move(found));
    }

    value elements()
    {
        array found;
        expect("[");
        space();
        if (take("]"))
            return value(std::move(found));
        do {
            found.push_back(any());
            space();
        } while (take(","));
        expect("]");
        return value(std::move(found));
    }

    unsigned hex4()
    {
        unsigned code = 0;
        const char *const begin = text_.data() + at_;
        if (text_.size() - at_ < 4 || std::from_chars(begin, begin + 4, code, 16).ptr != begin + 4)
            fail("four hexadecimal digits are missing");
        at_ += 4;
        return code;
    }

    static void put_utf8(std::string &out, unsigned code)
    {
        const auto put = [&out](unsigned byte) { out += static_cast<char>(byte); };
        if (code < 0x80) {
            put(code);
        } else if (code < 0x800) {
            put(0xc0 | code >> 6);
            put(0x80 | (code & 0x3f));
        } else if (code < 0x10000) {
            put(0xe0 | code >> 12);
            put(0x80 | (code >> 6 & 0x3f));
            put(0x80 | (code & 0x3f));
        } else {
            put(0xf0 | code >> 18);
            put(0x80 | (code >> 12 & 0x3f));
            put(0x80 | (code >> 6 & 0x3f));
            put(0x80 | (code & 0x3f));
        }
    }

    std::string string()
    {
        std::string found;
        expect("\"");
        while (!take("\"")) {
            if (at_ >= text_.size() || static_cast<unsigned char>(peek()) < 0x20)
                fail("a string without its end");
            if (!take("\\")) {
                found += text_[at_++];
                continue;
            }
            static constexpr std::string_view escaped = "\"\\/bfnrt", meant = "\"\\/\b\f\n\r\t";
            if (const std::size_t which = escaped.find(peek()); peek() != '\0' && which != std::string_view::npos) {
                found += meant[which];
                ++at_;
                continue;
            }
            expect("u");
            unsigned code = hex4();
            if (code >= 0xd800 && code < 0xdc00) {
                expect("\\u");
                code = 0x10000 + ((code - 0xd800) << 10) + (hex4() - 0xdc00);
            }
            put_utf8(found, code);
        }
        return found;
    }

    value number()
    {
        const char *const begin = text_.data() + at_, *const end = text_.data() + text_.size();
        const char *stop = begin;
        while (stop != end &&
               (std::string_view("+-.eE").find(*stop) != std::string_view::npos || (*stop >= '0' && *stop <= '9')))
            ++stop;
        at_ += static_cast<std::size_t>(stop - begin);
        std::uint64_t natural = 0;
        if (std::from_chars(begin, stop, natural).ptr == stop && stop != begin)
            return value(natural);
        std::int64_t negative = 0;
        if (std::from_chars(begin, stop, negative).ptr == stop && stop != begin)
            return value(negative);
        double real = 0;
        if (std::from_chars(begin, stop, real).ptr == stop && stop != begin)
            return value(real);
        fail("no value");
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

} // namespace

value parse(std::string_view text)
{
    return parser(text).all();
}

value::value(bool truth) : kind_(kind::boolean), truth_(truth)
{
}
value::value(std::uint64_t number) : kind_(kind::natural), natural_(number)
{
}
value::value(std::int64_t number) : kind_(kind::negative), negative_(number)
{
}
value::value(double number) : kind_(kind::real), real_(number)
{
}
value::value(std::string text) : kind_(kind::text), text_(std::move(text))
{
}
value::value(json::array elements) : kind_(kind::elements), elements_(std::move(elements))
{
}
value::value(json::object members) : kind_(kind::members), members_(std::move(members))
{
}

void value::must_be(json::kind kind) const
{
    if (kind_ != kind)
        throw std::runtime_error("a value of another kind: " + dump());
}

bool value::truth() const
{
    must_be(kind::boolean);
    return truth_;
}

std::uint64_t value::number() const
{
    must_be(kind::natural);
    return natural_;
}

double value::real() const
{
    must_be(kind::real);
    return real_;
}

const std::string &value::text() const
{
    must_be(kind::text);
    return text_;
}

const array &value::elements() const
{
    must_be(kind::elements);
    return elements_;
}

const object &value::members() const
{
    must_be(kind::members);
    return members_;
}

bool value::has(std::string_view key) const
{
    return kind_ == kind::members && members_.find(key) != members_.end();
}

const value &value::at(std::string_view key) const
{
    const auto found = members().find(key);
    if (found == members_.end())
        throw std::runtime_error("no key \"" + std::string(key) + "\" in " + dump());
    return found->second;
}

const value &value::path(std::string_view path) const
{
    const value *here = this;
    while (!path.empty()) {
        const std::size_t dot = path.find('.');
        const std::string key(path.substr(0, dot));
        path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
        if (here->kind_ != kind::elements) {
            here = &here->at(key);
            continue;
        }
        const std::size_t index = std::stoul(key);
        if (index >= here->elements_.size())
            throw std::runtime_error("no element " + key + " in " + here->dump());
        here = &here->elements_[index];
    }
    return *here;
}

std::string value::dump() const
{
    std::string out;
    switch (kind_) {
    case kind::null:
        return "null";
    case kind::boolean:
        return truth_ ? "true" : "false";
    case kind::natural:
        return std::to_string(natural_);
    case kind::negative:
        return std::to_string(negative_);
    case kind::real:
        return std::to_string(real_);
    case kind::text:
        return '"' + text_ + '"';
    case kind::elements:
        for (const value &each : elements_)
            out += (out.empty() ? "" : ", ") + each.dump();
        return '[' + out + ']';
    case kind::members:
        for (const auto &[key, each] : members_)
            out += (out.empty() ? "\"" : ", \"") + key + "\": " + each.dump();
        return '{' + out + '}';
    }
    return "?";
}

bool operator==(const value &one, const value &other)
{
    // 7 and 7.0 are one number.
    if (one.kind_ == kind::natural && other.kind_ == kind::real)
        return static_cast<double>(one.natural_) == other.real_;
    if (one.kind_ == kind::real && other.kind_ == kind::natural)
        return other == one;
    return one.kind_ == other.kind_ && one.truth_ == other.truth_ && one.natural_ == other.natural_ &&
           one.negative_ == other.negative_ && one.real_ == other.real_ && one.text_ == other.text_ &&
           one.elements_ == other.elements_ && one.members_ == other.members_;
}

} // namespace json
