/// @file
/// libreplication for C++17 and newer: one writer streams its write-ahead log to many readers.
///
/// A header over the C interface (`replication.h`), and nothing else: link with `-lreplication`. A writer's process makes
/// a replication::sender and gives it every entry; each reader's process makes a replication::receiver, which hands every
/// entry, in order, to a handler:
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
/// Each function calls the one of its name in `replication.h`, whose comment is the reference for what it does, for its
/// limits and for its statuses. What is said here is what C++ adds.
///
/// **Errors.** What fails throws replication::error, which has the status and the library's text. Destructors do not throw.
///
/// **Lifetimes.** Objects that own something are movable and not copyable. A moved-from one may be assigned to or
/// destroyed; anything else throws `invalid_argument`. Views (replication::bytes_view, `std::string_view`,
/// replication::value, replication::delivery) are good as long as what they look at: during the call, where a handler gets
/// them. Arguments are copied before a call returns.
///
/// **Handlers** are `std::function`s. The library calls those of one handle one at a time, on one thread of its own. They
/// may throw: an exception of an ingest, batch or record handler or of the local log is a failure to apply, and its
/// `what()` is in the event (replication::event::cause), in what replication::receiver::wait_sequence() throws, and in a
/// log record. An exception of any other handler is a log record, and otherwise has no effect. A handler and what it has
/// captured is destroyed with the handle it went to.
///
/// **Threads.** As in C: any number of threads may use a sender or receiver at once, but none while it is destroyed, moved
/// or assigned to. A handle may be destroyed in any state, on any thread, and in a handler of its own: then no other
/// handler begins, and another thread does the rest.

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

// ---- Errors ------------------------------------------------------------------------------------------------------------

/// The name of a status, such as "SEQUENCE_GAP"; "UNKNOWN" for a number that the library does not know.
[[nodiscard]] inline const char *name(status number) noexcept
{
    return replication_status_name(static_cast<std::int32_t>(number));
}

/// The text of this thread's last failing call of the C interface.
[[nodiscard]] inline std::string last_error_message()
{
    return replication_last_error_message();
}

/// What every function of this library throws when it fails. `what()` is the status's name and the library's text, such
/// as "NOT_FOUND: no reader \"replica-1\" is connected".
class error : public std::runtime_error
{
  public:
    /// An error with this status and this text. Thrown in a handler, its status is the `code` of the apply failure.
    error(status code, const std::string &text)
        : std::runtime_error(std::string(replication::name(code)) + ": " + text), code_(code)
    {
    }

    /// Why it failed; never `ok`.
    [[nodiscard]] status code() const noexcept
    {
        return code_;
    }

    /// The library's text without the name: which sequence, address, path or argument.
    [[nodiscard]] const char *message() const noexcept
    {
        return what() + std::strlen(replication::name(code_)) + 2;
    }

  private:
    status code_;
};

/// What replicate() throws when the entry was taken and its sync failed, took too long or was cut short. It may be there
/// after a restart: do not write it again. sender::wait_durable() tells later what became of it.
class indeterminate_error : public error
{
  public:
    /// An error about the entry, or the batch that begins with it.
    indeterminate_error(status code, const std::string &text, std::uint64_t sequence)
        : error(code, text), sequence_(sequence)
    {
    }

    /// The sequence that the entry has, or the first one of the batch.
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

/// Once, before the first handle: a header and a library of two ABIs must not meet.
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

/// Calls a C function to free what a std::unique_ptr holds.
template <auto Free> struct deleter {
    template <class T> void operator()(T *object) const noexcept
    {
        Free(object);
    }
};

template <class T, auto Free> using handle = std::unique_ptr<T, deleter<Free>>;

/// In C a handler returns what became of the entry. Here that would be lost, so such a handler is not taken.
template <class Handler, class Argument> constexpr void must_return_nothing() noexcept
{
    if constexpr (std::is_invocable_v<Handler &, Argument>)
        static_assert(
            std::is_void_v<std::invoke_result_t<Handler &, Argument>>,
            "a handler that applies entries returns nothing: to return is to have applied, to throw is not to");
}

/// A text that the library gave away.
inline std::string owned_text(char *text)
{
    const handle<char, replication_string_free> owner(text);
    return std::string(text);
}

/// A span of time that is an option.
inline std::uint64_t option_ms(std::chrono::milliseconds span)
{
    if (span.count() < 0)
        throw error(status::invalid_argument, "a time of " + std::to_string(span.count()) + " ms is negative");
    return static_cast<std::uint64_t>(span.count());
}

/// A span of time to wait for: what is over already is 0, replication::forever is for ever.
inline std::uint64_t wait_ms(std::chrono::milliseconds span) noexcept
{
    if (span.count() < 0)
        return 0;
    return span == std::chrono::milliseconds::max() ? UINT64_MAX : static_cast<std::uint64_t>(span.count());
}

template <class T>
inline constexpr bool is_byte = std::is_same_v<T, char> || std::is_same_v<T, signed char> ||
                                std::is_same_v<T, unsigned char> || std::is_same_v<T, std::byte>
#ifdef __cpp_char8_t
                                || std::is_same_v<T, char8_t>
#endif
    ;

/// Whether an object has bytes one after the other; arrays of char are texts, which end with a NUL, and not meant here.
template <class T, class = void> inline constexpr bool has_bytes = false;
template <class T>
inline constexpr bool has_bytes<
    T, std::void_t<decltype(std::data(std::declval<const T &>())), decltype(std::size(std::declval<const T &>()))>> =
    is_byte<std::remove_cv_t<std::remove_pointer_t<decltype(std::data(std::declval<const T &>()))>>> &&
    !(std::is_array_v<T> && std::is_same_v<std::remove_cv_t<std::remove_extent_t<T>>, char>);

} // namespace detail
/// @endcond

// ---- Bytes, texts, times -----------------------------------------------------------------------------------------------

/// Bytes of somebody else, like a `std::span<const std::uint8_t>`, which it converts to and from in C++20. It is made from
/// whatever has `data()` and `size()` in bytes (`std::string`, `std::vector`, `std::array`, `std::span`, and types of other
/// libraries), and from a text that ends with a NUL, which is left out.
class bytes_view
{
  public:
    using value_type = std::uint8_t;             ///< As in `std::span`.
    using size_type = std::size_t;               ///< As in `std::span`.
    using difference_type = std::ptrdiff_t;      ///< As in `std::span`.
    using iterator = const std::uint8_t *;       ///< As in `std::span`.
    using const_iterator = const std::uint8_t *; ///< As in `std::span`.

    /// No bytes.
    constexpr bytes_view() noexcept = default;

    /// The `size` bytes at `data`.
    bytes_view(const void *data, std::size_t size) noexcept
        : data_(static_cast<const std::uint8_t *>(data)), size_(size)
    {
    }

    /// A text that ends with a NUL, without it.
    bytes_view(const char *text) noexcept : bytes_view(text, std::strlen(text))
    {
    }

    bytes_view(std::nullptr_t) = delete;

    /// What a container has.
    template <class T, class = std::enable_if_t<detail::has_bytes<T> && !std::is_same_v<T, bytes_view>>>
    bytes_view(const T &container) noexcept
        : bytes_view(std::data(container), std::size(container) * sizeof(*std::data(container)))
    {
    }

    /// The first byte.
    [[nodiscard]] constexpr const std::uint8_t *data() const noexcept
    {
        return data_;
    }

    /// How many.
    [[nodiscard]] constexpr std::size_t size() const noexcept
    {
        return size_;
    }

    /// Whether there are none.
    [[nodiscard]] constexpr bool empty() const noexcept
    {
        return size_ == 0;
    }

    /// The byte at `index`, which is not checked.
    [[nodiscard]] constexpr std::uint8_t operator[](std::size_t index) const noexcept
    {
        return data_[index];
    }

    /// For loops and algorithms.
    [[nodiscard]] constexpr const_iterator begin() const noexcept
    {
        return data_;
    }

    /// For loops and algorithms.
    [[nodiscard]] constexpr const_iterator end() const noexcept
    {
        return data_ + size_;
    }

    /// At most `count` bytes from `offset` on; none when it lies after the end.
    [[nodiscard]] bytes_view subview(std::size_t offset, std::size_t count = SIZE_MAX) const noexcept
    {
        if (offset > size_)
            offset = size_;
        return {data_ + offset, count < size_ - offset ? count : size_ - offset};
    }

    /// The same bytes as a text.
    [[nodiscard]] std::string_view text() const noexcept
    {
        return {reinterpret_cast<const char *>(data_), size_};
    }

    /// A copy.
    [[nodiscard]] std::string to_string() const
    {
        return std::string(text());
    }

    /// A copy.
    [[nodiscard]] std::vector<std::uint8_t> to_vector() const
    {
        return {begin(), end()};
    }

#ifdef __cpp_lib_span
    /// The same bytes for whoever wants `std::byte`; a `std::span<const std::uint8_t>` makes itself from a bytes_view.
    [[nodiscard]] operator std::span<const std::byte>() const noexcept
    {
        return std::as_bytes(std::span<const std::uint8_t>(data_, size_));
    }
#endif

    /// Whether the bytes are the same.
    [[nodiscard]] friend bool operator==(bytes_view one, bytes_view other) noexcept
    {
        return one.text() == other.text();
    }

#if __cplusplus < 202002L
    /// Whether they are not.
    [[nodiscard]] friend bool operator!=(bytes_view one, bytes_view other) noexcept
    {
        return !(one == other);
    }
#endif

