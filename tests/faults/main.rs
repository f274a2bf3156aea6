//! Disks that refuse. What is injected meets the whole process, so the tests here take turns
//! (`FailScenario`), and those that inject nothing into their own process are in `tests/it`.

#[path = "../common/mod.rs"]
mod common;
mod disk_failures;
mod disk_faults;
mod disk_stalls;
mod latch;
