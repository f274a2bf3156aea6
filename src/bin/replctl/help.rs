//! The texts of `--help`.

/// Of the program.
pub const PROGRAM: &str = "\
replctl looks at what libreplication keeps and sends: the log of a writer or a
reader on disk, and the stream of a live writer. It changes nothing and takes no
lock, so it may run beside a writer.

Usage: replctl COMMAND [OPTION]...

Commands:
  inspect DIR            what is in a log's directory: stream, epochs, segments
  verify DIR             read everything and check every checksum
  dump DIR               print entries
  tail DIR|ADDRESS       print entries as they come, from disk or from a writer
  slots DIR              which readers the log is kept for
  token HEX|--dir DIR    what a position token says
  help [COMMAND]         this text, or a command's

Options of every command:
      --json             output for programs: one JSON object a line
  -h, --help             the command's own text, with examples
  -V, --version          the version

Exit status:
  0  all is well, or the reader of the output has had enough
  1  something cannot be read, written or reached
  2  the arguments make no sense
  3  verify: the log ends with bytes that are no whole entry (a torn tail)
  4  files of the log are damaged
  5  entries that were asked for are gone (a gap)
  6  the writer refused this reader, or broke the protocol
  7  the writer has another history, or is behind the given position
";

/// Of `inspect`.
pub const INSPECT: &str = "\
Tells what is in a log's directory, from the heads of its files: whose log it
is, from where to where it goes, what of it is durable, its segments, the slots
of its readers, who holds it open, and how far the handler came if it is a
reader's log.

Usage: replctl inspect [--json] DIR

      --json             one JSON object
  -h, --help             this text

The entries themselves are not checked; `replctl verify` does that. SPAN is the
last sequence less the one before the segment: the number of its entries, unless
the stream skips numbers.

Examples:
  replctl inspect /var/lib/db/replication
  replctl inspect --json /var/lib/db/replication | jq .newest_sequence
";

/// Of `verify`.
pub const VERIFY: &str = "\
Reads every byte of a log and checks it: the checksum of each entry, that each
follows the one before it, the chain hash, the index of each segment, that the
segments fit together, the slots, and a reader's position. Works beside a
writer: what it adds meanwhile is not looked at, what retention removes is left
out.

Usage: replctl verify [--json] [--progress] DIR

      --json             the result as one JSON object
      --progress         progress on standard error, be it a terminal or not
  -h, --help             this text

Exit status: 0 the log is whole; 3 it is whole, but after its last entry lie
bytes that are no entry, as a crash leaves them (the next opening cuts them
off); 4 it is damaged, and the output says in which file, at which byte and
which entries are concerned; 1 it cannot be read.

Examples:
  replctl verify /var/lib/db/replication
  replctl verify --json /backup/replication && echo the backup is whole
";

/// Of `dump`.
pub const DUMP: &str = "\
Prints entries of a log, in order, to its end.

Usage: replctl dump [OPTION]... DIR

      --from SEQ         the first sequence wanted (default: the oldest)
      --to SEQ           the last sequence wanted
      --since TIME       begin at the first entry from TIME or later
      --limit N          at most N entries
      --payload FORM     how payloads are printed:
                           none      not at all
                           preview   as text, cut at 64 bytes (default)
                           text      as text, with escapes for what is no text
                           hex       as hexadecimal digits
                           base64    as base64 (default with --json)
                           records   as JSON, if they are records in msgpack;
                                     else as base64
      --json             one JSON object a line
  -h, --help             this text

TIME is a date (2026-01-31), a date and a time in UTC (2026-01-31T12:00:00Z), a
number of seconds since the Unix epoch (@1769860800), or a time span before now
(90s, 15m, 2h, 1d). Timestamps are those that the database gave; where they do
not rise, entries before the first one printed may be late enough as well.

The objects of --json have sequence, previous, timestamp_us, epoch, length, and
one of payload_base64, payload_hex, payload_text and records. Numbers are exact
64-bit integers. Text that is no UTF-8 is given as payload_base64.

When --from names an entry that is gone, the rest is printed and the exit status
is 5.

Examples:
  replctl dump --limit 10 /var/lib/db/replication
  replctl dump --since 15m --payload records --json /var/lib/db/replication
  replctl dump --json --from 4711 --limit 1 DIR | jq -r .payload_base64
";

/// Of `tail`.
pub const TAIL: &str = "\
Prints entries of a log on disk or of a live writer, and with --follow those to
come.

Usage: replctl tail [OPTION]... DIR
       replctl tail [OPTION]... ADDRESS[,ADDRESS]...

ADDRESS is host:port, [v6]:port, unix:/path or unix:@name; of several, the first
that is the writer.

      --from SEQ|end     the first sequence wanted, or only what comes from now
                         on (default: the oldest)
  -f, --follow           at the end wait for more, until a signal comes
      --limit N          at most N entries
      --payload FORM     as in `replctl dump`
      --json             one JSON object a line, as in `replctl dump`
  -h, --help             this text

For a writer:
      --reader-id ID     the name that the writer sees (default replctl)
      --protocol P       auto, v1 or v2 (default auto: v2, or v1 if the writer
                         knows no other)
      --coordinator      shake hands as at a coordinator's port
      --tls-ca FILE      TLS, with these authorities for the writer (PEM)
      --tls-name NAME    the name in the writer's certificate, if it is not the
                         host of the address
      --tls-cert FILE    this reader's certificate chain (PEM), and
      --tls-key FILE     its key
  -v, --verbose          say when connections come and go

To a writer this is a reader like any other: it counts in sender_wait_acked,
another reader of the same id takes its place, and a writer with a log on disk
keeps a slot for it. Drop that with sender_drop_slot when it is not needed any
more, or leave it to expire.

SIGINT and SIGTERM end it with status 0. Entries that are gone before they could
be printed are reported on standard error, the rest is printed, and the exit
status is then 5. With --follow a connection that was there and breaks is made
again; a writer that cannot be reached in the first place ends it with status 1.

Examples:
  replctl tail --follow --from end /var/lib/db/replication
  replctl tail -f --payload records db1.example.net:7400
  replctl tail --json --limit 100 unix:/run/db/replication.sock
";

/// Of `slots`.
pub const SLOTS: &str = "\
Lists the slots in a writer's log: how far each reader has come, and how much of
the log is kept for it.

Usage: replctl slots [--json] DIR

      --json             one JSON object for each slot
  -h, --help             this text

A slot is held, or lost: then it held back more than it might, and its reader
cannot go on. HELD is what lies between the slot and the end of the log. The
file is written about once a second, so a live writer may know more.

Examples:
  replctl slots /var/lib/db/replication
  replctl slots --json DIR | jq -r 'select(.state == \"lost\") | .reader_id'
";

/// Of `token`.
pub const TOKEN: &str = "\
Tells what a position token says: the stream, the epoch, the last sequence
before the position, and the chain hash of the history up to it.

Usage: replctl token [--json] HEX
       replctl token [--json] --dir DIR

      --dir DIR          the position in a reader's log (its file `applied`)
      --json             one JSON object
  -h, --help             this text

HEX is the token's 48 bytes as 96 hexadecimal digits.

Examples:
  replctl token --dir /var/lib/replica/log
  replctl token \"$(sqlite3 replica.db 'SELECT hex(token) FROM position')\"
";