  private:
    const std::uint8_t *data_ = nullptr;
    std::size_t size_ = 0;
};

/// A text of somebody else that ends with a NUL: what C wants. Where the C function takes NULL, a `nullptr` may be given.
class zstring_view
{
  public:
    /// A text that ends with a NUL, or NULL.
    constexpr zstring_view(const char *text) noexcept : text_(text)
    {
    }

    /// The text of a string. Throws `invalid_argument` when there is a NUL within, which C would take for the end.
    zstring_view(const std::string &text) : text_(text.c_str())
    {
        if (text.find('\0') != std::string::npos)
            throw error(status::invalid_argument, "the text \"" + std::string(text.c_str()) + "\" goes on after a NUL");
    }

    /// The text for C.
    [[nodiscard]] constexpr const char *c_str() const noexcept
    {
        return text_;
    }

  private:
    const char *text_;
};

/// What an entry's time is in C++. Any `uint64_t` of microseconds goes through it and comes out as it was.
using timestamp = std::chrono::time_point<std::chrono::system_clock, std::chrono::microseconds>;

/// This moment, as replicate() takes it when no other is given.
[[nodiscard]] inline timestamp now() noexcept
{
    return std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
}

/// A limit for a wait that has none.
inline constexpr std::chrono::milliseconds forever = std::chrono::milliseconds::max();

/// The id of a log, which its sequences count in.
using stream_id = std::array<std::uint8_t, REPLICATION_STREAM_ID_BYTES>;

/// The id as the statistics show it: 32 hexadecimal digits.
[[nodiscard]] inline std::string to_string(const stream_id &id)
{
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    text.reserve(2 * id.size());
    for (const std::uint8_t byte : id) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

/// What a sequence belongs to.
struct lineage {
    stream_id stream{};      ///< The log.
    std::uint64_t epoch = 0; ///< Rises each time that another node becomes its writer.

    /// Whether both are the same.
    [[nodiscard]] friend bool operator==(const lineage &one, const lineage &other) noexcept
    {
        return one.stream == other.stream && one.epoch == other.epoch;
    }

#if __cplusplus < 202002L
    /// Whether they are not.
    [[nodiscard]] friend bool operator!=(const lineage &one, const lineage &other) noexcept
    {
        return !(one == other);
    }
#endif
};

/// A position with its stream, epoch and the hash of what lies before it, in 48 bytes to be stored with the data.
class token
{
  public:
    /// From stored bytes. Throws `invalid_argument` when they are not REPLICATION_TOKEN_BYTES; whether they are a token is
    /// checked by the configuration that takes it.
    explicit token(bytes_view stored)
    {
        if (stored.size() != bytes_.size())
            throw error(status::invalid_argument, "a token has " + std::to_string(bytes_.size()) + " bytes, not " +
                                                      std::to_string(stored.size()));
        std::memcpy(bytes_.data(), stored.data(), bytes_.size());
    }

    /// The bytes to store; a bytes_view is made from the token itself.
    [[nodiscard]] const std::uint8_t *data() const noexcept
    {
        return bytes_.data();
    }

    /// From the text that text() returns. Throws `invalid_argument` for any other text.
    [[nodiscard]] static token parse(zstring_view text)
    {
        std::array<std::uint8_t, REPLICATION_TOKEN_BYTES> bytes{};
        std::size_t length = 0;
        detail::check(replication_token_parse(text.c_str(), bytes.data(), bytes.size(), &length));
        return token(bytes_view(bytes.data(), length));
    }

    /// The token as text, for logs and SQL. Throws `invalid_argument` when the bytes are no token.
    [[nodiscard]] std::string text() const
    {
        char *text = nullptr;
        detail::check(replication_token_print(data(), size(), &text));
        const detail::handle<char, replication_string_free> owner(text);
        return text;
    }

    /// How this position lies to another one, as far as the tokens tell.
    [[nodiscard]] token_order compare(const token &other) const
    {
        std::int32_t order = 0;
        detail::check(replication_token_compare(data(), size(), other.data(), other.size(), &order));
        return static_cast<token_order>(order);
    }

    /// REPLICATION_TOKEN_BYTES.
    [[nodiscard]] static constexpr std::size_t size() noexcept
    {
        return REPLICATION_TOKEN_BYTES;
    }

    /// Whether both are of the same place.
    [[nodiscard]] friend bool operator==(const token &one, const token &other) noexcept
    {
        return one.bytes_ == other.bytes_;
    }

#if __cplusplus < 202002L
    /// Whether they are not.
    [[nodiscard]] friend bool operator!=(const token &one, const token &other) noexcept
    {
        return !(one == other);
    }
#endif

  private:
    std::array<std::uint8_t, REPLICATION_TOKEN_BYTES> bytes_{};
};

// ---- Version -----------------------------------------------------------------------------------------------------------

/// The version of the loaded library, such as "0.1.0".
[[nodiscard]] inline const char *version() noexcept
{
    return replication_version();
}

/// The same to compare with REPLICATION_VERSION_NUMBER.
[[nodiscard]] inline std::uint32_t version_number() noexcept
{
    return replication_version_number();
}

/// The ABI of the loaded library. The first handle or configuration compares it with REPLICATION_ABI_VERSION, and throws
/// `invalid_state` when they differ.
[[nodiscard]] inline std::uint32_t abi_version() noexcept
{
    return replication_abi_version();
}

// ---- Records -----------------------------------------------------------------------------------------------------------

class value;

/// @cond internal
namespace detail
{

/// What is reached by an index, for loops.
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

/// A value within records; good as long as they are.
class value
{
  public:
    /// A value of the C interface.
    explicit value(const replication_value *raw) noexcept : raw_(raw)
    {
    }

    /// For the C interface.
    [[nodiscard]] const replication_value *get() const noexcept
    {
        return raw_;
    }

    /// What it is.
    [[nodiscard]] value_type type() const noexcept
    {
        return static_cast<value_type>(replication_value_type_of(raw_));
    }

    /// Whether it is nil.
    [[nodiscard]] bool is_nil() const noexcept
    {
        return type() == value_type::nil;
    }

    /// A boolean. Throws `wrong_type` for anything else, as the next ones do.
    [[nodiscard]] bool as_bool() const
    {
        return read<bool>(replication_value_bool);
    }

    /// An integer that fits.
    [[nodiscard]] std::int64_t as_i64() const
    {
        return read<std::int64_t>(replication_value_i64);
    }

    /// An integer that fits.
    [[nodiscard]] std::uint64_t as_u64() const
    {
        return read<std::uint64_t>(replication_value_u64);
    }

    /// A float, or the float nearest to an integer.
    [[nodiscard]] double as_f64() const
    {
        return read<double>(replication_value_f64);
    }

    /// A string, which is UTF-8.
    [[nodiscard]] std::string_view as_string() const
    {
        const char *text = nullptr;
        std::size_t size = 0;
        detail::check(replication_value_string(raw_, &text, &size));
        return {text, size};
    }

    /// Bytes, those of a string or those of an extension.
    [[nodiscard]] bytes_view as_bytes() const
    {
        const std::uint8_t *data = nullptr;
        std::size_t size = 0;
        detail::check(replication_value_bytes(raw_, &data, &size));
        return {data, size};
    }

    /// The type of an extension.
    [[nodiscard]] std::int8_t ext_type() const
    {
        return read<std::int8_t>(replication_value_ext_type);
    }

    /// How many elements an array or entries a map has; 0 for anything else.
    [[nodiscard]] std::size_t size() const noexcept
    {
        return replication_value_count(raw_);
    }

    /// An element of an array, or the value of a map's entry. Throws `not_found` and `wrong_type`.
    [[nodiscard]] value at(std::size_t index) const
    {
        const replication_value *found = nullptr;
        detail::check(replication_value_at(raw_, index, &found));
        return value(found);
    }

    /// The key of a map's entry. Throws `not_found` and `wrong_type`.
    [[nodiscard]] value key_at(std::size_t index) const
    {
        const replication_value *found = nullptr;
        detail::check(replication_value_key_at(raw_, index, &found));
        return value(found);
    }

    /// The value of a map under a string key. Throws `not_found` and `wrong_type`.
    [[nodiscard]] value get(zstring_view key) const
    {
        const replication_value *found = nullptr;
        detail::check(replication_value_get(raw_, key.c_str(), &found));
        return value(found);
    }

    /// The same, and nothing when the key is not there. Throws `wrong_type`.
    [[nodiscard]] std::optional<value> find(zstring_view key) const
    {
        const replication_value *found = nullptr;
        const replication_status got = replication_value_get(raw_, key.c_str(), &found);
        if (got == REPLICATION_STATUS_NOT_FOUND)
            return std::nullopt;
        detail::check(got);
        return value(found);
    }

    /// A map's entry: the key, which need not be a string, and the value.
    [[nodiscard]] std::pair<value, value> member_at(std::size_t index) const
    {
        return {key_at(index), at(index)};
    }

    /// The elements of an array, or the values of a map, for loops; none for anything else.
    [[nodiscard]] auto elements() const noexcept
    {
        return detail::indexed<value, value, &value::at>(*this, size());
    }

    /// The entries of a map, for loops; none for anything else.
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

/// The records of a payload, an array of maps: a view, good as long as what it looks at.
class records_view
{
  public:
    /// Records of the C interface.
    explicit records_view(const replication_records *raw) noexcept : raw_(raw)
    {
    }

    /// For the C interface.
    [[nodiscard]] const replication_records *get() const noexcept
    {
        return raw_;
    }

    /// How many records there are.
    [[nodiscard]] std::size_t size() const noexcept
    {
        return replication_records_count(raw_);
    }

    /// Whether there are none.
    [[nodiscard]] bool empty() const noexcept
    {
        return size() == 0;
    }

    /// A whole record: a map. Throws `not_found`.
    [[nodiscard]] value row(std::size_t index) const
    {
        const replication_value *found = nullptr;
        detail::check(replication_records_row(raw_, index, &found));
        return value(found);
    }

    /// The value of a row under a key. Throws `not_found`.
    [[nodiscard]] value get(std::size_t row, zstring_view key) const
    {
        const replication_value *found = nullptr;
        detail::check(replication_records_get(raw_, row, key.c_str(), &found));
        return value(found);
    }

    /// The records as a JSON array.
    [[nodiscard]] std::string_view json() const
    {
        const char *text = nullptr;
        std::size_t size = 0;
        detail::check(replication_records_json(raw_, &text, &size));
        return {text, size};
    }

    /// The records, for loops.
    [[nodiscard]] auto rows() const noexcept
    {
        return detail::indexed<records_view, value, &records_view::row>(*this, size());
    }

  private:
    const replication_records *raw_;
};

/// Records of one's own, decoded from a payload.
class records : public records_view
{
  public:
    /// Decodes a payload: msgpack, an array of maps. Throws `decode_failed` for anything else.
    explicit records(bytes_view payload) : records(parse(payload))
    {
    }

    /// The same, with a limit for the memory that the values take.
    records(bytes_view payload, std::uint64_t max_bytes) : records(parse(payload, max_bytes))
    {
    }

    /// Takes over what `other` has, which is empty afterwards.
    records(records &&other) noexcept : records_view(other.taken()), owner_(std::move(other.owner_))
    {
    }

    /// Frees what was here before.
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

// ---- What handlers get -------------------------------------------------------------------------------------------------

/// An entry; its payload is good during the call.
struct entry {
    std::uint64_t sequence = 0;     ///< Its place in the stream; rises from entry to entry.
    std::uint64_t timestamp_us = 0; ///< Microseconds since the Unix epoch, as the writer's host gave it.
    bytes_view payload;             ///< Its bytes.

    /// The time as C++ has it.
    [[nodiscard]] replication::timestamp timestamp() const noexcept
    {
        return replication::timestamp(std::chrono::microseconds(static_cast<std::int64_t>(timestamp_us)));
    }
};

/// Something that happened, as an event handler gets it. The texts are good during the call, and end with a NUL.
struct event {
    event_kind kind;              ///< What. Ignore kinds that you do not know.
    replication::status status;   ///< Why; `ok` when nothing failed.
    std::uint64_t sequence;       ///< The entry concerned; 0 when there is none.
    std::string_view reader_id;   ///< The reader concerned; empty when unknown.
    std::string_view address;     ///< The peer's address; empty when unknown.
    std::string_view message;     ///< A sentence for people.
    std::string_view detail_json; ///< More for programs, a JSON object.
    /// `what()` of the exception by which a handler did not take the entry: with `apply_failed`, and with `stopped` and
    /// `entry_skipped` that follow it. Otherwise empty.
    std::string_view cause;
};

/// A line for a log. The texts are good during the call, and end with a NUL.
struct log_record {
    log_level level;              ///< How much it matters.
    std::string_view message;     ///< A sentence for people.
    std::string_view fields_json; ///< More for programs, a JSON object.
};

/// How many readers have acknowledged an entry.
struct ack_result {
    replication::status
        status;              ///< `ok`: enough. `timeout`: not enough so far. `closed`: the sender was stopped before.
    std::size_t readers = 0; ///< How many have.
    std::string message;     ///< Which readers or groups are missing; empty with `ok`.

    /// Whether enough have.
    [[nodiscard]] explicit operator bool() const noexcept
    {
        return status == replication::status::ok;
    }
};

/// How a call of sender::on_acked() ended.
struct ack_notice {
    std::uint64_t ticket;       ///< The one that on_acked() returned.
    replication::status status; ///< `ok`, `timeout` or `closed`.
    std::size_t readers;        ///< How many readers have acknowledged the entry.
};

/// @cond internal
namespace detail
{

/// A failure of a handler, as C and the events are told.
struct failure {
    std::int32_t code = REPLICATION_STATUS_APPLY_FAILED;
    std::string text;
};

/// What is being caught.
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

/// What the handlers of one handle share: who gets log records, and so hears of their exceptions. Only the handle's
/// callback thread uses it, once the handle is made.
struct host {
    std::function<void(const log_record &)> log;

    /// Tells the log of an exception; as the library does, at most ten times a second.
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
            // The log itself fails: nobody is left to tell.
        }
    }

  private:
    static constexpr unsigned lines_per_second = 10;

    std::chrono::steady_clock::time_point since_{};
    unsigned written_ = 0;
};

struct sender_host : host {
};

/// A receiver's besides: why the handler did not take an entry, until the event that tells of it comes by.
struct receiver_host : host {
    /// Of whom handlers ask for the token; null again when it is destroyed in one of them.
    std::atomic<const replication_receiver *> receiver{nullptr};
    bool has_event_handler = false;

    /// A handler threw on the entry `sequence`; returns what C is told.
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
            // No memory for the text. The code arrives.
        }
        return caught.code;
    }

    /// What belongs to an event: each failure is told once as `apply_failed`, in their order, and perhaps another time.
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

    /// What the handlers threw last; any thread.
    std::string last_cause() const
    {
        const std::lock_guard<std::mutex> lock(last_cause_mutex_);
        return last_cause_;
    }

  private:
    /// As many as there are events that the library keeps for a slow host.
    static constexpr std::size_t max_failures = 1024;

    std::deque<std::pair<std::uint64_t, std::string>> failures_;
    std::pair<std::uint64_t, std::string> told_;
    const std::string none_;
    mutable std::mutex last_cause_mutex_;
    std::string last_cause_;
};

inline std::optional<token> token_at(const receiver_host &host)
{
    std::array<std::uint8_t, REPLICATION_TOKEN_BYTES> bytes{};
    const replication_status got = receiver_token(host.receiver.load(std::memory_order_relaxed), bytes.data());
    if (got == REPLICATION_STATUS_NOT_FOUND)
        return std::nullopt;
    check(got);
    return token(bytes);
}

} // namespace detail
/// @endcond

