//! The tables of names and numbers at the beginning of `tests/scenarios/scenarios.json`. The rest is written by hand.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Output;
use crate::api::Api;

const PATH: &str = "tests/scenarios/scenarios.json";
const TABLES: [(&str, &str); 3] = [
    ("statuses", "replication_status"),
    ("event_kinds", "replication_event_kind"),
    ("log_levels", "replication_log_level"),
];

pub fn output(root: &Path, api: &Api) -> Result<Output> {
    let present = fs::read_to_string(root.join(PATH))?;
    let rest = present.find("  \"unreachable\":").with_context(|| format!("{PATH} has no list \"unreachable\""))?;
    let mut text = "{\n".to_owned();
    for (table, name) in TABLES {
        let _ = writeln!(text, "  \"{table}\": {{");
        let members = &api.enum_named(name).members;
        for (at, row) in members.chunks(5).enumerate() {
            let row: Vec<String> = row.iter().map(|member| format!("\"{}\": {}", member.name, member.value)).collect();
            let end = if (at + 1) * 5 >= members.len() { "" } else { "," };
            let _ = writeln!(text, "    {}{end}", row.join(", "));
        }
        text += "  },\n";
    }
    Ok(Output::new(PATH, text + &present[rest..]))
}
