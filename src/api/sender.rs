use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::callbacks::{CallbackGate, caught};
use super::end::{end, parsed, wrong_thread};
use super::error::{Error, Result};
use super::quorum::Quorum;
use super::token::Token;
use crate::clock;
use crate::error::Status;
use crate::forks::Maker;
use crate::sender;
use crate::sender::{AckLevel, Acked};

/// The writer's end: takes entries and serves them to readers. Made by [`Sender::builder`].
///
/// Any number of threads may use it at once. Handlers run one at a time on a thread of its own; from there, whatever would
/// wait for that very thread fails with [`WRONG_THREAD`](Status::WrongThread): [`stop`](Self::stop),
/// [`wait_acked`](Self::wait_acked) and [`wait_durable`](Self::wait_durable).
///
/// Dropping it stops it, and waits for that; call [`stop`](Self::stop) first to hear whether every reader got everything. It
/// may be dropped in a handler of its own: then no other handler begins, and another thread ends it a little later. After a
/// `fork` the parent's senders fail with [`FORKED`](Status::Forked) in the child, and dropping them does nothing there.
pub struct Sender {
    core: Arc<sender::Sender>,
    gate: CallbackGate,
    maker: Maker,
}

const _: () = {
    const fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Sender>();
};

impl Sender {
    pub(super) fn of(core: sender::Sender, gate: CallbackGate, maker: Maker) -> Self {
        Self { core: Arc::new(core), gate, maker }
    }

    fn core(&self) -> Result<&sender::Sender> {
        self.maker.check()?;
        Ok(&self.core)
    }

    fn waiting_core(&self, what: &str) -> Result<&sender::Sender> {
        let core = self.core()?;
        if core.on_callback_thread() { Err(wrong_thread(what)) } else { Ok(core) }
    }

    /// Starts its threads. Entries and readers can be given to it from now on.
    ///
    /// Fails with [`INVALID_STATE`](Status::InvalidState) when it was started before, and with [`IO`](Status::Io) when the
    /// system gives no threads.
    pub fn start(&self) -> Result<()> {
        Ok(self.core()?.start()?)
    }

