//! `replctl tail`: entries as they come, from a directory or from a writer.

mod directory;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::args::Tail;
use crate::failure::{Exit, Failure};
use crate::output::Out;
use crate::values::Source;

/// Prints them until the end, or until it is stopped.
pub fn run(options: Tail, out: &mut Out) -> Result<Exit, Failure> {
    let stop = Stop::install()?;
    match &options.source {
        Source::Directory(dir) => directory::run(dir, &options, &stop, out),
        Source::Writer(address) => writer::run(address, &options, &stop),
    }
}

/// Whether somebody asked for the end.
struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From here on the first SIGINT or SIGTERM asks for the end, and the second one is it: the first may find the
    /// output blocked.
    fn install() -> Result<Self, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .map_err(|error| Failure::Failed {
                    exit: Exit::Failed,
                    text: format!("cannot handle signal {signal}: {error}"),
                })?;
        }
        Ok(Self(asked))
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
