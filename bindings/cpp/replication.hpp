/// @file
/// libreplication for C++17 and newer: one writer streams its write-ahead log to many readers.
///
/// This header wraps the C interface (`replication.h`) and needs nothing else: link with `-lreplication`. A writer's
/// process creates a replication::sender and hands it every log entry. Each reader's process creates a
/// replication::receiver, which passes every entry, in order, to a handler:
///
///     replication::sender sender;
///     sender.start();
///     const std::uint16_t port = sender.listen("127.0.0.1:0");
///
///     replication::receiver_config config;
///     config.reader_id("replica-1")
///         .writer_addr("127.0.0.1:" + std::to_string(port))
///         .ingest_handler([&](const replication::delivery &entry) { db.apply(entry.payload, entry.token()); });
///     replication::receiver receiver(config);
///     receiver.start();
///
/// Each function calls the function of the same name in `replication.h`. The comments there are the reference for its
/// behaviour, limits and statuses; the comments here describe only what C++ adds.
///
/// **Errors.** A function that fails throws replication::error, which holds the status and the library's text.
/// Destructors do not throw.
///
/// **Lifetimes.** Objects that own something are movable and not copyable. A moved-from object may only be assigned to
/// or destroyed; any other use throws `invalid_argument`. Views (replication::bytes_view, `std::string_view`,
/// replication::value, replication::delivery) are valid as long as the data they refer to: for the arguments of a
/// handler, until it returns. Arguments are copied before a call returns.
///
/// **Handlers** are `std::function`s. The library calls the handlers of one handle one at a time, on one thread of its
/// own. They may throw. An exception from an ingest, batch or record handler or from the local log counts as a failure
/// to apply; its `what()` appears in the event (replication::event::cause), in the error that
/// replication::receiver::wait_sequence() throws, and in a log record. An exception from any other handler is only
/// written to the log. A handler and its captures are destroyed with the handle that took it over.
///
/// **Threads.** As in C: any number of threads may use a sender or receiver at once, but none while it is destroyed,
/// moved or assigned to. A handle may be destroyed in any state and on any thread. If it is destroyed in one of its own
/// handlers, no other handler begins, and another thread completes the destruction.

#ifndef REPLICATION_HPP
#define REPLICATION_HPP

#include "replication.h"
#include "replication_enums.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if __cplusplus >= 202002L
#include <version>
#endif
#ifdef __cpp_lib_span
#include <span>
#endif
#ifdef __cpp_lib_ranges
#include <ranges>
#endif

#ifndef __cpp_exceptions
#error "replication.hpp needs exceptions; without them use replication.h"
#endif

/// libreplication.
namespace replication
{

// ---- Errors ---------------------------------------------------------------------------------------------------------

/// Returns a status's name, such as "SEQUENCE_GAP"; "UNKNOWN" for a number that the library does not know.
[[nodiscard]] inline const char *name(status number) noexcept
{
    return replication_status_name(static_cast<std::int32_t>(number));
}

/// Returns the text of this thread's last failed call of the C interface.
[[nodiscard]] inline std::string last_error_message()
{
    return replication_last_error_message();
}

/// The exception that every function of this library throws on failure. `what()` is the status's name and the library's
/// text, such as "NOT_FOUND: no reader \"replica-1\" is connected".
class error : public std::runtime_error
{
  public:
    /// Creates an error with a status and a text. If a handler throws it, its status becomes the `code` of the apply
    /// failure.
    error(status code, const std::string &text)
        : std::runtime_error(std::string(replication::name(code)) + ": " + text), code_(code)
    {
    }

    /// Returns the reason for the failure; never `ok`.
    [[nodiscard]] status code() const noexcept
    {
        return code_;
    }

    /// Returns the library's text without the name: which sequence, address, path or argument.
    [[nodiscard]] const char *message() const noexcept
    {
        return what() + std::strlen(replication::name(code_)) + 2;
    }

  private:
    status code_;
};

/// Thrown by replicate() if the entry was appended but its sync failed, took too long or was cut short. The entry may
/// exist after a restart: do not append it again. sender::wait_durable() reports its outcome later.
class indeterminate_error : public error
{
  public:
    /// Creates an error about an entry, or about the batch that begins with it.
    indeterminate_error(status code, const std::string &text, std::uint64_t sequence)
        : error(code, text), sequence_(sequence)
    {
    }

    /// Returns the entry's sequence, or the first sequence of the batch.
    [[nodiscard]] std::uint64_t sequence() const noexcept
    {
        return sequence_;
    }

  private:
    std::uint64_t sequence_;
};

/// @cond internal
namespace detail
{

[[noreturn]] inline void fail(replication_status number)
{
    throw error(static_cast<status>(number), replication_last_error_message());
}

inline void check(replication_status number)
{
    if (number != REPLICATION_STATUS_OK)
        fail(number);
}

/// Checks, once and before the first handle is created, that the header and the library have the same ABI.
inline void check_abi()
{
    static const bool is_checked = [] {
        const std::uint32_t loaded = replication_abi_version();
        if (loaded != REPLICATION_ABI_VERSION)
            throw error(status::invalid_state, "the library that was loaded, version " +
                                                   std::string(replication_version()) + ", has ABI " +
                                                   std::to_string(loaded) + "; this program was compiled for ABI " +
                                                   std::to_string(REPLICATION_ABI_VERSION));
        return true;
    }();
    static_cast<void>(is_checked);
}

/// Frees what a std::unique_ptr holds by calling a C function.
template <auto Free> struct deleter {
    template <class T> void operator()(T *object) const noexcept
    {
        Free(object);
    }
};

template <class T, auto Free> using handle = std::unique_ptr<T, deleter<Free>>;

/// A handler in C returns the outcome for its entry. Here a return value would be ignored, so such a handler is
/// rejected.
template <class Handler, class Argument> constexpr void must_return_nothing() noexcept
{
    if constexpr (std::is_invocable_v<Handler &, Argument>)
        static_assert(
            std::is_void_v<std::invoke_result_t<Handler &, Argument>>,
            "a handler that applies entries returns nothing: to return is to have applied, to throw is not to");
}

/// Takes ownership of a string that the library returned, and returns a copy.
inline std::string owned_text(char *text)
{
    const handle<char, replication_string_free> owner(text);
    return std::string(text);
}

/// Converts an option's duration to milliseconds; throws if it is negative.
inline std::uint64_t option_ms(std::chrono::milliseconds span)
{
    if (span.count() < 0)
        throw error(status::invalid_argument, "a time of " + std::to_string(span.count()) + " ms is negative");
    return static_cast<std::uint64_t>(span.count());
}

/// Converts a wait's duration to milliseconds: negative is 0, replication::forever is unlimited.
inline std::uint64_t wait_ms(std::chrono::milliseconds span) noexcept
{
    if (span.count() < 0)
        return 0;
    return span == std::chrono::milliseconds::max() ? UINT64_MAX : static_cast<std::uint64_t>(span.count());
}

/// Adds rights up.
inline std::uint32_t sum(std::initializer_list<right> rights) noexcept
{
    std::uint32_t bits = 0;
    for (const right one : rights)
        bits |= static_cast<std::uint32_t>(one);
    return bits;
}

template <class T>
inline constexpr bool is_byte = std::is_same_v<T, char> || std::is_same_v<T, signed char> ||
                                std::is_same_v<T, unsigned char> || std::is_same_v<T, std::byte>
#ifdef __cpp_char8_t
                                || std::is_same_v<T, char8_t>
#endif
    ;

/// Whether an object has contiguous bytes. Arrays of char are excluded: they are strings, which end with a NUL.
template <class T, class = void> inline constexpr bool has_bytes = false;
template <class T>
inline constexpr bool has_bytes<
    T, std::void_t<decltype(std::data(std::declval<const T &>())), decltype(std::size(std::declval<const T &>()))>> =
    is_byte<std::remove_cv_t<std::remove_pointer_t<decltype(std::data(std::declval<const T &>()))>>> &&
    !(std::is_array_v<T> && std::is_same_v<std::remove_cv_t<std::remove_extent_t<T>>, char>);

} // namespace detail
/// @endcond

// ---- Bytes, texts, times --------------------------------------------------------------------------------------------

/// A view of bytes, like a `std::span<const std::uint8_t>`, to and from which it converts in C++20. It can be
/// constructed from anything with `data()` and `size()` in bytes (`std::string`, `std::vector`, `std::array`,
/// `std::span`, and types of other libraries), and from a string that ends with a NUL, which is excluded.
class bytes_view
{
  public:
    using value_type = std::uint8_t;             ///< As in `std::span`.
    using size_type = std::size_t;               ///< As in `std::span`.
    using difference_type = std::ptrdiff_t;      ///< As in `std::span`.
    using iterator = const std::uint8_t *;       ///< As in `std::span`.
    using const_iterator = const std::uint8_t *; ///< As in `std::span`.

    /// Views no bytes.
    constexpr bytes_view() noexcept = default;

    /// Views the `size` bytes at `data`.
    bytes_view(const void *data, std::size_t size) noexcept
        : data_(static_cast<const std::uint8_t *>(data)), size_(size)
    {
    }

    /// Views a string that ends with a NUL, without the NUL.
    bytes_view(const char *text) noexcept : bytes_view(text, std::strlen(text))
    {
    }

    bytes_view(std::nullptr_t) = delete;

    /// Views the bytes of a container.
    template <class T, class = std::enable_if_t<detail::has_bytes<T> && !std::is_same_v<T, bytes_view>>>
    bytes_view(const T &container) noexcept
        : bytes_view(std::data(container), std::size(container) * sizeof(*std::data(container)))
    {
    }

    /// Returns a pointer to the first byte.
    [[nodiscard]] constexpr const std::uint8_t *data() const noexcept
    {
        return data_;
    }

    /// Returns the number of bytes.
    [[nodiscard]] constexpr std::size_t size() const noexcept
    {
        return size_;
    }

    /// Returns whether there are no bytes.
    [[nodiscard]] constexpr bool empty() const noexcept
    {
        return size_ == 0;
    }

    /// Returns the byte at `index`, without a bounds check.
    [[nodiscard]] constexpr std::uint8_t operator[](std::size_t index) const noexcept
    {
        return data_[index];
    }

    /// Returns an iterator to the first byte.
    [[nodiscard]] constexpr const_iterator begin() const noexcept
    {
        return data_;
    }

    /// Returns an iterator past the last byte.
    [[nodiscard]] constexpr const_iterator end() const noexcept
    {
        return data_ + size_;
    }

    /// Returns at most `count` bytes starting at `offset`; none if `offset` is past the end.
    [[nodiscard]] bytes_view subview(std::size_t offset, std::size_t count = SIZE_MAX) const noexcept
    {
        if (offset > size_)
            offset = size_;
        return {data_ + offset, count < size_ - offset ? count : size_ - offset};
    }

    /// Returns the bytes as a string view.
    [[nodiscard]] std::string_view text() const noexcept
    {
        return {reinterpret_cast<const char *>(data_), size_};
    }

    /// Returns a copy.
    [[nodiscard]] std::string to_string() const
    {
        return std::string(text());
    }

    /// Returns a copy.
    [[nodiscard]] std::vector<std::uint8_t> to_vector() const
    {
        return {begin(), end()};
    }

#ifdef __cpp_lib_span
    /// Converts to a span of `std::byte`. A `std::span<const std::uint8_t>` can be constructed from a bytes_view
    /// directly.
    [[nodiscard]] operator std::span<const std::byte>() const noexcept
    {
        return std::as_bytes(std::span<const std::uint8_t>(data_, size_));
    }
#endif

    /// Returns whether the bytes are equal.
    [[nodiscard]] friend bool operator==(bytes_view one, bytes_view other) noexcept
    {
        return one.text() == other.text();
    }

#if __cplusplus < 202002L
    /// Returns whether the bytes differ.
    [[nodiscard]] friend bool operator!=(bytes_view one, bytes_view other) noexcept
    {
        return !(one == other);
    }
#endif

  private:
    const std::uint8_t *data_ = nullptr;
    std::size_t size_ = 0;
};

/// A view of a string that ends with a NUL, as C needs. Accepts `nullptr` where the C function accepts NULL.
class zstring_view
{
  public:
    /// Views a string that ends with a NUL, or NULL.
    constexpr zstring_view(const char *text) noexcept : text_(text)
    {
    }

    /// Views a string. Throws `invalid_argument` if it contains a NUL, at which C would end it.
    zstring_view(const std::string &text) : text_(text.c_str())
    {
        if (text.find('\0') != std::string::npos)
            throw error(status::invalid_argument, "the text \"" + std::string(text.c_str()) + "\" goes on after a NUL");
    }

    /// Returns the string for C.
    [[nodiscard]] constexpr const char *c_str() const noexcept
    {
        return text_;
    }

  private:
    const char *text_;
};

/// An entry's timestamp. Any number of microseconds in a `uint64_t` converts to it and back unchanged.
using timestamp = std::chrono::time_point<std::chrono::system_clock, std::chrono::microseconds>;

/// Returns the current time, the default timestamp of replicate().
[[nodiscard]] inline timestamp now() noexcept
{
    return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
}

/// The timeout of a wait without a time limit.
inline constexpr std::chrono::milliseconds forever = std::chrono::milliseconds::max();

class token;

/// @cond internal
namespace detail
{
template <class Call> token read_token(Call &&call);
}
/// @endcond

/// A position in a history: opaque bytes, at most REPLICATION_TOKEN_MAX_BYTES, to store with the data.
class token
{
  public:
    /// Copies stored bytes. Throws `invalid_argument` if there are none, or too many. The function that receives the token
    /// checks its contents.
    explicit token(bytes_view stored) : size_(stored.size())
    {
        if (stored.size() == 0 || stored.size() > bytes_.size())
            throw error(status::invalid_argument, std::to_string(stored.size()) + " bytes are not a token");
        std::memcpy(bytes_.data(), stored.data(), stored.size());
    }

