//! `replctl access`: what access rules say of a connection.

use std::net::{IpAddr, SocketAddr};

use replication::identity::Origin;
use replication::sender::Rights;
use replication::sender::config::{AccessRules, DEFAULT_RULES, Question};
use serde_json::json;

use crate::args::{Access, AccessAction};
use crate::failure::{Exit, Failure};
use crate::output::Out;

/// Prints the default rules, or which rule decides.
pub fn run(options: &Access, out: &mut Out) -> Result<Exit, Failure> {
    match options.action {
        AccessAction::Default => out.text(DEFAULT_RULES)?,
        AccessAction::Test => return test(options, out),
    }
    Ok(Exit::Ok)
}

fn test(options: &Access, out: &mut Out) -> Result<Exit, Failure> {
    let rules = match &options.rules {
        Some(file) => AccessRules::from_file(file, true)?,
        None => AccessRules::parse(DEFAULT_RULES)?,
    };
    let question = Question {
        origin: options.address,
        tls: options.tls,
        handed: options.handed,
        identity: options.identity.clone().unwrap_or_default(),
        reader_id: options.reader_id.clone().unwrap_or_default(),
    };
    let (lines, rights) = rules.explain(&question);
    let decides = lines.iter().find(|(_, mismatch)| mismatch.is_none()).map(|(line, _)| *line);
    if options.json {
        let passed =
            lines.iter().filter_map(|(line, mismatch)| Some(json!({ "line": line, "why": mismatch.as_ref()? })));
        let names = rights.iter_names().map(|(name, _)| name.to_ascii_lowercase());
        out.json(&json!({
            "line": decides,
            "rights": names.collect::<Vec<_>>(),
            "passed_over": passed.collect::<Vec<_>>(),
        }))?;
    } else {
        for (line, mismatch) in &lines {
            out.line(&format!("line {line}: {}", mismatch.as_deref().unwrap_or("decides")))?;
        }
        if decides.is_none() {
            out.line("no line is about it")?;
        }
        out.line(&rights.to_string())?;
    }
    Ok(if rights.contains(Rights::READ) { Exit::Ok } else { Exit::Refused })
}

/// Where a connection comes from: `unix`, or an IP address with or without a port.
pub fn origin(text: &str) -> Result<Origin, String> {
    let without_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    match text {
        "unix" => Ok(Origin::Unix),
        _ => text
            .parse::<IpAddr>()
            .or_else(|_| without_port())
            .map(Origin::Tcp)
            .map_err(|_| "it is neither unix nor an IP address".to_owned()),
    }
}
