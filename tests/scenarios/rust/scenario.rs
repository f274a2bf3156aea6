//! The state of one scenario, and the mapping from verbs to the code that runs them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use replication::{Receiver, Result, Sender, Status, Token};
use serde_json::Value;
use tempfile::TempDir;

use crate::objects::{Ears, Order, Reader, Writer, named};
use crate::options::text;
use crate::peers::Peer;

/// The keys that a step may have.
const KEYS: &[&str] = &[
    "address",
    "as",
    "at",
    "at_least",
    "background",
    "bytes",
    "closed",
    "config",
    "count",
    "do",
    "entries",
    "equals",
    "event",
    "expect",
    "fail",
    "first",
    "handler",
    "held",
    "hex",
    "json",
    "keys",
    "kind",
    "level",
    "message",
    "name",
    "of",
    "on",
    "order",
    "path",
    "payloads",
    "peer",
    "quorum",
    "reader_id",
    "readers",
    "same_as",
    "second",
    "secret",
    "sequence",
    "state",
    "status",
    "stop_inside",
    "text",
    "timeout_ms",
    "token",
    "type",
    "value",
    "what",
    "writable",
];

pub struct Scenario<'a> {
    pub file: &'a Value,
    tmp: TempDir,
    pub addresses: Arc<Mutex<HashMap<String, String>>>,
    pub tokens: Arc<Mutex<HashMap<String, Token>>>,
    pub orders: HashMap<String, Arc<Order>>,
    pub background: HashMap<String, JoinHandle<Result<()>>>,
    pub writers: HashMap<String, Writer>,
    pub readers: HashMap<String, Reader>,
    pub peers: HashMap<String, Peer>,
}

impl<'a> Scenario<'a> {
    pub fn new(file: &'a Value) -> Self {
        Self {
            file,
            tmp: tempfile::tempdir().unwrap(),
            addresses: Arc::default(),
            tokens: Arc::default(),
            orders: HashMap::new(),
            background: HashMap::new(),
            writers: HashMap::new(),
            readers: HashMap::new(),
            peers: HashMap::new(),
        }
    }

    /// Runs a step. Panics if its result differs from the expected one.
    pub fn run(&mut self, step: &Value) {
        let unknown = step.as_object().unwrap().keys().find(|key| !KEYS.contains(&key.as_str()));
        assert!(unknown.is_none(), "unknown key {}", unknown.unwrap());
        let verb = text(&step["do"]);
        match verb.split_once('.') {
            Some(("sender", verb)) => self.sender_step(verb, step),
            Some(("receiver", verb)) => self.receiver_step(verb, step),
            Some(("expect", verb)) => self.expect_step(verb, step),
            Some(("peer", verb)) => self.peer_step(verb, step),
            Some(("token", verb)) => self.token_step(verb, step),
            Some(("file", verb)) => self.file_step(verb, step),
            _ => match verb {
                "disk.set" => self.set_disk(text(&step["state"])),
                "status.names" => self.status_names(),
                "join" => self.join(step),
                _ => panic!("unknown verb {verb}"),
            },
        }
    }

    /// Frees the remaining objects in order. Every background call must have been joined.
    pub fn end(mut self) {
        assert!(self.background.is_empty(), "background calls were not joined");
        self.free();
    }

    fn free(&mut self) {
        self.peers.clear();
        self.readers.values().for_each(|reader| reader.host.release());
        // Stopping ends the background calls. The scenario itself checks their results.
        self.readers.values().for_each(|reader| drop(reader.handle.stop()));
        self.writers.values().for_each(|writer| drop(writer.handle.stop()));
        self.background.drain().for_each(|(_, call)| drop(call.join()));
        self.readers.clear();
        self.writers.clear();
    }

    pub fn tmp(&self) -> &Path {
        self.tmp.path()
    }

    pub fn token(&self, name: &Value) -> Token {
        *named(&self.tokens.lock().unwrap(), name)
    }

    pub fn address(&self, name: &Value) -> String {
        named(&self.addresses.lock().unwrap(), name).clone()
    }

    pub fn sender(&self, step: &Value) -> Arc<Sender> {
        Arc::clone(&named(&self.writers, &step["on"]).handle)
    }

    pub fn receiver(&self, step: &Value) -> Arc<Receiver> {
        Arc::clone(&named(&self.readers, &step["on"]).handle)
    }

    pub fn is_sender(&self, step: &Value) -> bool {
        self.writers.contains_key(text(&step["on"]))
    }

    pub fn ears(&self, step: &Value) -> &Ears {
        if self.is_sender(step) {
            &named(&self.writers, &step["on"]).heard.ears
        } else {
            &named(&self.readers, &step["on"]).host.ears
        }
    }

    /// Makes a call and compares its status with the one that the step expects. A background call is checked by a later
    /// `join` instead.
    pub fn make(&mut self, step: &Value, call: impl FnOnce() -> Result<()> + Send + 'static) {
        match step.get("background") {
            None => must_be(call(), step),
            Some(name) => {
                let replaced = self.background.insert(text(name).to_owned(), std::thread::spawn(call));
                assert!(replaced.is_none(), "the background call {name} was not joined");
            }
        }
    }

    fn join(&mut self, step: &Value) {
        let call = self.background.remove(text(&step["on"])).unwrap_or_else(|| panic!("no call {}", step["on"]));
        must_be(call.join().unwrap(), step);
    }
}

impl Drop for Scenario<'_> {
    fn drop(&mut self) {
        self.free();
    }
}

/// Asserts that the result of a call is the one that the step expects.
pub fn must_be<T>(got: Result<T>, step: &Value) {
    let expected = step.get("expect").map_or(Status::Ok, status);
    let (status, message) = match &got {
        Ok(_) => (Status::Ok, ""),
        Err(error) => (error.status(), error.message()),
    };
    assert_eq!(status, expected, "{message}");
    if let Some(part) = step.get("message") {
        assert!(message.contains(text(part)), "\"{message}\" lacks {part}");
    }
}

pub fn status(name: &Value) -> Status {
    Status::from_name(text(name)).unwrap_or_else(|| panic!("unknown status {name}"))
}