    /// Returns the bytes to store. A token also converts to a bytes_view.
    [[nodiscard]] const std::uint8_t *data() const noexcept
    {
        return bytes_.data();
    }

    /// Creates a token from the text that text() returns. Throws `invalid_argument` for any other text.
    [[nodiscard]] static token parse(zstring_view text)
    {
        return detail::read_token([&](std::uint8_t *bytes, std::size_t size, std::size_t *length) {
            return replication_token_parse(text.c_str(), bytes, size, length);
        });
    }

    /// Returns the token as text, for logs and SQL. Throws `invalid_argument` if the bytes are not a token.
    [[nodiscard]] std::string text() const
    {
        char *text = nullptr;
        detail::check(replication_token_print(data(), size(), &text));
        const detail::handle<char, replication_string_free> owner(text);
        return text;
    }

    /// Compares this position with another one, as far as the tokens allow.
    [[nodiscard]] token_order compare(const token &other) const
    {
        std::int32_t order = 0;
        detail::check(replication_token_compare(data(), size(), other.data(), other.size(), &order));
        return static_cast<token_order>(order);
    }

    /// Returns how many bytes there are.
    [[nodiscard]] std::size_t size() const noexcept
    {
        return size_;
    }

    /// Returns whether both are tokens of the same position.
    [[nodiscard]] friend bool operator==(const token &one, const token &other) noexcept
    {
        return one.size_ == other.size_ && one.bytes_ == other.bytes_;
    }

#if __cplusplus < 202002L
    /// Returns whether they differ.
    [[nodiscard]] friend bool operator!=(const token &one, const token &other) noexcept
    {
        return !(one == other);
    }
#endif

  private:
    std::array<std::uint8_t, REPLICATION_TOKEN_MAX_BYTES> bytes_{};
    std::size_t size_;
};

/// @cond internal
namespace detail
{

/// The token that a call gives, which is passed the room for it.
template <class Call> token read_token(Call &&call)
{
    std::array<std::uint8_t, REPLICATION_TOKEN_MAX_BYTES> bytes{};
    std::size_t length = 0;
    check(call(bytes.data(), bytes.size(), &length));
    return token(bytes_view(bytes.data(), length));
}

/// The same; nothing while the stream is unknown.
template <class Call> std::optional<token> find_token(Call &&call)
{
    std::array<std::uint8_t, REPLICATION_TOKEN_MAX_BYTES> bytes{};
    std::size_t length = 0;
    const replication_status got = call(bytes.data(), bytes.size(), &length);
    if (got == REPLICATION_STATUS_NOT_FOUND)
        return std::nullopt;
    check(got);
    return token(bytes_view(bytes.data(), length));
}

} // namespace detail
/// @endcond

// ---- Version --------------------------------------------------------------------------------------------------------

/// Returns the loaded library's version, such as "0.1.0".
[[nodiscard]] inline const char *version() noexcept
{
    return replication_version();
}

/// Returns the loaded library's version, to compare with REPLICATION_VERSION_NUMBER.
[[nodiscard]] inline std::uint32_t version_number() noexcept
{
    return replication_version_number();
}

/// Returns the loaded library's ABI. Creating the first handle or configuration compares it with
/// REPLICATION_ABI_VERSION and throws `invalid_state` if they differ.
[[nodiscard]] inline std::uint32_t abi_version() noexcept
{
    return replication_abi_version();
}

// ---- Records --------------------------------------------------------------------------------------------------------

class value;

/// @cond internal
namespace detail
{

/// A range of items that an index accesses, for loops.
template <class Owner, class Item, Item (Owner::*At)(std::size_t) const> class indexed
{
  public:
    class iterator
    {
      public:
        using value_type = Item;
        using reference = Item;
        using pointer = void;
        using difference_type = std::ptrdiff_t;
        using iterator_category = std::input_iterator_tag;

        iterator(const Owner *owner, std::size_t index) noexcept : owner_(owner), index_(index)
        {
        }

        Item operator*() const
        {
            return (owner_->*At)(index_);
        }

        iterator &operator++() noexcept
        {
            ++index_;
            return *this;
        }

        iterator operator++(int) noexcept
        {
            iterator before = *this;
            ++index_;
            return before;
        }

        friend bool operator==(const iterator &one, const iterator &other) noexcept
        {
            return one.index_ == other.index_;
        }

        friend bool operator!=(const iterator &one, const iterator &other) noexcept
        {
            return one.index_ != other.index_;
        }

      private:
        const Owner *owner_;
        std::size_t index_;
    };

    indexed(const Owner &owner, std::size_t count) noexcept : owner_(owner), count_(count)
    {
    }

    iterator begin() const noexcept
    {
        return {&owner_, 0};
    }

    iterator end() const noexcept
    {
        return {&owner_, count_};
    }

  private:
    Owner owner_; // itself a view
    std::size_t count_;
};

} // namespace detail
/// @endcond

/// A value within records, valid as long as they are.
class value
{
  public:
    /// Wraps a value of the C interface.
    explicit value(const replication_value *raw) noexcept : raw_(raw)
    {
    }

    /// Returns the value for the C interface.
    [[nodiscard]] const replication_value *get() const noexcept
    {
        return raw_;
    }

    /// Returns the type.
    [[nodiscard]] value_type type() const noexcept
    {
        return static_cast<value_type>(replication_value_type_of(raw_));
    }

    /// Returns whether the value is nil.
    [[nodiscard]] bool is_nil() const noexcept
    {
        return type() == value_type::nil;
    }

    /// Returns a boolean. Throws `wrong_type` for another type, as do the following functions.
    [[nodiscard]] bool as_bool() const
    {
        return read<bool>(replication_value_bool);
    }

    /// Returns an integer. Throws `wrong_type` also if it does not fit.
    [[nodiscard]] std::int64_t as_i64() const
    {
        return read<std::int64_t>(replication_value_i64);
    }

    /// Returns an integer. Throws `wrong_type` also if it does not fit.
    [[nodiscard]] std::uint64_t as_u64() const
    {
        return read<std::uint64_t>(replication_value_u64);
    }

    /// Returns a float, or the float nearest to an integer.
    [[nodiscard]] double as_f64() const
    {
        return read<double>(replication_value_f64);
    }

    /// Returns a string, which is UTF-8.
    [[nodiscard]] std::string_view as_string() const
    {
        const char *text = nullptr;
        std::size_t size = 0;
        detail::check(replication_value_string(raw_, &text, &size));
        return {text, size};
    }

    /// Returns bytes, or those of a string or an extension.
    [[nodiscard]] bytes_view as_bytes() const
    {
        const std::uint8_t *data = nullptr;
        std::size_t size = 0;
        detail::check(replication_value_bytes(raw_, &data, &size));
        return {data, size};
    }

    /// Returns the type of an extension.
    [[nodiscard]] std::int8_t ext_type() const
    {
        return read<std::int8_t>(replication_value_ext_type);
    }

    /// Returns the number of elements in an array or of entries in a map; 0 for other types.
    [[nodiscard]] std::size_t size() const noexcept
    {
        return replication_value_count(raw_);
    }

    /// Returns an element of an array, or the value of a map entry. Throws `not_found` and `wrong_type`.
    [[nodiscard]] value at(std::size_t index) const
    {
        const replication_value *found = nullptr;
        detail::check(replication_value_at(raw_, index, &found));
        return value(found);
    }

    /// Returns the key of a map entry. Throws `not_found` and `wrong_type`.
    [[nodiscard]] value key_at(std::size_t index) const
    {
        const replication_value *found = nullptr;
        detail::check(replication_value_key_at(raw_, index, &found));
        return value(found);
    }

    /// Returns a map's value for a string key. Throws `not_found` and `wrong_type`.
    [[nodiscard]] value get(zstring_view key) const
    {
        const replication_value *found = nullptr;
        detail::check(replication_value_get(raw_, key.c_str(), &found));
        return value(found);
    }

    /// As get(), but returns nothing if the key does not exist. Throws `wrong_type`.
    [[nodiscard]] std::optional<value> find(zstring_view key) const
    {
        const replication_value *found = nullptr;
        const replication_status got = replication_value_get(raw_, key.c_str(), &found);
        if (got == REPLICATION_STATUS_NOT_FOUND)
            return std::nullopt;
        detail::check(got);
        return value(found);
    }

    /// Returns a map entry: the key, which need not be a string, and the value.
    [[nodiscard]] std::pair<value, value> member_at(std::size_t index) const
    {
        return {key_at(index), at(index)};
    }

    /// Returns a range of an array's elements or a map's values; empty for other types.
    [[nodiscard]] auto elements() const noexcept
    {
        return detail::indexed<value, value, &value::at>(*this, size());
    }

    /// Returns a range of a map's entries; empty for other types.
    [[nodiscard]] auto members() const noexcept
    {
        return detail::indexed<value, std::pair<value, value>, &value::member_at>(
            *this, type() == value_type::map ? size() : 0);
    }

  private:
    template <class T> T read(replication_status (*reader)(const replication_value *, T *)) const
    {
        T out{};
        detail::check(reader(raw_, &out));
        return out;
    }

    const replication_value *raw_;
};

/// The records of a payload, an array of maps. This is a view, valid as long as the records.
class records_view
{
  public:
    /// Wraps records of the C interface.
    explicit records_view(const replication_records *raw) noexcept : raw_(raw)
    {
    }

    /// Returns the records for the C interface.
    [[nodiscard]] const replication_records *get() const noexcept
    {
        return raw_;
    }

    /// Returns the number of records.
    [[nodiscard]] std::size_t size() const noexcept
    {
        return replication_records_count(raw_);
    }

    /// Returns whether there are no records.
    [[nodiscard]] bool empty() const noexcept
    {
        return size() == 0;
    }

    /// Returns a record, which is a map. Throws `not_found`.
    [[nodiscard]] value row(std::size_t index) const
    {
        const replication_value *found = nullptr;
        detail::check(replication_records_row(raw_, index, &found));
        return value(found);
    }

    /// Returns a record's value for a key. Throws `not_found`.
    [[nodiscard]] value get(std::size_t row, zstring_view key) const
    {
        const replication_value *found = nullptr;
        detail::check(replication_records_get(raw_, row, key.c_str(), &found));
        return value(found);
    }

    /// Returns the records as a JSON array.
    [[nodiscard]] std::string_view json() const
    {
        const char *text = nullptr;
        std::size_t size = 0;
        detail::check(replication_records_json(raw_, &text, &size));
        return {text, size};
    }

    /// Returns a range of the records.
    [[nodiscard]] auto rows() const noexcept
    {
        return detail::indexed<records_view, value, &records_view::row>(*this, size());
    }

  private:
    const replication_records *raw_;
};

/// Records that are decoded from a payload and owned by this object.
class records : public records_view
{
  public:
    /// Decodes a payload: a msgpack array of maps. Throws `decode_failed` for anything else.
    explicit records(bytes_view payload) : records(parse(payload))
    {
    }

    /// Decodes a payload, with a limit in bytes for the memory that its values use.
    records(bytes_view payload, std::uint64_t max_bytes) : records(parse(payload, max_bytes))
    {
    }

    /// Moves the records out of `other`, which is empty afterwards.
    records(records &&other) noexcept : records_view(other.taken()), owner_(std::move(other.owner_))
    {
    }

    /// Frees the records held before.
    records &operator=(records &&other) noexcept
    {
        records_view::operator=(other.taken());
        owner_ = std::move(other.owner_);
        return *this;
    }

  private:
    using owner = detail::handle<replication_records, replication_records_free>;

    explicit records(owner made) noexcept : records_view(made.get()), owner_(std::move(made))
    {
    }

    records_view taken() noexcept
    {
        return std::exchange(static_cast<records_view &>(*this), records_view(nullptr));
    }

    static owner parse(bytes_view payload)
    {
        replication_records *made = nullptr;
        detail::check(replication_records_parse(payload.data(), payload.size(), &made));
        return owner(made);
    }

    static owner parse(bytes_view payload, std::uint64_t max_bytes)
    {
        replication_records *made = nullptr;
        detail::check(replication_records_parse_within(payload.data(), payload.size(), max_bytes, &made));
        return owner(made);
    }

    owner owner_;
};

// ---- Arguments of handlers ------------------------------------------------------------------------------------------

/// An entry. Its payload is valid until the handler returns.
struct entry {
    std::uint64_t sequence = 0;     ///< Its sequence; rises from entry to entry.
    std::uint64_t timestamp_us = 0; ///< Microseconds since the Unix epoch, as set by the writer's host.
    bytes_view payload;             ///< Its payload.

