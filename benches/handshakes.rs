//! How many handshakes a sender does in a second, and what strangers at its door cost a reader that is connected.
//!
//! Both ends share the machine: what is measured is the cost of both.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use replication::protocol::frame::{self, TYPE_SYNC_ACK};
use replication::protocol::handshake::Sync;
use replication::protocol::secret::{TYPE_AUTHENTICATOR, TYPE_SECRET_CHALLENGE, TYPE_SECRET_PROOF};
use replication::protocol::{MAX_MESSAGE_SIZE, message};
use replication::{AckLevel, Entry, FullPolicy, Receiver, Secret, Sender, SenderBuilder};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::SockRef;

#[path = "../tests/it/certificates.rs"]
mod certificates;
#[path = "../tests/common/secret.rs"]
mod secret;

use certificates::{Authority, Identity};
use secret::{Known, READER, hello};

/// Threads that shake hands, one after the other each.
const READERS: usize = 8;
/// Rules before the one that lets the readers in.
const RULES: usize = 1_000;
const SECRET: [u8; 32] = [7; 32];
const PATIENCE: Duration = Duration::from_secs(20);
/// Strangers in a second.
const STRANGERS: u32 = 51;
const PAYLOAD: [u8; 256] = [0xb7; 256];

/// What the command line says.
struct Options {
    round: Duration,
    rounds: usize,
    check: bool,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { round: Duration::from_secs(2), rounds: 5, check: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || words.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
            match word.as_str() {
                // Cargo says so.
                "--bench" => {}
                "--check" => options.check = true,
                "--seconds" => options.round = Duration::from_secs(number().unwrap_or_else(|| usage())),
                "--rounds" => options.rounds = number().unwrap_or_else(|| usage()) as usize,
                _ => usage(),
            }
        }
        options
    }
}

fn usage() -> ! {
    eprintln!("usage: handshakes [--seconds N] [--rounds N] [--check]");
    std::process::exit(64)
}

fn main() {
    let options = Options::read();
    let authority = Authority::new("handshakes");
    let (writer, reader) = (authority.issue("127.0.0.1"), authority.issue("r"));
    let secure = |builder: SenderBuilder| builder.tls(&writer.chain, &writer.key).tls_client_ca(&authority.file);
    let secret = Secret::from_bytes("bench", "readers", SECRET).unwrap();

    println!("handshakes a second, {READERS} readers in turns, {RULES} rules before the one that lets them in");
    let tls = Arc::new(client(&authority, &reader));
    let mut met = true;
    let plain = start(Sender::builder().access_rules(rules("* * * * read")));
    rate("nothing proven", &plain, None, &options, |address| Meeting::plain(address).sync(None));
    let proving =
        start(Sender::builder().access_rules(rules("* * secret:* * read")).secret(&secret).plain_secrets_allowed(true));
    met &= rate("secrets", &proving, Some(5_000.0), &options, |address| Meeting::plain(address).prove());
    let certified = start(secure(Sender::builder().access_rules(rules("tls * name:r * read"))));
    met &= rate("mutual TLS, ECDSA", &certified, Some(1_500.0), &options, |address| {
        Meeting::tls(address, &tls).sync(None)
    });
    drop((plain, proving, certified));
    met &= beside_strangers(&secure, &authority, &reader, &options);
    if options.check && !met {
        std::process::exit(1);
    }
}

/// A table whose last line is the one that decides.
fn rules(last: &str) -> String {
    let others = (0..RULES).map(|at| format!("* 10.{}.{}.0/24 * other-{at} read\n", at / 250, at % 250));
    others.chain([last.to_owned()]).collect()
}

fn start(builder: SenderBuilder) -> (Sender, String) {
    let sender = builder.build().unwrap();
    sender.start().unwrap();
    let address = format!("127.0.0.1:{}", sender.listen("127.0.0.1:0").unwrap());
    (sender, address)
}

fn client(authority: &Authority, identity: &Identity) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.file).unwrap()).unwrap();
    let chain = CertificateDer::pem_file_iter(&identity.chain).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    builder.unwrap().with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap()
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// One handshake of a reader. It ends with a reset, so that no port waits for its packets to die out.
struct Meeting {
    stream: Box<dyn Stream>,
    heard: Vec<u8>,
}