/// An entry as an ingest handler gets it.
class delivery : public entry
{
  public:
    /// @cond internal
    delivery(const entry &delivered, const detail::receiver_host &host) noexcept : entry(delivered), host_(&host)
    {
    }
    /// @endcond

    /// The token of the place after this entry, to be stored in the same transaction; nothing as long as the writer speaks
    /// v1 only. Throws `invalid_argument` when the receiver was destroyed in this call.
    [[nodiscard]] std::optional<replication::token> token() const
    {
        return detail::token_at(*host_);
    }

  private:
    const detail::receiver_host *host_;
};

/// Entries as a batch handler gets them, in order, at least one. When the handler throws, those that it marked as applied
/// are, and the others come again.
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

    /// Over the entries, which it makes as it goes.
    class iterator
    {
      public:
        using value_type = entry;                          ///< As every iterator has it.
        using reference = entry;                           ///< As every iterator has it.
        using pointer = void;                              ///< As every iterator has it.
        using difference_type = std::ptrdiff_t;            ///< As every iterator has it.
        using iterator_category = std::input_iterator_tag; ///< As every iterator has it.

        /// Where `at` is.
        explicit iterator(const replication_entry *at) noexcept : at_(at)
        {
        }

        /// The entry here.
        entry operator*() const noexcept
        {
            return {at_->sequence, at_->timestamp_us, {at_->payload, at_->payload_len}};
        }

        /// The next one.
        iterator &operator++() noexcept
        {
            ++at_;
            return *this;
        }

        /// The next one.
        iterator operator++(int) noexcept
        {
            iterator before = *this;
            ++at_;
            return before;
        }

        /// Whether both are at one place.
        friend bool operator==(const iterator &one, const iterator &other) noexcept
        {
            return one.at_ == other.at_;
        }

        /// Whether they are not.
        friend bool operator!=(const iterator &one, const iterator &other) noexcept
        {
            return one.at_ != other.at_;
        }

      private:
        const replication_entry *at_;
    };

    /// How many entries there are.
    [[nodiscard]] std::size_t size() const noexcept
    {
        return count_;
    }

    /// The entry at `index`, which is not checked.
    [[nodiscard]] entry operator[](std::size_t index) const noexcept
    {
        return *iterator(entries_ + index);
    }

    /// The first entry.
    [[nodiscard]] entry front() const noexcept
    {
        return (*this)[0];
    }

    /// The last entry, of which token() is.
    [[nodiscard]] entry back() const noexcept
    {
        return (*this)[count_ - 1];
    }

    /// For loops.
    [[nodiscard]] iterator begin() const noexcept
    {
        return iterator(entries_);
    }

    /// For loops.
    [[nodiscard]] iterator end() const noexcept
    {
        return iterator(entries_ + count_);
    }

    /// Marks the first `count` entries as applied, whether or not the handler throws afterwards.
    void applied(std::size_t count) noexcept
    {
        *applied_ = count < count_ ? count : count_;
    }

    /// The token of the place after the last entry, to be stored in the same transaction; nothing as long as the writer
    /// speaks v1 only. Throws `invalid_argument` when the receiver was destroyed in this call.
    [[nodiscard]] std::optional<replication::token> token() const
    {
        return detail::token_at(*host_);
    }

  private:
    const replication_entry *entries_;
    std::size_t count_;
    std::size_t *applied_;
    const detail::receiver_host *host_;
};

