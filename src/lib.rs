//! libreplication: single-writer, many-readers replication of a write-ahead log.
//!
//! A writer's process appends entries to a [`sender`]'s [`log`]; each reader's process follows it with a [`receiver`] and
//! gets every entry, in order, in a handler. Hosts use the C interface, `include/replication.h`; this page is the map for
//! those who change the library. `ARCHITECTURE.md` tells how the parts work together, `docs/protocol.md` what travels.
//!
//! ```text
//!                    ffi
//!         ┌───────────┼──────────┐
//!      sender      receiver   records
//!         └─────┬─────┘
//!     ┌─────────┼─────────┐
//!  engine      log    transport
//!     └─────────┼─────────┘
//!           protocol
//! ```
//!
//! Arrows point down: a module uses those below it and knows nothing of those above. All use [`error`]; `engine`,
//! [`sender`], [`receiver`] and [`ffi`] use [`host`].
//!
//! - [`protocol`]: bytes on the wire. Frames, the v1 messages as Go's JSON encoder writes them, the handshake with its v2
//!   object, the v2 frames, and entries as they lie in the log. Functions from bytes to values and back; no I/O, no
//!   threads.
//! - [`log`]: the ordered log, the only queue between the host's writers and the readers' connections. Appends take one
//!   short lock and write the entry as it will travel; [`Cursor`](log::Cursor)s read published bytes without that lock.
//!   Bounded by entries and bytes, with a [policy](log::FullPolicy) for the bound. Knows no networks.
//! - `engine`: what is decided, as pure state machines: no threads, locks, clocks, files or sockets. Its drivers hold those, and
//!   do what it says.
//! - [`transport`]: sockets. Addresses, listening, TCP and Unix streams and descriptors of the host's, and small frames
//!   put together from the pieces they arrive in. Does not know what the bytes mean.
//! - [`sender`]: the writer's end. Listening, handshakes, one task for each reader that sends from its cursor and takes in
//!   acknowledgements, the registry of readers, waiting for acknowledgements, statistics.
//! - [`receiver`]: a reader's end. One task keeps the connection: dials, checks what arrives, acknowledges. One thread
//!   applies: it alone calls the host. Between them lie the received bytes, bounded.
//! - [`records`]: msgpack payloads as rows of typed values and as JSON, for hosts that want them decoded.
//! - [`host`]: what the host hears besides entries: events, log records, and the trait that takes them.
//! - [`error`]: the stable status numbers, and the error that carries one with a text.
//! - `fuzzing`: what the fuzzer runs and the tests replay; built for these alone.
//! - [`ffi`]: the C interface, the only place with `extern "C"`. One file for each C object; each export checks its
//!   arguments, calls the core and converts.
//! - [`text`]: strangers' text, escaped and capped for whoever shows it.
//!
//! Which uses which; `tests/it/architecture.rs` compares this with the sources:
//!
//! | module | uses |
//! |---|---|
//! | `ffi` | `engine`, `error`, `host`, `log`, `memory`, `protocol`, `receiver`, `records`, `sender`, `text`, `threads`, `transport` |
//! | `sender` | `clock`, `engine`, `error`, `host`, `log`, `protocol`, `runtime`, `simulation`, `sync`, `text`, `threads`, `transport` |
//! | `receiver` | `clock`, `engine`, `error`, `host`, `log`, `protocol`, `random`, `runtime`, `sync`, `text`, `threads`, `transport` |
//! | `engine` | `clock`, `error`, `host`, `protocol`, `text` |
//! | `records` | `error` |
//! | `transport` | `clock`, `error`, `fd`, `permissions`, `protocol`, `simulation`, `sync`, `text`, `threads` |
//! | `log` | `clock`, `engine`, `error`, `fd`, `permissions`, `protocol`, `simulation`, `sync` |
//! | `protocol` | `error`, `random`, `text` |
//! | `host` | `clock`, `error`, `permissions`, `sync`, `text` |
//! | `threads` | `clock`, `error`, `runtime`, `simulation`, `sync` |
//! | `runtime` | `simulation` |
//! | `permissions` | `error` |
//! | `error` | `text` |
//! | `clock` | `simulation` |
//! | `random` | `simulation` |
//! | `fd` | |
//! | `memory` | |
//! | `sync` | `simulation` |
//! | `text` | |
//! | `simulation` | |
//!
//! [`clock`] (wall and boot time, and what each may decide) serves all, and so do private modules: `threads` (threads
//! and runtimes), `runtime` (tasks and timers), `random`, `sync` (locks), `fd` (descriptors), `memory` (whether there
//! is any) and `permissions` (who else may change a file). In builds for simulations, `simulation` stands in for
//! clocks, threads, tasks, the network and the disk.
//!
//! The Rust items are public for the tests and benchmarks of this repository. What is stable is the C interface.
#![warn(missing_docs)]

/// A place where tests end the process or fail an operation; nothing without the feature `failpoints`.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
}

/// Whether a simulation makes this deliberate mistake, to show that it would be found. `false` in every other build.
macro_rules! mutant {
    ($name:literal) => {{
        #[cfg(feature = "simulation")]
        let made = crate::simulation::has_mutant($name);
        #[cfg(not(feature = "simulation"))]
        let made = false;
        made
    }};
}

pub mod clock;
mod engine;
pub mod error;
mod fd;
pub mod ffi;
#[cfg(all(any(test, feature = "fuzzing"), not(model)))]
pub mod fuzzing;
pub mod host;
pub mod log;
mod memory;
mod permissions;
pub mod protocol;
mod random;
pub mod receiver;
pub mod records;
mod runtime;
pub mod sender;
#[cfg(feature = "simulation")]
pub mod simulation;
mod sync;
pub mod text;
mod threads;
pub mod transport;
