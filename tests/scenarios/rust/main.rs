//! Runs tests/scenarios/scenarios.json, the list of tests that every language passes, against the crate's public Rust
//! interface. The README there describes the format. This is a separate program because it counts its threads and
//! descriptors.

mod expect;
mod objects;
mod options;
mod peers;
mod scenario;
mod steps;

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::Value;

use objects::wrong;
use scenario::Scenario;

/// Needs that Rust does not support; scenarios with one of them are skipped.
const LACKS: [&str; 5] = ["buffers", "descriptors", "messages", "records", "values"];

/// Needs that require the library of tests/scenarios/trouble.c. This program loads the library if `TEST_TROUBLE` names
/// its file, as `make test-rust` does.
const TROUBLE: [&str; 2] = ["disk", "memory"];

fn has_trouble() -> bool {
    std::env::var("LD_PRELOAD").is_ok_and(|libraries| libraries.contains("trouble"))
}

/// Restarts this program with the library loaded, if one is configured.
fn load_trouble() {
    let Some(library) = std::env::var_os("TEST_TROUBLE").filter(|_| !has_trouble()) else { return };
    let mut again = Command::new(std::env::current_exe().unwrap());
    panic!("{}", again.args(std::env::args_os().skip(1)).env("LD_PRELOAD", library).exec());
}

/// The statuses and event kinds that the passed steps named.
#[derive(Default)]
struct Reached {
    statuses: BTreeSet<String>,
    event_kinds: BTreeSet<String>,
}

impl Reached {
    fn note(&mut self, step: &Value) {
        let statuses = ["expect", "status"].iter().filter_map(|key| step[key].as_str());
        self.statuses.extend(statuses.map(str::to_owned));
        if step["do"] == "expect.event" {
            self.event_kinds.extend(step["kind"].as_str().map(str::to_owned));
        }
    }

    /// Checks that every value was reached, except those that the list declares unreachable for Rust, which must not
    /// be.
    fn check(&self, file: &Value) {
        for (table, what, reached) in
            [("statuses", "status", &self.statuses), ("event_kinds", "event_kind", &self.event_kinds)]
        {
            for name in file[table].as_object().unwrap().keys() {
                let declared = file["unreachable"].as_array().unwrap().iter().any(|each| {
                    each[what] == name.as_str() && each["in"].as_array().unwrap().iter().any(|it| it == "rust")
                });
                assert!(declared || reached.contains(name), "{name} is not reached");
                assert!(!declared || !reached.contains(name), "{name} is reached, and declared to be out of reach");
            }
        }
    }
}

enum Outcome {
    Passed,
    Failed,
    /// Rust does not support what the scenario needs.
    Lacking,
    /// The library of tests/scenarios/trouble.c is not loaded.
    Skipped,
}

fn count(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

/// Returns the number of threads and descriptors, which must be unchanged after a scenario.
fn footprint() -> (usize, usize) {
    (count("/proc/self/task"), count("/proc/self/fd"))
}

fn needs(scenario: &Value) -> Vec<&str> {
    scenario["needs"]
        .as_array()
        .map_or_else(Vec::new, |needs| needs.iter().map(|need| need.as_str().unwrap()).collect())
}

fn run(file: &Value, scenario: &Value, reached: &mut Reached) -> Outcome {
    let needs = needs(scenario);
    if needs.iter().any(|need| LACKS.contains(need)) {
        return Outcome::Lacking;
    }
    if !has_trouble() && needs.iter().any(|need| TROUBLE.contains(need)) {
        return Outcome::Skipped;
    }
    let before = footprint();
    let mut at = (0, &Value::Null);
    let passed = catch_unwind(AssertUnwindSafe(|| {
        let unknown = needs.iter().find(|need| !TROUBLE.contains(need) && **need != "fork");
        assert!(unknown.is_none(), "unknown need {}", unknown.unwrap());
        let mut it = Scenario::new(file);
        for (number, step) in (1..).zip(scenario["steps"].as_array().unwrap()) {
            at = (number, step);
            it.run(step);
            reached.note(step);
        }
        it.end();
        assert_eq!(wrong(), None);
        expect::until("threads and descriptors are given back", || footprint() == before);
    }));
    if passed.is_err() {
        println!("    in step {}: {}", at.0, at.1);
        return Outcome::Failed;
    }
    Outcome::Passed
}

fn main() -> ExitCode {
    load_trouble();
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/scenarios.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut reached, mut failed, mut is_whole) = (Reached::default(), 0, true);
    for scenario in file["scenarios"].as_array().unwrap() {
        let name = scenario["name"].as_str().unwrap();
        if filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
            is_whole = false;
            continue;
        }
        let outcome = match run(&file, scenario, &mut reached) {
            Outcome::Passed => "ok",
            Outcome::Lacking => "skipped: Rust has not what it needs",
            Outcome::Skipped => {
                is_whole = false;
                "skipped: tests/scenarios/trouble.c is not loaded"
            }
            Outcome::Failed => {
                (failed, is_whole) = (failed + 1, false);
                "FAILED"
            }
        };
        println!("scenario {name} ... {outcome}");
    }
    if is_whole {
        reached.check(&file);
        println!("every value that is not declared unreachable was reached");
    }
    if failed > 0 {
        println!("{failed} scenarios failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
