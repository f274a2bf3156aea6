//! What is made from the description: one module for each kind of file.

pub mod cpp;
pub mod events;
pub mod go;
pub mod header;
pub mod man;
pub mod options;
pub mod python;
pub mod scenarios;
pub mod statistics;

use anyhow::Result;
use std::path::Path;

use crate::api::Api;

/// A file and its content; the path is relative to the root of the tree.
pub struct Output {
    pub path: String,
    pub text: String,
}

impl Output {
    pub fn new(path: impl Into<String>, text: String) -> Self {
        Self { path: path.into(), text }
    }
}

/// Every generated file.
pub fn all(root: &Path, api: &Api) -> Result<Vec<Output>> {
    let mut outputs = vec![Output::new("include/replication.api.json", serde_json::to_string_pretty(api)? + "\n")];
    outputs.extend(header::outputs(root, api)?);
    outputs.extend(go::outputs(api));
    outputs.extend(python::outputs(api));
    outputs.push(cpp::output(api));
    outputs.push(scenarios::output(root, api)?);
    outputs.push(man::output(root, api)?);
    outputs.push(options::output(api)?);
    outputs.push(events::output(api));
    outputs.push(statistics::output(api));
    Ok(outputs)
}

/// A comment for a language whose documentation has no Markdown: without backquotes and without the prefix of C's numbers.
fn plain(doc: &[String]) -> Vec<String> {
    doc.iter().map(|block| block.replace("`REPLICATION_STATUS_", "`").replace('`', "")).collect()
}
