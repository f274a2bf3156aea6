//! Deliberate mistakes, each of which the simulator has to find.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use crate::workers::Batch;

/// The mistakes: switches in the library, by their names in `mutant!`.
const MUTANTS: &[&str] = &[
    "ack-before-sync",
    "acks-count-without-right",
    "acks-believed",
    "append-before-sync",
    "applied-when-received",
    "begins-at-zero-again",
    "claims-believed",
    "commit-before-sync",
    "denied-are-let-in",
    "epoch-not-stored",
    "failed-entry-passed",
    "failed-syncs-ignored",
    "gap-passed-silently",
    "gate-ignores-lag",
    "histories-not-compared",
    "holds-without-right",
    "host-ahead-believed",
    "host-position-ignored",
    "names-not-synced",
    "old-end-removes-new-connection",
    "old-epochs-followed",
    "position-ahead-of-handler",
    "position-slots-in-turns",
    "proofs-believed",
    "recovery-stops-at-commit",
    "refused-entry-takes-a-sequence",
    "replay-left-out",
    "resumes-without-entries",
    "sealed-before-sync",
    "shown-before-sync",
    "slot-ahead-of-reader",
    "slots-without-right",
    "slots-expire-by-the-wall-clock",
    "slowest-reader-holds-all",
    "stalled-for-ever",
    "token-with-hash-of-another-entry",
    "tokens-not-compared",
    "trim-past-slots",
    "welcomed-before-slot-is-stored",
];

/// Whether the list has every switch in the library, and no other.
pub fn are_all_listed() -> bool {
    let mut found = BTreeSet::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = dirs.pop() {
        for path in std::fs::read_dir(dir).expect("the sources").map(|entry| entry.expect("a file").path()) {
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).expect("a source");
            let names = text.split("mutant!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(names.map(str::to_owned));
        }
    }
    let listed: BTreeSet<_> = MUTANTS.iter().map(|name| (*name).to_owned()).collect();
    let different: Vec<_> = found.symmetric_difference(&listed).collect();
    if !different.is_empty() {
        println!("mutants in the library or in the list, and not in both: {different:?}");
    }
    different.is_empty()
}

/// Looks for each mutant in so many seeds, and says after how many it was found.
pub fn hunt(seeds: u64) -> ExitCode {
    let mut missed = 0;
    for mutant in MUTANTS {
        let begun = Instant::now();
        let found = Batch { from: 1, seeds, mutant: Some((*mutant).to_owned()) }.run(true);
        let seconds = begun.elapsed().as_secs_f64();
        match found.failed.first() {
            Some((seed, why)) => println!("{mutant}: found by seed {seed} in {seconds:.1} s: {why}"),
            None => {
                println!("{mutant}: NOT FOUND in {seeds} seeds");
                missed += 1;
            }
        }
    }
    println!("{} mutants, {missed} not found", MUTANTS.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
