//! Addresses as hosts write them: `host:port`, `[v6]:port`, `unix:/path`.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result, Status};

/// Where to listen or connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host name or IP address, and a port.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port; 0 lets the system choose when listening.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Parses an address.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            let form = "write \"host:port\", \"[v6 address]:port\" or \"unix:/path\"";
            Error::new(Status::BadAddress, format!("address \"{text}\" {why}: {form}"))
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                0 => Err(bad("has no path")),
                // sun_path with its terminating zero.
                length if length >= 108 => Err(bad(&format!("has a path of {length} bytes, at most 107"))),
                _ => Ok(Self::Unix(PathBuf::from(path))),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| bad("has no port"))?;
        let port = port.parse().map_err(|_| bad("has a port that is no number from 0 to 65535"))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(|| bad("has a bracket that is not closed"))?,
            None if host.contains(':') => return Err(bad("has a v6 address without brackets")),
            None => host,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/' || c == '\0') {
            return Err(bad("has no valid host"));
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print() {
        for text in ["127.0.0.1:0", "localhost:9000", "[::1]:65535", "unix:/tmp/a b.sock"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_addresses_are_named() {
        let long = format!("unix:/{}", "x".repeat(107));
        let bad =
            ["", ":", ":80", "host", "host:", "host:65536", "host:-1", "::1:80", "[::1:80", "a b:1", "unix:", &long];
        for text in bad {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.status, Status::BadAddress);
            assert!(error.message.contains(text), "{error}");
        }
    }
}