    /// Returns the timestamp as a C++ time point.
    [[nodiscard]] replication::timestamp timestamp() const noexcept
    {
        return replication::timestamp(std::chrono::microseconds(static_cast<std::int64_t>(timestamp_us)));
    }
};

/// An event, as passed to an event handler. The strings are valid until the handler returns, and end with a NUL.
struct event {
    event_kind kind;              ///< The kind of the event. Ignore unknown kinds.
    replication::status status;   ///< The reason; `ok` if nothing failed.
    std::uint64_t sequence;       ///< The entry concerned; 0 if none.
    std::string_view reader_id;   ///< The reader concerned; empty if unknown.
    std::string_view address;     ///< The peer's address; empty if unknown.
    std::string_view message;     ///< A sentence for people.
    std::string_view detail_json; ///< A JSON object for programs.
    /// `what()` of the exception with which a handler failed on the entry. Set for `apply_failed` and for the `stopped`
    /// and `entry_skipped` that follow it; otherwise empty.
    std::string_view cause;
    /// Who the peer is, as far as the connection proves it: words such as `dns:reader-1.db`, `sha256:FINGERPRINT` or
    /// `uid:1000`, or `none`; empty if no connection is concerned.
    std::string_view identity;
};

/// A connection that asks to follow, about which the host decides with sender::authorize() or sender::refuse(). The strings
/// are valid until the handler returns.
struct access_request {
    std::uint64_t ticket;       ///< What the answer names it by.
    std::string_view reader_id; ///< The id that the reader claims.
    std::string_view address;   ///< The peer's address.
    std::string_view identity;  ///< Who the peer is, as far as the connection proves it; `none` if nothing is proven.
    std::string_view stream_id; ///< The 16 bytes of the stream that its position belongs to; empty if it names none.
    std::uint64_t epoch;        ///< The latest epoch that the reader has seen; 0 if it names none.
    std::uint64_t sequence;     ///< The last entry that the reader has.
    std::uint32_t rights;       ///< What it may have at most: the sum of its `right`s.
    bool tls;                   ///< Whether the connection is encrypted.
    bool handed;                ///< Whether the host handed it over.
};

/// A log record. The strings are valid until the handler returns, and end with a NUL.
struct log_record {
    log_level level;              ///< The severity.
    std::string_view message;     ///< A sentence for people.
    std::string_view fields_json; ///< A JSON object for programs.
};

/// The result of waiting or asking for acknowledgements.
struct ack_result {
    replication::status
        status;              ///< `ok`: enough. `timeout`: not enough so far. `closed`: the sender was stopped before.
    std::size_t readers = 0; ///< How many readers have acknowledged the entry.
    std::string message;     ///< Which readers or groups are missing; empty with `ok`.

    /// Returns whether enough readers have acknowledged the entry.
    [[nodiscard]] explicit operator bool() const noexcept
    {
        return status == replication::status::ok;
    }
};

/// The result of a sender::on_acked() call.
struct ack_notice {
    replication::status status; ///< `ok`, `timeout` or `closed`.
    std::size_t readers;        ///< How many readers have acknowledged the entry.
};

/// @cond internal
namespace detail
{

/// A handler's failure, as reported to C and in events.
struct failure {
    std::int32_t code = REPLICATION_STATUS_APPLY_FAILED;
    std::string text;
};

/// Describes the exception that is being caught.
inline failure current_failure() noexcept
{
    failure found;
    try {
        try {
            throw;
        } catch (const error &caught) {
            if (caught.code() != status::ok)
                found.code = static_cast<std::int32_t>(caught.code());
            found.text = caught.what();
        } catch (const std::exception &caught) {
            found.text = caught.what();
        } catch (...) {
            found.text = "an exception that is no std::exception";
        }
    } catch (...) {
        // No memory for the text.
    }
    return found;
}

/// What the handlers of one handle share: the log handler, which also receives their exceptions. Once the handle
/// exists, only its callback thread uses this.
struct host {
    std::function<void(const log_record &)> log;

    /// Logs an exception; like the library, at most ten times a second.
    void log_exception(const char *handler, const std::string &text) noexcept
    {
        if (!log)
            return;
        const auto moment = std::chrono::steady_clock::now();
        if (moment - since_ >= std::chrono::seconds(1)) {
            since_ = moment;
            written_ = 0;
        }
        if (written_ == lines_per_second)
            return;
        ++written_;
        try {
            const std::string message = std::string("the ") + handler + " threw: " + text;
            const std::string fields = std::string("{\"event\":\"HANDLER_THREW\",\"handler\":\"") + handler + "\"}";
            log({log_level::error, message, fields});
        } catch (...) {
            // The log handler itself failed, so the failure cannot be reported.
        }
    }

  private:
    static constexpr unsigned lines_per_second = 10;

    std::chrono::steady_clock::time_point since_{};
    unsigned written_ = 0;
};

struct sender_host : host {
};

/// For a receiver also: why the handler failed on an entry, kept until the event that reports it arrives.
struct receiver_host : host {
    /// The receiver that provides tokens to handlers; null once it is destroyed in one of them.
    std::atomic<const replication_receiver *> receiver{nullptr};
    bool has_event_handler = false;

    /// Records that a handler threw on the entry `sequence`; returns the status to pass to C.
    std::int32_t failed(const char *handler, std::uint64_t sequence) noexcept
    {
        failure caught = current_failure();
        try {
            log_exception(handler, caught.text);
            {
                const std::lock_guard<std::mutex> lock(last_cause_mutex_);
                last_cause_ = caught.text;
            }
            if (has_event_handler) {
                if (failures_.size() == max_failures)
                    failures_.pop_front();
                failures_.emplace_back(sequence, std::move(caught.text));
            }
        } catch (...) {
            // No memory for the text; the code is still reported.
        }
        return caught.code;
    }

    /// Returns the cause for an event. Each failure is reported once as `apply_failed`, in order, and possibly once
    /// more.
    const std::string &cause_of(event_kind kind, std::uint64_t sequence) noexcept
    {
        if (kind == event_kind::apply_failed) {
            told_ = {sequence, std::string()};
            while (!failures_.empty() && failures_.front().first <= sequence) {
                const bool is_it = failures_.front().first == sequence;
                if (is_it)
                    told_ = std::move(failures_.front());
                failures_.pop_front();
                if (is_it)
                    break;
            }
        }
        const bool is_about_it =
            kind == event_kind::apply_failed || kind == event_kind::entry_skipped || kind == event_kind::stopped;
        return is_about_it && told_.first == sequence ? told_.second : none_;
    }

    /// Returns the text of the last exception from the handlers; callable from any thread.
    std::string last_cause() const
    {
        const std::lock_guard<std::mutex> lock(last_cause_mutex_);
        return last_cause_;
    }

  private:
    /// As many as the events that the library keeps for a slow host.
    static constexpr std::size_t max_failures = 1024;

    std::deque<std::pair<std::uint64_t, std::string>> failures_;
    std::pair<std::uint64_t, std::string> told_;
    const std::string none_;
    mutable std::mutex last_cause_mutex_;
    std::string last_cause_;
};

inline std::optional<token> token_at(const receiver_host &host)
{
    return find_token([&](std::uint8_t *bytes, std::size_t size, std::size_t *length) {
        return receiver_token(host.receiver.load(std::memory_order_relaxed), bytes, size, length);
    });
}

inline std::optional<token> token_at(const receiver_host &host, std::size_t applied)
{
    return find_token([&](std::uint8_t *bytes, std::size_t size, std::size_t *length) {
        return receiver_batch_token(host.receiver.load(std::memory_order_relaxed), applied, bytes, size, length);
    });
}

} // namespace detail
/// @endcond

/// An entry as passed to an ingest handler.
class delivery : public entry
{
  public:
    /// @cond internal
    delivery(const entry &delivered, const detail::receiver_host &host) noexcept : entry(delivered), host_(&host)
    {
    }
    /// @endcond

    /// Returns the token of the position after this entry, to be stored in the same transaction; nothing while the
    /// writer speaks only v1. Throws `invalid_argument` if the receiver was destroyed during this call of the handler.
    [[nodiscard]] std::optional<replication::token> token() const
    {
        return detail::token_at(*host_);
    }

  private:
    const detail::receiver_host *host_;
};

/// Entries as passed to a batch handler: at least one, in order. If the handler throws, the entries that it marked as
/// applied count as applied, and the others are delivered again.
class batch
{
  public:
    /// @cond internal
    batch(const replication_entry *entries, std::size_t count, std::size_t *applied,
          const detail::receiver_host &host) noexcept
        : entries_(entries), count_(count), applied_(applied), host_(&host)
    {
    }
    /// @endcond

    /// An iterator over the entries, which it creates on access.
    class iterator
    {
      public:
        using value_type = entry;                          ///< As for every iterator.
        using reference = entry;                           ///< As for every iterator.
        using pointer = void;                              ///< As for every iterator.
        using difference_type = std::ptrdiff_t;            ///< As for every iterator.
        using iterator_category = std::input_iterator_tag; ///< As for every iterator.

        /// Points to `at`.
        explicit iterator(const replication_entry *at) noexcept : at_(at)
        {
        }

        /// Returns the current entry.
        entry operator*() const noexcept
        {
            return {at_->sequence, at_->timestamp_us, {at_->payload, at_->payload_len}};
        }

        /// Advances to the next entry.
        iterator &operator++() noexcept
        {
            ++at_;
            return *this;
        }

        /// Advances to the next entry.
        iterator operator++(int) noexcept
        {
            iterator before = *this;
            ++at_;
            return before;
        }

        /// Returns whether both point to the same entry.
        friend bool operator==(const iterator &one, const iterator &other) noexcept
        {
            return one.at_ == other.at_;
        }

        /// Returns whether they point to different entries.
        friend bool operator!=(const iterator &one, const iterator &other) noexcept
        {
            return one.at_ != other.at_;
        }

      private:
        const replication_entry *at_;
    };

    /// Returns the number of entries.
    [[nodiscard]] std::size_t size() const noexcept
    {
        return count_;
    }

    /// Returns the entry at `index`, without a bounds check.
    [[nodiscard]] entry operator[](std::size_t index) const noexcept
    {
        return *iterator(entries_ + index);
    }

    /// Returns the first entry.
    [[nodiscard]] entry front() const noexcept
    {
        return (*this)[0];
    }

    /// Returns the last entry; token() is the position after it.
    [[nodiscard]] entry back() const noexcept
    {
        return (*this)[count_ - 1];
    }

    /// Returns an iterator to the first entry.
    [[nodiscard]] iterator begin() const noexcept
    {
        return iterator(entries_);
    }

    /// Returns an iterator past the last entry.
    [[nodiscard]] iterator end() const noexcept
    {
        return iterator(entries_ + count_);
    }

    /// Marks the first `count` entries as applied, even if the handler throws afterwards.
    void applied(std::size_t count) noexcept
    {
        *applied_ = count < count_ ? count : count_;
    }

    /// Returns the token of the position after the last entry, to be stored in the same transaction; nothing while the
    /// writer speaks only v1. Throws `invalid_argument` if the receiver was destroyed during this call of the handler.
    [[nodiscard]] std::optional<replication::token> token() const
    {
        return detail::token_at(*host_);
    }

    /// Returns the token of the position after the first `count` entries, for a handler that commits these and calls
    /// applied(count). Throws `invalid_argument` for more entries than there are.
    [[nodiscard]] std::optional<replication::token> token(std::size_t count) const
    {
        return detail::token_at(*host_, count);
    }

  private:
    const replication_entry *entries_;
    std::size_t count_;
    std::size_t *applied_;
    const detail::receiver_host *host_;
};

/// An entry as passed to a record handler, with its payload decoded.
class record_delivery
{
  public:
    /// @cond internal
    record_delivery(std::uint64_t sequence_, std::uint64_t timestamp_us_, const replication_records *raw,
                    const detail::receiver_host &host) noexcept
        : sequence(sequence_), timestamp_us(timestamp_us_), records(raw), host_(&host)
    {
    }
    /// @endcond

    std::uint64_t sequence;     ///< Its sequence.
    std::uint64_t timestamp_us; ///< Microseconds since the Unix epoch, as set by the writer's host.
    records_view records;       ///< The decoded payload.

    /// Returns the token of the position after this entry; see delivery::token().
    [[nodiscard]] std::optional<replication::token> token() const
    {
        return detail::token_at(*host_);
    }

