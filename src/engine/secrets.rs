//! How two peers prove to each other that they have the same secret.
//!
//! Each proof is an HMAC over the roles, the secret's name, a nonce of either peer, and under TLS what binds it to that
//! connection. So no proof serves for another connection, another name or the other role. The reader proves first: whoever only
//! connects gets nothing of which a passphrase could be guessed. After that the Sync and its answer are authenticated, with the
//! reader id, the stream and the position in them. Over a plain connection that says who connected, and nothing of what
//! follows.

use std::fmt;

use argon2::{Algorithm, Argon2, Block as MemoryBlock, Params, Version};
use ring::{digest, hmac};

use crate::error::{Error, Result, Status};
use crate::protocol::HEADER_SIZE;
use crate::protocol::secret::{Block, MAX_SECRET_NAME_BYTES, TYPE_AUTHENTICATOR, encode_block, is_secret_name};
use crate::text::Escaped;

/// The shortest secret that needs no derivation.
pub const MIN_SECRET_BYTES: usize = 32;

/// The longest secret or passphrase.
pub const MAX_SECRET_BYTES: usize = 4096;

/// The shortest passphrase.
pub const MIN_PASSPHRASE_BYTES: usize = 12;

/// The secrets with one name: the one in use, and one that takes its place or has lost it.
pub const MAX_SECRETS_OF_A_NAME: usize = 2;

/// The secrets that a writer may have.
pub const MAX_SECRETS: usize = 2048;

/// What a guess of a passphrase costs: 64 MiB, three times over.
const PASSPHRASE_KIB: u32 = 64 * 1024;
const PASSPHRASE_PASSES: u32 = 3;

/// What every message begins with.
const CONTEXT: &[u8] = b"libreplication secret 1";

/// Who proves something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProofRole {
    Reader = 1,
    Writer = 2,
}

/// What a key is used for.
#[derive(Clone, Copy)]
enum Use {
    /// To make the key from a secret.
    Key = 1,
    /// To prove that one has it.
    Proof = 2,
    /// To make the key of a connection.
    Session = 3,
    /// To authenticate a frame of that connection.
    Frame = 4,
    /// To salt a passphrase.
    Salt = 5,
    /// To tell keys from each other.
    Fingerprint = 6,
}

/// The key that is made of a secret, for one cluster and name.
#[derive(Clone)]
pub(crate) struct SecretKey(hmac::Key);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys must not get into logs.
        f.write_str("SecretKey")
    }
}

impl SecretKey {
    fn new(secret: &[u8], cluster: &str, name: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self(derived(&key, &message(Use::Key, &[cluster.as_bytes(), name.as_bytes()])))
    }

    /// Which key it is, for whoever must not keep the key itself.
    pub(crate) fn fingerprint(&self) -> Block {
        block(&hmac::sign(&self.0, &message(Use::Fingerprint, &[])))
    }
}

/// What a reader and a writer share, under a name that both know: the key that was made of it for one cluster and this name.
#[derive(Clone, Debug)]
pub struct Secret {
    name: String,
    key: SecretKey,
}

impl Secret {
    /// Of 32 to 4 096 bytes that nobody can guess.
    ///
    /// - `cluster`: what tells this cluster's secrets from those of others, the same at all nodes; may be empty.
    /// - `name`: 1 to 64 bytes without control characters. Access rules know it as `secret:NAME`.
    ///
    /// Fails with [`Status::InvalidArgument`].
    pub fn from_bytes(cluster: &str, name: &str, secret: &[u8]) -> Result<Self> {
        check_name(name)?;
        if !(MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&secret.len()) {
            let (bytes, name) = (secret.len(), Escaped(name));
            return Err(invalid(format!(
                "secret \"{name}\" has {bytes} bytes, it needs {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}; what people can \
                 remember is a passphrase"
            )));
        }
        Ok(Self { name: name.to_owned(), key: SecretKey::new(secret, cluster, name) })
    }

