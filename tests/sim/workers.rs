//! Seeds in processes of their own. What a simulated process leaves behind when it is killed, memory and descriptors, goes
//! with the worker that simulated it.

use std::io::{BufRead, BufReader};
use std::iter::Sum;
use std::os::fd::RawFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::cluster::{self, Case, Outcome};

/// Seeds of one process.
const SEEDS_EACH: u64 = 100;

/// Seeds to be run, all without a mutant or all with the same.
#[derive(Clone, Debug)]
pub struct Batch {
    pub from: u64,
    pub seeds: u64,
    pub mutant: Option<String>,
}

/// What became of some seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub seeds: u64,
    pub turns: u64,
    pub appended: u64,
    pub applied: u64,
    /// Those that failed, each with why, in their order.
    pub failed: Vec<(u64, String)>,
}

impl Sum for Summary {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum.seeds += one.seeds;
            sum.turns += one.turns;
            sum.appended += one.appended;
            sum.applied += one.applied;
            sum.failed.extend(one.failed);
            sum.failed.sort();
            sum
        })
    }
}

/// Where simulated disks lie: in memory where that can be.
fn base() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}

/// Runs one case in this process.
pub fn run_one(case: &Case) -> Outcome {
    let root = tempfile::tempdir_in(base()).expect("a temporary directory");
    let run = || cluster::simulate(case, root.path().to_owned());
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    close_within(root.path());
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome { failure: Some(format!("panic: {}", text.unwrap_or_default())), ..Outcome::default() }
    })
}

/// Leaves out strokes of fate as long as the case fails all the same: what is left is needed.
pub fn shorten(case: &Case, strokes: usize) -> Case {
    let mut shortest = case.clone();
    let mut step = strokes.div_ceil(2).max(1);
    loop {
        for first in (0..strokes).step_by(step) {
            let more = (first..(first + step).min(strokes)).filter(|n| !shortest.without.contains(n));
            let without: Vec<_> = shortest.without.iter().copied().chain(more).collect();
            let shorter = Case { without, verbose: false, ..shortest.clone() };
            if shorter.without.len() > shortest.without.len() && run_one(&shorter).failure.is_some() {
                shortest = shorter;
            }
        }
        if step == 1 {
            return shortest;
        }
        step = step.div_ceil(2);
    }
}

/// Closes the files there that processes which were killed have left open.
fn close_within(dir: &Path) {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let within = open.flatten().filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(dir)));
    let fds: Vec<RawFd> = within.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in fds {
        let _ = nix::unistd::close(fd);
    }
}

impl Batch {
    /// Runs all of it in this process, and says on standard output what became of it.
    pub fn work(&self) -> ExitCode {
        for seed in self.from..self.from + self.seeds {
            let outcome = run_one(&Case { seed, mutant: self.mutant.clone(), ..Case::default() });
            let Outcome { trace, turns, appended, applied, failure, .. } = outcome;
            let failure = failure.unwrap_or_default().replace('\n', " ");
            println!("{seed} {trace:016x} {turns} {appended} {applied} {failure}");
        }
        ExitCode::SUCCESS
    }

    /// Runs it in as many processes as there are processors, and prints each failure. `only_first`: no more seeds are begun
    /// after one has failed.
    pub fn run(&self, only_first: bool) -> Summary {
        let next = AtomicU64::new(self.from);
        let over = AtomicBool::new(false);
        let sum = Arc::new(Mutex::new(Summary::default()));
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    loop {
                        let from = next.fetch_add(SEEDS_EACH, Ordering::Relaxed);
                        let end = self.from + self.seeds;
                        if from >= end || only_first && over.load(Ordering::Relaxed) {
                            return;
                        }
                        let seeds = SEEDS_EACH.min(end - from);
                        let done = Batch { from, seeds, mutant: self.mutant.clone() }.in_a_process();
                        if !done.failed.is_empty() {
                            over.store(true, Ordering::Relaxed);
                        }
                        if !only_first {
                            done.failed.iter().for_each(|(seed, why)| println!("seed {seed}: {why}"));
                        }
                        let mut sum = sum.lock().unwrap();
                        *sum = [std::mem::take(&mut *sum), done].into_iter().sum();
                    }
                });
            }
        });
        let sum = sum.lock().unwrap();
        sum.clone()
    }

    fn in_a_process(&self) -> Summary {
        let mut command = Command::new(std::env::current_exe().expect("this program's file"));
        let (from, seeds) = (self.from.to_string(), self.seeds.to_string());
        command.args(["--worker", "--from", &from, "--seeds", &seeds]);
        if let Some(mutant) = &self.mutant {
            command.args(["--mutant", mutant]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a worker starts");
        let mut summary = Summary::default();
        let mut last = self.from.wrapping_sub(1);
        for line in BufReader::new(child.stdout.take().expect("its output")).lines() {
            let line = line.expect("a worker's output");
            let mut words = line.splitn(6, ' ');
            let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            let seed = number();
            number();
            (last, summary.seeds) = (seed, summary.seeds + 1);
            summary.turns += number();
            summary.appended += number();
            summary.applied += number();
            let why = words.next().unwrap_or_default();
            if !why.is_empty() {
                summary.failed.push((seed, why.to_owned()));
            }
        }
        let status = child.wait().expect("a worker ends");
        if !status.success() || summary.seeds != self.seeds {
            summary.failed.push((last.wrapping_add(1), format!("its process ended with {status}")));
        }
        summary
    }
}

/// Whether a seed's trace is the same in two processes, and twice in one.
pub fn same_in_two_processes(seed: u64) -> bool {
    let trace = || {
        let mut command = Command::new(std::env::current_exe().expect("this program's file"));
        let output = command.args(["--worker", "--from", &seed.to_string(), "--seeds", "3"]).output();
        output.expect("a worker runs").stdout
    };
    let first = trace();
    !first.is_empty() && first == trace()
}