  private:
    const detail::receiver_host *host_;
};

/// Applies an entry. It returns if the entry is applied, and throws if not.
using ingest_handler = std::function<void(const delivery &)>;
/// Applies many entries. It returns if all of them are applied.
using batch_handler = std::function<void(batch &)>;
/// Applies an entry with its payload decoded. It returns if the entry is applied, and throws if not.
using record_handler = std::function<void(const record_delivery &)>;
/// Writes an entry to the host's own log. It returns if the entry is written, and throws if not.
using local_wal = std::function<void(const entry &)>;
/// Connects to the writer at the address. Returns a connected stream socket, which the library then owns; throws or
/// returns -1 if it cannot connect.
using connect_handler = std::function<int(std::string_view)>;
/// Receives an event.
using event_handler = std::function<void(const event &)>;
/// Decides about a connection: calls sender::authorize() or sender::refuse(), before it returns or later.
using authorize_handler = std::function<void(const access_request &)>;
/// Receives a log record.
using log_handler = std::function<void(const log_record &)>;
/// Receives the result of a wait for acknowledgements.
using acked_handler = std::function<void(const ack_notice &)>;

/// @cond internal
namespace detail
{

/// The `user_data` of a callback: the handler, and what it shares with the other handlers of its handle.
template <class Handler, class Host> struct call {
    Handler handler;
    std::shared_ptr<Host> shared;

    static void free(void *user_data) noexcept
    {
        delete static_cast<call *>(user_data);
    }
};

using sender_event_call = call<event_handler, sender_host>;
using receiver_event_call = call<event_handler, receiver_host>;
using authorize_call = call<authorize_handler, sender_host>;
using acked_call = call<acked_handler, sender_host>;
using ingest_call = call<ingest_handler, receiver_host>;
using batch_call = call<batch_handler, receiver_host>;
using record_call = call<record_handler, receiver_host>;
using local_wal_call = call<local_wal, receiver_host>;
using connect_call = call<connect_handler, receiver_host>;

/// The log handler is stored in the host, because the other handlers need it too; this keeps the host alive.
template <class Host> struct log_call {
    std::shared_ptr<Host> shared;

    static void free(void *user_data) noexcept
    {
        delete static_cast<log_call *>(user_data);
    }

    static void run(void *user_data, std::int32_t level, const char *message, const char *fields_json) noexcept
    {
        const Host &host = *static_cast<log_call *>(user_data)->shared;
        try {
            host.log({static_cast<log_level>(level), message, fields_json});
        } catch (...) {
            // The log handler itself failed, so the failure cannot be reported.
        }
    }
};

inline event event_of(const replication_event &raw, std::string_view cause) noexcept
{
    return {static_cast<event_kind>(raw.kind),
            static_cast<status>(raw.status),
            raw.sequence,
            raw.reader_id,
            raw.address,
            raw.message,
            raw.detail_json,
            cause,
            raw.identity};
}

inline void run_sender_event(void *user_data, const replication_event *raw) noexcept
{
    const auto &call = *static_cast<sender_event_call *>(user_data);
    try {
        call.handler(event_of(*raw, {}));
    } catch (...) {
        call.shared->log_exception("event handler", current_failure().text);
    }
}

inline void run_receiver_event(void *user_data, const replication_event *raw) noexcept
{
    const auto &call = *static_cast<receiver_event_call *>(user_data);
    try {
        const event_kind kind = static_cast<event_kind>(raw->kind);
        call.handler(event_of(*raw, call.shared->cause_of(kind, raw->sequence)));
    } catch (...) {
        call.shared->log_exception("event handler", current_failure().text);
    }
}

inline void run_authorize(void *user_data, const replication_access_request *raw) noexcept
{
    const auto &call = *static_cast<authorize_call *>(user_data);
    try {
        const auto *const stream_id = reinterpret_cast<const char *>(raw->stream_id);
        call.handler({raw->ticket, raw->reader_id, raw->address, raw->identity,
                      stream_id ? std::string_view(stream_id, 16) : std::string_view(), raw->epoch, raw->sequence,
                      raw->rights, raw->tls, raw->handed});
    } catch (...) {
        call.shared->log_exception("authorize handler", current_failure().text);
    }
}

inline void run_acked(void *user_data, std::int32_t number, std::size_t readers) noexcept
{
    const auto &call = *static_cast<acked_call *>(user_data);
    try {
        call.handler({static_cast<status>(number), readers});
    } catch (...) {
        call.shared->log_exception("acked handler", current_failure().text);
    }
}

inline std::int32_t run_ingest(void *user_data, std::uint64_t sequence, std::uint64_t timestamp_us,
                               const std::uint8_t *payload, std::size_t payload_len) noexcept
{
    const auto &call = *static_cast<ingest_call *>(user_data);
    try {
        call.handler(delivery({sequence, timestamp_us, {payload, payload_len}}, *call.shared));
        return 0;
    } catch (...) {
        return call.shared->failed("ingest handler", sequence);
    }
}

inline std::int32_t run_batch(void *user_data, const replication_entry *entries, std::size_t count,
                              std::size_t *applied) noexcept
{
    const auto &call = *static_cast<batch_call *>(user_data);
    batch delivered(entries, count, applied, *call.shared);
    try {
        call.handler(delivered);
        *applied = count;
        return 0;
    } catch (...) {
        // A handler that throws after it applied all entries has failed on none of them.
        return call.shared->failed("batch handler", *applied < count ? entries[*applied].sequence : 0);
    }
}

inline std::int32_t run_record(void *user_data, std::uint64_t sequence, std::uint64_t timestamp_us,
                               const replication_records *raw) noexcept
{
    const auto &call = *static_cast<record_call *>(user_data);
    try {
        call.handler(record_delivery(sequence, timestamp_us, raw, *call.shared));
        return 0;
    } catch (...) {
        return call.shared->failed("record handler", sequence);
    }
}

inline std::int32_t run_local_wal(void *user_data, std::uint64_t sequence, std::uint64_t timestamp_us,
                                  const std::uint8_t *payload, std::size_t payload_len) noexcept
{
    const auto &call = *static_cast<local_wal_call *>(user_data);
    try {
        call.handler({sequence, timestamp_us, {payload, payload_len}});
        return 0;
    } catch (...) {
        return call.shared->failed("local log", sequence);
    }
}

inline int run_connect(void *user_data, const char *writer_addr) noexcept
{
    const auto &call = *static_cast<connect_call *>(user_data);
    try {
        return call.handler(writer_addr);
    } catch (...) {
        call.shared->log_exception("connect handler", current_failure().text);
        return -1;
    }
}

/// Converts the result of a wait or query for acknowledgements; throws if it is an error.
inline ack_result ack_result_of(replication_status got, std::size_t readers)
{
    if (got == REPLICATION_STATUS_OK)
        return {status::ok, readers, {}};
    if (got == REPLICATION_STATUS_TIMEOUT || got == REPLICATION_STATUS_CLOSED)
        return {static_cast<status>(got), readers, replication_last_error_message()};
    fail(got);
}

/// Converts the result of a timed wait: whether it succeeded in time.
inline bool ended_in_time(replication_status got)
{
    if (got == REPLICATION_STATUS_TIMEOUT)
        return false;
    check(got);
    return true;
}

} // namespace detail
/// @endcond

// ---- Secrets --------------------------------------------------------------------------------------------------------

/// A secret that a writer and its readers share under a name, and by which each proves to the other who it is. It does not
/// change, and any thread may use it. What it is given to keeps a copy.
///
/// `cluster` tells the secrets of one cluster from those of another, and may be "". `name`: 1 to 64 bytes without control
/// characters; access rules know it as `secret:NAME`. Both ends have the same.
class secret
{
  public:
    /// Makes a secret of 32 to 4096 bytes that nobody can guess. Throws `invalid_argument` outside this range.
    [[nodiscard]] static secret from_bytes(zstring_view cluster, zstring_view name, bytes_view bytes)
    {
        return secret([&](replication_secret **out) {
            return replication_secret_from_bytes(cluster.c_str(), name.c_str(), bytes.data(), bytes.size(), out);
        });
    }

    /// Makes a secret of 12 to 4096 bytes that people can remember. Deriving its key takes 64 MiB of memory and some tenths of
    /// a second.
    [[nodiscard]] static secret from_passphrase(zstring_view cluster, zstring_view name, bytes_view passphrase)
    {
        return secret([&](replication_secret **out) {
            return replication_secret_from_passphrase(cluster.c_str(), name.c_str(), passphrase.data(),
                                                      passphrase.size(), out);
        });
    }

    /// Makes a secret from a file that other users can neither read nor change. A line end at its end is not part of the
    /// secret. Throws `io` if it cannot be read, and `invalid_argument` for its permissions.
    [[nodiscard]] static secret from_file(zstring_view cluster, zstring_view name, zstring_view file,
                                          bool is_passphrase = false, bool insecure_permissions_allowed = false)
    {
        return secret([&](replication_secret **out) {
            return replication_secret_from_file(cluster.c_str(), name.c_str(), file.c_str(), is_passphrase,
                                                insecure_permissions_allowed, out);
        });
    }

    /// Returns the secret for the C interface.
    [[nodiscard]] const replication_secret *get() const noexcept
    {
        return raw_.get();
    }

  private:
    template <class Make> explicit secret(const Make &make)
    {
        detail::check_abi();
        replication_secret *made = nullptr;
        detail::check(make(&made));
        raw_.reset(made);
    }

    detail::handle<replication_secret, replication_secret_free> raw_;
};

// ---- Sender ---------------------------------------------------------------------------------------------------------

/// Which readers must have acknowledged an entry: a number of readers from each of several groups. A quorum belongs to
/// no sender and may be used any number of times.
class quorum
{
  public:
    /// Creates a quorum without a condition.
    quorum()
    {
        detail::check_abi();
        raw_.reset(replication_quorum_new());
        if (!raw_)
            throw error(status::out_of_memory, replication_last_error_message());
    }

    /// Creates a quorum of any readers, also where a number is given for a quorum. Throws `invalid_argument` for 0 readers.
    quorum(std::size_t readers)
    {
        detail::check_abi();
        raw_.reset(replication_quorum_any(readers));
        if (!raw_)
            throw error(readers == 0 ? status::invalid_argument : status::out_of_memory,
                        replication_last_error_message());
    }

    /// Adds a condition: a number of any readers.
    quorum &add(std::size_t readers)
    {
        detail::check(replication_quorum_add(raw_.get(), nullptr, readers));
        return *this;
    }

    /// Adds a condition: a number of readers from a group of sender_config::add_group().
    quorum &add(zstring_view group, std::size_t readers)
    {
        detail::check(replication_quorum_add(raw_.get(), group.c_str(), readers));
        return *this;
    }

    /// Returns the quorum for the C interface.
    [[nodiscard]] const replication_quorum *get() const noexcept
    {
        return raw_.get();
    }

  private:
    detail::handle<replication_quorum, replication_quorum_free> raw_;
};

/// When a sender accepts entries: while at least `min_readers` connected readers are within a lag.
struct write_gate {
    std::size_t min_readers = 0;              ///< How many readers must be within the lag; 0: no gate.
    std::uint64_t max_lag_entries = 0;        ///< How many entries a reader may not have acknowledged; 0: any number.
    std::chrono::milliseconds max_lag{0};     ///< How long an entry may stay unacknowledged; 0: any time.
    ack_level level = ack_level::received;    ///< What counts as acknowledged.
    gate_policy policy = gate_policy::refuse; ///< What happens to an entry while the gate is closed.
    std::chrono::milliseconds max_wait{0};    ///< How long `slow` waits.
};

/// The options of a sender, with their defaults until they are set. Each setter calls the C function of the same name,
/// throws the error that this function returns, and returns the configuration, so that calls can be chained. Handlers
/// move to the first sender created from the configuration: set them again before creating a second one.
class sender_config
{
  public:
    /// Creates a configuration with default options.
    sender_config()
    {
        detail::check_abi();
        raw_.reset(sender_config_new());
        if (!raw_)
            throw error(status::out_of_memory, replication_last_error_message());
        host_ = std::make_shared<detail::sender_host>();
    }

    /// Sets the capacity of the buffer in entries.
    sender_config &buffer_size(std::size_t entries)
    {
        return checked(sender_config_set_buffer_size(get(), entries));
    }

    /// Sets the capacity of the buffer in bytes.
    sender_config &buffer_bytes(std::uint64_t bytes)
    {
        return checked(sender_config_set_buffer_bytes(get(), bytes));
    }

    /// Sets what happens to new entries if the buffer is full. `wait` applies to the policy of that name.
    sender_config &full_policy(replication::full_policy policy, std::chrono::milliseconds wait = {})
    {
        return checked(
            sender_config_set_full_policy(get(), static_cast<std::uint32_t>(policy), detail::option_ms(wait)));
    }

