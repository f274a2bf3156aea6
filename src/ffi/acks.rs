//! # Sender: waiting for readers
//!
//! Waiting for readers: by sleeping, by a callback, and by asking later.

use std::ffi::{c_char, c_void};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::args::{ack_level, invalid, positive, put_optional, text, texts, token as checked_token};
use super::callbacks::{AckedFn, Callback, FreeFn, acked};
use super::guard::{Guarded, HandleState, guard, is_null, make, release};
use super::sender::SenderHandle;
use super::sender_config::{SenderConfigHandle, set};
use crate::error::{Error, Result, Status};
pub use crate::protocol::control::AckLevel;
use crate::sender::config::{Group, MAX_TERMS};
use crate::sender::{Acked, EntryNumber, Quorum};

/// Which readers must have acknowledged an entry. Created by replication_quorum_new(). It belongs to no sender, and any number
/// of threads may use it once it is complete.
pub struct QuorumHandle {
    gate: HandleState,
    terms: Mutex<Vec<(Option<String>, usize)>>,
}

impl Guarded for QuorumHandle {
    const NAME: &'static str = "quorum";
    fn gate(&self) -> &HandleState {
        &self.gate
    }
}

impl QuorumHandle {
    fn new() -> Result<Self> {
        Ok(Self { gate: HandleState::new()?, terms: Mutex::new(Vec::new()) })
    }

    fn add(&self, group: Option<&str>, readers: usize) -> Result<()> {
        positive(readers, "readers")?;
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        if terms.len() == MAX_TERMS {
            return Err(invalid(format!("the quorum has {MAX_TERMS} conditions already, which is the bound")));
        }
        terms.push((group.map(str::to_owned), readers));
        Ok(())
    }

    /// In terms of the groups of this sender.
    fn of(&self, sender: &SenderHandle) -> Result<Quorum> {
        let terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        let mut borrowed = [(None, 0); MAX_TERMS];
        for (place, (group, readers)) in borrowed.iter_mut().zip(&*terms) {
            *place = (group.as_deref(), *readers);
        }
        // There are at most as many: see `add`.
        sender.core.quorum(borrowed.get(..terms.len()).unwrap_or(&borrowed))
    }
}

/// The quorum behind `quorum` in terms of the groups of this sender.
///
/// # Safety
/// `quorum` is NULL or came from replication_quorum_new() and is not freed.
unsafe fn quorum_of(quorum: *const QuorumHandle, sender: &SenderHandle) -> Result<Quorum> {
    // SAFETY: the caller's promise.
    let quorum = unsafe { quorum.as_ref() }.ok_or_else(|| is_null(QuorumHandle::NAME))?;
    quorum.gate.check()?;
    quorum.of(sender)
}

/// Adds a group of readers for quorums to name: a site, a rack, a role. A reader may be in many groups and need not be
/// connected.
///
/// - `name`: 1 to 255 bytes without control characters.
/// - `reader_ids`, `count`: at least one reader id; one that ends with `*` stands for all with that prefix.
///
/// Returns `OK`; `INVALID_ARGUMENT` for NULL, a name or id that is empty or too long, text that is not UTF-8, a count of 0,
/// a name that exists already, and a 65th group.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed. `name` is NULL or ends with a NUL; `reader_ids` is NULL or
/// points to `count` texts, each of which is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_add_group(
    config: *mut SenderConfigHandle,
    name: *const c_char,
    reader_ids: *const *const c_char,
    count: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| core.groups.add(Group::new(text(name, "name")?, texts(reader_ids, count, "reader_ids")?)?))
    }
}

/// Sets how many calls of sender_on_acked() may be outstanding; further ones are refused with BUFFER_FULL.
/// Returns `OK`; `INVALID_ARGUMENT` for 0. Default: 65536. At least: 1.
///
/// # When to change it
/// Raise it when more appends than that wait for acknowledgements at once.
/// It may change while the sender lives.
///
/// # Safety
/// `config` came from sender_config_new() and is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_config_set_max_pending_acks(config: *mut SenderConfigHandle, calls: usize) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        set(config, |core| {
            core.max_pending_acks = positive(calls, "calls")?;
            Ok(())
        })
    }
}

/// Creates a quorum without a condition, to be filled by replication_quorum_add(). Returns the quorum, to be freed with
/// replication_quorum_free(); NULL without memory.
#[unsafe(no_mangle)]
pub extern "C" fn replication_quorum_new() -> *mut QuorumHandle {
    make(QuorumHandle::new)
}

/// Creates a quorum of any `readers` readers, at least 1; replication_quorum_add() may add conditions. Returns the quorum, to
/// be freed with replication_quorum_free(); NULL for 0 readers, and without memory.
#[unsafe(no_mangle)]
pub extern "C" fn replication_quorum_any(readers: usize) -> *mut QuorumHandle {
    make(|| {
        let quorum = QuorumHandle::new()?;
        quorum.add(None, readers)?;
        Ok(quorum)
    })
}