    /// Of 12 to 4 096 bytes that people can remember, or have written down. Deriving the key takes 64 MiB of memory, which is
    /// given back, and some tenths of a second. `cluster` and `name`: as for [`from_bytes`](Self::from_bytes).
    ///
    /// Fails with [`Status::InvalidArgument`]; [`Status::OutOfMemory`].
    pub fn from_passphrase(cluster: &str, name: &str, passphrase: &[u8]) -> Result<Self> {
        check_name(name)?;
        let shown = Escaped(name);
        if !(MIN_PASSPHRASE_BYTES..=MAX_SECRET_BYTES).contains(&passphrase.len()) {
            let bytes = passphrase.len();
            return Err(invalid(format!(
                "passphrase \"{shown}\" has {bytes} bytes, it needs {MIN_PASSPHRASE_BYTES} to {MAX_SECRET_BYTES}"
            )));
        }
        let salt = digest::digest(&digest::SHA256, &message(Use::Salt, &[cluster.as_bytes(), name.as_bytes()]));
        let unusable = |why: argon2::Error| invalid(format!("passphrase \"{shown}\": {why}"));
        let cost = Params::new(PASSPHRASE_KIB, PASSPHRASE_PASSES, 1, Some(32)).map_err(unusable)?;
        let mut memory = Vec::new();
        if memory.try_reserve_exact(cost.block_count()).is_err() {
            let text = format!("passphrase \"{shown}\": there are no {PASSPHRASE_KIB} KiB of memory to derive its key");
            return Err(Error::new(Status::OutOfMemory, text));
        }
        memory.resize(cost.block_count(), MemoryBlock::default());
        let mut secret = [0; 32];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost);
        argon2.hash_password_into_with_memory(passphrase, salt.as_ref(), &mut secret, &mut memory).map_err(unusable)?;
        Self::from_bytes(cluster, name, &secret)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn key(&self) -> &SecretKey {
        &self.key
    }
}

/// What both peers know when they prove that they have a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meeting<'a> {
    pub(crate) name: &'a str,
    pub(crate) reader_nonce: Block,
    pub(crate) writer_nonce: Block,
    /// What TLS derived for this connection alone; `None` over a plain one.
    pub(crate) channel: Option<Block>,
}

impl Meeting<'_> {
    /// The proof that a peer has the key.
    pub(crate) fn proof(&self, key: &SecretKey, role: ProofRole) -> Block {
        block(&hmac::sign(&key.0, &self.message(Use::Proof, role)))
    }

    /// Whether the other peer has the key. Takes as long for wrong proofs as for right ones.
    pub(crate) fn is_proven(&self, key: &SecretKey, role: ProofRole, proof: &Block) -> bool {
        hmac::verify(&key.0, &self.message(Use::Proof, role), proof).is_ok()
    }

    /// What authenticates the rest of the handshake.
    pub(crate) fn session(&self, key: &SecretKey) -> HandshakeKey {
        HandshakeKey(derived(&key.0, &self.message(Use::Session, ProofRole::Writer)))
    }

    fn message(&self, what: Use, role: ProofRole) -> Vec<u8> {
        let channel = self.channel.as_ref().map_or(&[][..], |channel| channel);
        message(what, &[&[role as u8], self.name.as_bytes(), &self.reader_nonce, &self.writer_nonce, channel])
    }
}

/// Authenticates the Sync and its answer.
#[derive(Clone)]
pub(crate) struct HandshakeKey(hmac::Key);

impl fmt::Debug for HandshakeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandshakeKey")
    }
}

impl HandshakeKey {
    /// A frame that a peer sends, after one with its authenticator.
    pub(crate) fn authenticated(&self, role: ProofRole, frame: &[u8]) -> Result<Vec<u8>> {
        // The type and the payload. The length says nothing that they do not.
        let signed = frame.get(HEADER_SIZE - 1..).unwrap_or_default();
        let authenticator = block(&hmac::sign(&self.0, &message(Use::Frame, &[&[role as u8], signed])));
        let mut bytes = encode_block(TYPE_AUTHENTICATOR, &authenticator)
            .map_err(|error| Error::new(error.status(), error.to_string()))?;
        bytes.extend(frame);
        Ok(bytes)
    }

