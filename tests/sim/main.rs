//! Whole clusters in virtual time, each from one 64-bit seed: `make sim` and `make sim-mutants`.
//!
//! The library is the real one, with its drivers, wire and files. Only time, the network, the disk, randomness and the
//! interleaving of threads are simulated, by the [`World`](world::World) that stands in for the system.

mod cluster;
mod disk;
mod fate;
mod liar;
mod model;
mod mutants;
mod net;
mod reader;
mod scheduler;
mod succession;
mod waits;
mod workers;
mod world;
mod writer;

use std::process::ExitCode;
use std::time::Instant;

use cluster::Case;
use workers::{Batch, Summary};

/// Seeds of an ordinary run.
const SEEDS: u64 = 1_000;

/// Seeds within which each mutant has to be found.
const MUTANT_SEEDS: u64 = 10_000;

/// Seeds that failed once, and are run every time.
const KNOWN: &str = include_str!("seeds.txt");

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut batch = Batch { from: 1, seeds: SEEDS, mutant: None };
    let (mut worker, mut single, mut mutants, mut trace) = (false, false, false, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--seed" => (batch.from, batch.seeds, single) = (number(&value()), 1, true),
            "--from" => batch.from = number(&value()),
            "--seeds" => batch.seeds = number(&value()),
            "--mutant" => batch.mutant = Some(value()),
            "--mutants" => mutants = true,
            "--trace" => trace = true,
            "--worker" => worker = true,
            // What cargo passes on to test programs.
            _ => {}
        }
    }
    if worker {
        return batch.work();
    }
    if single {
        return show(&batch, trace);
    }
    if mutants {
        return mutants::hunt(MUTANT_SEEDS);
    }
    let begun = Instant::now();
    let known = KNOWN.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let mut all: Summary = known.map(|seed| Batch { from: seed, seeds: 1, mutant: None }.run(false)).sum();
    all = [all, batch.run(false)].into_iter().sum();
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{} seeds in {seconds:.1} s ({:.0} a second): {} entries appended, {} applied, {} turns of tasks; {} failed",
        all.seeds,
        all.seeds as f64 / seconds,
        all.appended,
        all.applied,
        all.turns,
        all.failed.len()
    );
    let same = workers::same_in_two_processes(batch.from);
    if !same {
        println!("seed {} gives two traces in two processes", batch.from);
    }
    if all.failed.is_empty() && same && mutants::are_all_listed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// Runs one seed and shows it; of a failure the part of the schedule that is needed for it.
fn show(batch: &Batch, trace: bool) -> ExitCode {
    let case = Case { seed: batch.from, mutant: batch.mutant.clone(), verbose: trace, ..Case::default() };
    let outcome = workers::run_one(&case);
    println!("trace {:016x}", outcome.trace);
    let Some(failure) = outcome.failure else { return ExitCode::SUCCESS };
    println!("seed {}: {failure}", case.seed);
    let shortest = workers::shorten(&Case { verbose: false, ..case }, outcome.strokes);
    let shown = workers::run_one(&shortest);
    println!("with {} of {} strokes of fate:", outcome.strokes - shortest.without.len(), outcome.strokes);
    shown.lines.iter().for_each(|line| println!("{line}"));
    ExitCode::FAILURE
}
