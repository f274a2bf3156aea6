//! The steps of senders, receivers, peers and files.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use replication::{LogLevel, Quorum, Receiver, Result, Sender, SenderBuilder, Status, Token};
use serde_json::Value;

use crate::objects::{ENTRY_TIME_US, Ears, MAX_BATCH, Order, Own, Reader, ReaderHost, Writer, WriterHost};
use crate::options::{self, level, number, text, truth, unhex};
use crate::peers::Peer;
use crate::scenario::{Scenario, must_be};

const DEFAULT_BYTES: u64 = 64;
const DEFAULT_TIMEOUT_MS: u64 = 20_000;

fn number_or(step: &Value, key: &str, otherwise: u64) -> u64 {
    step.get(key).map_or(otherwise, number)
}

fn timeout(step: &Value) -> Duration {
    Duration::from_millis(number_or(step, "timeout_ms", DEFAULT_TIMEOUT_MS))
}

/// Returns the payload of the entry with this sequence.
pub fn pattern(sequence: u64, bytes: u64) -> Vec<u8> {
    (0..bytes).map(|at| (31 * sequence + at) as u8).collect()
}

/// Replicates one entry and checks that it gets the next sequence.
fn replicate(sender: &Sender, payload: &[u8]) -> Result<()> {
    let next = sender.current_sequence() + 1;
    assert_eq!(sender.replicate_at(ENTRY_TIME_US, payload)?, next);
    Ok(())
}

/// Returns the status of `call` in a forked child.
fn status_in_child(call: impl FnOnce() -> Result<()>) -> i32 {
    // SAFETY: the child takes no lock of another thread: it makes one call, which is refused, and exits. The C library
    // keeps its allocator usable after a fork.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let status = call().map_or_else(|error| error.status(), |()| Status::Ok);
            // SAFETY: ends the child here, without running the parent's exit handlers.
            unsafe { libc::_exit(status as i32) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the process is a child of this one.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert!(libc::WIFEXITED(status), "the child ended with {status:#x}");
            libc::WEXITSTATUS(status)
        }
    }
}