    /// Fails if a frame is not the one that the other peer sent.
    pub(crate) fn check(&self, role: ProofRole, kind: u8, payload: &[u8], authenticator: &Block) -> Result<()> {
        let signed = message(Use::Frame, &[&[role as u8], &[&[kind], payload].concat()]);
        hmac::verify(&self.0, &signed, authenticator).map_err(|_| {
            Error::new(Status::NotAuthorized, "a message of the handshake is not the one that was authenticated")
        })
    }
}

/// The secrets by which readers may prove who they are, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// One more. The name may have another one already, which remains valid.
    pub fn add(&mut self, secret: Secret) -> Result<()> {
        let (name, same) = (Escaped(&secret.name), self.0.iter().filter(|known| known.name == secret.name).count());
        if same >= MAX_SECRETS_OF_A_NAME {
            let text = format!("there are {same} secrets \"{name}\" already: remove the older one first");
            return Err(Error::new(Status::InvalidState, text));
        }
        if self.0.len() >= MAX_SECRETS {
            let text = format!("there are {MAX_SECRETS} secrets already, and \"{name}\" is one too many");
            return Err(Error::new(Status::InvalidState, text));
        }
        self.0.push(secret);
        Ok(())
    }

    /// The older of a name's two secrets goes, or its only one.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let missing = || Error::new(Status::NotFound, format!("there is no secret \"{}\"", Escaped(name)));
        let at = self.0.iter().position(|known| known.name == name).ok_or_else(missing)?;
        self.0.remove(at);
        Ok(())
    }

    /// Whether there is one with this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| known.name == name)
    }

    /// Whether the key by which a reader proved who it is belongs to one of them.
    pub(crate) fn has_key(&self, fingerprint: &Block) -> bool {
        self.0.iter().any(|known| known.key.fingerprint() == *fingerprint)
    }

    /// The key by which a reader proves that it has the secret with the name that it gave. `tests/timing` counts its
    /// instructions.
    #[inline(never)]
    pub(crate) fn proven(&self, meeting: &Meeting<'_>, proof: &Block) -> Option<&SecretKey> {
        // As many are tried in any case, so that the time does not tell whether there is such a name.
        let own = self.0.iter().filter(|known| known.name == meeting.name).map(|known| (&known.key, true));
        let others = self.0.iter().cycle().map(|known| (&known.key, false));
        let tried = own.chain(others).take(MAX_SECRETS_OF_A_NAME);
        tried.fold(None, |found, (key, is_own)| {
            let is_proven = meeting.is_proven(key, ProofRole::Reader, proof) || mutant!("proofs-believed");
            let is_it = is_proven && is_own;
            if is_it { Some(key) } else { found }
        })
    }
}

fn check_name(name: &str) -> Result<()> {
    if is_secret_name(name) {
        return Ok(());
    }
    Err(invalid(format!("a secret's name has 1 to {MAX_SECRET_NAME_BYTES} bytes without control characters")))
}

fn invalid(text: String) -> Error {
    Error::new(Status::InvalidArgument, text)
}

/// Parts with their lengths, so that no two lists of parts give the same message.
fn message(what: Use, parts: &[&[u8]]) -> Vec<u8> {
    let mut message = CONTEXT.to_vec();
    message.push(what as u8);
    for part in parts {
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(*part);
    }
    message
}

fn derived(key: &hmac::Key, message: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(key, message).as_ref())
}

