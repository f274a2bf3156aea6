//! Processes with a full disk or without descriptors, and a log whose process ends at any point.

use std::io::Write;
use std::process::Command;

use replication::log::disk::CRASH_POINTS;

use crate::common::disk_log::reopen_and_check;
use crate::common::disks::{POLICIES, SEGMENT};
use crate::process::{PROGRAM, Role};

// ---- a disk that is really full --------------------------------------------------------------------------------------

/// Runs a role with a file system of a megabyte at `dir`, which only that process sees. `false`: this user may not
/// mount.
fn on_a_small_disk(role: &str, sync: &str, retain: u64) -> bool {
    let scratch = tempfile::tempdir().unwrap();
    let mount = |command: &mut Command| {
        command.args(["--mount", "--map-root-user", "sh", "-c"]);
        command.arg(format!("mount -t tmpfs -o size=1m none '{}' && exec \"$@\"", scratch.path().display())).arg("sh");
    };
    let mut probe = Command::new("unshare");
    mount(&mut probe);
    if !probe.arg("true").status().is_ok_and(|status| status.success()) {
        return false;
    }
    let mut command = Command::new("unshare");
    mount(&mut command);
    command.arg(PROGRAM);
    let arguments: [(&str, &dyn ToString); 3] =
        [("dir", &scratch.path().display()), ("sync", &sync), ("retain", &retain)];
    let mut child = Role::play_within(command, role, &arguments);
    child.hear("done", 1);
    child.end();
    true
}

#[test]
fn p2_logs_on_a_file_system_that_is_full_lose_nothing() {
    for sync in POLICIES {
        for (role, retain) in [("writer", 1 << 30), ("reader", 1 << 30), ("reader", 2 * SEGMENT)] {
            if !on_a_small_disk(&format!("{role}-on-small-disk"), sync, retain) {
                assert!(std::env::var_os("CI").is_none(), "this user may not mount a file system");
                // Past the harness, which keeps the output of a test that passes.
                let _ = writeln!(std::io::stderr(), "SKIPPED: this user may not mount a file system");
                return;
            }
        }
    }
}

// ---- no descriptors -------------------------------------------------------------------------------------------------

/// P2, P10: a moment without descriptors stalls a log and loses nothing, and the next segment needs none.
#[test]
fn p2_p10_a_moment_without_descriptors_loses_nothing() {
    for (role, sync) in ["writer", "reader"].into_iter().flat_map(|role| POLICIES.map(|sync| (role, sync))) {
        let scratch = tempfile::tempdir().unwrap();
        let arguments: [(&str, &dyn ToString); 2] = [("dir", &scratch.path().display()), ("sync", &sync)];
        let mut child = Role::play(&format!("{role}-without-descriptors"), &arguments);
        child.hear("done", 1);
        child.end();
    }
}

// ---- an end anywhere --------------------------------------------------------------------------------------------------

/// P10: the process ends at every place before and after a change of the disk, several times each.
#[test]
fn p10_a_process_that_ends_at_any_crash_point_loses_nothing_durable() {
    let mut ended = 0;
    for point in CRASH_POINTS {
        for hit in [1, 2, 3, 6, 10] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = Role::play("log", &[("dir", &dir.path().display()), ("point", point), ("hit", &hit)]);
            let status = log.ended();
            let crashed = status.code() == Some(66);
            assert!(crashed || status.success(), "{point}: {status}");
            ended += usize::from(crashed);
            let last = |what| log.numbers(what).into_iter().max().unwrap_or(0);
            reopen_and_check(dir.path(), last("durable"), last("writing"));
        }
    }
    assert!(ended > 60, "only {ended} of the runs ended at their crash point");
}