impl Scenario<'_> {
    pub fn sender_step(&mut self, verb: &str, step: &Value) {
        if verb == "new" {
            return self.new_sender(step);
        }
        let sender = self.sender(step);
        let (count, bytes) = (number_or(step, "count", 1), number_or(step, "bytes", DEFAULT_BYTES));
        let sequence = step["sequence"].as_u64().unwrap_or_default();
        let timeout = timeout(step);
        match verb {
            "start" => self.make(step, move || sender.start()),
            "listen" => self.listen(step, sender),
            "accept_connection" => {
                let (ours, theirs) = Peer::pair();
                self.peers.insert(text(&step["peer"]).to_owned(), ours);
                self.make(step, move || sender.accept_connection(theirs));
            }
            "replicate" => self.make(step, move || {
                (0..count).try_for_each(|_| replicate(&sender, &pattern(sender.current_sequence() + 1, bytes)))
            }),
            "replicate_batch" => self.make(step, move || {
                let next = sender.current_sequence() + 1;
                let payloads: Vec<_> = (next..next + count).map(|sequence| pattern(sequence, bytes)).collect();
                assert_eq!(sender.replicate_batch_at(ENTRY_TIME_US, &payloads)?, next);
                Ok(())
            }),
            "replicate_hex" => {
                let payloads: Vec<_> = step["payloads"].as_array().unwrap().iter().map(unhex).collect();
                self.make(step, move || payloads.iter().try_for_each(|payload| replicate(&sender, payload)));
            }
            "replicate_in_child" => {
                let status = status_in_child(|| sender.replicate("in the child").map(drop));
                assert_eq!(status, crate::scenario::status(&step["expect"]) as i32);
            }
            "remove_reader" => {
                let reader_id = text(&step["reader_id"]).to_owned();
                self.make(step, move || sender.remove_reader(&reader_id));
            }
            "set_writable" => {
                let writable = truth(&step["writable"]);
                self.make(step, move || sender.set_writable(writable));
            }
            "replicate_token" => {
                let (tokens, name) = (Arc::clone(&self.tokens), text(&step["token"]).to_owned());
                self.make(step, move || {
                    let payload = pattern(sender.current_sequence() + 1, bytes);
                    tokens.lock().unwrap().insert(name, sender.replicate_token_at(ENTRY_TIME_US, payload)?);
                    Ok(())
                });
            }
            "wait_acked" => {
                let (level, quorum) = (level(&step["level"]), quorum(step));
                self.make(step, move || sender.wait_acked(sequence, level, quorum, timeout).map(drop));
            }
            "wait_token" => {
                let (token, level, quorum) = (self.token(&step["token"]), level(&step["level"]), quorum(step));
                self.make(step, move || sender.wait_token(&token, level, quorum, timeout).map(drop));
            }
            "acked" => {
                let (token, level, quorum) = (self.token(&step["token"]), level(&step["level"]), quorum(step));
                self.make(step, move || sender.acked(&token, level, quorum).map(drop));
            }
            "on_acked" => {
                let (token, level, quorum) = (self.token(&step["token"]), level(&step["level"]), quorum(step));
                let order = Arc::<Order>::default();
                self.orders.insert(text(&step["order"]).to_owned(), Arc::clone(&order));
                let end = move |acked: Result<usize>| {
                    order.end(acked.map_or_else(|error| error.status(), |_| Status::Ok));
                };
                self.make(step, move || sender.on_acked(&token, level, quorum, timeout, end));
            }
            "wait_durable" => self.make(step, move || sender.wait_durable(sequence, timeout)),
            "drop_slot" => {
                let reader_id = text(&step["reader_id"]).to_owned();
                self.make(step, move || sender.drop_slot(&reader_id));
            }
            "token" => {
                let (tokens, name) = (Arc::clone(&self.tokens), text(&step["token"]).to_owned());
                self.make(step, move || {
                    tokens.lock().unwrap().insert(name, sender.token()?);
                    Ok(())
                });
            }
            "set_option" => {
                let (name, value) = (text(&step["name"]).to_owned(), number(&step["value"]));
                self.make(step, move || sender.set_option(&name, value));
            }
            "add_secret" => {
                let secret = options::secret(&step["secret"]).unwrap();
                self.make(step, move || sender.add_secret(&secret));
            }
            "remove_secret" => {
                let name = text(&step["name"]).to_owned();
                self.make(step, move || sender.remove_secret(&name));
            }
            "stop" => self.make(step, move || sender.stop()),
            "free" => drop(self.writers.remove(text(&step["on"]))),
            _ => panic!("unknown verb sender.{verb}"),
        }
    }

    fn new_sender(&mut self, step: &Value) {
        let host = Arc::new(WriterHost { ears: Ears::default(), own: Own::new(step["stop_inside"] == true) });
        let (of_events, of_records) = (Arc::clone(&host), Arc::clone(&host));
        let builder = Sender::builder()
            .event_handler(move |event| of_events.event(event))
            .log_handler(LogLevel::Debug, move |level, _, fields| of_records.ears.log(level, fields));
        let mut options = step.get("config").and_then(Value::as_object).into_iter().flatten();
        let set = |builder, (key, value): (&String, &Value)| options::of_sender(self, builder, key, value);
        let made = options.try_fold(builder, set).and_then(SenderBuilder::build).map(Arc::new);
        if let Ok(handle) = &made {
            host.own.set(handle);
            let writer = Writer { handle: Arc::clone(handle), heard: host };
            self.writers.insert(text(&step["on"]).to_owned(), writer);
        }
        must_be(made, step);
    }

    fn listen(&mut self, step: &Value, sender: Arc<Sender>) {
        let address = match (step.get("address"), step.get("same_as")) {
            (Some(address), _) => text(address).replace("{tmp}", self.tmp().to_str().unwrap()),
            (None, Some(other)) => self.address(other),
            (None, None) => "127.0.0.1:0".to_owned(),
        };
        let (addresses, name) = (Arc::clone(&self.addresses), text(&step["on"]).to_owned());
        self.make(step, move || {
            let port = sender.listen(&address)?;
            let reached = if port == 0 { address } else { format!("127.0.0.1:{port}") };
            addresses.lock().unwrap().insert(name, reached);
            Ok(())
        });
    }

    pub fn receiver_step(&mut self, verb: &str, step: &Value) {
        if verb == "new" {
            return self.new_receiver(step);
        }
        let receiver = self.receiver(step);
        match verb {
            "start" => self.make(step, move || receiver.start()),
            "pause" => self.make(step, move || receiver.pause()),
            "resume" => self.make(step, move || receiver.resume()),
            "release" => crate::objects::named(&self.readers, &step["on"]).host.release(),
            "wait_sequence" => {
                let (sequence, timeout) = (number(&step["sequence"]), timeout(step));
                self.make(step, move || receiver.wait_sequence(sequence, timeout));
            }
            "wait_token" => {
                let (token, timeout) = (self.token(&step["token"]), timeout(step));
                self.make(step, move || receiver.wait_token(&token, timeout));
            }
            "token" => {
                let (tokens, name) = (Arc::clone(&self.tokens), text(&step["token"]).to_owned());
                self.make(step, move || {
                    tokens.lock().unwrap().insert(name, receiver.token()?);
                    Ok(())
                });
            }
            "set_option" => {
                let (name, value) = (text(&step["name"]).to_owned(), number(&step["value"]));
                self.make(step, move || receiver.set_option(&name, value));
            }
            "set_secret" => {
                let secret = step.get("secret").filter(|secret| !secret.is_null());
                let secret = secret.map(|secret| options::secret(secret).unwrap());
                self.make(step, move || receiver.set_secret(secret.as_ref()));
            }
            "stop" => self.make(step, move || receiver.stop()),
            "free" => {
                let reader = self.readers.remove(text(&step["on"])).unwrap();
                reader.host.release();
            }
            _ => panic!("unknown verb receiver.{verb}"),
        }
    }

    fn new_receiver(&mut self, step: &Value) {
        let host = Arc::new(ReaderHost::new(step));
        let share = || Arc::clone(&host);
        let (of_events, of_records, of_entries) = (share(), share(), share());
        let mut builder = Receiver::builder()
            .reader_id(text(&step["on"]))
            .reconnect_interval(Duration::from_millis(100))
            .ack_interval(Duration::from_millis(10))
            .event_handler(move |event| of_events.ears.event(event))
            .log_handler(LogLevel::Debug, move |level, _, fields| of_records.ears.log(level, fields));
        builder = match step.get("handler").map_or("entry", text) {
            "entry" => builder.handler(move |entry: &replication::Entry<'_>| of_entries.entry(entry)),
            "batch" => builder.batch_handler(MAX_BATCH, move |batch: &replication::Batch<'_>| of_entries.batch(batch)),
            other => panic!("unknown handler {other}"),
        };
        if let Some(writer) = step.get("of") {
            builder = builder.writer_addr(self.address(writer));
        }
        for (key, value) in step.get("config").and_then(Value::as_object).into_iter().flatten() {
            builder = options::of_receiver(self, builder, key, value);
        }
        let made = builder.build().map(Arc::new);
        if let Ok(handle) = &made {
            host.own.set(handle);
            self.readers.insert(text(&step["on"]).to_owned(), Reader { handle: Arc::clone(handle), host });
        }
        must_be(made, step);
    }

    pub fn token_step(&mut self, verb: &str, step: &Value) {
        match verb {
            "parse" => {
                let parsed = text(&step["text"]).parse::<Token>();
                if let Ok(token) = parsed {
                    self.tokens.lock().unwrap().insert(text(&step["token"]).to_owned(), token);
                }
                must_be(parsed, step);
            }
            "print" => assert_eq!(self.token(&step["token"]).to_string(), text(&step["text"])),
            "compare" => {
                let order = self.token(&step["first"]).order(&self.token(&step["second"]));
                assert_eq!(format!("{order:?}").to_uppercase(), text(&step["order"]));
            }
            _ => panic!("unknown verb token.{verb}"),
        }
    }

    pub fn peer_step(&mut self, verb: &str, step: &Value) {
        let name = text(&step["on"]);
        if verb == "connect" {
            self.peers.insert(name.to_owned(), Peer::connect(&self.address(&step["of"])));
            return;
        }
        let peer = self.peers.get_mut(name).unwrap_or_else(|| panic!("no peer {name}"));
        match verb {
            "send" => peer.send(step),
            "receive" => peer.receive(step),
            "closed" => peer.closed(),
            "close" => drop(self.peers.remove(name)),
            _ => panic!("unknown verb peer.{verb}"),
        }
    }

    pub fn file_step(&mut self, verb: &str, step: &Value) {
        let path = self.tmp().join(text(&step["path"]));
        match verb {
            "damage" => {
                let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
                let (mut byte, at) = ([0], number(&step["at"]));
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
            }
            "append" => {
                let mut file = OpenOptions::new().append(true).open(path).unwrap();
                file.write_all(&unhex(&step["hex"])).unwrap();
            }
            _ => panic!("unknown verb file.{verb}"),
        }
    }

    /// Creates the files that tests/scenarios/trouble.c looks for.
    pub fn set_disk(&self, state: &str) {
        assert!(["full", "broken", "well"].contains(&state), "unknown state {state}");
        for each in ["full", "broken"] {
            let mark = self.tmp().join(format!("disk-is-{each}"));
            if state == each {
                File::create(mark).unwrap();
            } else {
                let _ = std::fs::remove_file(mark);
            }
        }
    }
}

/// Returns which readers must have acknowledged, given as a number or a list of terms.
fn quorum(step: &Value) -> Quorum {
    let Some(terms) = step.get("quorum") else { return Quorum::any(number(&step["readers"]) as usize) };
    terms.as_array().unwrap().iter().map(|term| (term[0].as_str(), number(&term[1]) as usize)).collect()
}