    /// Sets how long a reader may accept no bytes before it is disconnected.
    sender_config &write_timeout(std::chrono::milliseconds timeout)
    {
        return checked(sender_config_set_write_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// Sets how long the handshake of a new connection may take, TLS included.
    sender_config &handshake_timeout(std::chrono::milliseconds timeout)
    {
        return checked(sender_config_set_handshake_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// Sets the heartbeat interval of idle connections.
    sender_config &heartbeat_interval(std::chrono::milliseconds interval)
    {
        return checked(sender_config_set_heartbeat_interval_ms(get(), detail::option_ms(interval)));
    }

    /// Sets the shortest heartbeat interval that v2 readers may request: 10 ms to 60 s.
    sender_config &min_heartbeat(std::chrono::milliseconds interval)
    {
        return checked(sender_config_set_min_heartbeat_ms(get(), detail::option_ms(interval)));
    }

    /// Sets how long a v2 reader may be silent before it is disconnected.
    sender_config &peer_timeout(std::chrono::milliseconds timeout)
    {
        return checked(sender_config_set_peer_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// Sets how long sender::stop() lets readers catch up; 0: it closes their connections at once.
    sender_config &stop_timeout(std::chrono::milliseconds timeout)
    {
        return checked(sender_config_set_stop_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// Sets how many readers may be connected at once.
    sender_config &max_readers(std::size_t readers)
    {
        return checked(sender_config_set_max_readers(get(), readers));
    }

    /// Sets the number of network threads; 0: chosen by the number of processors.
    sender_config &io_threads(std::uint32_t threads)
    {
        return checked(sender_config_set_io_threads(get(), threads));
    }

    /// Sets the permissions of Unix sockets, whatever the umask. In the abstract namespace they decide which peers are
    /// accepted.
    sender_config &unix_socket_mode(std::uint32_t mode)
    {
        return checked(sender_config_set_unix_socket_mode(get(), mode));
    }

    /// Sets who may follow and what readers may do: rules as docs/access.md describes them. Throws if there is a mistake in
    /// them, whose line and column the text names.
    sender_config &access_rules(zstring_view rules)
    {
        return checked(sender_config_set_access_rules(get(), rules.c_str()));
    }

    /// The same from a file, which sender::reload_access_file() reads again.
    sender_config &access_file(zstring_view file)
    {
        return checked(sender_config_set_access_file(get(), file.c_str()));
    }

    /// Sets whether everyone who reaches the sender may follow, if there are no access rules.
    sender_config &trusted_network(bool trusted)
    {
        return checked(sender_config_set_trusted_network(get(), trusted));
    }

    /// Adds a secret by which readers may prove who they are. A name may have two, so that one can take the other's place.
    sender_config &add_secret(const secret &given)
    {
        return checked(sender_config_add_secret(get(), given.get()));
    }

    /// Sets whether secrets are also used on TCP connections without TLS. There they prove who connected, and nothing of what
    /// follows.
    sender_config &plain_secrets_allowed(bool allowed)
    {
        return checked(sender_config_set_plain_secrets_allowed(get(), allowed));
    }

    /// Sets the sequence of the last entry before this process started.
    sender_config &last_sequence(std::uint64_t sequence)
    {
        return checked(sender_config_set_last_sequence(get(), sequence));
    }

    /// Sets the position after which a new log begins, and the sender's epoch; 0: the epoch of the token.
    sender_config &token(const replication::token &place, std::uint64_t epoch = 0)
    {
        return checked(sender_config_set_token(get(), place.data(), place.size(), epoch));
    }

    /// Allows a log directory or private key that other users may write to, and a key that they may read, which are
    /// otherwise refused; an event reports it. Call it before tls().
    sender_config &insecure_permissions_allowed(bool allowed)
    {
        return checked(sender_config_set_insecure_permissions_allowed(get(), allowed));
    }

    /// Encrypts connections. With `client_ca_file`, readers need a certificate of one of these authorities.
    sender_config &tls(zstring_view certificate_chain_file, zstring_view private_key_file,
                       zstring_view client_ca_file = nullptr)
    {
        return checked(sender_config_set_tls(get(), certificate_chain_file.c_str(), private_key_file.c_str(),
                                             client_ca_file.c_str()));
    }

    /// Refuses readers whose certificate is in a revocation list of this file. Call it after tls() with a `client_ca_file`.
    sender_config &tls_crl_file(zstring_view crl_file)
    {
        return checked(sender_config_set_tls_crl_file(get(), crl_file.c_str()));
    }

    /// Sets the function that receives events; an empty function: none.
    sender_config &event_handler(replication::event_handler handler)
    {
        if (!handler)
            return checked(sender_config_set_event_handler(get(), nullptr, nullptr, nullptr));
        auto made = std::make_unique<detail::sender_event_call>();
        *made = {std::move(handler), host_};
        return checked(sender_config_set_event_handler(get(), detail::run_sender_event, made.release(),
                                                       detail::sender_event_call::free));
    }

    /// Sets the function that decides about each connection after the access rules, and alone where there are none; an empty
    /// function: none. A connection for which it throws is refused when its time is over.
    sender_config &authorize_handler(replication::authorize_handler handler)
    {
        if (!handler)
            return checked(sender_config_set_authorize_handler(get(), nullptr, nullptr, nullptr));
        auto made = std::make_unique<detail::authorize_call>();
        *made = {std::move(handler), host_};
        return checked(sender_config_set_authorize_handler(get(), detail::run_authorize, made.release(),
                                                           detail::authorize_call::free));
    }

    /// Sets the function that receives log records up to a level; an empty function: none. It also receives the
    /// exceptions of the other handlers.
    sender_config &log_handler(log_level max_level, replication::log_handler handler)
    {
        using made = detail::log_call<detail::sender_host>;
        if (!handler)
            checked(
                sender_config_set_log_handler(get(), static_cast<std::int32_t>(max_level), nullptr, nullptr, nullptr));
        else
            checked(sender_config_set_log_handler(get(), static_cast<std::int32_t>(max_level), made::run,
                                                  new made{host_}, made::free));
        host_->log = std::move(handler);
        return *this;
    }

    /// Adds a group of readers for quorums to name. An id that ends with `*` stands for all ids with that prefix.
    sender_config &add_group(zstring_view group, const std::vector<std::string> &reader_ids)
    {
        std::vector<const char *> ids;
        ids.reserve(reader_ids.size());
        for (const std::string &id : reader_ids)
            ids.push_back(zstring_view(id).c_str());
        return checked(sender_config_add_group(get(), group.c_str(), ids.data(), ids.size()));
    }

    /// Sets when the sender accepts entries.
    sender_config &write_gate(const replication::write_gate &gate)
    {
        if (gate.min_readers == 0)
            return checked(sender_config_set_write_gate(get(), nullptr));
        const detail::handle<replication_write_gate, replication_write_gate_free> made(replication_write_gate_new());
        if (!made)
            throw error(status::out_of_memory, replication_last_error_message());
        replication_write_gate *const raw = made.get();
        detail::check(replication_write_gate_set_min_readers(raw, gate.min_readers));
        detail::check(replication_write_gate_set_max_lag_entries(raw, gate.max_lag_entries));
        detail::check(replication_write_gate_set_max_lag_ms(raw, detail::option_ms(gate.max_lag)));
        detail::check(replication_write_gate_set_level(raw, static_cast<std::uint32_t>(gate.level)));
        detail::check(replication_write_gate_set_policy(raw, static_cast<std::uint32_t>(gate.policy),
                                                        detail::option_ms(gate.max_wait)));
        return checked(sender_config_set_write_gate(get(), raw));
    }

    /// Sets how many connections may be in their handshake at once. Where this limit or one of the two below is reached, the
    /// connection that has waited longest there is closed for the one that comes.
    sender_config &max_handshakes(std::size_t handshakes)
    {
        return checked(sender_config_set_max_handshakes(get(), handshakes));
    }

    /// Sets how many of them may come from one address; of IPv6, from one network of 64 bits.
    sender_config &max_handshakes_per_address(std::size_t handshakes)
    {
        return checked(sender_config_set_max_handshakes_per_address(get(), handshakes));
    }

    /// Sets how many of them may come from one network: 24 bits of an IPv4 address, 48 of an IPv6 address.
    sender_config &max_handshakes_per_network(std::size_t handshakes)
    {
        return checked(sender_config_set_max_handshakes_per_network(get(), handshakes));
    }

    /// Sets how many times in a second one address may connect, on average; 0: any number.
    sender_config &max_connection_rate_per_address(std::uint32_t connections_per_second)
    {
        return checked(sender_config_set_max_connection_rate_per_address(get(), connections_per_second));
    }

    /// Sets how many calls of sender::on_acked() may be outstanding.
    sender_config &max_pending_acks(std::size_t calls)
    {
        return checked(sender_config_set_max_pending_acks(get(), calls));
    }

    /// Sets the directory of the log on disk; `nullptr`: the log is in memory only.
    sender_config &wal_dir(zstring_view path)
    {
        return checked(sender_config_set_wal_dir(get(), path.c_str()));
    }

    /// Sets when the log on disk is synced. The interval and the bytes apply to `group`.
    sender_config &wal_sync(sync_policy policy, std::chrono::milliseconds interval = {}, std::uint64_t bytes = 0)
    {
        return checked(
            sender_config_set_wal_sync(get(), static_cast<std::uint32_t>(policy), detail::option_ms(interval), bytes));
    }

    /// Sets the usual size of a log file.
    sender_config &wal_segment_bytes(std::uint64_t bytes)
    {
        return checked(sender_config_set_wal_segment_bytes(get(), bytes));
    }

    /// Sets how many bytes of the log stay on disk if no slot needs more.
    sender_config &wal_retain_bytes(std::uint64_t bytes)
    {
        return checked(sender_config_set_wal_retain_bytes(get(), bytes));
    }

    /// Sets the age at which entries that no slot needs are removed from disk.
    sender_config &log_retain(std::chrono::milliseconds age)
    {
        return checked(sender_config_set_wal_retain_ms(get(), detail::option_ms(age)));
    }

    /// Sets how many bytes of the log a reader's slot may hold back beyond retention.
    sender_config &slot_max_bytes(std::uint64_t bytes)
    {
        return checked(sender_config_set_slot_max_bytes(get(), bytes));
    }

    /// Sets how long the slot of an absent reader is kept.
    sender_config &slot_expiry(std::chrono::milliseconds expiry)
    {
        return checked(sender_config_set_slot_expiry_ms(get(), detail::option_ms(expiry)));
    }

    /// Sets how long sender::replicate() waits for the disk.
    sender_config &log_timeout(std::chrono::milliseconds timeout)
    {
        return checked(sender_config_set_wal_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// Returns the configuration for the C interface.
    [[nodiscard]] replication_sender_config *get() const noexcept
    {
        return raw_.get();
    }

  private:
    friend class sender;

    sender_config &checked(replication_status got)
    {
        detail::check(got);
        return *this;
    }

    detail::handle<replication_sender_config, sender_config_free> raw_;
    std::shared_ptr<detail::sender_host> host_;
};

/// The writer's end: accepts entries and streams them to readers.
class sender
{
  public:
    /// Creates a sender with default options, which start() starts.
    sender() : host_(std::make_shared<detail::sender_host>())
    {
        detail::check_abi();
        detail::check(sender_new(nullptr, &raw_));
    }

    /// Creates a sender, which start() starts, with the options and handlers of `config`. Throws, among others,
    /// `invalid_state` if an earlier sender has the handlers, and with a log on disk `locked`, `damaged`, `diverged`,
    /// `regressed`, `io` and `disk_full`.
    explicit sender(sender_config &config)
    {
        auto next = std::make_shared<detail::sender_host>();
        if (config.get() == nullptr) // NULL would mean default options in C
            throw error(status::invalid_argument, "config was moved from");
        detail::check(sender_new(config.get(), &raw_));
        host_ = std::exchange(config.host_, std::move(next));
    }

    /// Creates a sender from a configuration that is not used again.
    explicit sender(sender_config &&config) : sender(config)
    {
    }

    /// Takes ownership of a sender of the C interface; null: none.
    explicit sender(replication_sender *raw) : raw_(raw), host_(std::make_shared<detail::sender_host>())
    {
        detail::check_abi();
    }

    /// Moves the sender out of `other`, which is empty afterwards.
    sender(sender &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)), host_(std::move(other.host_))
    {
    }

    /// Stops and frees the sender held before, as the destructor does.
    sender &operator=(sender &&other) noexcept
    {
        if (this != &other) {
            reset();
            raw_ = std::exchange(other.raw_, nullptr);
            host_ = std::move(other.host_);
        }
        return *this;
    }

    sender(const sender &) = delete;
    sender &operator=(const sender &) = delete;

    /// Stops the sender if it runs, and frees it; see reset().
    ~sender()
    {
        reset();
    }

    /// Stops the sender as stop() does, ignoring errors, and frees it and its handlers. On return no handler runs.
    /// Called in a handler of this sender, it leaves this to another thread, which does it soon afterwards; no other
    /// handler begins.
    void reset() noexcept
    {
        if (raw_ == nullptr)
            return;
        replication_sender *const raw = std::exchange(raw_, nullptr);
        // First, so that calls by a running handler still find a sender.
        sender_stop(raw);
        sender_free(raw);
        host_.reset();
    }

    /// Starts the sender's threads.
    void start()
    {
        detail::check(sender_start(raw_));
    }

    /// Accepts readers at "host:port", "unix:/path" or "unix:@name". Returns the port; for port 0, the one that the
    /// system chose.
    std::uint16_t listen(zstring_view address)
    {
        std::uint16_t port = 0;
        detail::check(sender_listen(raw_, address.c_str(), &port));
        return port;
    }

    /// Streams to a reader whose Sync message the host has read. The library then owns the descriptor; if this throws,
    /// the caller keeps it.
    void accept_reader(int descriptor, zstring_view reader_id, std::uint64_t last_known_sequence)
    {
        detail::check(sender_accept_reader(raw_, descriptor, reader_id.c_str(), last_known_sequence));
    }

    /// Serves a new connection, handshake included. The library then owns the descriptor; if this throws, the caller
    /// keeps it.
    void accept_connection(int descriptor)
    {
        detail::check(sender_accept_connection(raw_, descriptor));
    }

    /// The same with these rights, whatever the access rules say.
    void accept_reader(int descriptor, zstring_view reader_id, std::uint64_t last_known_sequence,
                       std::initializer_list<right> rights)
    {
        detail::check(sender_accept_reader_with_rights(raw_, descriptor, reader_id.c_str(), last_known_sequence,
                                                       detail::sum(rights)));
    }

    /// Likewise.
    void accept_connection(int descriptor, std::initializer_list<right> rights)
    {
        detail::check(sender_accept_connection_with_rights(raw_, descriptor, detail::sum(rights)));
    }

    /// Lets a connection follow about which the authorize handler was asked, with those of these rights that the request had.
    /// Throws `not_found` if it waits no more.
    void authorize(std::uint64_t ticket, std::initializer_list<right> rights)
    {
        detail::check(sender_authorize(raw_, ticket, detail::sum(rights), nullptr));
    }

    /// Refuses it. The reason is for the event, not for the peer.
    void refuse(std::uint64_t ticket, zstring_view reason = nullptr)
    {
        detail::check(sender_authorize(raw_, ticket, 0, reason.c_str()));
    }

    /// Adds a secret. To replace one, add the new one, give it to the readers, and remove the old one.
    void add_secret(const secret &given)
    {
        detail::check(sender_add_secret(raw_, given.get()));
    }

    /// Removes the older secret with a name, or the only one, and disconnects the readers that proved who they are by it. Throws
    /// `not_found` if there is none.
    void remove_secret(zstring_view name)
    {
        detail::check(sender_remove_secret(raw_, name.c_str()));
    }

    /// Replaces the access rules. Readers that do not keep their rights are disconnected.
    void set_access_rules(zstring_view rules)
    {
        detail::check(sender_set_access_rules(raw_, rules.c_str()));
    }

    /// Replaces the access rules with what their file has now.
    void reload_access_file()
    {
        detail::check(sender_reload_access_file(raw_));
    }

    /// Appends an entry to the log and returns its sequence. Throws indeterminate_error if the entry was appended but
    /// is not known to be durable; on any other failure the entry is not in the log.
    std::uint64_t replicate(bytes_view payload, timestamp at = now())
    {
        std::uint64_t sequence = 0;
        const replication_status got =
            sender_replicate(raw_, microseconds(at), payload.data(), payload.size(), &sequence);
        if (got != REPLICATION_STATUS_OK)
            fail(got, sequence);
        return sequence;
    }

    /// As replicate(), but reports errors without exceptions, for hosts that treat a full buffer or a closed gate as
    /// normal.
    ///
    /// @param payload the entry's bytes
    /// @param at the entry's timestamp
    /// @param sequence out: the entry's sequence; 0 if it is not in the log
    /// @return the reason for the failure, or `ok`; last_error_message() returns the text
    [[nodiscard]] status try_replicate(bytes_view payload, timestamp at, std::uint64_t &sequence) noexcept
    {
        sequence = 0;
        return static_cast<status>(sender_replicate(raw_, microseconds(at), payload.data(), payload.size(), &sequence));
    }

    /// Appends entries with consecutive sequences, all of them or none. Returns the first sequence.
    ///
    /// @param payloads a container of elements from which a bytes_view can be constructed
    /// @param at the timestamp of all entries
    template <class Payloads> std::uint64_t replicate_batch(const Payloads &payloads, timestamp at = now())
    {
        using element = decltype(*std::begin(payloads));
        if constexpr (std::is_reference_v<element>) {
            std::vector<replication_slice> slices;
            slices.reserve(std::size(payloads));
            for (const auto &payload : payloads) {
                const bytes_view bytes(payload);
                slices.push_back({bytes.data(), bytes.size()});
            }
            return replicate_batch(slices.data(), slices.size(), at);
        } else {
            // Elements that the loop creates would otherwise be destroyed before the call.
            std::vector<std::remove_cv_t<element>> made;
            made.reserve(std::size(payloads));
            for (auto &&payload : payloads)
                made.push_back(std::move(payload));
            return replicate_batch(made, at);
        }
    }

    /// As above, for a list.
    std::uint64_t replicate_batch(std::initializer_list<bytes_view> payloads, timestamp at = now())
    {
        return replicate_batch<std::initializer_list<bytes_view>>(payloads, at);
    }

    /// As above, for a C array, which is not copied first.
    std::uint64_t replicate_batch(const replication_slice *payloads, std::size_t count, timestamp at = now())
    {
        std::uint64_t sequence = 0;
        const replication_status got = sender_replicate_batch(raw_, microseconds(at), payloads, count, &sequence);
        if (got != REPLICATION_STATUS_OK)
            fail(got, sequence);
        return sequence;
    }

    /// Disconnects a reader, which may connect again. Throws `not_found`.
    void remove_reader(zstring_view reader_id)
    {
        detail::check(sender_remove_reader(raw_, reader_id.c_str()));
    }

    /// Returns how many readers are connected; 0 where another function would throw.
    [[nodiscard]] std::size_t reader_count() const noexcept
    {
        return sender_reader_count(raw_);
    }

    /// Returns the last entry's sequence; 0 if there is none, and where another function would throw.
    [[nodiscard]] std::uint64_t current_sequence() const noexcept
    {
        return sender_current_sequence(raw_);
    }

    /// Appends an entry as replicate() does, and returns its token, which identifies it also after a restart and at another
    /// node.
    [[nodiscard]] replication::token replicate_token(bytes_view payload, timestamp at = now())
    {
        return detail::read_token([&](std::uint8_t *bytes, std::size_t size, std::size_t *length) {
            return sender_replicate_token(raw_, microseconds(at), payload.data(), payload.size(), bytes, size, length);
        });
    }

    /// Returns the token of the position after the last entry.
    [[nodiscard]] replication::token token() const
    {
        return detail::read_token([&](std::uint8_t *bytes, std::size_t size, std::size_t *length) {
            return sender_token(raw_, bytes, size, length);
        });
    }

    /// Replaces the certificates, for the connections that come. `recheck`: disconnects readers whose certificate would not be
    /// accepted any more.
    void set_tls(zstring_view certificate_chain_file, zstring_view private_key_file,
                 zstring_view client_ca_file = nullptr, zstring_view crl_file = nullptr, bool recheck = false)
    {
        detail::check(sender_set_tls(raw_, certificate_chain_file.c_str(), private_key_file.c_str(),
                                     client_ca_file.c_str(), crl_file.c_str(), recheck));
    }

    /// Reads the files of the certificates again.
    void reload_tls(bool recheck = false)
    {
        detail::check(sender_reload_tls(raw_, recheck));
    }

    /// Changes an option of a sender that lives, by its name in docs/options.md. Throws `not_found` for any other name.
    void set_option(zstring_view name, std::uint64_t value)
    {
        detail::check(sender_set_option(raw_, name.c_str(), value));
    }

    /// Returns the value of an option that set_option() takes.
    [[nodiscard]] std::uint64_t option(zstring_view name) const
    {
        std::uint64_t value = 0;
        detail::check(sender_option(raw_, name.c_str(), &value));
        return value;
    }

    /// Sets whether this node is the writer, as a new sender is.
    void set_writable(bool writable)
    {
        detail::check(sender_set_writable(raw_, writable));
    }

    /// Returns the statistics as a JSON object.
    [[nodiscard]] std::string stats_json() const
    {
        char *text = nullptr;
        detail::check(sender_stats_json(raw_, &text));
        return detail::owned_text(text);
    }

    /// Returns the readers' slots as a JSON array. Throws `invalid_state` without a log on disk.
    [[nodiscard]] std::string slots_json() const
    {
        char *text = nullptr;
        detail::check(sender_slots_json(raw_, &text));
        return detail::owned_text(text);
    }

    /// Drops the slot of a reader that will not come back. Throws `not_found`.
    void drop_slot(zstring_view reader_id)
    {
        detail::check(sender_drop_slot(raw_, reader_id.c_str()));
    }

    /// Stops the sender: lets readers catch up, closes everything and waits for its threads. Throws `timeout` if some
    /// readers, which the text names, lack entries; `io` or `disk_full` if the log on disk lacks the last entries. In
    /// these cases the sender is stopped. Throws `wrong_thread` in a handler of this sender, which continues to run.
    void stop()
    {
        detail::check(sender_stop(raw_));
    }

    /// Waits until `readers` readers have acknowledged an entry that this sender numbered, and all before it. The result is
    /// `ok`; `timeout`, and readers may still have the entry; or `closed` if the sender was stopped. Throws `lost` for an
    /// entry before the one at which this sender's epoch began.
    [[nodiscard]] ack_result wait_acked(std::uint64_t sequence, ack_level level, std::size_t readers,
                                        std::chrono::milliseconds timeout)
    {
        std::size_t have = 0;
        const replication_status got = sender_wait_acked(raw_, sequence, static_cast<std::uint32_t>(level), readers,
                                                         detail::wait_ms(timeout), &have);
        return detail::ack_result_of(got, have);
    }

    /// As above, for the entry of a token, which may be from before a restart or a promotion, and for a quorum. Throws `lost`
    /// if the entry is not in this sender's history, and `wal_rotated` if the log no longer tells.
    [[nodiscard]] ack_result wait_token(const replication::token &entry, ack_level level, const quorum &who,
                                        std::chrono::milliseconds timeout)
    {
        std::size_t have = 0;
        const replication_status got =
            sender_wait_token(raw_, entry.data(), entry.size(), static_cast<std::uint32_t>(level), who.get(),
                              detail::wait_ms(timeout), &have);
        return detail::ack_result_of(got, have);
    }

    /// Reports, without waiting, whether a quorum of readers have acknowledged the entry of a token. Throws as wait_token().
    [[nodiscard]] ack_result acked(const replication::token &entry, ack_level level, const quorum &who) const
    {
        std::size_t have = 0;
        const replication_status got =
            sender_acked(raw_, entry.data(), entry.size(), static_cast<std::uint32_t>(level), who.get(), &have);
        return detail::ack_result_of(got, have);
    }

    /// Calls a handler once when a quorum of readers have acknowledged the entry of a token, without waiting. The handler is
    /// not called if this throws, or if the sender is destroyed in one of its own handlers.
    void on_acked(const replication::token &entry, ack_level level, const quorum &who,
                  std::chrono::milliseconds timeout, acked_handler handler)
    {
        const bool is_empty = !handler;
        auto made = std::make_unique<detail::acked_call>();
        *made = {std::move(handler), host_};
        detail::check(sender_on_acked(raw_, entry.data(), entry.size(), static_cast<std::uint32_t>(level), who.get(),
                                      detail::wait_ms(timeout), is_empty ? nullptr : detail::run_acked, made.release(),
                                      detail::acked_call::free));
    }

    /// Waits until an entry is on this node's disk. Returns whether it is, within the timeout.
    [[nodiscard]] bool wait_durable(std::uint64_t sequence, std::chrono::milliseconds timeout)
    {
        return detail::ended_in_time(sender_wait_durable(raw_, sequence, detail::wait_ms(timeout)));
    }

    /// Returns whether this object holds a sender: false after it was moved from or reset.
    [[nodiscard]] explicit operator bool() const noexcept
    {
        return raw_ != nullptr;
    }

    /// Returns the sender for the C interface.
    [[nodiscard]] replication_sender *get() const noexcept
    {
        return raw_;
    }

    /// Gives up ownership: the caller must free the sender with sender_free().
    [[nodiscard]] replication_sender *release() noexcept
    {
        host_.reset();
        return std::exchange(raw_, nullptr);
    }

  private:
    static std::uint64_t microseconds(timestamp at) noexcept
    {
        return static_cast<std::uint64_t>(at.time_since_epoch().count());
    }

    [[noreturn]] static void fail(replication_status got, std::uint64_t sequence)
    {
        if (sequence != 0)
            throw indeterminate_error(static_cast<status>(got), replication_last_error_message(), sequence);
        detail::fail(got);
    }

    replication_sender *raw_ = nullptr;
    std::shared_ptr<detail::sender_host> host_;
};

// ---- Receiver -------------------------------------------------------------------------------------------------------

/// The options of a receiver, with their defaults until they are set. A reader id, a writer address and one of the
/// three handlers are required. Each setter calls the C function of the same name, throws the error that this function
/// returns, and returns the configuration, so that calls can be chained. Handlers move to the first receiver created
/// from the configuration: set them again before creating a second one.
class receiver_config
{
  public:
    /// Creates a configuration with default options.
    receiver_config()
    {
        detail::check_abi();
        raw_.reset(receiver_config_new());
        if (!raw_)
            throw error(status::out_of_memory, replication_last_error_message());
        host_ = std::make_shared<detail::receiver_host>();
    }

    /// Sets the name by which the writer knows this reader.
    receiver_config &reader_id(zstring_view id)
    {
        return checked(receiver_config_set_reader_id(get(), id.c_str()));
    }

    /// Sets the writer's address: "host:port", "unix:/path" or "unix:@name", or several separated by commas.
    receiver_config &writer_addr(zstring_view address)
    {
        return checked(receiver_config_set_writer_addr(get(), address.c_str()));
    }

    /// Sets the sequence of the last entry that the host applied.
    receiver_config &last_sequence(std::uint64_t sequence)
    {
        return checked(receiver_config_set_last_sequence(get(), sequence));
    }

    /// Sets the reader's position from the token stored with the host's data. Replaces last_sequence().
    receiver_config &token(const replication::token &place)
    {
        return checked(receiver_config_set_token(get(), place.data(), place.size()));
    }

    /// Sets the protocol versions to speak.
    receiver_config &protocol(replication::protocol spoken)
    {
        return checked(receiver_config_set_protocol(get(), static_cast<std::uint32_t>(spoken)));
    }

    /// Sets whether the handshake uses the message types of a cluster coordinator.
    receiver_config &coordinator_handshake(bool enabled)
    {
        return checked(receiver_config_set_coordinator_handshake(get(), enabled));
    }

    /// Sets what happens if the writer's entries have a gap.
    receiver_config &gap_policy(replication::gap_policy policy)
    {
        return checked(receiver_config_set_gap_policy(get(), static_cast<std::uint32_t>(policy)));
    }

    /// Sets what happens if the handler fails on an entry. The retries apply to `stop` and `skip`.
    receiver_config &apply_policy(replication::apply_policy policy, std::uint32_t retries = 0)
    {
        return checked(receiver_config_set_apply_policy(get(), static_cast<std::uint32_t>(policy), retries));
    }

    /// Sets whether the handler makes an entry durable before it returns.
    receiver_config &handler_durable(bool durable)
    {
        return checked(receiver_config_set_handler_durable(get(), durable));
    }

    /// Sets the longest pause between two attempts to connect.
    receiver_config &reconnect_interval(std::chrono::milliseconds interval)
    {
        return checked(receiver_config_set_reconnect_interval_ms(get(), detail::option_ms(interval)));
    }

    /// Sets the interval at which a moving position is acknowledged.
    receiver_config &ack_interval(std::chrono::milliseconds interval)
    {
        return checked(receiver_config_set_ack_interval_ms(get(), detail::option_ms(interval)));
    }

    /// Sets how long connecting and the handshake may take together.
    receiver_config &connect_timeout(std::chrono::milliseconds timeout)
    {
        return checked(receiver_config_set_connect_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// Sets the heartbeat interval of idle connections.
    receiver_config &heartbeat_interval(std::chrono::milliseconds interval)
    {
        return checked(receiver_config_set_heartbeat_interval_ms(get(), detail::option_ms(interval)));
    }

    /// Sets how long a v2 writer may be silent before it is disconnected.
    receiver_config &peer_timeout(std::chrono::milliseconds timeout)
    {
        return checked(receiver_config_set_peer_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// Sets how many bytes may be received and not yet applied.
    receiver_config &buffer_bytes(std::uint64_t bytes)
    {
        return checked(receiver_config_set_buffer_bytes(get(), bytes));
    }

    /// Sets by how much the writer's epoch may rise at once.
    receiver_config &max_epoch_jump(std::uint64_t jump)
    {
        return checked(receiver_config_set_max_epoch_jump(get(), jump));
    }

    /// Sets the largest payload that the receiver accepts.
    receiver_config &max_entry_bytes(std::uint64_t bytes)
    {
        return checked(receiver_config_set_max_entry_bytes(get(), bytes));
    }

    /// Sets how much memory the records of one entry may use with a record handler.
    receiver_config &records_max_bytes(std::uint64_t bytes)
    {
        return checked(receiver_config_set_records_max_bytes(get(), bytes));
    }

    /// Allows a log directory or private key that other users may write to, and a key that they may read, which are
    /// otherwise refused; an event reports it. Call it before tls().
    receiver_config &insecure_permissions_allowed(bool allowed)
    {
        return checked(receiver_config_set_insecure_permissions_allowed(get(), allowed));
    }

    /// Sets whom the receiver takes for its writer, besides what TLS checks: identities as docs/access.md describes them, of
    /// which the peer must be one.
    receiver_config &writer_identity(zstring_view identity)
    {
        return checked(receiver_config_set_writer_identity(get(), identity.c_str()));
    }

    /// Has the receiver prove a secret to its writer, and the writer prove it too. A writer that does not is not followed.
    receiver_config &secret(const replication::secret &given)
    {
        return checked(receiver_config_set_secret(get(), given.get()));
    }

    /// Sets whether the secret is also used on TCP connections without TLS. There it proves who connected, and nothing of what
    /// follows.
    receiver_config &plain_secrets_allowed(bool allowed)
    {
        return checked(receiver_config_set_plain_secrets_allowed(get(), allowed));
    }

    /// Encrypts connections and checks the writer's certificate. `server_name` is the name in that certificate; by
    /// default, the host in the writer address. The last two arguments are this reader's certificate and key; pass both
    /// or neither.
    receiver_config &tls(zstring_view ca_file, zstring_view server_name = nullptr,
                         zstring_view certificate_chain_file = nullptr, zstring_view private_key_file = nullptr)
    {
        return checked(receiver_config_set_tls(get(), ca_file.c_str(), server_name.c_str(),
                                               certificate_chain_file.c_str(), private_key_file.c_str()));
    }

    /// Sets the handler that receives entries one by one, a replication::ingest_handler. It replaces a handler of any
    /// kind, as do the next two functions.
    template <class Handler> receiver_config &ingest_handler(Handler handler)
    {
        detail::must_return_nothing<Handler, const delivery &>();
        replication::ingest_handler function(std::move(handler));
        const replication_ingest_fn run = function ? detail::run_ingest : nullptr;
        return checked(receiver_config_set_ingest_handler(get(), run, made<detail::ingest_call>(std::move(function)),
                                                          detail::ingest_call::free));
    }

    /// Sets a handler that receives many entries per call, a replication::batch_handler: at most `max_entries`; 0:
    /// 1024.
    template <class Handler> receiver_config &ingest_batch_handler(std::size_t max_entries, Handler handler)
    {
        detail::must_return_nothing<Handler, batch &>();
        replication::batch_handler function(std::move(handler));
        const replication_ingest_batch_fn run = function ? detail::run_batch : nullptr;
        return checked(receiver_config_set_ingest_batch_handler(
            get(), max_entries, run, made<detail::batch_call>(std::move(function)), detail::batch_call::free));
    }

    /// Sets a handler that receives entries one by one with their payload decoded, a replication::record_handler.
    template <class Handler> receiver_config &record_handler(Handler handler)
    {
        detail::must_return_nothing<Handler, const record_delivery &>();
        replication::record_handler function(std::move(handler));
        const replication_record_fn run = function ? detail::run_record : nullptr;
        return checked(receiver_config_set_record_handler(get(), run, made<detail::record_call>(std::move(function)),
                                                          detail::record_call::free));
    }

    /// Sets a function that writes each entry to the host's own log before the handler receives it, a
    /// replication::local_wal; `nullptr`: none.
    template <class Handler> receiver_config &local_wal(Handler append)
    {
        detail::must_return_nothing<Handler, const entry &>();
        replication::local_wal function(std::move(append));
        if (!function)
            return checked(receiver_config_set_local_wal(get(), nullptr, nullptr, nullptr));
        return checked(receiver_config_set_local_wal(get(), detail::run_local_wal,
                                                     made<detail::local_wal_call>(std::move(function)),
                                                     detail::local_wal_call::free));
    }

    /// Sets a function that connects to the writer; an empty function: the library connects.
    receiver_config &connect_handler(replication::connect_handler handler)
    {
        if (!handler)
            return checked(receiver_config_set_connect_handler(get(), nullptr, nullptr, nullptr));
        return checked(receiver_config_set_connect_handler(
            get(), detail::run_connect, made<detail::connect_call>(std::move(handler)), detail::connect_call::free));
    }

    /// Sets the function that receives events; an empty function: none.
    receiver_config &event_handler(replication::event_handler handler)
    {
        const bool is_set = static_cast<bool>(handler);
        if (is_set)
            checked(receiver_config_set_event_handler(get(), detail::run_receiver_event,
                                                      made<detail::receiver_event_call>(std::move(handler)),
                                                      detail::receiver_event_call::free));
        else
            checked(receiver_config_set_event_handler(get(), nullptr, nullptr, nullptr));
        host_->has_event_handler = is_set;
        return *this;
    }

    /// Sets the function that receives log records up to a level; an empty function: none. It also receives the
    /// exceptions of the other handlers.
    receiver_config &log_handler(log_level max_level, replication::log_handler handler)
    {
        using log = detail::log_call<detail::receiver_host>;
        if (!handler)
            checked(receiver_config_set_log_handler(get(), static_cast<std::int32_t>(max_level), nullptr, nullptr,
                                                    nullptr));
        else
            checked(receiver_config_set_log_handler(get(), static_cast<std::int32_t>(max_level), log::run,
                                                    new log{host_}, log::free));
        host_->log = std::move(handler);
        return *this;
    }

    /// Sets the directory of a log on disk for received entries; `nullptr`: none.
    receiver_config &wal_dir(zstring_view path)
    {
        return checked(receiver_config_set_wal_dir(get(), path.c_str()));
    }

    /// Sets when the receiver's log is synced. The interval and the bytes apply to `group`.
    receiver_config &wal_sync(sync_policy policy, std::chrono::milliseconds interval = {}, std::uint64_t bytes = 0)
    {
        return checked(receiver_config_set_wal_sync(get(), static_cast<std::uint32_t>(policy),
                                                    detail::option_ms(interval), bytes));
    }

    /// Sets the usual size of a file of the receiver's log.
    receiver_config &wal_segment_bytes(std::uint64_t bytes)
    {
        return checked(receiver_config_set_wal_segment_bytes(get(), bytes));
    }

    /// Sets how many bytes of applied entries the receiver's log keeps on disk.
    receiver_config &wal_retain_bytes(std::uint64_t bytes)
    {
        return checked(receiver_config_set_wal_retain_bytes(get(), bytes));
    }

    /// Sets the age at which applied entries are removed from disk.
    receiver_config &log_retain(std::chrono::milliseconds age)
    {
        return checked(receiver_config_set_wal_retain_ms(get(), detail::option_ms(age)));
    }

    /// Returns the configuration for the C interface.
    [[nodiscard]] replication_receiver_config *get() const noexcept
    {
        return raw_.get();
    }

  private:
    friend class receiver;

    receiver_config &checked(replication_status got)
    {
        detail::check(got);
        return *this;
    }

    /// Allocates a handler for C, which frees it even if registering it fails.
    template <class Call, class Handler> void *made(Handler handler) const
    {
        auto call = std::make_unique<Call>();
        *call = {std::move(handler), host_};
        return call.release();
    }

    detail::handle<replication_receiver_config, receiver_config_free> raw_;
    std::shared_ptr<detail::receiver_host> host_;
};

/// A reader's end: follows one writer and passes its entries to a handler.
class receiver
{
  public:
    /// Creates a receiver, which start() starts, with the options and handlers of `config`. Throws, among others,
    /// `invalid_argument` if a required option is missing, `bad_address`, `invalid_state` if an earlier receiver has
    /// the handlers, and with a log on disk `locked`, `damaged`, `diverged`, `io` and `disk_full`.
    explicit receiver(receiver_config &config)
    {
        auto next = std::make_shared<detail::receiver_host>();
        detail::check(receiver_new(config.get(), &raw_));
        host_ = std::exchange(config.host_, std::move(next));
        host_->receiver.store(raw_, std::memory_order_relaxed);
    }

    /// Creates a receiver from a configuration that is not used again.
    explicit receiver(receiver_config &&config) : receiver(config)
    {
    }

    /// Takes ownership of a receiver of the C interface; null: none.
    explicit receiver(replication_receiver *raw) : raw_(raw), host_(std::make_shared<detail::receiver_host>())
    {
        detail::check_abi();
    }

    /// Moves the receiver out of `other`, which is empty afterwards.
    receiver(receiver &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)), host_(std::move(other.host_))
    {
    }

    /// Stops and frees the receiver held before, as the destructor does.
    receiver &operator=(receiver &&other) noexcept
    {
        if (this != &other) {
            reset();
            raw_ = std::exchange(other.raw_, nullptr);
            host_ = std::move(other.host_);
        }
        return *this;
    }

    receiver(const receiver &) = delete;
    receiver &operator=(const receiver &) = delete;

    /// Stops the receiver if it runs, and frees it; see reset().
    ~receiver()
    {
        reset();
    }

    /// Stops the receiver as stop() does, and frees it and its handlers. On return no handler runs. Called in a handler
    /// of this receiver, it leaves this to another thread, which does it soon afterwards; no other handler begins.
    void reset() noexcept
    {
        if (raw_ == nullptr)
            return;
        replication_receiver *const raw = std::exchange(raw_, nullptr);
        // First, so that calls by a running handler still find a receiver.
        if (receiver_stop(raw) == REPLICATION_STATUS_WRONG_THREAD)
            host_->receiver.store(nullptr, std::memory_order_relaxed);
        receiver_free(raw);
        host_.reset();
    }

    /// Starts the receiver. It connects in the background and reports this as events.
    void start()
    {
        detail::check(receiver_start(raw_));
    }

    /// Returns whether a connection is established, handshake included; false where another function would throw.
    [[nodiscard]] bool is_connected() const noexcept
    {
        return receiver_is_connected(raw_);
    }

    /// Returns the last applied sequence; 0 where another function would throw.
    [[nodiscard]] std::uint64_t last_sequence() const noexcept
    {
        return receiver_last_sequence(raw_);
    }

    /// Returns the token of the receiver's position; nothing while the stream is unknown. In a handler, this is the
    /// position after the entries of the current call.
    [[nodiscard]] std::optional<replication::token> token() const
    {
        return detail::find_token([&](std::uint8_t *bytes, std::size_t size, std::size_t *length) {
            return receiver_token(raw_, bytes, size, length);
        });
    }

    /// Replaces the certificates, for the next connection.
    void set_tls(zstring_view ca_file, zstring_view server_name = nullptr,
                 zstring_view certificate_chain_file = nullptr, zstring_view private_key_file = nullptr)
    {
        detail::check(receiver_set_tls(raw_, ca_file.c_str(), server_name.c_str(), certificate_chain_file.c_str(),
                                       private_key_file.c_str()));
    }

    /// Reads the files of the certificates again, for the next connection.
    void reload_tls()
    {
        detail::check(receiver_reload_tls(raw_));
    }

    /// Replaces the secret, for the next connection.
    void set_secret(const secret &given)
    {
        detail::check(receiver_set_secret(raw_, given.get()));
    }

    /// Connects without a secret the next time.
    void remove_secret()
    {
        detail::check(receiver_set_secret(raw_, nullptr));
    }

    /// Changes an option of a receiver that lives, by its name in docs/options.md. Throws `not_found` for any other name.
    void set_option(zstring_view name, std::uint64_t value)
    {
        detail::check(receiver_set_option(raw_, name.c_str(), value));
    }

    /// Returns the value of an option that set_option() takes.
    [[nodiscard]] std::uint64_t option(zstring_view name) const
    {
        std::uint64_t value = 0;
        detail::check(receiver_option(raw_, name.c_str(), &value));
        return value;
    }

    /// Waits until an entry is applied. Returns whether it is, within the timeout. Throws `apply_failed` if applying
    /// stopped before the entry, with the text that the handler threw; `lineage_changed`; `closed`; and others.
    [[nodiscard]] bool wait_sequence(std::uint64_t sequence, std::chrono::milliseconds timeout)
    {
        return applied_in_time(receiver_wait_sequence(raw_, sequence, detail::wait_ms(timeout)));
    }

    /// As above, for the entry of a token: a host that got the token at the writer reads its writes here. Throws `lost` if
    /// the entry is of another stream, or another one took its place at a fail-over.
    [[nodiscard]] bool wait_token(const replication::token &entry, std::chrono::milliseconds timeout)
    {
        return applied_in_time(receiver_wait_token(raw_, entry.data(), entry.size(), detail::wait_ms(timeout)));
    }

    /// Returns `what()` of the last exception from a handler or the local log; empty if there was none.
    [[nodiscard]] std::string last_cause() const
    {
        return host_ ? host_->last_cause() : std::string();
    }

    /// Passes no entries to the handler until resume(). On return no handler runs, unless it made the call.
    void pause()
    {
        detail::check(receiver_pause(raw_));
    }

    /// Ends a pause.
    void resume()
    {
        detail::check(receiver_resume(raw_));
    }

    /// Returns the statistics as a JSON object.
    [[nodiscard]] std::string stats_json() const
    {
        char *text = nullptr;
        detail::check(receiver_stats_json(raw_, &text));
        return detail::owned_text(text);
    }

    /// Disconnects and waits for the receiver's threads and for a running handler. Throws `wrong_thread` in a handler
    /// of this receiver, which continues to run.
    void stop()
    {
        detail::check(receiver_stop(raw_));
    }

    /// Returns whether this object holds a receiver: false after it was moved from or reset.
    [[nodiscard]] explicit operator bool() const noexcept
    {
        return raw_ != nullptr;
    }

    /// Returns the receiver for the C interface.
    [[nodiscard]] replication_receiver *get() const noexcept
    {
        return raw_;
    }

    /// Gives up ownership: the caller must free the receiver with receiver_free().
    [[nodiscard]] replication_receiver *release() noexcept
    {
        host_.reset();
        return std::exchange(raw_, nullptr);
    }

  private:
    [[nodiscard]] bool applied_in_time(replication_status got) const
    {
        if (got == REPLICATION_STATUS_APPLY_FAILED) {
            std::string text = replication_last_error_message();
            const std::string cause = last_cause();
            throw error(status::apply_failed, cause.empty() ? text : text + " (" + cause + ")");
        }
        return detail::ended_in_time(got);
    }

    replication_receiver *raw_ = nullptr;
    std::shared_ptr<detail::receiver_host> host_;
};

// ---- Messages of protocol v1 ----------------------------------------------------------------------------------------

/// The messages of protocol v1, for hosts that speak it themselves.
namespace codec
{

/// A message within a buffer, valid as long as the buffer.
struct message {
    std::uint8_t type = 0;    ///< 0x10 Entry, 0x11 Ack, 0x12 Sync, 0x13 SyncAck, 0x1F Error, or any other.
    bytes_view payload;       ///< Its JSON, to pass to the parse functions.
    std::size_t consumed = 0; ///< The size of the whole message in bytes; the next message begins after it.
};

/// The fields of an Entry message.
struct entry_message {
    std::uint64_t sequence = 0;        ///< Its sequence.
    std::uint64_t timestamp_us = 0;    ///< Microseconds since the Unix epoch.
    std::vector<std::uint8_t> payload; ///< Its payload.
};

/// The fields of an Ack message.
struct ack_message {
    std::uint64_t last_sequence = 0; ///< The last acknowledged entry.
    std::string reader_id;           ///< The reader that acknowledges.
};

/// The fields of a Sync message.
struct sync_message {
    std::uint64_t last_known_sequence = 0; ///< The last entry that the reader has; 0 for none.
    std::string reader_id;                 ///< The reader that connects.
};

/// The fields of a SyncAck message.
struct sync_ack_message {
    std::uint64_t current_sequence = 0; ///< The last entry of the writer's log.
    bool can_resume = false;            ///< Whether the reader receives every entry after its position.
    std::string error;                  ///< Why the reader is refused; empty if it is not.
};

/// The fields of an Error message.
struct error_message {
    std::string code;    ///< A status's name.
    std::string message; ///< A sentence for people.
};

/// A buffer of the caller, to write a message into.
struct buffer {
    std::uint8_t *data = nullptr; ///< The first byte.
    std::size_t size = 0;         ///< The capacity in bytes.
};

/// @cond internal
namespace detail
{

/// Calls `write(buffer)` with a buffer of the size that it asks for.
template <class Write> std::vector<std::uint8_t> written(const Write &write)
{
    std::size_t needed = 0;
    const replication_status asked = write(buffer{}, &needed);
    if (asked != REPLICATION_STATUS_BUFFER_TOO_SMALL)
        replication::detail::check(asked);
    std::vector<std::uint8_t> message(needed);
    replication::detail::check(write(buffer{message.data(), message.size()}, &needed));
    return message;
}

/// Calls `write(buffer)` with the caller's buffer; returns how many bytes it wrote.
template <class Write> std::size_t written_into(buffer room, const Write &write)
{
    std::size_t used = 0;
    replication::detail::check(write(room, &used));
    return used;
}

/// Calls `parse(buffers..., lengths...)` until the buffers fit its strings; these are rarely longer than the JSON.
template <class Parse> void parsed(bytes_view json, std::string &one, std::string &other, const Parse &parse)
{
    std::size_t one_length = json.size(), other_length = json.size();
    replication_status got = REPLICATION_STATUS_BUFFER_TOO_SMALL;
    for (int tries = 0; got == REPLICATION_STATUS_BUFFER_TOO_SMALL && tries < 2; ++tries) {
        one.resize(one_length + 1); // with the NUL
        other.resize(other_length + 1);
        got = parse(one.data(), one.size(), &one_length, other.data(), other.size(), &other_length);
    }
    replication::detail::check(got);
    one.resize(one_length);
    other.resize(other_length);
}

template <class Parse> std::string parsed(bytes_view json, const Parse &parse)
{
    std::string text, unused;
    parsed(json, text, unused,
           [&](char *buffer, std::size_t room, std::size_t *length, char *, std::size_t, std::size_t *none) {
               *none = 0;
               return parse(buffer, room, length);
           });
    return text;
}

} // namespace detail
/// @endcond

/// Reads the message at the start of a buffer. Throws `truncated` if it is incomplete, `message_too_small` and
/// `message_too_large`.
[[nodiscard]] inline message read_message(bytes_view buffer)
{
    message found;
    const std::uint8_t *payload = nullptr;
    std::size_t payload_len = 0;
    replication::detail::check(
        replication_read_message(buffer.data(), buffer.size(), &found.type, &payload, &payload_len, &found.consumed));
    found.payload = {payload, payload_len};
    return found;
}

/// As read_message(), but returns nothing if the message is incomplete.
[[nodiscard]] inline std::optional<message> next_message(bytes_view buffer)
{
    message found;
    const std::uint8_t *payload = nullptr;
    std::size_t payload_len = 0;
    const replication_status got =
        replication_read_message(buffer.data(), buffer.size(), &found.type, &payload, &payload_len, &found.consumed);
    if (got == REPLICATION_STATUS_TRUNCATED)
        return std::nullopt;
    replication::detail::check(got);
    found.payload = {payload, payload_len};
    return found;
}

/// Writes a message of any type.
[[nodiscard]] inline std::vector<std::uint8_t> write_message(std::uint8_t type, bytes_view payload)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_message(type, payload.data(), payload.size(), room.data, room.size, needed);
    });
}

/// Writes into the caller's buffer and returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_message(buffer out, std::uint8_t type, bytes_view payload)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_message(type, payload.data(), payload.size(), room.data, room.size, needed);
    });
}

/// Writes an Entry message. A payload without data (`bytes_view()`) is written as null, an empty one as an empty
/// string.
[[nodiscard]] inline std::vector<std::uint8_t> write_entry(std::uint64_t sequence, std::uint64_t timestamp_us,
                                                           bytes_view payload)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_entry(sequence, timestamp_us, payload.data(), payload.size(), room.data, room.size,
                                       needed);
    });
}

/// Writes into the caller's buffer and returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_entry(buffer out, std::uint64_t sequence, std::uint64_t timestamp_us, bytes_view payload)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_entry(sequence, timestamp_us, payload.data(), payload.size(), room.data, room.size,
                                       needed);
    });
}

/// Writes an Ack message.
[[nodiscard]] inline std::vector<std::uint8_t> write_ack(std::uint64_t last_sequence, zstring_view reader_id)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_ack(last_sequence, reader_id.c_str(), room.data, room.size, needed);
    });
}

