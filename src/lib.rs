//! Replication of a write-ahead log from one writer to many readers.
//!
//! The writer's process passes each entry of its log to a [`Sender`]. Each reader's process runs a [`Receiver`], which
//! follows the sender over TCP or a Unix socket, optionally with TLS, and passes every entry to a [`Handler`], in order
//! and exactly once. Readers that reconnect continue where they left off. The writer can wait until enough readers have
//! an entry, and limits what it keeps for them in memory and on disk.
//!
//! The library runs a few threads of its own and works with or without an async runtime. It supports Linux only.
//!
//! # Quick start
//!
//! A writer with a log on disk, and a reader. Both run in one process here. On two machines the address differs, and the
//! writer says [who may follow](SenderBuilder::access_rules).
//!
//! ```
//! use std::time::Duration;
//! use replication::{AckLevel, Entry, Receiver, Sender};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let data = scratch.path();
//! let sender = Sender::builder()
//!     .wal_dir(data.join("wal")) // the log, from which it goes on after a restart
//!     .build()?;
//! sender.start()?;
//! let port = sender.listen("127.0.0.1:0")?;
//!
//! let receiver = Receiver::builder()
//!     .reader_id("reader-1")
//!     .writer_addr(format!("127.0.0.1:{port}"))
//!     .wal_dir(data.join("reader-wal")) // what has arrived is durable before it is applied
//!     .handler(|entry: &Entry<'_>| {
//!         println!("{}: {}", entry.sequence(), std::str::from_utf8(entry.payload())?);
//!         Ok(()) // applied; with an error it would come again
//!     })
//!     .build()?;
//! receiver.start()?;
//!
//! sender.replicate("insert")?;
//! let sequence = sender.replicate("commit")?;
//!
//! // On the writer: the transaction is on the disk of one reader.
//! sender.wait_acked(sequence, AckLevel::Durable, 1, Duration::from_secs(5))?;
//! // On the reader: it has been applied.
//! receiver.wait_sequence(sequence, Duration::from_secs(5))?;
//! # Ok(())
//! # }
//! ```
//!
//! # What to know
//!
//! - **Exactly once.** Store [`Entry::token`] in the transaction that applies the entry, and pass it to
//!   [`ReceiverBuilder::token`] after a restart. With only [`ReceiverBuilder::wal_dir`], a few entries may be delivered
//!   twice after a crash.
//! - **Durability.** By default nothing is written to disk. Set [`SenderBuilder::wal_dir`] for a log on disk, and
//!   [`SyncPolicy::Always`] if [`Sender::replicate`] must not return before the entry is durable.
//! - **Errors** have a [`Status`] for programs and a message that names the cause. Failures that no call can return are
//!   reported as [events](SenderBuilder::event_handler).
//! - **Handlers** run one at a time on a thread of their sender or receiver. Do not hold a lock that a handler takes
//!   while you stop, drop or wait.
//! - **Panics** in a handler are caught, and the entry counts as not applied. This requires `panic = "unwind"`, the
//!   default.
//! - **Fork.** The library's threads do not survive a fork: in the child, calls on the parent's objects fail with
//!   [`Status::Forked`].
//! - The C interface, `include/replication.h`, serves programs in other languages. It also decodes msgpack records and
//!   protocol messages.

#![warn(missing_docs)]