    /// Accepts readers at an address: `host:port`, where port 0 takes any free one and an IPv6 address is in brackets;
    /// `unix:/path`; or `unix:@name` in the abstract namespace. May be called for many addresses. Returns the port, 0 for a
    /// Unix socket.
    ///
    /// ```
    /// # fn main() -> replication::Result<()> {
    /// # let sender = replication::Sender::builder().build()?;
    /// # sender.start()?;
    /// let port = sender.listen("127.0.0.1:0")?;
    /// assert_ne!(port, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn listen(&self, address: &str) -> Result<u16> {
        Ok(self.core()?.listen(address)?)
    }

    /// Serves a new connection, a TCP or Unix stream: the handshake is the library's. One that fails is told in an event.
    pub fn accept_connection(&self, connection: impl Into<OwnedFd>) -> Result<()> {
        Ok(self.core()?.accept_connection(connection.into())?)
    }

    /// Serves a reader whose Sync message the host has read from the connection: the library answers it and streams. An
    /// earlier connection of the same reader is closed.
    pub fn accept_reader(
        &self,
        connection: impl Into<OwnedFd>,
        reader_id: &str,
        last_known_sequence: u64,
    ) -> Result<()> {
        Ok(self.core()?.accept_reader(connection.into(), reader_id, last_known_sequence)?)
    }

    /// Puts an entry with the present time into the log and returns its sequence. Does not wait for the network or a reader,
    /// except under [`FullPolicy::Wait`](crate::FullPolicy::Wait) and [`GatePolicy::Slow`](crate::GatePolicy::Slow).
    ///
    /// Entries of concurrent calls get different sequences and reach every reader in their order. Fails with
    /// [`BUFFER_FULL`](Status::BufferFull), [`GATED`](Status::Gated), [`NOT_WRITER`](Status::NotWriter),
    /// [`MESSAGE_TOO_LARGE`](Status::MessageTooLarge), and with a log on disk [`DISK_FULL`](Status::DiskFull),
    /// [`STALLED`](Status::Stalled) and [`IO`](Status::Io). No sequence is used up then, unless [`Error::taken`] has one:
    /// under [`SyncPolicy::Always`](crate::SyncPolicy::Always) an entry may be taken and its sync fail or take too long.
    pub fn replicate(&self, payload: impl AsRef<[u8]>) -> Result<u64> {
        self.replicate_at(clock::now().wall_us, payload)
    }

    /// Like [`replicate`](Self::replicate) with a timestamp of the host's, in microseconds since the Unix epoch.
    pub fn replicate_at(&self, timestamp_us: u64, payload: impl AsRef<[u8]>) -> Result<u64> {
        let core = self.core()?;
        let end = core.put(timestamp_us, payload.as_ref())?;
        core.wait_synced(&end).map_err(|error| Error::of_taken(error, end.sequence))?;
        Ok(end.sequence)
    }

    /// Puts entries into the log with consecutive sequences, all of them or none, and returns the first sequence. Otherwise
    /// like [`replicate`](Self::replicate).
    ///
    /// ```
    /// # fn main() -> replication::Result<()> {
    /// # let sender = replication::Sender::builder().build()?;
    /// # sender.start()?;
    /// let first = sender.replicate_batch(&["begin", "insert", "commit"])?;
    /// assert_eq!((first, sender.current_sequence()), (1, 3));
    /// # Ok(())
    /// # }
    /// ```
    pub fn replicate_batch<T: AsRef<[u8]>>(&self, payloads: &[T]) -> Result<u64> {
        self.replicate_batch_at(clock::now().wall_us, payloads)
    }

    /// Like [`replicate_batch`](Self::replicate_batch) with a timestamp of the host's for all of them, in microseconds since
    /// the Unix epoch.
    pub fn replicate_batch_at<T: AsRef<[u8]>>(&self, timestamp_us: u64, payloads: &[T]) -> Result<u64> {
        let core = self.core()?;
        if payloads.is_empty() {
            return Err(Error::new(Status::InvalidArgument, "payloads is empty, at least 1 is needed"));
        }
        let (first, end) = core.put_batch(timestamp_us, payloads.iter().map(AsRef::as_ref))?;
        core.wait_synced(&end).map_err(|error| Error::of_taken(error, first))?;
        Ok(first)
    }

    /// Waits until readers have acknowledged an entry, and with it all before. Returns how many have, of whatever group.
    ///
    /// - `readers`: how many, or a [`Quorum`]. Those that acknowledged it and left count too.
    /// - `timeout`: [`Duration::ZERO`] only looks, [`Duration::MAX`] waits for ever.
    ///
    /// Fails with [`TIMEOUT`](Status::Timeout) and a text that says who is missing: readers may have it nevertheless, now or
    /// later, which [`acked`](Self::acked) tells. An acknowledgement of a v1 reader counts as
    /// [received](AckLevel::Received) only.
    ///
    /// ```no_run
    /// # fn main() -> replication::Result<()> {
    /// # let sender = replication::Sender::builder().build()?;
    /// use std::time::Duration;
    /// use replication::AckLevel;
    ///
    /// let sequence = sender.replicate("commit")?;
    /// sender.wait_acked(sequence, AckLevel::Durable, 2, Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_acked(
        &self,
        sequence: u64,
        level: AckLevel,
        readers: impl Into<Quorum>,
        timeout: Duration,
    ) -> Result<usize> {
        let core = self.waiting_core("wait_acked")?;
        let quorum = core.quorum(&readers.into().terms())?;
        let acked = core.wait_acked_by(sequence, level, &quorum, timeout)?;
        answer(core, sequence, level, &quorum, acked, &format!("within {timeout:?}"))
    }

    /// Tells whether readers have acknowledged an entry, without waiting. Otherwise like [`wait_acked`](Self::wait_acked):
    /// what became of an entry whose wait ended with [`TIMEOUT`](Status::Timeout). Once it was `Ok` for an entry, a level and
    /// a quorum, it stays so in this process.
    pub fn acked(&self, sequence: u64, level: AckLevel, readers: impl Into<Quorum>) -> Result<usize> {
        let core = self.core()?;
        let quorum = core.quorum(&readers.into().terms())?;
        let acked = core.acked(sequence, level, &quorum)?;
        answer(core, sequence, level, &quorum, acked, "so far")
    }

    /// Has `call` called when readers have acknowledged an entry, and does not wait. Otherwise like
    /// [`wait_acked`](Self::wait_acked).
    ///
    /// Unless this fails, `call` is called exactly once, on the thread of the handlers, perhaps before this returns: with
    /// how many readers have the entry, or an error of status [`TIMEOUT`](Status::Timeout), or [`CLOSED`](Status::Closed)
    /// when the sender is stopped before. The one exception: when the sender is dropped in a handler of its own, no call
    /// follows. Fails with [`BUFFER_FULL`](Status::BufferFull) when too many calls are outstanding.
    ///
    /// ```
    /// use std::time::Duration;
    /// # fn main() -> replication::Result<()> {
    /// # let sender = replication::Sender::builder().build()?;
    /// # sender.start()?;
    /// let sequence = sender.replicate("commit")?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// sender.on_acked(sequence, replication::AckLevel::Received, 1, Duration::from_millis(1), move |acked| {
    ///     tell.send(acked).unwrap();
    /// })?;
    /// let error = told.recv().unwrap().unwrap_err();
    /// assert_eq!(error.status(), replication::Status::Timeout); // nobody is connected
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_acked(
        &self,
        sequence: u64,
        level: AckLevel,
        readers: impl Into<Quorum>,
        timeout: Duration,
        call: impl FnOnce(Result<usize>) + Send + 'static,
    ) -> Result<()> {
        let core = self.core()?;
        let quorum = core.quorum(&readers.into().terms())?;
        let gate = self.gate.clone();
        let call = move |_ticket, acked: Acked| {
            if gate.is_shut() {
                return;
            }
            let Acked { status, readers } = acked;
            let outcome = match status {
                Status::Ok => Ok(readers),
                _ => Err(Error::new(status, format!("only {readers} readers have acknowledged entry {sequence}"))),
            };
            // The panic hook has told of a panic. Nothing depends on this call.
            let _ = caught(|| call(outcome));
        };
        core.on_acked(sequence, level, quorum, timeout, Box::new(call))?;
        Ok(())
    }

    /// Waits until an entry, and with it all before, is on this node's disk. Needs
    /// [`SenderBuilder::wal_dir`](crate::SenderBuilder::wal_dir). Fails with [`TIMEOUT`](Status::Timeout) when it is not in
    /// time.
    pub fn wait_durable(&self, sequence: u64, timeout: Duration) -> Result<()> {
        Ok(self.waiting_core("wait_durable")?.wait_durable(sequence, timeout)?)
    }

    /// The position after the last entry.
    pub fn token(&self) -> Result<Token> {
        Ok(Token::of(self.core()?.token()))
    }

    /// The sequence of the last entry, 0 before the first one.
    pub fn current_sequence(&self) -> u64 {
        self.core.current_sequence()
    }

    /// How many readers are connected.
    pub fn reader_count(&self) -> usize {
        self.core().map_or(0, sender::Sender::reader_count)
    }

    /// Closes the connection of a reader, which may connect again. Fails with [`NOT_FOUND`](Status::NotFound) for one that is
    /// not connected.
    pub fn remove_reader(&self, reader_id: &str) -> Result<()> {
        Ok(self.core()?.remove_reader(reader_id)?)
    }

    /// Says whether this node is the writer. When it is not, entries are refused with [`NOT_WRITER`](Status::NotWriter), and
    /// so are readers, those that are connected too.
    pub fn set_writable(&self, writable: bool) -> Result<()> {
        Ok(self.core()?.set_writable(writable)?)
    }

    /// The slots, which hold back the log on disk for readers that are away: a JSON array with an object for each, as
    /// `sender_slots_json` of the C interface describes. Needs [`SenderBuilder::wal_dir`](crate::SenderBuilder::wal_dir).
    pub fn slots(&self) -> Result<Value> {
        parsed(&self.core()?.slots_json()?)
    }

    /// Drops the slot of a reader that will not come back, so that its entries may leave the disk. Fails with
    /// [`NOT_FOUND`](Status::NotFound) for a reader without one.
    pub fn drop_slot(&self, reader_id: &str) -> Result<()> {
        Ok(self.core()?.drop_slot(reader_id)?)
    }

    /// The statistics, a JSON object to which keys are only ever added. `docs/embedding.md` describes each.
    ///
    /// ```
    /// # fn main() -> replication::Result<()> {
    /// # let sender = replication::Sender::builder().build()?;
    /// # sender.start()?;
    /// assert_eq!(sender.stats()?["running"], true);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> Result<Value> {
        parsed(&self.core()?.stats_json()?)
    }

    /// Refuses new entries, lets readers catch up, and closes everything. When it returns no handler runs. Stopping twice is
    /// allowed.
    ///
    /// Fails with [`TIMEOUT`](Status::Timeout) when some readers did not get everything in time; it is stopped nevertheless,
    /// and the text names them.
    pub fn stop(&self) -> Result<()> {
        Ok(self.core()?.stop()?)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        end(&self.core, &self.gate, self.maker, self.core.on_callback_thread(), |core| drop(core.stop()));
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("current_sequence", &self.current_sequence()).finish_non_exhaustive()
    }
}

fn answer(
    core: &sender::Sender,
    sequence: u64,
    level: AckLevel,
    quorum: &sender::Quorum,
    acked: Acked,
    when: &str,
) -> Result<usize> {
    if acked.status == Status::Ok {
        return Ok(acked.readers);
    }
    let mut who = core.lacking(sequence, level, quorum);
    if who.is_empty() {
        // The last one came when the time was over.
        who = format!("only {}", acked.readers);
    }
    let closed = if acked.status == Status::Closed { "; the sender was stopped" } else { "" };
    Err(Error::new(acked.status, format!("{who} have acknowledged entry {sequence} {when}{closed}")))
}