/// An entry as a record handler gets it: decoded.
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

    std::uint64_t sequence;     ///< Its place in the stream.
    std::uint64_t timestamp_us; ///< Microseconds since the Unix epoch, as the writer's host gave it.
    records_view records;       ///< What it says.

    /// The token of the place after this entry; see delivery::token().
    [[nodiscard]] std::optional<replication::token> token() const
    {
        return detail::token_at(*host_);
    }

  private:
    const detail::receiver_host *host_;
};

/// Takes one entry. To return is to have applied it; to throw is not to.
using ingest_handler = std::function<void(const delivery &)>;
/// Takes many entries. To return is to have applied them all.
using batch_handler = std::function<void(batch &)>;
/// Takes one decoded entry. To return is to have applied it; to throw is not to.
using record_handler = std::function<void(const record_delivery &)>;
/// Writes an entry to the host's own log. To return is to have written it; to throw is not to.
using local_wal = std::function<void(const entry &)>;
/// Connects to the writer at the address. Returns a connected stream socket, which the library takes; to throw, or to
/// return -1, is not to have connected.
using connect_handler = std::function<int(std::string_view)>;
/// Hears of an event.
using event_handler = std::function<void(const event &)>;
/// Takes a log record.
using log_handler = std::function<void(const log_record &)>;
/// Hears how a wait for acknowledgements ended.
using acked_handler = std::function<void(const ack_notice &)>;

/// @cond internal
namespace detail
{

/// What is behind a `user_data`: a handler, and what it shares with the others of its handle.
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
using acked_call = call<acked_handler, sender_host>;
using ingest_call = call<ingest_handler, receiver_host>;
using batch_call = call<batch_handler, receiver_host>;
using record_call = call<record_handler, receiver_host>;
using local_wal_call = call<local_wal, receiver_host>;
using connect_call = call<connect_handler, receiver_host>;

/// The log's handler lies in the host, as the others need it too; this keeps the host.
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
            // The log itself fails: nobody is left to tell.
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
            cause};
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