/// Adds a condition. All conditions of a quorum must be met; one reader may count for several.
///
/// - `group`: a name from sender_config_add_group(), which is checked when a sender gets the quorum; NULL for any readers.
/// - `readers`: how many readers of the group must have acknowledged; at least 1.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0 readers, text that is not UTF-8, and a 65th condition.
///
/// # Safety
/// `quorum` came from replication_quorum_new() and is not freed; `group` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_quorum_add(
    quorum: *mut QuorumHandle,
    group: *const c_char,
    readers: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(quorum, |quorum| {
            let group = if group.is_null() { None } else { Some(text(group, "group")?) };
            quorum.add(group, readers)
        })
    }
}

/// Frees a quorum. NULL is ignored. Waits that began with it continue.
///
/// # Safety
/// `quorum` is NULL or came from replication_quorum_new(), and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_quorum_free(quorum: *mut QuorumHandle) {
    // SAFETY: the caller's promise.
    unsafe { release(quorum, drop) };
}

/// Gives the count out, and says what is missing. `when`: for the text.
///
/// # Safety
/// `out_readers` is NULL or has room.
unsafe fn answer(
    sender: &SenderHandle,
    AckQuery { entry, level, quorum }: &AckQuery,
    acked: Acked,
    when: &str,
    out_readers: *mut usize,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { put_optional(out_readers, acked.readers) };
    if acked.status == Status::Ok {
        return Ok(());
    }
    let mut who = sender.core.lacking(*entry, *level, quorum);
    if who.is_empty() {
        // The last one came when the time was over.
        who = format!("only {}", acked.readers);
    }
    let closed = if acked.status == Status::Closed { "; the sender was stopped" } else { "" };
    let sequence = entry.sequence();
    Err(Error::new(acked.status, format!("{who} have acknowledged entry {sequence} {when}{closed}")))
}

/// Which readers must have acknowledged which entry.
struct AckQuery {
    entry: EntryNumber,
    level: AckLevel,
    quorum: Quorum,
}

impl AckQuery {
    /// # Safety
    /// `token` is NULL or points to `token_len` bytes; `quorum` is as for [`quorum_of`].
    unsafe fn new(
        sender: &SenderHandle,
        token: *const u8,
        token_len: usize,
        level: u32,
        quorum: *const QuorumHandle,
    ) -> Result<Self> {
        let level = ack_level(level)?;
        // SAFETY: the caller's promise.
        let (token, quorum) = unsafe { (checked_token(token, token_len, "token")?, quorum_of(quorum, sender)?) };
        Ok(Self { entry: sender.core.entry_of(&token)?, level, quorum })
    }
}

/// # Safety
/// `out_readers` is NULL or has room.
unsafe fn wait(sender: &SenderHandle, query: &AckQuery, timeout_ms: u64, out_readers: *mut usize) -> Result<()> {
    let AckQuery { entry, level, quorum } = query;
    let acked = sender.core.wait_acked_by(*entry, *level, quorum, Duration::from_millis(timeout_ms))?;
    // SAFETY: the caller's promise.
    unsafe { answer(sender, query, acked, &format!("within {timeout_ms} ms"), out_readers) }
}

/// Waits until readers have acknowledged an entry and all before it. Before it sleeps, the call may spin for up to 50
/// microseconds while that saves time.
///
/// A reader counts with what it acknowledged of the entries that this sender sent it, and with what it proved to have when it
/// connected, by the hash of its history. Its bare claims count for nothing. Readers that have left count, too.
///
/// - `sequence`: an entry that this sender numbered. See sender_wait_token() for others.
/// - `level`: a replication_ack_level. v1 readers acknowledge entries as received only.
/// - `readers`: how many readers must have acknowledged.
/// - `timeout_ms`: 0 returns at once, `UINT64_MAX` waits for ever.
/// - `out_readers`: how many have; also set with TIMEOUT; may be NULL.
///
/// Returns `OK`; `TIMEOUT`, and readers may still have the entry, now or later; `LOST` for an entry before the one at which
/// this sender's epoch began, which another writer may have numbered; `INVALID_ARGUMENT` for a number that is no level, a
/// sequence that no entry has yet, and more readers than there can be; `WRONG_THREAD`; `INVALID_STATE` before
/// sender_start(); `CLOSED` when the sender is or gets stopped.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `out_readers` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_wait_acked(
    sender: *mut SenderHandle,
    sequence: u64,
    level: u32,
    readers: usize,
    timeout_ms: u64,
    out_readers: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let level = ack_level(level)?;
            sender.may_wait("sender_wait_acked")?;
            let quorum = sender.core.quorum(&[(None, readers)])?;
            let query = AckQuery { entry: sender.core.own(sequence)?, level, quorum };
            wait(sender, &query, timeout_ms, out_readers)
        })
    }
}

