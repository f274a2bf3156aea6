//! The arguments, made into a command. Nothing is opened or looked up here, except whether the operand of `tail` is a
//! directory.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lexopt::prelude::*;
use replication::receiver::config::ProtocolChoice;

use crate::failure::Failure;
use crate::help;

/// What is asked for.
#[derive(Debug)]
pub enum Request {
    /// A text of help.
    Help(&'static str),
    /// The version.
    Version,
    /// A command.
    Run(Command),
}

/// A command with its options.
#[derive(Debug)]
pub enum Command {
    /// What is in a directory.
    Inspect(Directory),
    /// Whether a log is whole.
    Verify(Verify),
    /// Entries on disk.
    Dump(Dump),
    /// Entries as they come.
    Tail(Box<Tail>),
    /// The slots of a writer's log.
    Slots(Directory),
    /// What a token says.
    Token(Token),
}

/// A directory, and the form of the output.
#[derive(Debug, Default)]
pub struct Directory {
    /// The log's directory.
    pub dir: PathBuf,
    /// Output for programs.
    pub json: bool,
}

/// Options of `verify`.
#[derive(Debug, Default)]
pub struct Verify {
    /// The log's directory.
    pub dir: PathBuf,
    /// Output for programs.
    pub json: bool,
    /// Tell progress wherever standard error leads.
    pub progress: bool,
}

/// How an entry is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// One JSON object a line.
    pub json: bool,
    /// How its payload is printed.
    pub payload: Payload,
}

/// How a payload is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Not at all.
    None,
    /// The beginning of it as text.
    Preview,
    /// As text.
    Text,
    /// As hexadecimal digits.
    Hex,
    /// As base64.
    Base64,
    /// As the JSON of its records.
    Records,
}

/// Options of `dump`.
#[derive(Debug)]
pub struct Dump {
    /// The log's directory.
    pub dir: PathBuf,
    /// The first sequence.
    pub from: Option<u64>,
    /// The last sequence.
    pub to: u64,
    /// The first timestamp.
    pub since_us: Option<u64>,
    /// So many entries at most.
    pub limit: u64,
    /// How they are printed.
    pub form: Form,
}

/// Where `tail` begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the oldest entry there is.
    Oldest,
    /// At this sequence.
    At(u64),
    /// After the last one there is.
    End,
}

/// What `tail` reads.
#[derive(Debug)]
pub enum Source {
    /// A log's directory.
    Directory(PathBuf),
    /// A writer.
    Writer(String),
}

/// Options of `tail`.
#[derive(Debug)]
pub struct Tail {
    /// What to read.
    pub source: Source,
    /// Where to begin.
    pub begin: Begin,
    /// Go on at the end.
    pub follow: bool,
    /// So many entries at most.
    pub limit: u64,
    /// How they are printed.
    pub form: Form,
    /// How to speak to a writer.
    pub link: Link,
}

/// How `tail` speaks to a writer.
#[derive(Debug)]
pub struct Link {
    /// The name the writer sees.
    pub reader_id: String,
    /// Which protocols may be spoken.
    pub protocol: ProtocolChoice,
    /// The coordinator's handshake.
    pub coordinator: bool,
    /// The files of TLS.
    pub tls: Tls,
    /// Say when connections come and go.
    pub verbose: bool,
}

/// The files of TLS; without `ca` there is none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The writer's authorities.
    pub ca: Option<PathBuf>,
    /// The writer's name.
    pub name: Option<String>,
    /// This reader's certificates.
    pub cert: Option<PathBuf>,
    /// Their key.
    pub key: Option<PathBuf>,
}

/// What `token` decodes.
#[derive(Debug)]
pub struct Token {
    /// Where it is.
    pub source: TokenSource,
    /// Output for programs.
    pub json: bool,
}

/// Where a token is.
#[derive(Debug)]
pub enum TokenSource {
    /// In the argument.
    Hex(String),
    /// In a reader's directory.
    Directory(PathBuf),
}

/// What the arguments ask for.
pub fn parse(mut parser: lexopt::Parser) -> Result<Request, Failure> {
    let mut at = At("");
    let name = match parser.next().map_err(|error| at.error(error))? {
        None => return at.wrong("a command is missing: inspect, verify, dump, tail, slots or token"),
        Some(Short('h') | Long("help")) => return Ok(Request::Help(help::PROGRAM)),
        Some(Short('V') | Long("version")) => return Ok(Request::Version),
        Some(Value(name)) => name,
        Some(option) => return Err(at.error(option.unexpected())),
    };
    let parse = match name.to_str() {
        Some("inspect") => inspect,
        Some("verify") => verify,
        Some("dump") => dump,
        Some("tail") => tail,
        Some("slots") => slots,
        Some("token") => token,
        Some("help") => return help_of(&mut parser),
        _ => return at.wrong(format!("there is no command {name:?}; `replctl --help` lists them")),
    };
    parse(&mut parser, &mut at)
}

