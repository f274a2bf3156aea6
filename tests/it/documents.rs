//! The documents against the library: what they name is there, and what is there they name.

use std::collections::BTreeSet;
use std::path::Path;

use replication::host::EventKind;
use replication::sender::config::SenderConfig;
use serde_json::Value;
use strum::IntoEnumIterator;

use crate::common::*;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a document under this heading, up to the next heading.
fn section(document: &str, heading: &str) -> String {
    let after = document.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
    after.split("\n#").next().unwrap_or(after).to_owned()
}

/// The words in backquotes in the first column of the section's tables.
fn first_column(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_statistic_is_described_and_every_described_one_is_there() {
    let statistics = read("docs/statistics.md");
    let (sender, address, _) = sender(SenderConfig::default());
    let (receiver, ..) = receiver(receiver_config("reader-1", &address));
    until("a reader", || sender.reader_count() == 1);

    let stats: Value = serde_json::from_str(&sender.stats_json().unwrap()).unwrap();
    assert_eq!(first_column(&section(&statistics, "## Sender")), keys(&stats));
    assert_eq!(first_column(&section(&statistics, "## Readers of a sender")), keys(&stats["readers"][0]));

    let stats: Value = serde_json::from_str(&receiver.stats_json().unwrap()).unwrap();
    assert_eq!(first_column(&section(&statistics, "## Receiver")), keys(&stats));
}

#[test]
fn every_event_is_described_and_every_described_one_is_there() {
    use EventKind as Kind;
    let described_at = |kind: Kind| match kind {
        Kind::Connected | Kind::Disconnected | Kind::Refused | Kind::ProtocolError | Kind::EventsLost => "both",
        Kind::Lagging | Kind::CutOff | Kind::EntryRefused => "sender",
        Kind::GateClosed | Kind::GateOpened => "sender",
        Kind::SlotLost | Kind::SlotExpired | Kind::WalRecovered | Kind::WalTrimmed => "sender",
        Kind::SlotRefused | Kind::ReaderRewound | Kind::DescriptorsLow | Kind::ListenIncomplete => "sender",
        Kind::Unprotected => "both",
        Kind::WalStalled | Kind::WalResumed | Kind::WalFailed => "both",
        Kind::Gap | Kind::Regressed | Kind::Diverged | Kind::ApplyFailed => "receiver",
        Kind::EntrySkipped | Kind::GapPassed | Kind::Stopped => "receiver",
        new => panic!("say here where {} is described", new.name()),
    };
    let events = read("docs/events.md");
    for (heading, side) in [("## At a sender", "sender"), ("## At a receiver", "receiver")] {
        let here = Kind::iter().filter(|kind| [side, "both"].contains(&described_at(*kind)));
        let names: BTreeSet<_> = here.map(|kind| kind.name().to_owned()).collect();
        assert_eq!(first_column(&section(&events, heading)), names, "{heading}");
    }
}

#[test]
fn every_function_and_constant_that_a_document_names_is_in_the_header() {
    let header =
        ["", "_access", "_records", "_wire"].map(|part| read(&format!("include/replication{part}.h"))).concat();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let declared: BTreeSet<_> = header.split(|c| !word(c)).collect();
    let documents = [
        "README.md",
        "CHANGELOG.md",
        "docs/abi.md",
        "docs/access.md",
        "docs/c.md",
        "docs/embedding.md",
        "docs/durability.md",
        "docs/guarantees.md",
        "docs/migrating-from-go.md",
        "docs/internals/threads-and-locks.md",
        "bindings/README.md",
    ];
    for document in documents {
        let text = read(document);
        // What was renamed is gone: of a table of old and new names the new ones count.
        let lines = text.lines().map(|line| match line.split_once(" | ") {
            Some((_, new)) if document == "CHANGELOG.md" => new,
            _ => line,
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let named = text.split(|c: char| !word(c) && c != '*').filter(|name| {
            ["sender_", "receiver_", "replication_", "REPLICATION_"].iter().any(|prefix| name.starts_with(prefix))
        });
        let mut count = 0;
        for name in named {
            count += 1;
            let start = name.split('*').next().unwrap_or(name);
            let found = match start.ends_with('_') {
                true => declared.iter().any(|declared| declared.starts_with(start)),
                // `receiver_of` is the host's own, in an example.
                false => declared.contains(start) || start == "receiver_of",
            };
            assert!(found, "{document} names {name}, which no header has");
        }
        assert!(count > 0, "{document} names nothing");
    }
}

/// All sources below `directory`.
fn sources(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_source = |path: &Path| path.extension().is_some_and(|suffix| ["rs", "c", "sh"].iter().any(|s| suffix == *s));
    paths
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false if is_source(&path) => vec![std::fs::read_to_string(&path).unwrap()],
            false => Vec::new(),
        })
        .collect()
}

/// Every one of these rows of a document's table names tests in its last column, and they are there.
fn names_tests_that_exist<'a>(document: &str, rows: impl IntoIterator<Item = &'a str>, is_test: fn(&str) -> bool) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = [sources(&root.join("src")), sources(&root.join("tests"))].concat();
    for row in rows {
        let tests = row.split(" | ").last().unwrap_or(row).split('`').skip(1).step_by(2);
        let tests: Vec<_> = tests.filter(|name| is_test(name)).collect();
        assert!(!tests.is_empty(), "no test is named in: {row}");
        for test in tests {
            let defined = [format!("fn {test}("), format!("TEST({test})"), format!("{test}() {{")];
            let found = sources.iter().any(|source| defined.iter().any(|definition| source.contains(definition)));
            assert!(found, "{document} names the test {test}, which is not there");
        }
    }
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let guarantees = read("docs/guarantees.md");
    let rows: Vec<_> = guarantees.lines().filter(|line| line.starts_with("| P")).collect();
    assert_eq!(rows.len(), 10);
    names_tests_that_exist("docs/guarantees.md", rows, |name| name.starts_with(['p', 't']) && name.contains('_'));
}

#[test]
fn every_limit_of_a_stranger_names_tests_that_exist() {
    let security = read("docs/security.md");
    let table = section(&security, "## What a stranger can do");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 10);
    names_tests_that_exist("docs/security.md", rows, |name| name.contains('_'));
}
