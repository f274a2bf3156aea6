//! Declares the command line. The parser, the help, the manual page and the completions are made from it; its doc
//! comments are the texts of the help.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};
use replication::identity::{Origin, StatedIdentity};
use replication::receiver::config::ProtocolChoice;

use crate::access::origin;
use crate::texts::{examples, exit_statuses};
use crate::values::{Begin, Source, begin, positive, source, text, time, token};

/// The heading of the options that apply only to a live writer.
pub const FOR_A_WRITER: &str = "Options for a writer";

/// Inspect replication logs and live writers
///
/// Shows what libreplication keeps and sends: the log of a writer or a reader on disk, and the stream of a live writer.
/// It changes nothing and takes no lock, so it can run beside a writer.
///
/// Output is for people, or with --json for programs: one JSON object a line, in which numbers are exact 64-bit
/// integers.
#[derive(Debug, Parser)]
#[command(name = "replctl", version, propagate_version = true, args_override_self = true, max_term_width = 80)]
#[command(after_long_help = exit_statuses())]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

/// The command line without the hidden command.
pub fn declaration() -> clap::Command {
    // Every command prints the version as the program does.
    Arguments::command().mut_subcommands(|command| command.display_name("replctl"))
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what is in a log's directory
    ///
    /// Reads the heads of the files and shows whose log it is, which entries it has and which of them are durable, its
    /// segments, the slots of its readers, who holds it open, and how far the handler came if it is a reader's log.
    ///
    /// It does not check the entries; `replctl verify` does. SPAN is the last sequence minus the one before the
    /// segment: the number of its entries, unless the stream skips numbers.
    #[command(after_long_help = examples("inspect"))]
    Inspect(Inspect),

    /// Read a whole log and check every checksum
    ///
    /// Checks the checksum of each entry, that each entry follows the one before it, the chain hash, the index of each
    /// segment, that the segments fit together, the slots, and a reader's position. It can run beside a writer: it
    /// ignores what the writer adds meanwhile, and leaves out what retention removes. On a terminal a bar shows the
    /// progress of a check that takes longer than a second.
    ///
    /// The exit status is 3 if the log is whole but ends with bytes that are not a whole entry, as a crash leaves them;
    /// the next opening cuts them off. It is 4 if the log is damaged; the output names the file, the byte, and the
    /// entries that are affected.
    #[command(after_long_help = examples("verify"))]
    Verify(Verify),

    /// Print entries of a log
    ///
    /// Prints the entries in order, to the end of the log. If the entry that --from names is gone, it prints the rest,
    /// and the exit status is 5.
    ///
    /// The objects of --json have sequence, previous, timestamp_us, epoch, length, and one of payload_base64,
    /// payload_hex, payload_text and records. A text that is not UTF-8 is printed as payload_base64.
    #[command(after_long_help = examples("dump"))]
    Dump(Dump),

    /// Print entries as they come, from disk or from a writer
    ///
    /// Prints the entries of a log on disk or of a live writer. With --follow it waits for more until SIGINT or
    /// SIGTERM ends it; the exit status is then 0. If entries are gone before it could print them, it says so on
    /// standard error, prints the rest, and the exit status is 5.
    ///
    /// A writer counts this reader like any other: it takes part in sender_wait_acked, another reader of the same id
    /// replaces it, and a writer with a log on disk keeps a slot for it, which holds the log back until it expires or
    /// sender_drop_slot drops it. With --follow it connects again when the connection breaks; if it cannot reach the
    /// writer in the first place, the exit status is 1.
    #[command(after_long_help = examples("tail"))]
    Tail(Box<Tail>),

    /// List the readers that a log is kept for
    ///
    /// Lists the slots in a writer's log: how far each reader has come, and how much of the log is kept for it.
    ///
    /// A slot is held or lost. A lost slot held back more of the log than the writer allows, and its reader cannot go
    /// on. HELD is the size of the log after the slot. A writer stores its slots about once a second, so the list may
    /// be a second old.
    #[command(after_long_help = examples("slots"))]
    Slots(Slots),

    /// Show what a position token says
    ///
    /// Shows the stream, the epoch, the last sequence before the position, and the chain hash of the history up to it.
    #[command(after_long_help = examples("token"))]
    Token(Token),

    /// Say which access rule decides about a connection
    ///
    /// Goes through a sender's access rules as the sender would for such a connection: prints why each rule is not about it,
    /// the one that decides, and the rights. The exit status is 6 if the connection may not follow. Statistics and events
    /// have the address and the identity of a reader in the form that this takes.
    #[command(after_long_help = examples("access"))]
    Access(Access),
}