fn block(tag: &hmac::Tag) -> Block {
    let mut block = [0; 32];
    block.copy_from_slice(tag.as_ref());
    block
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::protocol::frame;
    use crate::protocol::secret::decode_block;

    const READER: Block = [1; 32];
    const WRITER: Block = [2; 32];
    const CHANNEL: Option<Block> = Some([3; 32]);

    fn secret(secret: u8, cluster: &str, name: &str) -> Secret {
        Secret::from_bytes(cluster, name, &[secret; 32]).unwrap()
    }

    fn key(of: u8, cluster: &str, name: &str) -> SecretKey {
        secret(of, cluster, name).key
    }

    fn meeting(name: &str) -> Meeting<'_> {
        Meeting { name, reader_nonce: READER, writer_nonce: WRITER, channel: CHANNEL }
    }

    /// P8: whatever differs in one detail proves nothing.
    #[test]
    fn p8_a_proof_is_for_one_meeting_and_one_role() {
        let (right, own) = (meeting("name"), key(7, "cluster", "name"));
        let proof = right.proof(&own, ProofRole::Reader);
        assert!(right.is_proven(&own, ProofRole::Reader, &proof));
        let mut damaged = proof;
        damaged[31] ^= 1;
        assert!(!right.is_proven(&own, ProofRole::Reader, &damaged));
        assert!(!right.is_proven(&own, ProofRole::Writer, &proof), "reflected");
        for (what, key) in [
            ("another secret", key(8, "cluster", "name")),
            ("another cluster", key(7, "other", "name")),
            ("another name's", key(7, "cluster", "other")),
            ("parts that run together", key(7, "clustern", "ame")),
        ] {
            assert!(!right.is_proven(&key, ProofRole::Reader, &proof), "{what}");
        }
        for (what, meeting) in [
            ("another name", meeting("other")),
            ("replayed to a writer", Meeting { writer_nonce: [9; 32], ..right }),
            ("for another reader", Meeting { reader_nonce: [9; 32], ..right }),
            ("nonces swapped", Meeting { reader_nonce: WRITER, writer_nonce: READER, ..right }),
            ("another TLS connection", Meeting { channel: Some([9; 32]), ..right }),
            ("outside of TLS", Meeting { channel: None, ..right }),
        ] {
            assert!(!meeting.is_proven(&own, ProofRole::Reader, &proof), "{what}");
        }
    }

    #[test]
    fn p8_frames_of_the_handshake_are_authenticated_in_one_direction_each() {
        let session = meeting("name").session(&key(7, "cluster", "name"));
        let bytes = session.authenticated(ProofRole::Reader, b"\0\0\0\x05\x12sync").unwrap();
        let first = frame::decode(&bytes, 100).unwrap();
        let authenticator = decode_block(first.payload).unwrap();
        assert_eq!((first.kind, &bytes[first.encoded_len..]), (TYPE_AUTHENTICATOR, &b"\0\0\0\x05\x12sync"[..]));
        let other = Meeting { writer_nonce: [9; 32], ..meeting("name") }.session(&key(7, "cluster", "name"));
        let checks = [
            session.check(ProofRole::Reader, 0x12, b"sync", &authenticator),
            session.check(ProofRole::Reader, 0x12, b"Sync", &authenticator),
            session.check(ProofRole::Reader, 0x10, b"sync", &authenticator),
            session.check(ProofRole::Writer, 0x12, b"sync", &authenticator),
            session.check(ProofRole::Reader, 0x12, b"sync", &[0; 32]),
            other.check(ProofRole::Reader, 0x12, b"sync", &authenticator),
        ];
        assert_eq!(checks.map(|check| check.is_ok()), [true, false, false, false, false, false]);
    }

    #[test]
    fn two_secrets_of_a_name_are_valid_while_one_takes_the_others_place() {
        let mut secrets = Secrets::default();
        let [old, new] = [1, 2].map(|of| secret(of, "cluster", "name"));
        secrets.add(old.clone()).unwrap();
        secrets.add(new.clone()).unwrap();
        assert_eq!(secrets.add(secret(3, "cluster", "name")).unwrap_err().status, Status::InvalidState);
        let proves = |secrets: &Secrets, Secret { key, .. }: &Secret, name| {
            let meeting = meeting(name);
            let proven = secrets.proven(&meeting, &meeting.proof(key, ProofRole::Reader)).is_some();
            assert!(!proven || secrets.has_key(&key.fingerprint()));
            proven
        };
        assert!(proves(&secrets, &old, "name") && proves(&secrets, &new, "name"));
        assert!(!proves(&secrets, &old, "other"));
        secrets.remove("name").unwrap();
        assert!(!proves(&secrets, &old, "name") && proves(&secrets, &new, "name"));
        assert!(secrets.has("name") && !secrets.has_key(&old.key.fingerprint()));
        secrets.remove("name").unwrap();
        assert!(!secrets.has("name") && secrets.remove("name").unwrap_err().status == Status::NotFound);
        for number in 0..MAX_SECRETS {
            secrets.add(secret(1, "", &format!("{number}"))).unwrap();
        }
        assert_eq!(secrets.add(old).unwrap_err().status, Status::InvalidState);
    }

    #[test]
    fn secrets_that_can_be_guessed_are_refused() {
        for bytes in [0, 31, MAX_SECRET_BYTES + 1] {
            let error = Secret::from_bytes("", "name", &vec![1; bytes]).unwrap_err();
            assert!(error.message.contains(&format!("has {bytes} bytes")), "{error}");
        }
        for name in ["", "a\nb", &"n".repeat(65)] {
            assert_eq!(Secret::from_bytes("", name, &[1; 32]).unwrap_err().status, Status::InvalidArgument);
            assert_eq!(Secret::from_passphrase("", name, &[1; 32]).unwrap_err().status, Status::InvalidArgument);
        }
        let shown = format!("{:?}", secret(1, "", "name"));
        assert_eq!(shown, "Secret { name: \"name\", key: SecretKey }");
        let error = Secret::from_passphrase("", "name", b"eleven byte").unwrap_err();
        assert!(error.message.contains("has 11 bytes, it needs 12"), "{error}");
    }

    #[test]
    fn a_passphrase_gives_a_key_of_its_own_in_each_cluster() {
        let key = |passphrase: &str, cluster| {
            let secret = Secret::from_passphrase(cluster, "name", passphrase.as_bytes()).unwrap();
            meeting("name").proof(&secret.key, ProofRole::Reader)
        };
        let proof = key("correct horse battery", "cluster");
        assert_eq!(proof, key("correct horse battery", "cluster"));
        assert!(proof != key("correct horse battery", "other") && proof != key("correct horse batterY", "cluster"));
    }

    /// Checks a proof many times, for `tests/timing` to count the instructions.
    fn check_often(name: &str, damage: Option<usize>) {
        let mut secrets = Secrets::default();
        [1, 2].into_iter().for_each(|of| secrets.add(secret(of, "cluster", "name")).unwrap());
        let meeting = meeting(name);
        let mut proof = meeting.proof(&key(1, "cluster", name), ProofRole::Reader);
        if let Some(at) = damage {
            proof[at] ^= 1;
        }
        for _ in 0..200 {
            let proven = secrets.proven(std::hint::black_box(&meeting), std::hint::black_box(&proof));
            assert_eq!(proven.is_some(), damage.is_none() && name == "name");
        }
    }

    #[test]
    #[ignore = "run by tests/timing"]
    fn timing_of_a_right_proof() {
        check_often("name", None);
    }

    #[test]
    #[ignore = "run by tests/timing"]
    fn timing_of_a_wrong_first_byte() {
        check_often("name", Some(0));
    }

    #[test]
    #[ignore = "run by tests/timing"]
    fn timing_of_a_wrong_last_byte() {
        check_often("name", Some(31));
    }

    #[test]
    #[ignore = "run by tests/timing"]
    fn timing_of_an_unknown_name() {
        check_often("game", None);
    }
}