/// Writes into the caller's buffer and returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_ack(buffer out, std::uint64_t last_sequence, zstring_view reader_id)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_ack(last_sequence, reader_id.c_str(), room.data, room.size, needed);
    });
}

/// Writes a Sync message; with `coordinator`, using the message type of a cluster coordinator.
[[nodiscard]] inline std::vector<std::uint8_t> write_sync(zstring_view reader_id, std::uint64_t last_known_sequence,
                                                          bool coordinator = false)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_sync(reader_id.c_str(), last_known_sequence, coordinator, room.data, room.size,
                                      needed);
    });
}

/// Writes into the caller's buffer and returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_sync(buffer out, zstring_view reader_id, std::uint64_t last_known_sequence,
                              bool coordinator = false)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_sync(reader_id.c_str(), last_known_sequence, coordinator, room.data, room.size,
                                      needed);
    });
}

/// Writes a SyncAck message; `reason` is why the reader is refused.
[[nodiscard]] inline std::vector<std::uint8_t> write_sync_ack(std::uint64_t current_sequence, bool can_resume,
                                                              zstring_view reason = nullptr, bool coordinator = false)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_sync_ack(current_sequence, can_resume, reason.c_str(), coordinator, room.data,
                                          room.size, needed);
    });
}

/// Writes into the caller's buffer and returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_sync_ack(buffer out, std::uint64_t current_sequence, bool can_resume,
                                  zstring_view reason = nullptr, bool coordinator = false)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_sync_ack(current_sequence, can_resume, reason.c_str(), coordinator, room.data,
                                          room.size, needed);
    });
}