#[derive(Args, Debug)]
pub struct Inspect {
    /// The directory of the log
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Verify {
    /// The directory of the log
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,

    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,

    /// Report progress on standard error even if it is not a terminal
    #[arg(long)]
    pub progress: bool,
}

#[derive(Args, Debug)]
pub struct Dump {
    /// The directory of the log
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,

    /// Begin at this sequence; without it, at the oldest entry
    #[arg(long, value_name = "SEQ", value_parser = text(positive), allow_negative_numbers = true)]
    pub from: Option<u64>,

    /// End at this sequence; without it, at the last entry
    #[arg(long, value_name = "SEQ", value_parser = text(positive), allow_negative_numbers = true)]
    #[arg(default_value_t = u64::MAX, hide_default_value = true)]
    pub to: u64,

    /// Begin at the first entry from this time or later
    ///
    /// TIME is a date (2026-01-31), a date and a time in UTC (2026-01-31T12:00:00Z), a number of seconds since the Unix
    /// epoch (@1769860800), or a span before now (90s, 15m, 2h, 1d). The times of entries are those that the database
    /// gave; if they do not always rise, earlier entries may be late enough as well.
    #[arg(long = "since", value_name = "TIME", value_parser = text(time))]
    pub since_us: Option<u64>,

    #[command(flatten)]
    pub printed: Printed,
}

#[derive(Args, Debug)]
pub struct Tail {
    /// The directory of a log, or the address of a writer
    ///
    /// An address is host:port, [v6]:port, unix:/path or unix:@name. Of several, separated by commas, it reads from the
    /// first that is the writer.
    #[arg(value_name = "DIR|ADDRESS", value_parser = PathBufValueParser::new().map(source))]
    #[arg(value_hint = ValueHint::DirPath)]
    pub source: Source,

    /// Begin at this sequence, or with `end` after the last entry; without it, at the oldest entry
    #[arg(long, value_name = "SEQ|end", value_parser = text(begin), allow_negative_numbers = true)]
    pub from: Option<Begin>,

    /// Wait for more entries at the end, until a signal comes
    #[arg(long, short)]
    pub follow: bool,

    #[command(flatten)]
    pub printed: Printed,

    /// Report when connections to the writer come and go
    #[arg(long, short)]
    pub verbose: bool,

    #[command(flatten)]
    pub link: Link,
}

impl Tail {
    /// Where to begin.
    pub fn begin(&self) -> Begin {
        self.from.unwrap_or(Begin::Oldest)
    }
}

/// Which entries are printed, and how.
#[derive(Args, Debug)]
pub struct Printed {
    /// Print at most this many entries
    #[arg(long, value_name = "N", value_parser = text(positive), allow_negative_numbers = true)]
    #[arg(default_value_t = u64::MAX, hide_default_value = true)]
    pub limit: u64,

    /// How to print payloads; without it, as preview, and with --json as base64
    #[arg(long, value_name = "FORM")]
    pub payload: Option<Payload>,

    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

impl Printed {
    /// How each entry is printed.
    pub fn form(&self) -> Form {
        let usual = if self.json { Payload::Base64 } else { Payload::Preview };
        Form { json: self.json, payload: self.payload.unwrap_or(usual) }
    }
}

/// How an entry is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// One JSON object a line.
    pub json: bool,
    /// How its payload is printed.
    pub payload: Payload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// Not at all
    None,
    /// As text, cut at 64 bytes
    Preview,
    /// As text, with escapes for what is not text
    Text,
    /// As hexadecimal digits
    Hex,
    /// As base64
    Base64,
    /// As JSON if it is records in msgpack, else as base64
    Records,
}

/// How `tail` speaks to a writer.
#[derive(Args, Debug)]
#[command(next_help_heading = FOR_A_WRITER)]
pub struct Link {
    /// The name by which the writer knows this reader
    #[arg(long, value_name = "ID", default_value = "replctl", value_parser = text(|id| Ok(id.to_owned())))]
    pub reader_id: String,

    /// The version of the protocol
    #[arg(long, value_name = "VERSION", default_value = "auto", value_parser = protocol())]
    pub protocol: ProtocolChoice,

