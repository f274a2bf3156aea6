//! replctl: looks at a log's directory and at a live writer's stream, and changes nothing.
//!
//! - `args` makes a command of the arguments, `help` has the texts, `failure` the exit statuses.
//! - `inspect`, `verify`, `dump`, `tail`, `slots` and `token` are the commands.
//! - `output` writes what they say, `entry` one entry of a log.

mod args;
mod dump;
mod entry;
mod failure;
mod help;
mod inspect;
mod output;
mod slots;
mod tail;
mod token;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use args::{Command, Request};
use failure::{Exit, Failure};
use output::{Out, note};

fn main() -> ExitCode {
    let mut out = Out::new();
    let done = args::parse(lexopt::Parser::from_env())
        .and_then(|request| run(request, &mut out))
        .and_then(|exit| out.flush().map(|()| exit).map_err(Failure::from));
    match done {
        Ok(exit) => exit.into(),
        // Whoever read the output has enough, as `head`.
        Err(Failure::Closed) => Exit::Ok.into(),
        Err(Failure::Usage { command, text }) => {
            note(&format!("{}\nTry 'replctl{command} --help'.", replication::text::printable(text.into())));
            Exit::Usage.into()
        }
        Err(Failure::Failed { exit, text }) => {
            // What was printed before belongs before.
            let _ = out.flush();
            note(&replication::text::printable(text.into()));
            exit.into()
        }
    }
}

fn run(request: Request, out: &mut Out) -> Result<Exit, Failure> {
    match request {
        Request::Help(text) => out.text(text)?,
        Request::Version => out.text(concat!("replctl ", env!("CARGO_PKG_VERSION"), "\n"))?,
        Request::Run(command) => {
            return match command {
                Command::Inspect(options) => inspect::run(&options, out),
                Command::Verify(options) => verify::run(&options, out),
                Command::Dump(options) => dump::run(&options, out),
                Command::Tail(options) => tail::run(*options, out),
                Command::Slots(options) => slots::run(&options, out),
                Command::Token(options) => token::run(&options, out),
            };
        }
    }
    Ok(Exit::Ok)
}