// The map, for those who change the library.
//
// A writer's process appends entries to a `sender`'s `log`; each reader's process follows it with a `receiver` and
// gets every entry, in order, in a handler. Hosts use the C interface, `include/replication.h`, or from Rust what this page
// documents; this is the map for those who change the library. `ARCHITECTURE.md` tells how the parts work together,
// `docs/protocol.md` what travels.
//
// ```text
//                 ffi, api
//         ┌───────────┼──────────┐
//      sender      receiver   records
//         └─────┬─────┘
//     ┌─────────┼─────────┐
//  engine      log    transport
//     └─────────┼─────────┘
//           protocol
// ```
//
// Arrows point down: a module uses those below it and knows nothing of those above. All use `error`; `engine`,
// `sender`, `receiver`, `ffi` and `api` use `host`.
//
// - `protocol`: bytes on the wire. Frames, the v1 messages as Go's JSON encoder writes them, the handshake with its v2
//   object, the v2 frames, and entries as they lie in the log. Functions from bytes to values and back; no I/O, no
//   threads.
// - `log`: the ordered log, the only queue between the host's writers and the readers' connections. Appends take one
//   short lock and write the entry as it will travel; `Cursor`s read published bytes without that lock.
//   Bounded by entries and bytes, with a policy for the bound. Knows no networks.
// - `engine`: what is decided, as pure state machines: no threads, locks, clocks, files or sockets. Its drivers hold those, and
//   do what it says.
// - `transport`: sockets. Addresses, listening, TCP and Unix streams and descriptors of the host's, and small frames
//   put together from the pieces they arrive in. Does not know what the bytes mean.
// - `sender`: the writer's end. Listening, handshakes, one task for each reader that sends from its cursor and takes in
//   acknowledgements, the registry of readers, waiting for acknowledgements, statistics.
// - `receiver`: a reader's end. One task keeps the connection: dials, checks what arrives, acknowledges. One thread
//   applies: it alone calls the host. Between them lie the received bytes, bounded.
// - `records`: msgpack payloads as rows of typed values and as JSON, for hosts that want them decoded.
// - `host`: what the host hears besides entries: events, log records, and the trait that takes them.
// - `error`: the stable status numbers, and the error that carries one with a text.
// - `fuzzing`: what the fuzzer runs and the tests replay; built for these alone.
// - `ffi`: the C interface, the only place that exports functions. One file for each C object; each export checks its
//   arguments, calls the core and converts.
// - `api`: the interface for Rust, which the root re-exports: builders, handles that end what they own, and handlers that are
//   closures. Nothing in it is `unsafe`.
// - `text`: strangers' text, escaped and capped for whoever shows it.
//
// Which uses which; `tests/it/architecture.rs` compares this with the sources:
//
// | module | uses |
// |---|---|
// | `ffi` | `engine`, `error`, `forks`, `host`, `log`, `memory`, `protocol`, `receiver`, `records`, `secret_file`, `sender`, `text`, `threads`, `transport` |
// | `api` | `clock`, `engine`, `error`, `forks`, `host`, `log`, `protocol`, `receiver`, `secret_file`, `sender`, `threads`, `transport` |
// | `sender` | `clock`, `engine`, `error`, `host`, `identity`, `log`, `options`, `permissions`, `protocol`, `random`, `runtime`, `simulation`, `sync`, `text`, `threads`, `transport` |
// | `receiver` | `clock`, `engine`, `error`, `host`, `identity`, `log`, `options`, `permissions`, `protocol`, `random`, `runtime`, `sync`, `text`, `threads`, `transport` |
// | `engine` | `clock`, `error`, `host`, `identity`, `protocol`, `text` |
// | `secret_file` | `engine`, `error`, `permissions` |
// | `records` | `error` |
// | `transport` | `clock`, `error`, `fd`, `identity`, `permissions`, `protocol`, `simulation`, `sync`, `text`, `threads` |
// | `log` | `clock`, `engine`, `error`, `fd`, `permissions`, `protocol`, `simulation`, `sync` |
// | `protocol` | `error`, `random`, `text` |
// | `host` | `clock`, `error`, `permissions`, `sync`, `text` |
// | `identity` | `text` |
// | `threads` | `clock`, `error`, `runtime`, `simulation`, `sync` |
// | `runtime` | `simulation` |
// | `permissions` | `error`, `fd` |
// | `error` | `text` |
// | `clock` | `simulation` |
// | `random` | `simulation` |
// | `fd` | |
// | `forks` | `error` |
// | `memory` | |
// | `options` | `error`, `sync` |
// | `sync` | `simulation` |
// | `text` | |
// | `simulation` | |
//
// `clock` (wall and boot time, and what each may decide) serves all, and so do private modules: `threads` (threads
// and runtimes), `runtime` (tasks and timers), `random`, `sync` (locks), `fd` (descriptors), `forks` (which process
// made an object), `memory` (whether there is any), `options` (numbers of a configuration that may change), `identity` (who a peer is), `permissions` (who else may change a
// file) and `secret_file` (secrets in files). In builds for simulations, `simulation` stands in for clocks, threads, tasks, the network and the disk.
//
// What the root re-exports from `api` is for users. The modules are public for the tests, benchmarks and fuzz targets of
// this repository only, and hidden from the documentation.

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

mod api;
#[doc(hidden)]
pub mod clock;
mod engine;
#[doc(hidden)]
pub mod error;
mod fd;
#[doc(hidden)]
#[allow(rustdoc::broken_intra_doc_links, reason = "its comments are the header's, where brackets are not links")]
pub mod ffi;
mod forks;
#[cfg(all(any(test, feature = "fuzzing"), not(feature = "model")))]
#[doc(hidden)]
pub mod fuzzing;
#[doc(hidden)]
pub mod host;
#[doc(hidden)]
pub mod identity;
#[doc(hidden)]
pub mod log;
mod memory;
mod options;
mod permissions;
#[doc(hidden)]
pub mod protocol;
mod random;
#[doc(hidden)]
pub mod receiver;
#[doc(hidden)]
pub mod records;
mod runtime;
#[doc(hidden)]
pub mod secret_file;
#[doc(hidden)]
pub mod sender;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod sync;
#[doc(hidden)]
pub mod text;
mod threads;
#[doc(hidden)]
pub mod transport;

pub use api::{
    AccessRequest, AckLevel, ApplyPolicy, Batch, BatchHandler, Entry, Error, Event, EventKind, FullPolicy, GapPolicy,
    GatePolicy, Handler, HandlerResult, LogLevel, Protocol, Quorum, Receiver, ReceiverBuilder, Result, Rights, Secret,
    Sender, SenderBuilder, Status, SyncPolicy, Token, TokenOrder, WriteGate,
};

/// The example in `docs/rust.md` runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../docs/rust.md")]
mod page {}