inline void run_acked(void *user_data, std::uint64_t ticket, std::int32_t number, std::size_t readers) noexcept
{
    const auto &call = *static_cast<acked_call *>(user_data);
    try {
        call.handler({ticket, static_cast<status>(number), readers});
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
        // Who has applied all of them and throws has failed on none.
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

/// The quorum or the acknowledgements of a wait in C++'s terms; throws what is neither.
inline ack_result ack_result_of(replication_status got, std::size_t readers)
{
    if (got == REPLICATION_STATUS_OK)
        return {status::ok, readers, {}};
    if (got == REPLICATION_STATUS_TIMEOUT || got == REPLICATION_STATUS_CLOSED)
        return {static_cast<status>(got), readers, replication_last_error_message()};
    fail(got);
}

/// A wait that ends with the thing or with the time.
inline bool ended_in_time(replication_status got)
{
    if (got == REPLICATION_STATUS_TIMEOUT)
        return false;
    check(got);
    return true;
}

} // namespace detail
/// @endcond

// ---- Sender ------------------------------------------------------------------------------------------------------------

/// Who must have acknowledged an entry: so many readers of one group, and so many of another. Belongs to no sender and may
/// be used again and again.
class quorum
{
  public:
    /// No condition yet.
    quorum()
    {
        detail::check_abi();
        raw_.reset(replication_quorum_new());
        if (!raw_)
            throw error(status::out_of_memory, replication_last_error_message());
    }

    /// Adds a condition: so many readers, whichever.
    quorum &add(std::size_t readers)
    {
        detail::check(replication_quorum_add(raw_.get(), nullptr, readers));
        return *this;
    }

    /// Adds a condition: so many readers of a group of sender_config::add_group().
    quorum &add(zstring_view group, std::size_t readers)
    {
        detail::check(replication_quorum_add(raw_.get(), group.c_str(), readers));
        return *this;
    }

    /// For the C interface.
    [[nodiscard]] const replication_quorum *get() const noexcept
    {
        return raw_.get();
    }

  private:
    detail::handle<replication_quorum, replication_quorum_free> raw_;
};

/// When entries are taken: while at least `min_readers` connected readers are within a lag.
struct write_gate {
    std::size_t min_readers = 0;              ///< How many; 0: no gate.
    std::uint64_t max_lag_entries = 0;        ///< Entries a reader may not have acknowledged; 0: any number.
    std::chrono::milliseconds max_lag{0};     ///< How long an entry may be unacknowledged; 0: any time.
    ack_level level = ack_level::received;    ///< What counts as acknowledged.
    gate_policy policy = gate_policy::refuse; ///< What happens to an entry while the gate is closed.
    std::chrono::milliseconds max_wait{0};    ///< How long `slow` waits.
};

/// Options of a sender, each at its default until it is set. Each setter calls the C function of its name, throws what that
/// refuses, and returns the configuration, so that calls can be chained. Handlers move to the first sender that is made
/// from it: set them again for a second one.
class sender_config
{
  public:
    /// Every option at its default.
    sender_config()
    {
        detail::check_abi();
        raw_.reset(sender_config_new());
        if (!raw_)
            throw error(status::out_of_memory, replication_last_error_message());
        host_ = std::make_shared<detail::sender_host>();
    }

    /// Entries that the buffer holds at most.
    sender_config &buffer_size(std::size_t entries)
    {
        return checked(sender_config_set_buffer_size(get(), entries));
    }

    /// Bytes that the buffer holds at most.
    sender_config &buffer_bytes(std::uint64_t bytes)
    {
        return checked(sender_config_set_buffer_bytes(get(), bytes));
    }

    /// What happens when the buffer is full; `wait` is for that policy.
    sender_config &full_policy(replication::full_policy policy, std::chrono::milliseconds wait = {})
    {
        return checked(
            sender_config_set_full_policy(get(), static_cast<std::uint32_t>(policy), detail::option_ms(wait)));
    }

    /// How long a reader may take no byte.
    sender_config &write_timeout(std::chrono::milliseconds timeout)
    {
        return checked(sender_config_set_write_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// How long the handshake of a new connection may take in all.
    sender_config &handshake_timeout(std::chrono::milliseconds timeout)
    {
        return checked(sender_config_set_handshake_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// How often an idle connection says that it lives.
    sender_config &heartbeat_interval(std::chrono::milliseconds interval)
    {
        return checked(sender_config_set_heartbeat_interval_ms(get(), detail::option_ms(interval)));
    }

    /// How often v2 readers may want to hear something, at most: 10 ms to 60 s.
    sender_config &min_heartbeat(std::chrono::milliseconds interval)
    {
        return checked(sender_config_set_min_heartbeat_ms(get(), detail::option_ms(interval)));
    }

    /// How long a v2 reader may be silent.
    sender_config &peer_timeout(std::chrono::milliseconds timeout)
    {
        return checked(sender_config_set_peer_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// How long sender::stop() lets readers catch up; 0 closes at once.
    sender_config &stop_timeout(std::chrono::milliseconds timeout)
    {
        return checked(sender_config_set_stop_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// How many readers may be connected at once.
    sender_config &max_readers(std::size_t readers)
    {
        return checked(sender_config_set_max_readers(get(), readers));
    }

    /// How many threads serve the network; 0: as many as the machine suggests.
    sender_config &io_threads(std::uint32_t threads)
    {
        return checked(sender_config_set_io_threads(get(), threads));
    }

    /// The permissions of Unix sockets, whatever the umask; of those in the abstract namespace, whose peers are let in.
    sender_config &unix_socket_mode(std::uint32_t mode)
    {
        return checked(sender_config_set_unix_socket_mode(get(), mode));
    }

    /// The lineage that this writer continues.
    sender_config &stream(const lineage &continued)
    {
        return checked(sender_config_set_stream(get(), continued.stream.data(), continued.epoch));
    }

    /// The sequence of the last entry before this process.
    sender_config &last_sequence(std::uint64_t sequence)
    {
        return checked(sender_config_set_last_sequence(get(), sequence));
    }

    /// Where a sender begins whose log is new: after the token, in `epoch`, or with 0 in the token's.
    sender_config &token(const replication::token &place, std::uint64_t epoch = 0)
    {
        return checked(sender_config_set_token(get(), place.data(), epoch));
    }

    /// Takes a log's directory or a private key that other users may change, or a key that they may read, which is refused
    /// otherwise; an event says so. To be called before tls().
    sender_config &insecure_permissions_allowed(bool allowed)
    {
        return checked(sender_config_set_insecure_permissions_allowed(get(), allowed));
    }

    /// Encrypts connections. With `client_ca_file`, readers must have a certificate of one of these authorities.
    sender_config &tls(zstring_view certificate_chain_file, zstring_view private_key_file,
                       zstring_view client_ca_file = nullptr)
    {
        return checked(sender_config_set_tls(get(), certificate_chain_file.c_str(), private_key_file.c_str(),
                                             client_ca_file.c_str()));
    }

    /// Who hears of events; an empty function: nobody.
    sender_config &event_handler(replication::event_handler handler)
    {
        if (!handler)
            return checked(sender_config_set_event_handler(get(), nullptr, nullptr, nullptr));
        auto made = std::make_unique<detail::sender_event_call>();
        *made = {std::move(handler), host_};
        return checked(sender_config_set_event_handler(get(), detail::run_sender_event, made.release(),
                                                       detail::sender_event_call::free));
    }

    /// Who gets log records, up to a level; an empty function: nobody. It is also told of the exceptions of the other
    /// handlers.
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

    /// Adds a group of readers for a quorum to name. An id that ends with `*` stands for all that begin so.
    sender_config &add_group(zstring_view group, const std::vector<std::string> &reader_ids)
    {
        std::vector<const char *> ids;
        ids.reserve(reader_ids.size());
        for (const std::string &id : reader_ids)
            ids.push_back(zstring_view(id).c_str());
        return checked(sender_config_add_group(get(), group.c_str(), ids.data(), ids.size()));
    }

    /// When entries are taken.
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

    /// How many calls of sender::on_acked() may be outstanding.
    sender_config &max_pending_acks(std::size_t calls)
    {
        return checked(sender_config_set_max_pending_acks(get(), calls));
    }

    /// The directory of the log on disk; `nullptr`: the log lives in memory only.
    sender_config &wal_dir(zstring_view path)
    {
        return checked(sender_config_set_wal_dir(get(), path.c_str()));
    }

    /// When the log on disk is made durable; the interval and the bytes are for `group`.
    sender_config &wal_sync(sync_policy policy, std::chrono::milliseconds interval = {}, std::uint64_t bytes = 0)
    {
        return checked(
            sender_config_set_wal_sync(get(), static_cast<std::uint32_t>(policy), detail::option_ms(interval), bytes));
    }

    /// The usual size of a file of the log.
    sender_config &wal_segment_bytes(std::uint64_t bytes)
    {
        return checked(sender_config_set_wal_segment_bytes(get(), bytes));
    }

    /// How many bytes of the log stay on disk when no slot needs them.
    sender_config &wal_retain_bytes(std::uint64_t bytes)
    {
        return checked(sender_config_set_wal_retain_bytes(get(), bytes));
    }

    /// After how long entries leave the disk when no slot needs them.
    sender_config &log_retain(std::chrono::milliseconds age)
    {
        return checked(sender_config_set_wal_retain_ms(get(), detail::option_ms(age)));
    }

    /// How many bytes of the log a reader's slot may hold back beyond that.
    sender_config &slot_max_bytes(std::uint64_t bytes)
    {
        return checked(sender_config_set_slot_max_bytes(get(), bytes));
    }

    /// How long the slot of a reader is kept that does not come back.
    sender_config &slot_expiry(std::chrono::milliseconds expiry)
    {
        return checked(sender_config_set_slot_expiry_ms(get(), detail::option_ms(expiry)));
    }

    /// How long sender::replicate() waits for the disk.
    sender_config &log_timeout(std::chrono::milliseconds timeout)
    {
        return checked(sender_config_set_wal_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// For the C interface.
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

/// The writer's end: takes entries and serves them to readers.
class sender
{
  public:
    /// A sender with every option at its default, which does not run yet.
    sender() : host_(std::make_shared<detail::sender_host>())
    {
        detail::check_abi();
        detail::check(sender_new(nullptr, &raw_));
    }

    /// A sender with the options and the handlers of `config`, which does not run yet. Throws, among others,
    /// `invalid_state` when the handlers belong to an earlier sender, and with a log on disk `locked`, `damaged`,
    /// `diverged`, `regressed`, `io` and `disk_full`.
    explicit sender(sender_config &config)
    {
        auto next = std::make_shared<detail::sender_host>();
        if (config.get() == nullptr) // which in C stands for all defaults
            throw error(status::invalid_argument, "config was moved from");
        detail::check(sender_new(config.get(), &raw_));
        host_ = std::exchange(config.host_, std::move(next));
    }

    /// The same of a configuration that is not used again.
    explicit sender(sender_config &&config) : sender(config)
    {
    }

    /// Takes a sender of the C interface, to be freed with this one; null: none.
    explicit sender(replication_sender *raw) : raw_(raw), host_(std::make_shared<detail::sender_host>())
    {
        detail::check_abi();
    }

    /// Takes over what `other` has, which is empty afterwards.
    sender(sender &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)), host_(std::move(other.host_))
    {
    }

    /// Ends what was here before, as the destructor does.
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

    /// Stops it, if it runs, and frees it; see reset().
    ~sender()
    {
        reset();
    }

    /// Stops the sender as stop() does, whatever comes of it, and frees it and its handlers. When it returns no handler
    /// runs. In a handler of this sender another thread does that, soon after: no other handler begins.
    void reset() noexcept
    {
        if (raw_ == nullptr)
            return;
        replication_sender *const raw = std::exchange(raw_, nullptr);
        // First, so that what a running handler asks of the sender is asked of one that is there.
        sender_stop(raw);
        sender_free(raw);
        host_.reset();
    }

    /// Starts its threads.
    void start()
    {
        detail::check(sender_start(raw_));
    }

    /// Accepts readers at "host:port", "unix:/path" or "unix:@name"; returns the port, which is what the system chose for port 0.
    std::uint16_t listen(zstring_view address)
    {
        std::uint16_t port = 0;
        detail::check(sender_listen(raw_, address.c_str(), &port));
        return port;
    }

    /// Serves a reader whose Sync message the host has read. The descriptor is the library's now; when this throws it is
    /// still the caller's.
    void accept_reader(int descriptor, zstring_view reader_id, std::uint64_t last_known_sequence)
    {
        detail::check(sender_accept_reader(raw_, descriptor, reader_id.c_str(), last_known_sequence));
    }

    /// Serves a new connection, with the handshake. The descriptor is the library's now; when this throws it is still the
    /// caller's.
    void accept_connection(int descriptor)
    {
        detail::check(sender_accept_connection(raw_, descriptor));
    }

    /// Puts an entry into the log and returns its sequence. Throws indeterminate_error when it was taken and is not known
    /// to be durable; otherwise an entry whose call throws is not in the log.
    std::uint64_t replicate(bytes_view payload, timestamp at = now())
    {
        std::uint64_t sequence = 0;
        const replication_status got =
            sender_replicate(raw_, microseconds(at), payload.data(), payload.size(), &sequence);
        if (got != REPLICATION_STATUS_OK)
            fail(got, sequence);
        return sequence;
    }

    /// The same without an exception, for a host to which a full buffer or a closed gate is nothing special.
    ///
    /// @param payload its bytes
    /// @param at its time
    /// @param sequence out: what the entry got; 0 when it is not in the log
    /// @return why it failed, or `ok`; last_error_message() has the text
    [[nodiscard]] status try_replicate(bytes_view payload, timestamp at, std::uint64_t &sequence) noexcept
    {
        sequence = 0;
        return static_cast<status>(sender_replicate(raw_, microseconds(at), payload.data(), payload.size(), &sequence));
    }

    /// Puts many entries into the log with consecutive sequences: all or none. Returns the first one's.
    ///
    /// @param payloads a container of what a bytes_view can be made from
    /// @param at the time of all of them
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
            // What is made as the loop goes would be gone before the call.
            std::vector<std::remove_cv_t<element>> made;
            made.reserve(std::size(payloads));
            for (auto &&payload : payloads)
                made.push_back(std::move(payload));
            return replicate_batch(made, at);
        }
    }

    /// The same of a list.
    std::uint64_t replicate_batch(std::initializer_list<bytes_view> payloads, timestamp at = now())
    {
        return replicate_batch<std::initializer_list<bytes_view>>(payloads, at);
    }

    /// The same of an array as C has it, which is not copied before.
    std::uint64_t replicate_batch(const replication_slice *payloads, std::size_t count, timestamp at = now())
    {
        std::uint64_t sequence = 0;
        const replication_status got = sender_replicate_batch(raw_, microseconds(at), payloads, count, &sequence);
        if (got != REPLICATION_STATUS_OK)
            fail(got, sequence);
        return sequence;
    }

    /// Closes the connection of a reader, which may connect again. Throws `not_found`.
    void remove_reader(zstring_view reader_id)
    {
        detail::check(sender_remove_reader(raw_, reader_id.c_str()));
    }

    /// How many readers are connected; 0 where another function would throw.
    [[nodiscard]] std::size_t reader_count() const noexcept
    {
        return sender_reader_count(raw_);
    }

    /// The sequence of the last entry; 0 when there was none, and where another function would throw.
    [[nodiscard]] std::uint64_t current_sequence() const noexcept
    {
        return sender_current_sequence(raw_);
    }

    /// The lineage of the log.
    [[nodiscard]] lineage stream() const
    {
        lineage found;
        detail::check(sender_get_stream(raw_, found.stream.data(), &found.epoch));
        return found;
    }

    /// The position after the last entry.
    [[nodiscard]] replication::token token() const
    {
        std::array<std::uint8_t, REPLICATION_TOKEN_BYTES> bytes{};
        detail::check(sender_token(raw_, bytes.data()));
        return replication::token(bytes);
    }

    /// Whether this node is the writer; a new sender's is.
    void set_writable(bool writable)
    {
        detail::check(sender_set_writable(raw_, writable));
    }

    /// The statistics as a JSON object.
    [[nodiscard]] std::string stats_json() const
    {
        char *text = nullptr;
        detail::check(sender_stats_json(raw_, &text));
        return detail::owned_text(text);
    }

    /// The slots of the readers as a JSON array. Throws `invalid_state` without a log on disk.
    [[nodiscard]] std::string slots_json() const
    {
        char *text = nullptr;
        detail::check(sender_slots_json(raw_, &text));
        return detail::owned_text(text);
    }

    /// Gives up the slot of a reader that will not come back. Throws `not_found`.
    void drop_slot(zstring_view reader_id)
    {
        detail::check(sender_drop_slot(raw_, reader_id.c_str()));
    }

    /// Stops the sender: lets the readers catch up, closes everything and waits for its threads. Throws `timeout` when some
    /// readers did not get everything (the text names them), `io` and `disk_full` when the log on disk lacks the last
    /// entries: it is stopped then all the same. Throws `wrong_thread` in a handler of this sender, which goes on.
    void stop()
    {
        detail::check(sender_stop(raw_));
    }

    /// Waits until so many readers have acknowledged an entry, and with it all before: `ok`, or `timeout` when they may
    /// have it nevertheless, or `closed` when the sender was stopped.
    [[nodiscard]] ack_result wait_acked(std::uint64_t sequence, ack_level level, std::size_t readers,
                                        std::chrono::milliseconds timeout)
    {
        std::size_t have = 0;
        const replication_status got = sender_wait_acked(raw_, sequence, static_cast<std::uint32_t>(level), readers,
                                                         detail::wait_ms(timeout), &have);
        return detail::ack_result_of(got, have);
    }

    /// The same for a quorum.
    [[nodiscard]] ack_result wait_acked(std::uint64_t sequence, ack_level level, const quorum &who,
                                        std::chrono::milliseconds timeout)
    {
        std::size_t have = 0;
        const replication_status got = sender_wait_acked_quorum(raw_, sequence, static_cast<std::uint32_t>(level),
                                                                who.get(), detail::wait_ms(timeout), &have);
        return detail::ack_result_of(got, have);
    }

    /// Tells whether so many readers have acknowledged an entry, without waiting.
    [[nodiscard]] ack_result acked(std::uint64_t sequence, ack_level level, std::size_t readers) const
    {
        std::size_t have = 0;
        const replication_status got = sender_acked(raw_, sequence, static_cast<std::uint32_t>(level), readers, &have);
        return detail::ack_result_of(got, have);
    }

    /// The same for a quorum.
    [[nodiscard]] ack_result acked(std::uint64_t sequence, ack_level level, const quorum &who) const
    {
        std::size_t have = 0;
        const replication_status got =
            sender_acked_quorum(raw_, sequence, static_cast<std::uint32_t>(level), who.get(), &have);
        return detail::ack_result_of(got, have);
    }

    /// Has a handler called, once, when so many readers have acknowledged an entry, and does not wait. Returns a ticket.
    /// When this throws, and when the sender is destroyed in a handler of its own, it is not called.
    std::uint64_t on_acked(std::uint64_t sequence, ack_level level, std::size_t readers,
                           std::chrono::milliseconds timeout, acked_handler handler)
    {
        const bool is_empty = !handler;
        auto made = std::make_unique<detail::acked_call>();
        *made = {std::move(handler), host_};
        std::uint64_t ticket = 0;
        detail::check(sender_on_acked(raw_, sequence, static_cast<std::uint32_t>(level), readers,
                                      detail::wait_ms(timeout), is_empty ? nullptr : detail::run_acked, made.release(),
                                      detail::acked_call::free, &ticket));
        return ticket;
    }

    /// The same for a quorum.
    std::uint64_t on_acked(std::uint64_t sequence, ack_level level, const quorum &who,
                           std::chrono::milliseconds timeout, acked_handler handler)
    {
        const bool is_empty = !handler;
        auto made = std::make_unique<detail::acked_call>();
        *made = {std::move(handler), host_};
        std::uint64_t ticket = 0;
        detail::check(sender_on_acked_quorum(raw_, sequence, static_cast<std::uint32_t>(level), who.get(),
                                             detail::wait_ms(timeout), is_empty ? nullptr : detail::run_acked,
                                             made.release(), detail::acked_call::free, &ticket));
        return ticket;
    }

    /// How a call of on_acked() ended or stands. Throws `not_found` for a number that is no ticket, or too old.
    [[nodiscard]] ack_result ticket_status(std::uint64_t ticket) const
    {
        std::size_t have = 0;
        const replication_status got = sender_ticket_status(raw_, ticket, &have);
        return detail::ack_result_of(got, have);
    }

    /// Waits until an entry is on this node's disk: whether it is, within the time.
    [[nodiscard]] bool wait_durable(std::uint64_t sequence, std::chrono::milliseconds timeout)
    {
        return detail::ended_in_time(sender_wait_durable(raw_, sequence, detail::wait_ms(timeout)));
    }

    /// Whether there is a sender, which is so until it was moved or reset.
    [[nodiscard]] explicit operator bool() const noexcept
    {
        return raw_ != nullptr;
    }

    /// For the C interface.
    [[nodiscard]] replication_sender *get() const noexcept
    {
        return raw_;
    }

    /// Gives the sender up to the caller, for sender_free().
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

// ---- Receiver ----------------------------------------------------------------------------------------------------------

/// Options of a receiver, each at its default until it is set; a reader id, a writer address and one of the three handlers
/// must be. Each setter calls the C function of its name, throws what that refuses, and returns the configuration, so that
/// calls can be chained. Handlers move to the first receiver that is made from it: set them again for a second one.
class receiver_config
{
  public:
    /// Every option at its default.
    receiver_config()
    {
        detail::check_abi();
        raw_.reset(receiver_config_new());
        if (!raw_)
            throw error(status::out_of_memory, replication_last_error_message());
        host_ = std::make_shared<detail::receiver_host>();
    }

    /// The name under which the writer knows this reader.
    receiver_config &reader_id(zstring_view id)
    {
        return checked(receiver_config_set_reader_id(get(), id.c_str()));
    }

    /// Where the writer is: "host:port", "unix:/path" or "unix:@name", or several of them, separated by commas.
    receiver_config &writer_addr(zstring_view address)
    {
        return checked(receiver_config_set_writer_addr(get(), address.c_str()));
    }

    /// The last sequence that the host has applied.
    receiver_config &last_sequence(std::uint64_t sequence)
    {
        return checked(receiver_config_set_last_sequence(get(), sequence));
    }

    /// The lineage that the last sequence belongs to.
    receiver_config &stream(const lineage &followed)
    {
        return checked(receiver_config_set_stream(get(), followed.stream.data(), followed.epoch));
    }

    /// Where the host stands: what it stored with its data. Replaces last_sequence() and stream().
    receiver_config &token(const replication::token &place)
    {
        return checked(receiver_config_set_token(get(), place.data()));
    }

    /// Which protocol versions to speak.
    receiver_config &protocol(replication::protocol spoken)
    {
        return checked(receiver_config_set_protocol(get(), static_cast<std::uint32_t>(spoken)));
    }

    /// Whether the handshake uses the message types of a cluster coordinator.
    receiver_config &coordinator_handshake(bool enabled)
    {
        return checked(receiver_config_set_coordinator_handshake(get(), enabled));
    }

    /// What happens when the writer's entries have a gap.
    receiver_config &gap_policy(replication::gap_policy policy)
    {
        return checked(receiver_config_set_gap_policy(get(), static_cast<std::uint32_t>(policy)));
    }

    /// What happens to an entry that the handler does not take; the retries are for `stop` and `skip`.
    receiver_config &apply_policy(replication::apply_policy policy, std::uint32_t retries = 0)
    {
        return checked(receiver_config_set_apply_policy(get(), static_cast<std::uint32_t>(policy), retries));
    }

    /// Whether the handler makes an entry durable before it returns.
    receiver_config &handler_durable(bool durable)
    {
        return checked(receiver_config_set_handler_durable(get(), durable));
    }

    /// The longest pause between two attempts to connect.
    receiver_config &reconnect_interval(std::chrono::milliseconds interval)
    {
        return checked(receiver_config_set_reconnect_interval_ms(get(), detail::option_ms(interval)));
    }

    /// How often a moving position is acknowledged.
    receiver_config &ack_interval(std::chrono::milliseconds interval)
    {
        return checked(receiver_config_set_ack_interval_ms(get(), detail::option_ms(interval)));
    }

    /// How long connecting and the handshake may take together.
    receiver_config &connect_timeout(std::chrono::milliseconds timeout)
    {
        return checked(receiver_config_set_connect_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// How often an idle connection says that it lives.
    receiver_config &heartbeat_interval(std::chrono::milliseconds interval)
    {
        return checked(receiver_config_set_heartbeat_interval_ms(get(), detail::option_ms(interval)));
    }

    /// How long a v2 writer may be silent.
    receiver_config &peer_timeout(std::chrono::milliseconds timeout)
    {
        return checked(receiver_config_set_peer_timeout_ms(get(), detail::option_ms(timeout)));
    }

    /// How many bytes may be received and not yet applied.
    receiver_config &buffer_bytes(std::uint64_t bytes)
    {
        return checked(receiver_config_set_buffer_bytes(get(), bytes));
    }

    /// By how much the writer's epoch may rise at once.
    receiver_config &max_epoch_jump(std::uint64_t jump)
    {
        return checked(receiver_config_set_max_epoch_jump(get(), jump));
    }

    /// The largest payload of an entry that is taken.
    receiver_config &max_entry_bytes(std::uint64_t bytes)
    {
        return checked(receiver_config_set_max_entry_bytes(get(), bytes));
    }

    /// How much memory the records of one entry may take, for a record handler.
    receiver_config &records_max_bytes(std::uint64_t bytes)
    {
        return checked(receiver_config_set_records_max_bytes(get(), bytes));
    }

    /// Takes a log's directory or a private key that other users may change, or a key that they may read, which is refused
    /// otherwise; an event says so. To be called before tls().
    receiver_config &insecure_permissions_allowed(bool allowed)
    {
        return checked(receiver_config_set_insecure_permissions_allowed(get(), allowed));
    }

    /// Encrypts connections and checks the writer's certificate. `server_name`: whom it must be for, when not for the host
    /// in the writer address. The last two: this reader's certificate, both or neither.
    receiver_config &tls(zstring_view ca_file, zstring_view server_name = nullptr,
                         zstring_view certificate_chain_file = nullptr, zstring_view private_key_file = nullptr)
    {
        return checked(receiver_config_set_tls(get(), ca_file.c_str(), server_name.c_str(),
                                               certificate_chain_file.c_str(), private_key_file.c_str()));
    }

    /// The handler that gets entries one by one, a replication::ingest_handler. Replaces a handler of another kind, as the
    /// next two do.
    template <class Handler> receiver_config &ingest_handler(Handler handler)
    {
        detail::must_return_nothing<Handler, const delivery &>();
        replication::ingest_handler function(std::move(handler));
        const replication_ingest_fn run = function ? detail::run_ingest : nullptr;
        return checked(receiver_config_set_ingest_handler(get(), run, made<detail::ingest_call>(std::move(function)),
                                                          detail::ingest_call::free));
    }

    /// The handler that gets many entries at a time, a replication::batch_handler: at most `max_entries`, 0 for 1024.
    template <class Handler> receiver_config &ingest_batch_handler(std::size_t max_entries, Handler handler)
    {
        detail::must_return_nothing<Handler, batch &>();
        replication::batch_handler function(std::move(handler));
        const replication_ingest_batch_fn run = function ? detail::run_batch : nullptr;
        return checked(receiver_config_set_ingest_batch_handler(
            get(), max_entries, run, made<detail::batch_call>(std::move(function)), detail::batch_call::free));
    }

    /// The handler that gets entries one by one, decoded, a replication::record_handler.
    template <class Handler> receiver_config &record_handler(Handler handler)
    {
        detail::must_return_nothing<Handler, const record_delivery &>();
        replication::record_handler function(std::move(handler));
        const replication_record_fn run = function ? detail::run_record : nullptr;
        return checked(receiver_config_set_record_handler(get(), run, made<detail::record_call>(std::move(function)),
                                                          detail::record_call::free));
    }

    /// Who writes each entry to the host's own log before the handler gets it, a replication::local_wal; `nullptr`: nobody.
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

    /// Who connects to the writer; an empty function: the library itself.
    receiver_config &connect_handler(replication::connect_handler handler)
    {
        if (!handler)
            return checked(receiver_config_set_connect_handler(get(), nullptr, nullptr, nullptr));
        return checked(receiver_config_set_connect_handler(
            get(), detail::run_connect, made<detail::connect_call>(std::move(handler)), detail::connect_call::free));
    }

    /// Who hears of events; an empty function: nobody.
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

    /// Who gets log records, up to a level; an empty function: nobody. It is also told of the exceptions of the other
    /// handlers.
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

    /// The directory of a log on disk of what is received; `nullptr`: none.
    receiver_config &wal_dir(zstring_view path)
    {
        return checked(receiver_config_set_wal_dir(get(), path.c_str()));
    }

    /// When the receiver's log is made durable; the interval and the bytes are for `group`.
    receiver_config &wal_sync(sync_policy policy, std::chrono::milliseconds interval = {}, std::uint64_t bytes = 0)
    {
        return checked(receiver_config_set_wal_sync(get(), static_cast<std::uint32_t>(policy),
                                                    detail::option_ms(interval), bytes));
    }

    /// The usual size of a file of the receiver's log.
    receiver_config &wal_segment_bytes(std::uint64_t bytes)
    {
        return checked(receiver_config_set_wal_segment_bytes(get(), bytes));
    }

    /// How many bytes of the receiver's log stay on disk once they are applied.
    receiver_config &wal_retain_bytes(std::uint64_t bytes)
    {
        return checked(receiver_config_set_wal_retain_bytes(get(), bytes));
    }

    /// After how long applied entries leave the disk.
    receiver_config &log_retain(std::chrono::milliseconds age)
    {
        return checked(receiver_config_set_wal_retain_ms(get(), detail::option_ms(age)));
    }

    /// For the C interface.
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

    /// A handler for C, which frees it whatever comes of registering it.
    template <class Call, class Handler> void *made(Handler handler) const
    {
        auto call = std::make_unique<Call>();
        *call = {std::move(handler), host_};
        return call.release();
    }

    detail::handle<replication_receiver_config, receiver_config_free> raw_;
    std::shared_ptr<detail::receiver_host> host_;
};

/// A reader's end: follows one writer and hands its entries to a handler.
class receiver
{
  public:
    /// A receiver with the options and the handlers of `config`, which does not run yet. Throws, among others,
    /// `invalid_argument` when something that is required is missing, `bad_address`, `invalid_state` when the handlers belong
    /// to an earlier receiver, and with a log on disk `locked`, `damaged`, `diverged`, `io` and `disk_full`.
    explicit receiver(receiver_config &config)
    {
        auto next = std::make_shared<detail::receiver_host>();
        detail::check(receiver_new(config.get(), &raw_));
        host_ = std::exchange(config.host_, std::move(next));
        host_->receiver.store(raw_, std::memory_order_relaxed);
    }

    /// The same of a configuration that is not used again.
    explicit receiver(receiver_config &&config) : receiver(config)
    {
    }

    /// Takes a receiver of the C interface, to be freed with this one; null: none.
    explicit receiver(replication_receiver *raw) : raw_(raw), host_(std::make_shared<detail::receiver_host>())
    {
        detail::check_abi();
    }

    /// Takes over what `other` has, which is empty afterwards.
    receiver(receiver &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)), host_(std::move(other.host_))
    {
    }

    /// Ends what was here before, as the destructor does.
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

    /// Stops it, if it runs, and frees it; see reset().
    ~receiver()
    {
        reset();
    }

    /// Stops the receiver as stop() does, and frees it and its handlers. When it returns no handler runs. In a handler of
    /// this receiver another thread does that, soon after: no other handler begins.
    void reset() noexcept
    {
        if (raw_ == nullptr)
            return;
        replication_receiver *const raw = std::exchange(raw_, nullptr);
        // First, so that what a running handler asks of the receiver is asked of one that is there.
        if (receiver_stop(raw) == REPLICATION_STATUS_WRONG_THREAD)
            host_->receiver.store(nullptr, std::memory_order_relaxed);
        receiver_free(raw);
        host_.reset();
    }

    /// Starts it. Connecting happens in the background and is told in events.
    void start()
    {
        detail::check(receiver_start(raw_));
    }

    /// Whether a handshake has succeeded and its connection lives; false where another function would throw.
    [[nodiscard]] bool is_connected() const noexcept
    {
        return receiver_is_connected(raw_);
    }

    /// The last sequence that was applied; 0 where another function would throw.
    [[nodiscard]] std::uint64_t last_sequence() const noexcept
    {
        return receiver_last_sequence(raw_);
    }

    /// The lineage that it follows; nothing while that is unknown.
    [[nodiscard]] std::optional<lineage> stream() const
    {
        lineage found;
        const replication_status got = receiver_get_stream(raw_, found.stream.data(), &found.epoch);
        if (got == REPLICATION_STATUS_NOT_FOUND)
            return std::nullopt;
        detail::check(got);
        return found;
    }

    /// The token of where it stands; nothing while the stream is unknown. In a handler: after what it was called with.
    [[nodiscard]] std::optional<replication::token> token() const
    {
        std::array<std::uint8_t, REPLICATION_TOKEN_BYTES> bytes{};
        const replication_status got = receiver_token(raw_, bytes.data());
        if (got == REPLICATION_STATUS_NOT_FOUND)
            return std::nullopt;
        detail::check(got);
        return replication::token(bytes);
    }

    /// Waits until an entry is applied: whether it is, within the time. Throws `apply_failed` when applying was stopped
    /// before it, with what the handler threw, `lineage_changed`, `closed` and others.
    [[nodiscard]] bool wait_sequence(std::uint64_t sequence, std::chrono::milliseconds timeout)
    {
        const replication_status got = receiver_wait_sequence(raw_, sequence, detail::wait_ms(timeout));
        if (got == REPLICATION_STATUS_APPLY_FAILED) {
            std::string text = replication_last_error_message();
            const std::string cause = last_cause();
            throw error(status::apply_failed, cause.empty() ? text : text + " (" + cause + ")");
        }
        return detail::ended_in_time(got);
    }

    /// What a handler or the local log threw last, `what()` of it; empty when none has.
    [[nodiscard]] std::string last_cause() const
    {
        return host_ ? host_->last_cause() : std::string();
    }

    /// Hands no entry to the handler until resume(). When it returns no handler runs, unless it was called from one.
    void pause()
    {
        detail::check(receiver_pause(raw_));
    }

    /// Goes on after pause().
    void resume()
    {
        detail::check(receiver_resume(raw_));
    }

    /// The statistics as a JSON object.
    [[nodiscard]] std::string stats_json() const
    {
        char *text = nullptr;
        detail::check(receiver_stats_json(raw_, &text));
        return detail::owned_text(text);
    }

    /// Ends the connection and waits for its threads and for a running handler. Throws `wrong_thread` in a handler of this
    /// receiver, which goes on.
    void stop()
    {
        detail::check(receiver_stop(raw_));
    }

    /// Whether there is a receiver, which is so until it was moved or reset.
    [[nodiscard]] explicit operator bool() const noexcept
    {
        return raw_ != nullptr;
    }

    /// For the C interface.
    [[nodiscard]] replication_receiver *get() const noexcept
    {
        return raw_;
    }

    /// Gives the receiver up to the caller, for receiver_free().
    [[nodiscard]] replication_receiver *release() noexcept
    {
        host_.reset();
        return std::exchange(raw_, nullptr);
    }

  private:
    replication_receiver *raw_ = nullptr;
    std::shared_ptr<detail::receiver_host> host_;
};

// ---- Messages of protocol v1 -------------------------------------------------------------------------------------------

/// The messages of protocol v1, for hosts that speak it themselves.
namespace codec
{

/// A message within a buffer, good as long as that.
struct message {
    std::uint8_t type = 0;    ///< 0x10 Entry, 0x11 Ack, 0x12 Sync, 0x13 SyncAck, 0x1F Error, or any other.
    bytes_view payload;       ///< Its JSON, for the functions that parse.
    std::size_t consumed = 0; ///< Bytes of the whole message; the next one begins after them.
};

/// What an Entry message says.
struct entry_message {
    std::uint64_t sequence = 0;        ///< Its place in the stream.
    std::uint64_t timestamp_us = 0;    ///< Microseconds since the Unix epoch.
    std::vector<std::uint8_t> payload; ///< Its bytes.
};

/// What an Ack message says.
struct ack_message {
    std::uint64_t last_sequence = 0; ///< The last entry that was taken.
    std::string reader_id;           ///< Who acknowledges.
};

/// What a Sync message says.
struct sync_message {
    std::uint64_t last_known_sequence = 0; ///< The last entry that the reader has; 0 for none.
    std::string reader_id;                 ///< Who asks.
};

/// What a SyncAck message says.
struct sync_ack_message {
    std::uint64_t current_sequence = 0; ///< The last entry of the writer's log.
    bool can_resume = false;            ///< Whether the reader gets every entry after its position.
    std::string error;                  ///< Why it is refused; empty when it is not.
};

/// What an Error message says.
struct error_message {
    std::string code;    ///< A status's name.
    std::string message; ///< For people.
};

/// A buffer of the caller for a message to be written into.
struct buffer {
    std::uint8_t *data = nullptr; ///< Its first byte.
    std::size_t size = 0;         ///< How many bytes it has room for.
};

/// @cond internal
namespace detail
{

/// Calls `write(buffer)` with room for as much as it says it needs.
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

/// Calls `write(buffer)` with the caller's buffer; returns how much of it was used.
template <class Write> std::size_t written_into(buffer room, const Write &write)
{
    std::size_t used = 0;
    replication::detail::check(write(room, &used));
    return used;
}

/// Calls `parse(buffers..., lengths...)` until its texts have room; they rarely are longer than the JSON.
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

/// Reads the message at the start of a buffer. Throws `truncated` while it is not whole, `message_too_small` and
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

/// The same, and nothing while it is not whole.
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

/// A message of any type.
[[nodiscard]] inline std::vector<std::uint8_t> write_message(std::uint8_t type, bytes_view payload)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_message(type, payload.data(), payload.size(), room.data, room.size, needed);
    });
}

/// The same into the caller's buffer; returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_message(buffer out, std::uint8_t type, bytes_view payload)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_message(type, payload.data(), payload.size(), room.data, room.size, needed);
    });
}

/// An Entry message. A payload without data (`bytes_view()`) is null, an empty one an empty text.
[[nodiscard]] inline std::vector<std::uint8_t> write_entry(std::uint64_t sequence, std::uint64_t timestamp_us,
                                                           bytes_view payload)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_entry(sequence, timestamp_us, payload.data(), payload.size(), room.data, room.size,
                                       needed);
    });
}

/// The same into the caller's buffer; returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_entry(buffer out, std::uint64_t sequence, std::uint64_t timestamp_us, bytes_view payload)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_entry(sequence, timestamp_us, payload.data(), payload.size(), room.data, room.size,
                                       needed);
    });
}

