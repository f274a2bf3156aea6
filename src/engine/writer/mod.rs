//! What a writer decides about its readers.
//!
//! - [`life`]: where a sender is in its life.
//! - [`handshake`]: what a reader opens a connection with, and what it is answered.
//! - [`admit`]: whether a reader may follow.
//! - [`peer`]: one connected reader, from its handshake to its end.
//! - [`standing`]: how much of what a reader claims counts.
//! - [`quorum`]: groups of readers, and which of them must have an entry; [`answers`]: what hosts were already told,
//!   which stays true.
//! - [`gate`]: whether enough readers are near enough for another entry.
//! - [`registry`]: what is known of each reader id, connected or not.
//! - [`waits`]: who waits for which quorum to have which entry.
//! - [`slots`]: what each reader still needs of the log on disk; [`slot`] is one of them, [`forecast`] tells when it
//!   will be lost.
//! - [`timeline`]: when the log had reached which entry.
//! - [`sorted`]: a sorted list whose memory can be reserved.

pub(crate) mod admit;
pub(crate) mod answers;
pub(crate) mod forecast;
pub(crate) mod gate;
pub(crate) mod handshake;
pub(crate) mod life;
pub(crate) mod peer;
pub(crate) mod quorum;
pub(crate) mod registry;
pub(crate) mod slot;
pub(crate) mod slots;
pub(crate) mod sorted;
pub(crate) mod standing;
pub(crate) mod timeline;
pub(crate) mod waits;
