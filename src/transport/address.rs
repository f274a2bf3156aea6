//! Addresses as hosts write them: `host:port`, `[v6]:port`, `unix:/path`, `unix:@name`, and lists of them.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Status};

/// The longest path, or name in the abstract namespace, that fits into a socket address.
pub(super) const MAX_PATH_BYTES: usize = 107;

/// The longest file name of a socket with a longer path, which is reached through a descriptor of its directory.
const MAX_FILE_NAME_BYTES: usize = 80;

/// The most addresses in a list.
const MAX_LIST: usize = 32;

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
    /// The name of a Unix socket in the abstract namespace, without the `@`.
    Abstract(String),
}

impl Address {
    /// Parses an address. The path of a Unix socket becomes absolute: the working directory may change later.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            let form = "write \"host:port\", \"[v6 address]:port\", \"unix:/path\" or \"unix:@name\"";
            Error::new(Status::BadAddress, format!("address \"{text}\" {why}: {form}"))
        };
        if let Some(path) = text.strip_prefix("unix:") {
            if path.contains('\0') {
                return Err(bad("contains a NUL"));
            }
            if let Some(name) = path.strip_prefix('@') {
                return match name.len() {
                    0 => Err(bad("has no name")),
                    MAX_PATH_BYTES.. => Err(bad(&format!("has a name of {} bytes, at most 106", name.len()))),
                    _ => Ok(Self::Abstract(name.to_owned())),
                };
            }
            let file_name = Path::new(path).file_name().filter(|_| !path.ends_with('/'));
            return match file_name {
                _ if path.is_empty() => Err(bad("has no path")),
                None => Err(bad("names a directory")),
                Some(name) if path.len() > MAX_PATH_BYTES && name.len() > MAX_FILE_NAME_BYTES => {
                    let (path, name) = (path.len(), name.len());
                    Err(bad(&format!("has a path of {path} bytes, at most 107 unless the file's name, {name}, has 80")))
                }
                Some(_) => Ok(Self::Unix(absolute(Path::new(path))?)),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| bad("has no port"))?;
        let port = port.parse().map_err(|_| bad("has a port that is no number from 0 to 65535"))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(|| bad("has a bracket that is not closed"))?,
            None if host.contains(':') => return Err(bad("has a v6 address without brackets")),
            None => host,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '\0' | ',')) {
            return Err(bad("has no valid host"));
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }

    /// Parses addresses that are separated by commas; at least one.
    pub fn parse_list(text: &str) -> Result<Vec<Self>> {
        let list = pieces(text).map(Self::parse).collect::<Result<Vec<_>>>()?;
        if list.len() > MAX_LIST {
            let text = format!("a list of {} addresses, at most {MAX_LIST} are tried", list.len());
            return Err(Error::new(Status::BadAddress, text));
        }
        Ok(list)
    }

    /// The list as it was given, but with absolute paths of Unix sockets. Parts that are no addresses stay as they are.
    pub fn absolute_list(text: &str) -> Result<String> {
        let absolute = |piece: &str| match Self::parse(piece) {
            Ok(address @ Self::Unix(_)) => Ok(address.to_string()),
            Ok(_) => Ok(piece.to_owned()),
            Err(error) if error.status == Status::BadAddress => Ok(piece.to_owned()),
            Err(error) => Err(error),
        };
        Ok(pieces(text).map(absolute).collect::<Result<Vec<_>>>()?.join(","))
    }

    /// The name and the address that it resolved to, as text for people.
    pub(super) fn resolved(&self, ip: std::net::IpAddr) -> String {
        match self {
            Self::Tcp { host, .. } if host.parse() != Ok(ip) => format!("{self} ({ip})"),
            _ => self.to_string(),
        }
    }
}

/// The parts of a list, without blanks around the commas. A single address is taken as it is.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let is_list = text.contains(',');
    text.split(',').map(move |piece| if is_list { piece.trim() } else { piece })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|e| {
        let text = format!("the path \"{}\" cannot be made absolute: {e}; give an absolute path", path.display());
        Error::new(Status::Io, text)
    })?;
    if absolute.to_str().is_none() {
        let text = format!("\"{}\" is not UTF-8; give an absolute path that is", absolute.display());
        return Err(Error::new(Status::InvalidArgument, text));
    }
    Ok(absolute)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print() {
        for text in ["127.0.0.1:0", "localhost:9000", "[::1]:65535", "unix:/tmp/a b.sock", "unix:@replication"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("unix:@a").unwrap(), Address::Abstract("a".into()));
    }

    #[test]
    fn bad_addresses_are_named() {
        let long = format!("unix:/{}", "x".repeat(107));
        let long_name = format!("unix:@{}", "x".repeat(107));
        let bad = [
            "",
            ":",
            ":80",
            "host",
            "host:",
            "host:65536",
            "host:-1",
            "::1:80",
            "[::1:80",
            "a b:1",
            "unix:",
            "unix:@",
            "unix:/tmp/",
            "unix:/a\0b",
            "a,b:1",
            &long,
            &long_name,
        ];
        for text in bad {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.status, Status::BadAddress);
            assert!(error.message.contains(&text.replace('\0', "\\u{0}")), "{error}");
        }
    }

    #[test]
    fn lists_parse_and_an_error_names_the_entry() {
        let list = Address::parse_list("a:1, [::1]:2,unix:/x").unwrap();
        let texts: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a:1", "[::1]:2", "unix:/x"]);
        assert_eq!(Address::parse_list("unix:/tmp/ a ").unwrap()[0], Address::Unix("/tmp/ a ".into()));
        for (bad, piece) in [("a:1,", "\"\""), ("a:1,,b:2", "\"\""), ("a:1,b", "\"b\""), (",", "\"\"")] {
            let error = Address::parse_list(bad).unwrap_err();
            assert_eq!(error.status, Status::BadAddress);
            assert!(error.message.contains(piece), "{error}");
        }
        let many = vec!["a:1"; MAX_LIST + 1].join(",");
        assert_eq!(Address::parse_list(&many).unwrap_err().status, Status::BadAddress);
    }

    #[test]
    fn paths_become_absolute_and_may_grow_by_it() {
        let here = std::env::current_dir().unwrap();
        let Address::Unix(path) = Address::parse("unix:writer.sock").unwrap() else { panic!("no path") };
        assert_eq!(path, here.join("writer.sock"));
        let text = format!("a:1,unix:{}", path.display());
        assert_eq!(Address::absolute_list("a:1, unix:writer.sock").unwrap(), text);
        assert_eq!(Address::absolute_list("nowhere").unwrap(), "nowhere");
        assert_eq!(Address::absolute_list("unix:@name").unwrap(), "unix:@name");
        let deep = format!("unix:/{}/writer.sock", "d".repeat(150));
        assert_eq!(Address::parse(&deep).unwrap().to_string(), deep);
    }
}