fn help_of(parser: &mut lexopt::Parser) -> Result<Request, Failure> {
    let at = At("");
    match parser.next().map_err(|error| at.error(error))? {
        None | Some(Short('h') | Long("help")) => Ok(Request::Help(help::PROGRAM)),
        Some(Value(name)) => match name.to_str() {
            Some("inspect") => Ok(Request::Help(help::INSPECT)),
            Some("verify") => Ok(Request::Help(help::VERIFY)),
            Some("dump") => Ok(Request::Help(help::DUMP)),
            Some("tail") => Ok(Request::Help(help::TAIL)),
            Some("slots") => Ok(Request::Help(help::SLOTS)),
            Some("token") => Ok(Request::Help(help::TOKEN)),
            _ => at.wrong(format!("there is no command {name:?}; `replctl --help` lists them")),
        },
        Some(option) => Err(at.error(option.unexpected())),
    }
}

/// The command whose arguments are read, for the hint in errors: a space and its name.
struct At(&'static str);

impl At {
    fn wrong<T>(&self, text: impl Into<String>) -> Result<T, Failure> {
        Err(Failure::Usage { command: self.0, text: text.into() })
    }

    fn error(&self, error: lexopt::Error) -> Failure {
        Failure::Usage { command: self.0, text: error.to_string() }
    }

    /// The next argument; `Err(Ok(..))` is a request that ends the parsing.
    fn next<'p>(&self, parser: &'p mut lexopt::Parser) -> Result<Option<lexopt::Arg<'p>>, Failure> {
        parser.next().map_err(|error| self.error(error))
    }

    fn value(&self, parser: &mut lexopt::Parser) -> Result<OsString, Failure> {
        parser.value().map_err(|error| self.error(error))
    }

    /// The value of an option that is text.
    fn text(&self, parser: &mut lexopt::Parser, option: &str) -> Result<String, Failure> {
        self.value(parser)?.into_string().or_else(|value| self.wrong(format!("{option}: {value:?} is no UTF-8")))
    }

    /// The value of an option that is a number of at least 1.
    fn number(&self, parser: &mut lexopt::Parser, option: &str) -> Result<u64, Failure> {
        let text = self.text(parser, option)?;
        self.positive(&text, option)
    }

    fn positive(&self, text: &str, option: &str) -> Result<u64, Failure> {
        // `parse` alone would take a plus sign as well.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number @ 1..) if digits => Ok(number),
            _ => self.wrong(format!("{option} takes a number from 1 to {}, not '{text}'", u64::MAX)),
        }
    }

    fn path(&self, parser: &mut lexopt::Parser) -> Result<PathBuf, Failure> {
        self.value(parser).map(PathBuf::from)
    }

    /// Takes the one operand.
    fn operand(&self, place: &mut Option<OsString>, value: OsString) -> Result<(), Failure> {
        match place.replace(value) {
            None => Ok(()),
            Some(_) => {
                let last = place.take().unwrap_or_default();
                self.wrong(format!("one argument too many: {last:?}"))
            }
        }
    }

    fn required(&self, place: Option<OsString>, what: &str) -> Result<OsString, Failure> {
        match place {
            Some(value) if !value.is_empty() => Ok(value),
            _ => self.wrong(format!("{what} is missing")),
        }
    }
}

/// What every command has. Gives the argument back if it is something else.
macro_rules! options {
    ($parser:ident, $at:ident, $help:expr, { $($pattern:pat => $taken:expr,)* }) => {
        while let Some(argument) = $at.next($parser)? {
            match argument {
                Short('h') | Long("help") => return Ok(Request::Help($help)),
                Short('V') | Long("version") => return Ok(Request::Version),
                $($pattern => $taken,)*
                other => {
                    let error = other.unexpected();
                    return Err($at.error(error));
                }
            }
        }
    };
}

fn inspect(parser: &mut lexopt::Parser, at: &mut At) -> Result<Request, Failure> {
    at.0 = " inspect";
    directory(parser, at, help::INSPECT, Command::Inspect)
}

fn slots(parser: &mut lexopt::Parser, at: &mut At) -> Result<Request, Failure> {
    at.0 = " slots";
    directory(parser, at, help::SLOTS, Command::Slots)
}

fn directory(
    parser: &mut lexopt::Parser,
    at: &At,
    help: &'static str,
    command: impl FnOnce(Directory) -> Command,
) -> Result<Request, Failure> {
    let (mut dir, mut json) = (None, false);
    options!(parser, at, help, {
        Long("json") => json = true,
        Value(value) => at.operand(&mut dir, value)?,
    });
    let dir = at.required(dir, "the directory of the log")?.into();
    Ok(Request::Run(command(Directory { dir, json })))
}

