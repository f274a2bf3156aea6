//! The synopsis of the manual page `docs/libreplication.3`. The page is written by hand; the types of the functions that
//! its synopsis names are filled in here, and every other function that it names must exist.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Output;
use crate::api::Api;

const PATH: &str = "docs/libreplication.3";

pub fn output(root: &Path, api: &Api) -> Result<Output> {
    let present = fs::read_to_string(root.join(PATH))?;
    let (head, rest) = present.split_once(".Sh SYNOPSIS\n").with_context(|| format!("{PATH} has no synopsis"))?;
    let (synopsis, rest) = rest.split_once(".Sh ").with_context(|| format!("{PATH} ends with its synopsis"))?;
    let mut text = format!("{head}.Sh SYNOPSIS\n.In replication.h\n");
    for name in synopsis.lines().filter_map(named) {
        let function = api.functions().find(|function| function.name == name);
        let function = function.with_context(|| format!("{PATH} names {name}, which is no function"))?;
        let _ = write!(text, ".Ft {}\n.Fn {name}", function.returns);
        for parameter in &function.parameters {
            let space = if parameter.r#type.ends_with('*') { "" } else { " " };
            let _ = write!(text, " \"{}{space}{}\"", parameter.r#type, parameter.name);
        }
        text.push('\n');
    }
    for name in rest.lines().filter_map(named).filter(|name| !name.starts_with('*')) {
        ensure!(api.functions().any(|function| function.name == name), "{PATH} names {name}, which is no function");
    }
    Ok(Output::new(PATH, format!("{text}.Sh {rest}")))
}

/// The function that a line of the page names.
fn named(line: &str) -> Option<&str> {
    line.strip_prefix(".Fn ")?.split(' ').next()
}
