//! Plain sockets, for traffic that no sender or receiver of this library produces.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::expect::PATIENCE;
use crate::options::{number, text, unhex};

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// One end of a connection. Reads time out.
pub struct Peer(Box<dyn Stream>);

impl Peer {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(Box::new(stream))
    }

    /// Returns a peer and the socket that is connected to it.
    pub fn pair() -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        (Self(Box::new(ours)), theirs)
    }

    pub fn send(&mut self, step: &Value) {
        self.0.write_all(&frame(step)).unwrap();
    }

    pub fn receive(&mut self, step: &Value) {
        let wanted = frame(step);
        let mut got = vec![0; wanted.len()];
        self.0.read_exact(&mut got).unwrap();
        assert_eq!(got.escape_ascii().to_string(), wanted.escape_ascii().to_string());
    }

    /// Reads until the other side closes the connection, as it must. A reset counts as a close.
    pub fn closed(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.0.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the connection does not end: {error}"),
            }
        }
    }
}

/// Returns the bytes of a step, or the encoded v1 message that it describes.
fn frame(step: &Value) -> Vec<u8> {
    if let Some(hex) = step.get("hex") {
        return unhex(hex);
    }
    let json = text(&step["json"]).as_bytes();
    let length = u32::try_from(json.len() + 1).unwrap().to_be_bytes();
    [&length[..], &[number(&step["type"]) as u8], json].concat()
}