/// As sender_wait_acked(), for the entry of a token and for a quorum.
///
/// - `token`, `token_len`: from sender_replicate_token(), perhaps before a restart or a promotion.
/// - `quorum`: has at least one condition; read during the call only.
/// - `out_readers`: how many readers have, of any group; may be NULL.
///
/// Returns what sender_wait_acked() returns; `LOST` if the entry is not in this sender's history: it is of another stream, or
/// was not in the log from which this sender went on; `WAL_ROTATED` if that cannot be told, because the log no longer has the
/// entry and another epoch's writer numbered it; `INVALID_ARGUMENT` for a quorum without a condition, a
/// group that this sender does not have, and more readers of a group than it can have; `IO` and `DAMAGED` if the log on disk
/// cannot be read. The text of `TIMEOUT` names the groups that lack readers.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `token` is NULL or points to `token_len` bytes; `quorum` is NULL or came
/// from replication_quorum_new() and is not freed; `out_readers` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_wait_token(
    sender: *mut SenderHandle,
    token: *const u8,
    token_len: usize,
    level: u32,
    quorum: *const QuorumHandle,
    timeout_ms: u64,
    out_readers: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            sender.may_wait("sender_wait_token")?;
            let query = AckQuery::new(sender, token, token_len, level, quorum)?;
            wait(sender, &query, timeout_ms, out_readers)
        })
    }
}

/// Reports, without waiting, whether readers have acknowledged the entry of a token, for example one whose wait timed out. It
/// can be asked at any time, also after a restart that continues the log and after a promotion. Once it is OK for an entry, a
/// level and a quorum, it stays so in this process. Arguments are as for sender_wait_token(); `out_readers` may be NULL.
///
/// Returns `OK` when enough readers have; `TIMEOUT` when not enough have so far; `CLOSED` when not enough had when the sender
/// was stopped; `LOST`, `WAL_ROTATED`, `INVALID_ARGUMENT`, `IO` and `DAMAGED` as sender_wait_token(). Readers count while they
/// are connected, and of those that left twice sender_config_set_max_readers() are remembered.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `token` is NULL or points to `token_len` bytes; `quorum` is NULL or came
/// from replication_quorum_new() and is not freed; `out_readers` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_acked(
    sender: *const SenderHandle,
    token: *const u8,
    token_len: usize,
    level: u32,
    quorum: *const QuorumHandle,
    out_readers: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let query = AckQuery::new(sender, token, token_len, level, quorum)?;
            let acked = sender.core.acked(query.entry, query.level, &query.quorum)?;
            answer(sender, &query, acked, "so far", out_readers)
        })
    }
}

/// Calls a callback when readers have acknowledged the entry of a token, and does not wait.
///
/// With `OK`, `callback` is called exactly once, on the sender's callback thread, perhaps before this function returns: with
/// `REPLICATION_STATUS_OK` when enough readers have the entry, `_TIMEOUT` when the time has passed, `_CLOSED` when the sender
/// is stopped before. If the sender is freed in one of its own callbacks, only `user_data_free` runs. `user_data_free` (may be
/// NULL) runs once in any case: after the call, or when this function fails.
///
/// - `timeout_ms`: 0 calls back at once, `UINT64_MAX` waits until the sender is stopped; others as for sender_wait_token().
///
/// Returns `OK`; `LOST`, `WAL_ROTATED`, `INVALID_ARGUMENT`, `IO` and `DAMAGED` as sender_wait_token(), `INVALID_ARGUMENT` also
/// for a NULL callback; `BUFFER_FULL` when as many calls are outstanding as sender_config_set_max_pending_acks() allows;
/// `OUT_OF_MEMORY`; `INVALID_STATE` before sender_start(); `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `token` is NULL or points to `token_len` bytes; `quorum` is NULL or came
/// from replication_quorum_new() and is not freed. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_on_acked(
    sender: *mut SenderHandle,
    token: *const u8,
    token_len: usize,
    level: u32,
    quorum: *const QuorumHandle,
    timeout_ms: u64,
    callback: AckedFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
) -> Status {
    let callback = Callback::<AckedFn>::unshared(callback, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let callback = callback.ok_or_else(|| is_null("callback"))?;
            let AckQuery { entry, level, quorum } = AckQuery::new(sender, token, token_len, level, quorum)?;
            let call = acked(callback, sender.muted.clone())?;
            sender.core.on_acked(entry, level, quorum, Duration::from_millis(timeout_ms), call)
        })
    }
}