fn verify(parser: &mut lexopt::Parser, at: &mut At) -> Result<Request, Failure> {
    at.0 = " verify";
    let (mut dir, mut options) = (None, Verify::default());
    options!(parser, at, help::VERIFY, {
        Long("json") => options.json = true,
        Long("progress") => options.progress = true,
        Value(value) => at.operand(&mut dir, value)?,
    });
    options.dir = at.required(dir, "the directory of the log")?.into();
    Ok(Request::Run(Command::Verify(options)))
}

/// The form, from what was said of it.
fn form(at: &At, json: bool, payload: Option<Payload>) -> Result<Form, Failure> {
    let payload = match (payload, json) {
        (Some(Payload::Preview), true) => {
            return at.wrong("--payload preview is for people; with --json take text, hex, base64, records or none");
        }
        (Some(payload), _) => payload,
        (None, true) => Payload::Base64,
        (None, false) => Payload::Preview,
    };
    Ok(Form { json, payload })
}

fn payload(parser: &mut lexopt::Parser, at: &At) -> Result<Payload, Failure> {
    let text = at.text(parser, "--payload")?;
    Ok(match text.as_str() {
        "none" => Payload::None,
        "preview" => Payload::Preview,
        "text" => Payload::Text,
        "hex" => Payload::Hex,
        "base64" => Payload::Base64,
        "records" => Payload::Records,
        _ => {
            return at.wrong(format!("--payload takes none, preview, text, hex, base64 or records, not '{text}'"));
        }
    })
}

fn dump(parser: &mut lexopt::Parser, at: &mut At) -> Result<Request, Failure> {
    at.0 = " dump";
    let (mut dir, mut from, mut to, mut since_us, mut limit) = (None, None, u64::MAX, None, u64::MAX);
    let (mut json, mut shown) = (false, None);
    options!(parser, at, help::DUMP, {
        Long("from") => from = Some(at.number(parser, "--from")?),
        Long("to") => to = at.number(parser, "--to")?,
        Long("since") => since_us = Some(time(at, &at.text(parser, "--since")?)?),
        Long("limit") => limit = at.number(parser, "--limit")?,
        Long("payload") => shown = Some(payload(parser, at)?),
        Long("json") => json = true,
        Value(value) => at.operand(&mut dir, value)?,
    });
    if from.is_some_and(|from| from > to) {
        return at.wrong(format!("--to {to} lies before --from"));
    }
    let form = form(at, json, shown)?;
    let dir = at.required(dir, "the directory of the log")?.into();
    Ok(Request::Run(Command::Dump(Dump { dir, from, to, since_us, limit, form })))
}

fn tail(parser: &mut lexopt::Parser, at: &mut At) -> Result<Request, Failure> {
    at.0 = " tail";
    let (mut what, mut begin, mut follow, mut limit) = (None, Begin::Oldest, false, u64::MAX);
    let (mut json, mut shown) = (false, None);
    let mut link = Link {
        reader_id: "replctl".into(),
        protocol: ProtocolChoice::Auto,
        coordinator: false,
        tls: Tls::default(),
        verbose: false,
    };
    let mut for_writers = None;
    options!(parser, at, help::TAIL, {
        Long("from") => begin = match at.text(parser, "--from")?.as_str() {
            "end" => Begin::End,
            text => Begin::At(at.positive(text, "--from (beside `end`)")?),
        },
        Short('f') | Long("follow") => follow = true,
        Long("limit") => limit = at.number(parser, "--limit")?,
        Long("payload") => shown = Some(payload(parser, at)?),
        Long("json") => json = true,
        Long("reader-id") => {
            link.reader_id = at.text(parser, "--reader-id")?;
            for_writers = Some("--reader-id");
        },
        Long("protocol") => {
            link.protocol = protocol(at, &at.text(parser, "--protocol")?)?;
            for_writers = Some("--protocol");
        },
        Long("coordinator") => {
            link.coordinator = true;
            for_writers = Some("--coordinator");
        },
        Long("tls-ca") => link.tls.ca = Some(at.path(parser)?),
        Long("tls-name") => link.tls.name = Some(at.text(parser, "--tls-name")?),
        Long("tls-cert") => link.tls.cert = Some(at.path(parser)?),
        Long("tls-key") => link.tls.key = Some(at.path(parser)?),
        Short('v') | Long("verbose") => link.verbose = true,
        Value(value) => at.operand(&mut what, value)?,
    });
    let source = source(at.required(what, "the directory of a log, or the address of a writer,")?);
    if link.tls != Tls::default() {
        for_writers = Some("--tls-...");
        if link.tls.ca.is_none() {
            return at.wrong("TLS needs the writer's authorities: --tls-ca FILE");
        }
        if link.tls.cert.is_some() != link.tls.key.is_some() {
            return at.wrong("--tls-cert and --tls-key belong together");
        }
    }
    if let (Source::Directory(dir), Some(option)) = (&source, for_writers) {
        return at.wrong(format!("{option} is for a writer, but {dir:?} is a directory"));
    }
    if begin == Begin::End && !follow {
        return at.wrong("--from end prints nothing without --follow");
    }
    let form = form(at, json, shown)?;
    Ok(Request::Run(Command::Tail(Box::new(Tail { source, begin, follow, limit, form, link }))))
}