impl Meeting {
    fn socket(address: &str) -> TcpStream {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        socket
    }

    fn plain(address: &str) -> Self {
        Self { stream: Box::new(Self::socket(address)), heard: Vec::new() }
    }

    fn tls(address: &str, config: &Arc<ClientConfig>) -> Self {
        let name = "127.0.0.1".try_into().unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        Self { stream: Box::new(StreamOwned::new(connection, Self::socket(address))), heard: Vec::new() }
    }

    fn hear(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            if let Ok(frame) = frame::decode(&self.heard, MAX_MESSAGE_SIZE) {
                let (kind, payload, size) = (frame.kind, frame.payload.to_vec(), frame.encoded_len);
                assert_eq!(kind, wanted, "{}", String::from_utf8_lossy(&payload));
                self.heard.drain(..size);
                return payload;
            }
            let mut room = [0; 4096];
            let got = self.stream.read(&mut room).unwrap();
            assert!(got > 0, "the connection ends");
            self.heard.extend(&room[..got]);
        }
    }

    /// Sends the Sync, and waits until this reader is let in.
    fn sync(mut self, under: Option<&Known<'_>>) {
        let sync = Sync { reader_id: "r".into(), ..Sync::default() };
        let mut bytes = Vec::new();
        message::encode_sync(&mut bytes, &sync, false).unwrap();
        if let Some(known) = under {
            bytes = known.authenticated(READER, &bytes);
        }
        self.stream.write_all(&bytes).unwrap();
        if under.is_some() {
            self.hear(TYPE_AUTHENTICATOR);
        }
        let ack = message::decode_sync_ack(&self.hear(TYPE_SYNC_ACK)).unwrap();
        assert!(ack.can_resume, "{}", ack.error);
    }

    fn prove(mut self) {
        let own = [3; 32];
        self.stream.write_all(&hello("readers", &own)).unwrap();
        let nonce = self.hear(TYPE_SECRET_CHALLENGE).try_into().unwrap();
        let known = Known::new(&SECRET, "bench", "readers", [own, nonce]);
        self.stream.write_all(&known.proof(READER)).unwrap();
        self.hear(TYPE_SECRET_PROOF);
        self.sync(Some(&known));
    }
}

/// Shakes hands for a while, and says how often that went in a second. Whether that is enough.
fn rate(
    what: &str,
    (_sender, address): &(Sender, String),
    target: Option<f64>,
    options: &Options,
    meet: impl Fn(&str) + std::marker::Sync,
) -> bool {
    let rates = (0..options.rounds).map(|_| {
        let begun = Instant::now();
        let one = || (0..).take_while(|_| begun.elapsed() < options.round).map(|_| meet(address)).count();
        let done: usize = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(one)).collect();
            readers.into_iter().map(|reader| reader.join().unwrap()).sum()
        });
        done as f64 / begun.elapsed().as_secs_f64()
    });
    let (low, middle, high) = spread(rates.collect());
    let verdict = target.map_or(String::new(), |target| format!("  {target:.0} asked: {}", judged(middle >= target)));
    println!("  {what:<20} {middle:>8.0}  ({low:.0} to {high:.0}){verdict}");
    target.is_none_or(|target| middle >= target)
}

fn spread(mut all: Vec<f64>) -> (f64, f64, f64) {
    all.sort_by(f64::total_cmp);
    (all[0], all[all.len() / 2], all[all.len() - 1])
}

