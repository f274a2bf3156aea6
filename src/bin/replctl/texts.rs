//! The examples and exit statuses, which the help and the manual page share.

use crate::failure::Exit;

/// An example of a command line.
pub struct Example {
    /// The command that it shows.
    pub command: &'static str,
    /// What it does.
    pub does: &'static str,
    /// The line.
    pub line: &'static str,
}

/// All examples, in the order of the commands.
pub const EXAMPLES: [Example; 15] = [
    Example { command: "inspect", does: "Show a writer's log", line: "replctl inspect /var/lib/db/replication" },
    Example {
        command: "inspect",
        does: "Get one number of it",
        line: "replctl inspect --json /var/lib/db/replication | jq .newest_sequence",
    },
    Example { command: "verify", does: "Check a backup", line: "replctl verify /backup/replication && echo whole" },
    Example {
        command: "dump",
        does: "Print the oldest entries",
        line: "replctl dump --limit 10 /var/lib/db/replication",
    },
    Example {
        command: "dump",
        does: "Print what the database wrote in the last quarter of an hour",
        line: "replctl dump --since 15m --payload records /var/lib/db/replication",
    },
    Example {
        command: "dump",
        does: "Get the payload of one entry",
        line: "replctl dump --json --from 4711 --limit 1 DIR | jq -r .payload_base64",
    },
    Example {
        command: "tail",
        does: "Follow a log on disk",
        line: "replctl tail --follow --from end /var/lib/db/replication",
    },
    Example {
        command: "tail",
        does: "Follow a live writer",
        line: "replctl tail -f --payload records db1.example.net:7400",
    },
    Example {
        command: "tail",
        does: "Print a hundred entries of a writer on this host",
        line: "replctl tail --json --limit 100 unix:/run/db/replication.sock",
    },
    Example {
        command: "slots",
        does: "Show how far each reader has come",
        line: "replctl slots /var/lib/db/replication",
    },
    Example {
        command: "slots",
        does: "List the readers that lost their slots",
        line: "replctl slots --json DIR | jq -r 'select(.state == \"lost\") | .reader_id'",
    },
    Example {
        command: "token",
        does: "Show how far a reader has come",
        line: "replctl token --dir /var/lib/replica/log",
    },
    Example {
        command: "token",
        does: "Show a token that a database keeps",
        line: "replctl token \"$(sqlite3 replica.db 'SELECT hex(token) FROM position')\"",
    },
    Example {
        command: "access",
        does: "Try rules before a writer has them",
        line: "replctl access test --rules access.conf --reader-id r1 --address 10.0.0.5 --tls --identity dns:r1.db",
    },
    Example {
        command: "access",
        does: "Begin a file of rules with the default ones",
        line: "replctl access default >access.conf",
    },
];

/// The examples of a command, as its help shows them.
pub fn examples(command: &str) -> String {
    let of_command = EXAMPLES.iter().filter(|example| example.command == command);
    let lines = of_command.map(|example| format!("  {}:\n    {}", example.does, example.line));
    format!("Examples:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// The exit statuses, as the help shows them.
pub fn exit_statuses() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {}  {}", exit as u8, exit.meaning()));
    format!("Exit status:\n{}", lines.join("\n"))
}