    /// Use the handshake of a coordinator's port
    #[arg(long)]
    pub coordinator: bool,

    #[command(flatten)]
    pub tls: Tls,

    #[command(flatten)]
    pub secret: SharedSecret,
}

/// The secret that both ends prove; without `file` there is none.
#[derive(Args, Debug)]
pub struct SharedSecret {
    /// Prove the secret in this file to the writer, and have the writer prove it
    #[arg(id = "secret-file", long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "secret-name")]
    pub file: Option<PathBuf>,

    /// The name of that secret
    #[arg(id = "secret-name", long, value_name = "NAME", requires = "secret-file")]
    #[arg(value_parser = text(|name| Ok(name.to_owned())))]
    pub name: Option<String>,

    /// The cluster that the secret is for, if its nodes name one
    #[arg(long, value_name = "CLUSTER", requires = "secret-file", value_parser = text(|name| Ok(name.to_owned())))]
    pub cluster: Option<String>,

    /// The file has a passphrase in it
    #[arg(long, requires = "secret-file")]
    pub passphrase: bool,

    /// Use the secret over TCP without TLS, too
    #[arg(long, requires = "secret-file")]
    pub plain_secret: bool,
}

/// The files of TLS; without `ca` there is none.
#[derive(Args, Debug)]
pub struct Tls {
    /// Use TLS, with the authorities in this PEM file for the writer's certificate
    #[arg(id = "tls-ca", long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca: Option<PathBuf>,

    /// The name in the writer's certificate, if it is not the host of the address
    #[arg(id = "tls-name", long, value_name = "NAME", requires = "tls-ca")]
    #[arg(value_parser = text(|name| Ok(name.to_owned())))]
    pub name: Option<String>,

    /// The certificate chain of this reader, a PEM file
    #[arg(id = "tls-cert", long, value_name = "FILE", requires_all = ["tls-ca", "tls-key"])]
    #[arg(value_hint = ValueHint::FilePath)]
    pub cert: Option<PathBuf>,

    /// The key of that certificate, a PEM file
    #[arg(id = "tls-key", long, value_name = "FILE", requires_all = ["tls-ca", "tls-cert"])]
    #[arg(value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Slots {
    /// The directory of the log
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,

    /// Print one JSON object for each slot
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Token {
    #[command(flatten)]
    pub source: TokenSource,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct TokenSource {
    /// The 48 bytes of the token as 96 hexadecimal digits
    #[arg(value_parser = text(token), value_hint = ValueHint::Other)]
    pub hex: Option<String>,

    /// Take the position in a reader's log, which is in its file `applied`
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Access {
    /// What to print
    pub action: AccessAction,

    /// The file with the rules; without it, those of a sender for which none are set
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub rules: Option<PathBuf>,

    /// The id that the reader claims
    #[arg(long, value_name = "ID", value_parser = text(|id| Ok(id.to_owned())), required_if_eq("action", "test"))]
    pub reader_id: Option<String>,

    /// The IP address that it connects from, or `unix` for a Unix socket
    #[arg(long, value_name = "ADDRESS", value_parser = text(origin), default_value = "127.0.0.1")]
    pub address: Origin,

    /// The connection is encrypted with TLS
    #[arg(long)]
    pub tls: bool,

    /// The host accepts the connection and hands it over
    #[arg(long)]
    pub handed: bool,

    /// What is proven of the reader, such as `dns:r1.example.net` or `uid:1000 gid:1000`
    #[arg(long, value_name = "IDENTITY", value_parser = text(|identity| identity.parse::<StatedIdentity>()))]
    pub identity: Option<StatedIdentity>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccessAction {
    /// Which rule decides about a connection
    Test,
    /// The rules of a sender for which none are set
    Default,
}

fn protocol() -> impl TypedValueParser<Value = ProtocolChoice> {
    let values = [
        PossibleValue::new("auto").help("v2, or v1 if the writer knows no other"),
        PossibleValue::new("v1").help("v1 alone"),
        PossibleValue::new("v2").help("v2 alone"),
    ];
    PossibleValuesParser::new(values).map(|text| match text.as_str() {
        "v1" => ProtocolChoice::V1,
        "v2" => ProtocolChoice::V2,
        _ => ProtocolChoice::Auto,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_declaration_is_consistent() {
        super::declaration().debug_assert();
    }
}
