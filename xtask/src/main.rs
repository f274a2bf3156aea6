//! The generator of everything that says again what `src/ffi` says.
//!
//!     cargo xtask api            write the description, the headers and the bindings' raw layers
//!     cargo xtask api --check    fail, with the first difference, when one of them is not what would be written
//!     cargo xtask library FILE   fail unless a library exports exactly what is described
//!     cargo xtask calls FILE...  fail unless each function is called by one of the programs
//!     cargo xtask mentions FILE  fail unless a source file calls each function

mod api;
mod declare;
mod emit;
mod library;
mod names;
mod read;
mod text;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail};

use api::Api;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match run(&root, &arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path, arguments: &[&str]) -> Result<()> {
    let api = read::api(root)?;
    match arguments {
        ["api"] => write(root, &api),
        ["api", "--check"] => check(root, &api),
        ["library", library] => library::check(&api, library),
        ["calls", programs @ ..] if !programs.is_empty() => library::check_calls(&api, programs),
        ["mentions", file] => library::check_mentions(&api, file),
        _ => bail!("usage: cargo xtask api [--check] | library FILE | calls FILE... | mentions FILE"),
    }
}

fn write(root: &Path, api: &Api) -> Result<()> {
    for output in emit::all(root, api)? {
        let path = root.join(&output.path);
        // What is the same keeps its time, so that nothing is compiled again.
        if fs::read_to_string(&path).ok().as_ref() != Some(&output.text) {
            fs::write(&path, output.text).with_context(|| output.path.clone())?;
            println!("{}: written", output.path);
        }
    }
    Ok(())
}

fn check(root: &Path, api: &Api) -> Result<()> {
    let outputs = emit::all(root, api)?;
    let count = outputs.len();
    for output in outputs {
        let path = root.join(&output.path);
        if fs::read_to_string(&path).ok().as_ref() != Some(&output.text) {
            show_difference(&path, &output.text)?;
            bail!("{} is not what src/ffi says: run `make header` and commit it", output.path);
        }
    }
    println!("xtask: {count} files are what src/ffi says");
    Ok(())
}

fn show_difference(path: &Path, text: &str) -> Result<()> {
    let mut diff = Command::new("diff").arg("-u").arg(path).arg("-").stdin(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut diff.stdin.take().context("diff has no input")?, text.as_bytes())?;
    diff.wait()?;
    Ok(())
}