/// Writes an Error message.
[[nodiscard]] inline std::vector<std::uint8_t> write_error(zstring_view code, zstring_view text)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_error(code.c_str(), text.c_str(), room.data, room.size, needed);
    });
}

/// Writes into the caller's buffer and returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_error(buffer out, zstring_view code, zstring_view text)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_error(code.c_str(), text.c_str(), room.data, room.size, needed);
    });
}

/// Parses the JSON of an Entry message. Throws `invalid_msg` for anything else, as do the following functions.
[[nodiscard]] inline entry_message parse_entry(bytes_view json)
{
    entry_message found;
    found.payload.resize(json.size() / 4 * 3 + 3); // base64 is longer than the bytes it encodes
    std::size_t length = 0;
    replication::detail::check(replication_parse_entry(json.data(), json.size(), &found.sequence, &found.timestamp_us,
                                                       found.payload.data(), found.payload.size(), &length));
    found.payload.resize(length);
    return found;
}

/// Parses the JSON of an Ack message.
[[nodiscard]] inline ack_message parse_ack(bytes_view json)
{
    ack_message found;
    found.reader_id = detail::parsed(json, [&](char *buffer, std::size_t room, std::size_t *length) {
        return replication_parse_ack(json.data(), json.size(), &found.last_sequence, buffer, room, length);
    });
    return found;
}

