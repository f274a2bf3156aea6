//! Parses the arguments, and prints help, the version and errors of usage.

use std::ffi::OsString;

use clap::error::{ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, Error, FromArgMatches};
use replication::text;

use crate::args::{Command, FOR_A_WRITER, Payload, declaration};
use crate::failure::{Exit, Failure};
use crate::generate::Generate;
use crate::values::{Begin, Source};

/// What the user asks for.
#[derive(Debug)]
pub enum Request {
    /// A command.
    Run(Command),
    /// A file that is made from the declaration.
    Generate(Generate),
}

/// Parses the arguments; the first one is the name of the program.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, Error> {
    let mut declared = declaration().subcommand(Generate::command());
    let matches = declared.try_get_matches_from_mut(arguments).map_err(printable)?;
    let Some((name, given)) = matches.subcommand() else { unreachable!("a command is required") };
    if name == Generate::NAME {
        return Generate::from_arg_matches(given).map(Request::Generate);
    }
    let command = Command::from_arg_matches(&matches)?;
    let Some(declared) = declared.find_subcommand_mut(name) else { unreachable!("it was parsed") };
    match conflict(&command, declared, given) {
        Some(text) => Err(declared.error(ErrorKind::ArgumentConflict, text::printable(text.into()))),
        None => Ok(Request::Run(command)),
    }
}

/// Finds arguments that contradict each other in ways that the declaration cannot express.
fn conflict(command: &Command, declared: &clap::Command, given: &ArgMatches) -> Option<String> {
    let printed = match command {
        Command::Dump(dump) => {
            if let Some(from) = dump.from.filter(|from| *from > dump.to) {
                return Some(format!("the argument '--to {}' lies before '--from {from}'", dump.to));
            }
            &dump.printed
        }
        Command::Tail(tail) => {
            let is_given = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
            let mut for_writers = declared.get_arguments().filter(|arg| arg.get_help_heading() == Some(FOR_A_WRITER));
            if let Source::Directory(dir) = &tail.source
                && let Some(option) = for_writers.find(|arg| is_given(arg.get_id().as_str()))
            {
                let option = option.get_long().unwrap_or_default();
                return Some(format!("the argument '--{option}' is for a writer, but {dir:?} is a directory"));
            }
            if tail.from == Some(Begin::End) && !tail.follow {
                return Some("the argument '--from end' prints nothing without '--follow'".into());
            }
            &tail.printed
        }
        _ => return None,
    };
    let is_unclear = printed.json && printed.payload == Some(Payload::Preview);
    is_unclear.then(|| {
        "the argument '--payload preview' is for people; with '--json' use text, hex, base64, records or none".into()
    })
}

/// Escapes the arguments that an error repeats, so that they do nothing to a terminal.
fn printable(mut error: Error) -> Error {
    let is_hidden = |text: &str| text.chars().any(text::is_hidden);
    let safe = |text: &str| text::printable(text.into()).into_owned();
    let replaced: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) if is_hidden(text) => Some((kind, ContextValue::String(safe(text)))),
            ContextValue::Strings(all) if all.iter().any(|text| is_hidden(text)) => {
                Some((kind, ContextValue::Strings(all.iter().map(|text| safe(text)).collect())))
            }
            // A tip that repeats an argument loses its style.
            ContextValue::StyledStrs(all) if all.iter().any(|text| is_hidden(&text.to_string())) => {
                Some((kind, ContextValue::StyledStrs(all.iter().map(|text| safe(&text.to_string()).into()).collect())))
            }
            _ => None,
        })
        .collect();
    for (kind, value) in replaced {
        error.insert(kind, value);
    }
    error
}

/// Prints help, the version or an error.
pub fn print(error: &Error) -> Result<Exit, Failure> {
    let printed = error.print();
    if error.use_stderr() {
        // A closed standard error changes nothing about the failure.
        return Ok(Exit::Usage);
    }
    printed?;
    Ok(Exit::Ok)
}
