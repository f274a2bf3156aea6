//! replctl: looks at a log's directory and at a live writer's stream, and changes nothing.
//!
//! - `args` declares the command line; `values` parses the values in it; `texts` has the examples of its help.
//! - `parse` parses the arguments; `failure` has the exit statuses.
//! - `generate` prints the manual page, which `manual` makes, and the completions.
//! - `inspect`, `verify`, `dump`, `tail`, `slots`, `token` and `access` are the commands.
//! - `output` writes what they say, `entry` one entry of a log, `progress` draws the progress bars.

mod access;
mod args;
mod dump;
mod entry;
mod failure;
mod generate;
mod inspect;
mod manual;
mod output;
mod parse;
mod progress;
mod slots;
mod tail;
mod texts;
mod token;
mod values;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use args::Command;
use failure::{Exit, Failure};
use output::{Out, note};
use parse::Request;

fn main() -> ExitCode {
    let mut out = Out::new();
    let done = match parse::parse(std::env::args_os()) {
        Ok(request) => run(request, &mut out),
        Err(error) => parse::print(&error),
    };
    match done.and_then(|exit| out.flush().map(|()| exit).map_err(Failure::from)) {
        Ok(exit) => exit.into(),
        // Whoever read the output has enough, as `head`.
        Err(Failure::Closed) => Exit::Ok.into(),
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
        Request::Generate(options) => options.run(out),
        Request::Run(Command::Inspect(options)) => inspect::run(&options, out),
        Request::Run(Command::Verify(options)) => verify::run(&options, out),
        Request::Run(Command::Dump(options)) => dump::run(&options, out),
        Request::Run(Command::Tail(options)) => tail::run(*options, out),
        Request::Run(Command::Slots(options)) => slots::run(&options, out),
        Request::Run(Command::Token(options)) => token::run(&options, out),
        Request::Run(Command::Access(options)) => access::run(&options, out),
    }
}
