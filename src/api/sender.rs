use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::callbacks::{CallbackGate, caught};
use super::end::{end, parsed, wrong_thread};
use super::error::{Error, Result};
use super::quorum::Quorum;
use super::secret::Secret;
use super::token::Token;
use crate::clock;
use crate::error::Status;
use crate::forks::Maker;
use crate::sender;
use crate::sender::config::AccessRules;
use crate::sender::{AckLevel, Acked, EntryNumber, Rights, coherent};

/// The writer's end: accepts entries and streams them to readers. Created by [`Sender::builder`].
///
/// Any number of threads may use a sender at once. Its handlers run one at a time on the sender's own thread. In a
/// handler, the methods that would wait for that thread fail with [`WRONG_THREAD`](Status::WrongThread):
/// [`stop`](Self::stop), [`wait_acked`](Self::wait_acked) and [`wait_durable`](Self::wait_durable).
///
/// Dropping a sender stops it and waits until it has stopped. To learn whether every reader received everything, call
/// [`stop`](Self::stop) first. A sender may be dropped in one of its own handlers: no further handler call begins, and
/// another thread ends the sender a little later. After a `fork`, the parent's senders fail with
/// [`FORKED`](Status::Forked) in the child, and dropping them does nothing there.
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

    /// Starts the sender's threads. From then on it accepts entries and readers.
    ///
    /// Fails with [`INVALID_STATE`](Status::InvalidState) if the sender was started before, and with [`IO`](Status::Io)
    /// if the system cannot create the threads.
    pub fn start(&self) -> Result<()> {
        Ok(self.core()?.start()?)
    }

    /// Accepts readers at an address: `host:port`, with port 0 for any free port and an IPv6 address in brackets;
    /// `unix:/path`; or `unix:@name` for a socket in the abstract namespace. May be called for several addresses.
    /// Returns the port, or 0 for a Unix socket.
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

    /// Serves a new connection, a TCP or Unix stream. The library performs the handshake and reports a failed one as an
    /// event.
    pub fn accept_connection(&self, connection: impl Into<OwnedFd>) -> Result<()> {
        Ok(self.core()?.accept_connection(connection.into(), None)?)
    }

    /// The same, for a connection of which the host knows what it may do, whatever the access rules say.
    pub fn accept_connection_with_rights(&self, connection: impl Into<OwnedFd>, rights: Rights) -> Result<()> {
        Ok(self.core()?.accept_connection(connection.into(), Some(coherent(rights)?))?)
    }

    /// Serves a reader whose Sync message the host has already read from the connection. The library sends the reply
    /// and starts streaming. An earlier connection of the same reader is closed.
    pub fn accept_reader(
        &self,
        connection: impl Into<OwnedFd>,
        reader_id: &str,
        last_known_sequence: u64,
    ) -> Result<()> {
        Ok(self.core()?.accept_reader(connection.into(), reader_id, last_known_sequence, None)?)
    }

    /// The same, for a reader of which the host knows what it may do, whatever the access rules say.
    pub fn accept_reader_with_rights(
        &self,
        connection: impl Into<OwnedFd>,
        reader_id: &str,
        last_known_sequence: u64,
        rights: Rights,
    ) -> Result<()> {
        let rights = Some(coherent(rights)?);
        Ok(self.core()?.accept_reader(connection.into(), reader_id, last_known_sequence, rights)?)
    }

    /// Lets a connection follow about which the [authorize handler](crate::SenderBuilder::authorize_handler) was asked, with
    /// those of these rights that the request had. Fails with [`NOT_FOUND`](Status::NotFound) if it waits no more.
    pub fn authorize(&self, ticket: u64, rights: Rights) -> Result<()> {
        Ok(self.core()?.authorize(ticket, rights, "no reason given")?)
    }

    /// Refuses it. The reason is for the event, not for the peer.
    pub fn refuse(&self, ticket: u64, reason: &str) -> Result<()> {
        Ok(self.core()?.authorize(ticket, Rights::empty(), reason)?)
    }

    /// Reads the files of the certificates, the key and the revocation lists again. Connections that come use the new ones; with
    /// `recheck`, connected readers whose certificate would not be accepted any more are disconnected. After an error the old
    /// ones stay in force. Fails with [`INVALID_STATE`](Status::InvalidState) without TLS.
    pub fn reload_tls(&self, recheck: bool) -> Result<()> {
        Ok(self.core()?.reload_tls(recheck)?)
    }

    /// Adds a secret to those of [`SenderBuilder::secret`](crate::SenderBuilder::secret). To replace one, add the new one, give
    /// it to the readers, and remove the old one. Fails with [`INVALID_STATE`](Status::InvalidState) for a third secret with one
    /// name.
    pub fn add_secret(&self, secret: &Secret) -> Result<()> {
        Ok(self.core()?.add_secret(secret.core().clone())?)
    }

    /// Removes the older secret with a name, or the only one. Readers that proved who they are by it are disconnected with
    /// [`NOT_AUTHORIZED`](Status::NotAuthorized). Fails with [`NOT_FOUND`](Status::NotFound) if there is none.
    pub fn remove_secret(&self, name: &str) -> Result<()> {
        Ok(self.core()?.remove_secret(name)?)
    }

    /// Replaces the access rules, which [the documentation](https://github.com/libreplication/libreplication/blob/main/docs/access.md)
    /// describes. Readers that do not keep their rights are disconnected with
    /// [`NOT_AUTHORIZED`](Status::NotAuthorized). After an error, which names line and column, the rules are those of before.
    pub fn set_access_rules(&self, rules: &str) -> Result<()> {
        Ok(self.core()?.set_access_rules(AccessRules::parse(rules)?)?)
    }

    /// Reads the file of [`access_file`](crate::SenderBuilder::access_file) again and replaces the access rules. Fails with
    /// [`INVALID_STATE`](Status::InvalidState) if those in force are not from a file.
    pub fn reload_access_file(&self) -> Result<()> {
        Ok(self.core()?.reload_access_file()?)
    }

    /// Appends an entry with the current time to the log and returns its sequence. Does not wait for the network or for
    /// readers, except under [`FullPolicy::Wait`](crate::FullPolicy::Wait) and
    /// [`GatePolicy::Slow`](crate::GatePolicy::Slow).
    ///
    /// Entries of concurrent calls get different sequences, and every reader receives them in sequence order. Fails
    /// with [`BUFFER_FULL`](Status::BufferFull), [`GATED`](Status::Gated), [`NOT_WRITER`](Status::NotWriter),
    /// [`MESSAGE_TOO_LARGE`](Status::MessageTooLarge), and, with a log on disk, [`DISK_FULL`](Status::DiskFull),
    /// [`STALLED`](Status::Stalled) and [`IO`](Status::Io). On failure no sequence is used, unless [`Error::taken`]
    /// returns one: under [`SyncPolicy::Always`](crate::SyncPolicy::Always), an entry may be appended but its sync may
    /// fail or take too long.
    pub fn replicate(&self, payload: impl AsRef<[u8]>) -> Result<u64> {
        self.replicate_at(clock::now().wall_us, payload)
    }

    /// Like [`replicate`](Self::replicate), with a timestamp set by the host in microseconds since the Unix epoch.
    pub fn replicate_at(&self, timestamp_us: u64, payload: impl AsRef<[u8]>) -> Result<u64> {
        let core = self.core()?;
        let end = core.put(timestamp_us, payload.as_ref())?;
        core.wait_synced(&end).map_err(|error| Error::of_taken(error, end.sequence))?;
        Ok(end.sequence)
    }

    /// Appends entries with consecutive sequences, all of them or none, and returns the first sequence. Otherwise like
    /// [`replicate`](Self::replicate).
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

    /// Like [`replicate_batch`](Self::replicate_batch), with one timestamp for all entries, set by the host in
    /// microseconds since the Unix epoch.
    pub fn replicate_batch_at<T: AsRef<[u8]>>(&self, timestamp_us: u64, payloads: &[T]) -> Result<u64> {
        let core = self.core()?;
        if payloads.is_empty() {
            return Err(Error::new(Status::InvalidArgument, "payloads is empty, at least 1 is needed"));
        }
        let (first, end) = core.put_batch(timestamp_us, payloads.iter().map(AsRef::as_ref))?;
        core.wait_synced(&end).map_err(|error| Error::of_taken(error, first))?;
        Ok(first)
    }

    /// Appends an entry, like [`replicate`](Self::replicate), and returns its token: its position in the history, which
    /// identifies the entry even after a restart and on another node.
    pub fn replicate_token(&self, payload: impl AsRef<[u8]>) -> Result<Token> {
        self.replicate_token_at(clock::now().wall_us, payload)
    }

    /// Like [`replicate_token`](Self::replicate_token), with a timestamp set by the host, in microseconds since the Unix
    /// epoch.
    pub fn replicate_token_at(&self, timestamp_us: u64, payload: impl AsRef<[u8]>) -> Result<Token> {
        let core = self.core()?;
        let end = core.put(timestamp_us, payload.as_ref())?;
        core.wait_synced(&end).map_err(|error| Error::of_taken(error, end.sequence))?;
        Ok(Token::of(core.token_at(&end)))
    }

    /// Waits until readers have acknowledged an entry and all entries before it. Returns the number of readers that
    /// have acknowledged it, in any group or none.
    ///
    /// - `sequence`: an entry that this sender numbered. See [`wait_token`](Self::wait_token) for others.
    /// - `readers`: the required number of readers, or a [`Quorum`]. Readers that acknowledged the entry and have since
    ///   disconnected count too.
    /// - `timeout`: [`Duration::ZERO`] only checks; [`Duration::MAX`] waits forever.
    ///
    /// Fails with [`TIMEOUT`](Status::Timeout) and a message that names the missing readers. Readers may still have the
    /// entry, or receive it later; call [`acked`](Self::acked) to find out. Fails with [`LOST`](Status::Lost) for an
    /// entry before the one at which this sender's epoch began, which another writer may have numbered. An
    /// acknowledgement from a v1 reader counts only as [received](AckLevel::Received).
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
        wait(core, core.own(sequence)?, level, &readers.into(), timeout)
    }

    /// Like [`wait_acked`](Self::wait_acked), for the entry of a token: one from
    /// [`replicate_token`](Self::replicate_token), or one that was stored before a restart or a promotion.
    ///
    /// Fails with [`LOST`](Status::Lost) if the entry is not in this sender's history: it belongs to another stream, or
    /// was not in the log that this sender continued. Fails with [`WAL_ROTATED`](Status::WalRotated) if this is unknown,
    /// because the log no longer has the entry and the writer of another epoch numbered it.
    pub fn wait_token(
        &self,
        token: &Token,
        level: AckLevel,
        readers: impl Into<Quorum>,
        timeout: Duration,
    ) -> Result<usize> {
        let core = self.waiting_core("wait_token")?;
        wait(core, core.entry_of(token.core())?, level, &readers.into(), timeout)
    }

    /// Checks, without waiting, whether readers have acknowledged the entry of a token, for example after a wait that
    /// ended with [`TIMEOUT`](Status::Timeout). Otherwise like [`wait_token`](Self::wait_token). Once the result is `Ok`
    /// for an entry, a level and a quorum, it stays `Ok` in this process.
    pub fn acked(&self, token: &Token, level: AckLevel, readers: impl Into<Quorum>) -> Result<usize> {
        let core = self.core()?;
        let (quorum, entry) = (core.quorum(&readers.into().terms())?, core.entry_of(token.core())?);
        let acked = core.acked(entry, level, &quorum)?;
        answer(core, entry, level, &quorum, acked, "so far")
    }

    /// Calls `call` once readers have acknowledged the entry of a token, without waiting. Otherwise like
    /// [`wait_token`](Self::wait_token).
    ///
    /// Unless this method fails, `call` runs exactly once, on the handlers' thread, possibly before this method
    /// returns. It receives the number of readers that have the entry, or an error with status
    /// [`TIMEOUT`](Status::Timeout), or [`CLOSED`](Status::Closed) if the sender is stopped first. There is one
    /// exception: if the sender is dropped in one of its own handlers, `call` does not run. Fails with
    /// [`BUFFER_FULL`](Status::BufferFull) if too many calls are outstanding.
    ///
    /// ```
    /// use std::time::Duration;
    /// # fn main() -> replication::Result<()> {
    /// # let sender = replication::Sender::builder().build()?;
    /// # sender.start()?;
    /// let token = sender.replicate_token("commit")?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// sender.on_acked(&token, replication::AckLevel::Received, 1, Duration::from_millis(1), move |acked| {
    ///     tell.send(acked).unwrap();
    /// })?;
    /// let error = told.recv().unwrap().unwrap_err();
    /// assert_eq!(error.status(), replication::Status::Timeout); // nobody is connected
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_acked(
        &self,
        token: &Token,
        level: AckLevel,
        readers: impl Into<Quorum>,
        timeout: Duration,
        call: impl FnOnce(Result<usize>) + Send + 'static,
    ) -> Result<()> {
        let core = self.core()?;
        let (quorum, entry) = (core.quorum(&readers.into().terms())?, core.entry_of(token.core())?);
        let gate = self.gate.clone();
        let call = move |acked: Acked| {
            if gate.is_shut() {
                return;
            }
            let Acked { status, readers } = acked;
            let outcome = match status {
                Status::Ok => Ok(readers),
                _ => {
                    let sequence = entry.sequence();
                    Err(Error::new(status, format!("only {readers} readers have acknowledged entry {sequence}")))
                }
            };
            // The panic hook has already reported the panic. Nothing depends on this call.
            let _ = caught(|| call(outcome));
        };
        Ok(core.on_acked(entry, level, quorum, timeout, Box::new(call))?)
    }

    /// Waits until an entry and all entries before it are durable on this node's disk. Requires
    /// [`SenderBuilder::wal_dir`](crate::SenderBuilder::wal_dir). Fails with [`TIMEOUT`](Status::Timeout) if the time
    /// limit passes first.
    pub fn wait_durable(&self, sequence: u64, timeout: Duration) -> Result<()> {
        Ok(self.waiting_core("wait_durable")?.wait_durable(sequence, timeout)?)
    }

    /// Returns the token of the position after the last entry.
    pub fn token(&self) -> Result<Token> {
        Ok(Token::of(self.core()?.token()))
    }

    /// Returns the sequence of the last entry, or 0 if there is none.
    pub fn current_sequence(&self) -> u64 {
        self.core.current_sequence()
    }

    /// Returns how many readers are connected.
    pub fn reader_count(&self) -> usize {
        self.core().map_or(0, sender::Sender::reader_count)
    }

    /// Disconnects a reader, which may connect again. Fails with [`NOT_FOUND`](Status::NotFound) if the reader is not
    /// connected.
    pub fn remove_reader(&self, reader_id: &str) -> Result<()> {
        Ok(self.core()?.remove_reader(reader_id)?)
    }

    /// Sets whether this node is the writer. A node that is not the writer refuses entries and readers with
    /// [`NOT_WRITER`](Status::NotWriter) and disconnects its current readers.
    pub fn set_writable(&self, writable: bool) -> Result<()> {
        Ok(self.core()?.set_writable(writable)?)
    }

    /// Returns the slots, which keep the log on disk for readers that are disconnected: a JSON array with one object
    /// per slot, in the format of `sender_slots_json` in the C interface. Requires
    /// [`SenderBuilder::wal_dir`](crate::SenderBuilder::wal_dir).
    pub fn slots(&self) -> Result<Value> {
        parsed(&self.core()?.slots_json()?)
    }

    /// Drops the slot of a reader that will not come back, so that its entries may be removed from disk. Fails with
    /// [`NOT_FOUND`](Status::NotFound) if the reader has no slot.
    pub fn drop_slot(&self, reader_id: &str) -> Result<()> {
        Ok(self.core()?.drop_slot(reader_id)?)
    }

    /// Changes an option while the sender lives, by its name in `docs/options.md`, which says which ones may change: time
    /// limits, bounds, and what stays on disk. A connection keeps the values with which it began.
    ///
    /// Fails with [`NOT_FOUND`](Status::NotFound) for any other name, [`INVALID_ARGUMENT`](Status::InvalidArgument) for a
    /// value that the builder would refuse, and [`INVALID_STATE`](Status::InvalidState) for an option of the log on disk
    /// without one.
    pub fn set_option(&self, name: &str, value: u64) -> Result<()> {
        Ok(self.core()?.set_option(name, value)?)
    }

    /// Returns the value of an option that [`set_option`](Self::set_option) takes.
    pub fn option(&self, name: &str) -> Result<u64> {
        Ok(self.core()?.option(name)?)
    }

    /// Returns the statistics as a JSON object. Future versions only add keys. `docs/statistics.md` describes each key.
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

    /// Stops the sender: refuses new entries, lets readers catch up, and closes everything. No handler runs once this
    /// method has returned. Stopping twice is allowed.
    ///
    /// Fails with [`TIMEOUT`](Status::Timeout) if some readers did not receive everything in time. The sender is
    /// stopped nevertheless, and the message names those readers.
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

fn wait(
    core: &sender::Sender,
    entry: EntryNumber,
    level: AckLevel,
    quorum: &Quorum,
    timeout: Duration,
) -> Result<usize> {
    let quorum = core.quorum(&quorum.terms())?;
    let acked = core.wait_acked_by(entry, level, &quorum, timeout)?;
    answer(core, entry, level, &quorum, acked, &format!("within {timeout:?}"))
}

fn answer(
    core: &sender::Sender,
    entry: EntryNumber,
    level: AckLevel,
    quorum: &sender::Quorum,
    acked: Acked,
    when: &str,
) -> Result<usize> {
    if acked.status == Status::Ok {
        return Ok(acked.readers);
    }
    let mut who = core.lacking(entry, level, quorum);
    if who.is_empty() {
        // The last reader acknowledged just after the time limit passed.
        who = format!("only {}", acked.readers);
    }
    let closed = if acked.status == Status::Closed { "; the sender was stopped" } else { "" };
    let sequence = entry.sequence();
    Err(Error::new(acked.status, format!("{who} have acknowledged entry {sequence} {when}{closed}")))
}