fn protocol(at: &At, text: &str) -> Result<ProtocolChoice, Failure> {
    match text {
        "auto" => Ok(ProtocolChoice::Auto),
        "v1" => Ok(ProtocolChoice::V1),
        "v2" => Ok(ProtocolChoice::V2),
        _ => at.wrong(format!("--protocol takes auto, v1 or v2, not '{text}'")),
    }
}

/// An address has a colon and no slash, or begins with `unix:`; each one of a list does. A directory that is there is one
/// whatever its name.
fn source(operand: OsString) -> Source {
    match operand.into_string() {
        Ok(text) if text.starts_with("unix:") || is_writer(&text) && !std::path::Path::new(&text).is_dir() => {
            Source::Writer(text)
        }
        Ok(text) => Source::Directory(text.into()),
        Err(path) => Source::Directory(path.into()),
    }
}

fn is_writer(text: &str) -> bool {
    let is_address = |piece: &str| piece.starts_with("unix:") || piece.contains(':') && !piece.contains('/');
    text.split(',').map(str::trim).all(is_address)
}

fn token(parser: &mut lexopt::Parser, at: &mut At) -> Result<Request, Failure> {
    at.0 = " token";
    let (mut digits, mut dir, mut json) = (None, None, false);
    options!(parser, at, help::TOKEN, {
        Long("json") => json = true,
        Long("dir") => dir = Some(at.path(parser)?),
        Value(value) => at.operand(&mut digits, value)?,
    });
    let source = match (digits, dir) {
        (None, Some(dir)) => TokenSource::Directory(dir),
        (Some(_), Some(_)) => return at.wrong("a token or --dir, not both"),
        (digits, None) => {
            let digits = at.required(digits, "the token")?;
            TokenSource::Hex(digits.into_string().or_else(|text| at.wrong(format!("{text:?} is no token")))?)
        }
    };
    Ok(Request::Run(Command::Token(Token { source, json })))
}

/// A time in microseconds since the Unix epoch.
fn time(at: &At, text: &str) -> Result<u64, Failure> {
    let since_epoch = |time: SystemTime| {
        let span = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
    };
    let parsed = if let Some(seconds) = text.strip_prefix('@') {
        unix_seconds(seconds)
    } else if let Ok(span) = humantime::parse_duration(text) {
        Some(SystemTime::now().checked_sub(span).map_or(0, since_epoch))
    } else {
        let day = format!("{text}T00:00:00Z");
        let time = humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339(&day));
        time.ok().map(since_epoch)
    };
    match parsed {
        Some(time) => Ok(time),
        None => at.wrong(format!(
            "--since takes a time such as 2026-01-31, 2026-01-31T12:00:00Z, @1769860800 or 15m, not '{text}'"
        )),
    }
}

/// Seconds with at most six places after the point, in microseconds.
fn unix_seconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 6 {
        return None;
    }
    let micros: u64 = format!("{part:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(text: &str) -> Option<u64> {
        time(&At(""), text).ok()
    }

    #[test]
    fn times_are_read_in_each_form() {
        assert_eq!(since("2026-01-31"), Some(1_769_817_600_000_000));
        assert_eq!(since("2026-01-31T00:00:01Z"), Some(1_769_817_601_000_000));
        assert_eq!(since("2026-01-31 00:00:01.5"), Some(1_769_817_601_500_000));
        assert_eq!(since("@1769817600"), Some(1_769_817_600_000_000));
        assert_eq!(since("@1.5"), Some(1_500_000));
        assert_eq!(since("@18446744073709.551615"), Some(u64::MAX));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        let ago = now - since("1h 30m").unwrap();
        assert!((5_300_000_000..5_500_000_000).contains(&ago), "{ago}");
        assert_eq!(since("1000000y"), Some(0));
        for text in ["", "yesterday", "@", "@1.", "@-1", "@1.0000001", "@18446744073709.551616", "2026-13-01", "5"] {
            assert_eq!(since(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_whole_and_exact() {
        let number = |text: &str| At("").positive(text, "--from").ok();
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        assert_eq!(number("1"), Some(1));
        for text in ["0", "+1", "-1", "", "1e3", "18446744073709551616", " 1"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