/// An Ack message.
[[nodiscard]] inline std::vector<std::uint8_t> write_ack(std::uint64_t last_sequence, zstring_view reader_id)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_ack(last_sequence, reader_id.c_str(), room.data, room.size, needed);
    });
}

/// The same into the caller's buffer; returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_ack(buffer out, std::uint64_t last_sequence, zstring_view reader_id)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_ack(last_sequence, reader_id.c_str(), room.data, room.size, needed);
    });
}

/// A Sync message; `coordinator`: with the type of a cluster coordinator.
[[nodiscard]] inline std::vector<std::uint8_t> write_sync(zstring_view reader_id, std::uint64_t last_known_sequence,
                                                          bool coordinator = false)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_sync(reader_id.c_str(), last_known_sequence, coordinator, room.data, room.size,
                                      needed);
    });
}

/// The same into the caller's buffer; returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_sync(buffer out, zstring_view reader_id, std::uint64_t last_known_sequence,
                              bool coordinator = false)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_sync(reader_id.c_str(), last_known_sequence, coordinator, room.data, room.size,
                                      needed);
    });
}

/// A SyncAck message; `reason`: why the reader is refused.
[[nodiscard]] inline std::vector<std::uint8_t> write_sync_ack(std::uint64_t current_sequence, bool can_resume,
                                                              zstring_view reason = nullptr, bool coordinator = false)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_sync_ack(current_sequence, can_resume, reason.c_str(), coordinator, room.data,
                                          room.size, needed);
    });
}