fn judged(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// Entries in a second, and the time from one entry to its acknowledgement, of a reader under mutual TLS: in turns alone, and
/// while strangers knock and the rules and certificates are replaced each second. While it is alone they knock next door, so that
/// what they take of the machine themselves is the same.
fn beside_strangers(
    secure: &impl Fn(SenderBuilder) -> SenderBuilder,
    authority: &Authority,
    identity: &Identity,
    options: &Options,
) -> bool {
    let builder = secure(Sender::builder().access_rules(rules("tls * name:r * read,ack,hold")));
    let (sender, address) = start(builder.full_policy(FullPolicy::Wait(PATIENCE)));
    let receiver = Receiver::builder()
        .reader_id("r")
        .writer_addr(&address)
        .tls(&authority.file)
        .tls_identity(&identity.chain, &identity.key)
        .handler(|_: &Entry<'_>| Ok(()))
        .build()
        .unwrap();
    receiver.start().unwrap();
    receiver.wait_sequence(sender.replicate(PAYLOAD).unwrap(), PATIENCE).unwrap();
    let next_door = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 0..2 * options.rounds {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            if round % 2 == 1 {
                scope.spawn(|| knock(|| Meeting::socket(&address), &ended));
                scope.spawn(|| replace(&sender, &ended));
            } else {
                scope.spawn(|| knock(|| passing(&next_door), &ended));
            }
            let measured = (throughput(&sender, &receiver, options.round), round_trip(&sender, options.round));
            ended.store(true, Ordering::Relaxed);
            if round % 2 == 1 { beside.push(measured) } else { alone.push(measured) }
        });
    }
    let middle = |of: &[(f64, f64)], which: fn(&(f64, f64)) -> f64| spread(of.iter().map(which).collect()).1;
    let [rate, beside_rate] = [&alone, &beside].map(|of| middle(of, |of| of.0));
    let [trip, beside_trip] = [&alone, &beside].map(|of| middle(of, |of| of.1));
    println!(
        "a reader under mutual TLS, alone and while {STRANGERS} strangers a second knock, with new rules and certificates each second"
    );
    let (of_rate, of_trip) = (beside_rate / rate, beside_trip / trip);
    println!(
        "  entries a second     {rate:>8.0} {beside_rate:>8.0}  ×{of_rate:.3}, 0.95 asked: {}",
        judged(of_rate >= 0.95)
    );
    println!(
        "  round trip, µs       {trip:>8.1} {beside_trip:>8.1}  ×{of_trip:.3}, 1.1 allowed: {}",
        judged(of_trip <= 1.1)
    );
    assert_eq!(sender.stats().unwrap()["readers"][0]["reader_id"], "r", "the reader stays");
    of_rate >= 0.95 && of_trip <= 1.1
}

fn throughput(sender: &Sender, receiver: &Receiver, time: Duration) -> f64 {
    let begun = Instant::now();
    let (mut sent, mut last) = (0_u64, 0);
    while sent % 256 != 0 || begun.elapsed() < time {
        last = sender.replicate(PAYLOAD).unwrap();
        sent += 1;
    }
    receiver.wait_sequence(last, PATIENCE).unwrap();
    sent as f64 / begun.elapsed().as_secs_f64()
}

fn round_trip(sender: &Sender, time: Duration) -> f64 {
    let begun = Instant::now();
    let mut trips = Vec::new();
    while begun.elapsed() < time {
        let sent = Instant::now();
        let sequence = sender.replicate(PAYLOAD).unwrap();
        sender.wait_acked(sequence, AckLevel::Applied, 1, PATIENCE).unwrap();
        trips.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    spread(trips).1
}

/// Strangers come at a steady pace, say what no TLS says, and stay until they are closed.
fn knock(connect: impl Fn() -> TcpStream, ended: &AtomicBool) {
    let mut there = std::collections::VecDeque::new();
    while !ended.load(Ordering::Relaxed) {
        let mut stranger = connect();
        // Who has been closed already does not hear this.
        let _ = stranger.write_all(b"knock");
        there.push_back(stranger);
        if there.len() > STRANGERS as usize * 5 {
            there.pop_front();
        }
        std::thread::sleep(Duration::from_secs(1) / STRANGERS);
    }
}

/// A stranger whom nobody hears.
fn passing(next_door: &TcpListener) -> TcpStream {
    let stranger = Meeting::socket(&next_door.local_addr().unwrap().to_string());
    drop(next_door.accept().unwrap());
    stranger
}

fn replace(sender: &Sender, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        sender.reload_tls(true).unwrap();
        sender.set_access_rules(&rules("tls * name:r * read,ack,hold")).unwrap();
        std::thread::park_timeout(Duration::from_secs(1));
    }
}
