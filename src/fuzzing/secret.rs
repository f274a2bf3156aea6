//! A running sender that has a secret, and a reader that proves it. Input: flags, then what is changed of the bytes that the
//! reader sends.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::sender::{PATIENCE, Stage, read_frame};
use super::split_flags;
use crate::engine::secrets::{Meeting, ProofRole, Secret, Secrets};
use crate::protocol::frame::TYPE_SYNC_ACK;
use crate::protocol::handshake::Sync;
use crate::protocol::message;
use crate::protocol::secret::{
    SecretHello, TYPE_AUTHENTICATOR, TYPE_SECRET_CHALLENGE, TYPE_SECRET_PROOF, decode_block, encode_block,
};

/// The reader has another secret with the same name.
pub(super) const OTHER: u8 = 1;

const NAME: &str = "readers";

fn made(byte: u8) -> Secret {
    Secret::from_bytes("fuzzed", NAME, &[byte; 32]).expect("a secret")
}

/// A reader is let in if it has the secret and nothing that it says was changed; otherwise it is refused, and the good reader
/// notices nothing.
pub fn secret(data: &[u8]) -> bool {
    let (flags, changes) = split_flags(data);
    static STAGE: OnceLock<Mutex<Stage>> = OnceLock::new();
    let stage = STAGE.get_or_init(|| {
        let mut secrets = Secrets::default();
        secrets.add(made(1)).expect("a sender takes a secret");
        Mutex::new(Stage::with(secrets))
    });
    // A test that failed before has said so.
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    theirs.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    theirs.set_write_timeout(Some(PATIENCE)).expect("a time-out");
    stage.sender.accept_connection(ours.into(), None).expect("a connection is taken");
    let has = stage.sender.current_sequence();
    let mut reader = Reader { socket: theirs, has, changes: changes.to_vec(), is_changed: false };
    let secret = made(if flags & OTHER == 0 { 1 } else { 2 });
    let let_in = reader.shake(&secret).is_some();
    assert_eq!(let_in, flags & OTHER == 0 && !reader.is_changed, "flags {flags}");
    drop(reader);
    stage.check();
    let_in
}

struct Reader {
    socket: UnixStream,
    /// The last entry that it has.
    has: u64,
    /// What is left to combine with what it says.
    changes: Vec<u8>,
    is_changed: bool,
}

impl Reader {
    /// Whether the sender lets it in.
    fn shake(&mut self, secret: &Secret) -> Option<()> {
        let reader_nonce = [5; 32];
        let hello = SecretHello { name: NAME.into(), nonce: reader_nonce };
        self.say(&hello.encode().expect("a hello"));
        let writer_nonce = self.block(TYPE_SECRET_CHALLENGE)?;
        let meeting = Meeting { name: NAME, reader_nonce, writer_nonce, channel: None };
        let proof = meeting.proof(secret.key(), ProofRole::Reader);
        self.say(&encode_block(TYPE_SECRET_PROOF, &proof).expect("a proof"));
        let proof = self.block(TYPE_SECRET_PROOF)?;
        assert!(meeting.is_proven(secret.key(), ProofRole::Writer, &proof), "the sender proves what it has");
        let sync =
            Sync { reader_id: "a reader with a secret".into(), last_known_sequence: self.has, ..Sync::default() };
        let mut bytes = Vec::new();
        message::encode_sync(&mut bytes, &sync, false).expect("a Sync");
        let session = meeting.session(secret.key());
        self.say(&session.authenticated(ProofRole::Reader, &bytes).expect("a Sync"));
        let authenticator = self.block(TYPE_AUTHENTICATOR)?;
        let (kind, payload) = self.hear()?;
        session.check(ProofRole::Writer, kind, &payload, &authenticator).expect("the answer is the sender's");
        assert_eq!(kind, TYPE_SYNC_ACK);
        message::decode_sync_ack(&payload).expect("a SyncAck").can_resume.then_some(())
    }

    /// Says it with the next changes. After one it says nothing more.
    fn say(&mut self, bytes: &[u8]) {
        let left = self.changes.split_off(bytes.len().min(self.changes.len()));
        let changes = std::mem::replace(&mut self.changes, left);
        self.is_changed |= changes.iter().any(|change| *change != 0);
        let changes = changes.into_iter().chain(std::iter::repeat(0));
        let said: Vec<u8> = bytes.iter().zip(changes).map(|(byte, change)| byte ^ change).collect();
        // Whoever has been refused is not heard any more.
        let _ = self.socket.write_all(&said);
        if self.is_changed {
            let _ = self.socket.shutdown(Shutdown::Write);
        }
    }

    fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        read_frame(&mut self.socket)
    }

    /// What is in a frame of this type; `None` if there is another or none.
    fn block(&mut self, kind: u8) -> Option<[u8; 32]> {
        let (heard, payload) = self.hear()?;
        (heard == kind).then(|| decode_block(&payload).expect("32 bytes"))
    }
}