/// Parses the JSON of a Sync message.
[[nodiscard]] inline sync_message parse_sync(bytes_view json)
{
    sync_message found;
    found.reader_id = detail::parsed(json, [&](char *buffer, std::size_t room, std::size_t *length) {
        return replication_parse_sync(json.data(), json.size(), &found.last_known_sequence, buffer, room, length);
    });
    return found;
}

/// Parses the JSON of a SyncAck message.
[[nodiscard]] inline sync_ack_message parse_sync_ack(bytes_view json)
{
    sync_ack_message found;
    found.error = detail::parsed(json, [&](char *buffer, std::size_t room, std::size_t *length) {
        return replication_parse_sync_ack(json.data(), json.size(), &found.current_sequence, &found.can_resume, buffer,
                                          room, length);
    });
    return found;
}

/// Parses the JSON of an Error message.
[[nodiscard]] inline error_message parse_error(bytes_view json)
{
    error_message found;
    detail::parsed(json, found.code, found.message,
                   [&](char *code, std::size_t code_room, std::size_t *code_length, char *text, std::size_t text_room,
                       std::size_t *text_length) {
                       return replication_parse_error(json.data(), json.size(), code, code_room, code_length, text,
                                                      text_room, text_length);
                   });
    return found;
}

} // namespace codec

} // namespace replication

#ifdef __cpp_lib_ranges
/// @cond internal
template <> inline constexpr bool std::ranges::enable_borrowed_range<replication::bytes_view> = true;
template <> inline constexpr bool std::ranges::enable_view<replication::bytes_view> = true;
/// @endcond
#endif

#endif // REPLICATION_HPP
