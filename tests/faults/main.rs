//! Disks that refuse. What is injected meets the whole process, so the tests here take turns
//! (`FailScenario`), and those that inject nothing into their own process are in `tests/it`.

#[path = "../common/mod.rs"]
mod common;
mod disk_failures;
mod disk_faults;
mod disk_stalls;
mod latch;

/// Nothing fails any more. A test calls it at its end: what it then drops still has the turn, and the scenario, which was made
/// first, goes last.
fn heal() {
    for (name, _) in fail::list() {
        fail::remove(name);
    }
}
