//! Deliberate mistakes, each of which the simulator has to find.

use std::process::ExitCode;
use std::time::Instant;

use crate::workers::Batch;

/// The mistakes: switches in the library, by their names in `mutant!`.
const MUTANTS: &[&str] = &[
    "ack-before-sync",
    "acks-believed",
    "append-before-sync",
    "applied-when-received",
    "claims-believed",
    "commit-before-sync",
    "epoch-not-stored",
    "failed-syncs-ignored",
    "gap-passed-silently",
    "gate-ignores-lag",
    "histories-not-compared",
    "host-position-ignored",
    "names-not-synced",
    "old-epochs-followed",
    "position-ahead-of-handler",
    "position-slots-in-turns",
    "recovery-stops-at-commit",
    "replay-left-out",
    "sealed-before-sync",
    "shown-before-sync",
    "slot-ahead-of-reader",
    "slots-expire-by-the-wall-clock",
    "stalled-for-ever",
    "token-with-hash-of-another-entry",
    "trim-past-slots",
    "welcomed-before-slot-is-stored",
];

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
