//! The hidden command `generate` prints the files that are made from the declaration of the command line: the manual
//! page and the completions. They are committed; `make manual` writes them anew, and a test compares them.

use std::io::Write;

use clap::{Parser, ValueEnum};
use clap_complete::Shell;

use crate::args::declaration;
use crate::failure::{Exit, Failure};
use crate::manual;
use crate::output::Out;

/// Print a file that is made from the declaration of the command line
#[derive(Debug, Parser)]
#[command(name = Generate::NAME, hide = true)]
pub struct Generate {
    /// The file
    pub what: What,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum What {
    /// The manual page
    Man,
    /// Completions for bash
    Bash,
    /// Completions for zsh
    Zsh,
    /// Completions for fish
    Fish,
}

impl Generate {
    /// The command's name.
    pub const NAME: &str = "generate";

    /// Prints it.
    pub fn run(&self, out: &mut Out) -> Result<Exit, Failure> {
        let mut file = Vec::new();
        match self.what {
            What::Man => file.extend(manual::page()?.into_bytes()),
            What::Bash => complete(Shell::Bash, &mut file),
            What::Zsh => complete(Shell::Zsh, &mut file),
            What::Fish => complete(Shell::Fish, &mut file),
        }
        out.write_all(&file)?;
        Ok(Exit::Ok)
    }
}

fn complete(shell: Shell, file: &mut Vec<u8>) {
    clap_complete::generate(shell, &mut declaration(), "replctl", file);
}