/// The same into the caller's buffer; returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_sync_ack(buffer out, std::uint64_t current_sequence, bool can_resume,
                                  zstring_view reason = nullptr, bool coordinator = false)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_sync_ack(current_sequence, can_resume, reason.c_str(), coordinator, room.data,
                                          room.size, needed);
    });
}

/// An Error message.
[[nodiscard]] inline std::vector<std::uint8_t> write_error(zstring_view code, zstring_view text)
{
    return detail::written([&](buffer room, std::size_t *needed) {
        return replication_write_error(code.c_str(), text.c_str(), room.data, room.size, needed);
    });
}

/// The same into the caller's buffer; returns the size of the message. Throws `buffer_too_small`.
inline std::size_t write_error(buffer out, zstring_view code, zstring_view text)
{
    return detail::written_into(out, [&](buffer room, std::size_t *needed) {
        return replication_write_error(code.c_str(), text.c_str(), room.data, room.size, needed);
    });
}

/// Reads the JSON of an Entry message. Throws `invalid_msg` for anything that is not this message, as the next ones do.
[[nodiscard]] inline entry_message parse_entry(bytes_view json)
{
    entry_message found;
    found.payload.resize(json.size() / 4 * 3 + 3); // base64 is longer than what it stands for
    std::size_t length = 0;
    replication::detail::check(replication_parse_entry(json.data(), json.size(), &found.sequence, &found.timestamp_us,
                                                       found.payload.data(), found.payload.size(), &length));
    found.payload.resize(length);
    return found;
}

/// Reads the JSON of an Ack message.
[[nodiscard]] inline ack_message parse_ack(bytes_view json)
{
    ack_message found;
    found.reader_id = detail::parsed(json, [&](char *buffer, std::size_t room, std::size_t *length) {
        return replication_parse_ack(json.data(), json.size(), &found.last_sequence, buffer, room, length);
    });
    return found;
}

/// Reads the JSON of a Sync message.
[[nodiscard]] inline sync_message parse_sync(bytes_view json)
{
    sync_message found;
    found.reader_id = detail::parsed(json, [&](char *buffer, std::size_t room, std::size_t *length) {
        return replication_parse_sync(json.data(), json.size(), &found.last_known_sequence, buffer, room, length);
    });
    return found;
}

/// Reads the JSON of a SyncAck message.
[[nodiscard]] inline sync_ack_message parse_sync_ack(bytes_view json)
{
    sync_ack_message found;
    found.error = detail::parsed(json, [&](char *buffer, std::size_t room, std::size_t *length) {
        return replication_parse_sync_ack(json.data(), json.size(), &found.current_sequence, &found.can_resume, buffer,
                                          room, length);
    });
    return found;
}

/// Reads the JSON of an Error message.
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
