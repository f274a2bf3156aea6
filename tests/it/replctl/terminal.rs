//! Progress bars and colors, which only a terminal gets.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};

use super::*;

/// A terminal: the end that shows it, and the end for a program.
fn terminal() -> (PtyMaster, File) {
    // The processes of other tests must not inherit it.
    let flags = OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(OFlag::O_RDWR | flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname_r(&master).unwrap();
    let program = File::options().read(true).write(true).custom_flags(flags.bits()).open(path).unwrap();
    (master, program)
}

/// What a terminal shows once no program has it open.
fn shown(mut master: PtyMaster) -> String {
    let mut bytes = Vec::new();
    // Linux reports the end as an error.
    let _ = master.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// Where standard error of a run leads.
enum Stderr {
    Terminal(PtyMaster),
    Pipe,
}

/// A run whose standard error is a terminal or a pipe.
struct Watched {
    child: Child,
    stderr: Stderr,
}

impl Watched {
    fn new(arguments: &[&str], stdout: Stdio, on_terminal: bool) -> Self {
        let mut command = tool(arguments);
        command.stdout(stdout).env("TERM", "xterm");
        let stderr = if on_terminal {
            let (master, program) = terminal();
            command.stderr(program);
            Stderr::Terminal(master)
        } else {
            command.stderr(Stdio::piped());
            Stderr::Pipe
        };
        Self { child: command.spawn().unwrap(), stderr }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Whether it has a segment of a log open.
    fn reads(&self) -> bool {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let mut paths = open.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        paths.any(|path| path.extension().is_some_and(|end| end == "seg"))
    }

    /// Its exit status, and what it drew.
    fn end(mut self) -> (i32, String) {
        let status = wait(&mut self.child);
        let drawn = match self.stderr {
            Stderr::Terminal(master) => shown(master),
            Stderr::Pipe => {
                let mut said = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                said
            }
        };
        (status, drawn)
    }
}

#[track_caller]
fn assert_drawn(drawn: &str, on_terminal: bool, unit: &str) {
    if on_terminal {
        assert!(drawn.contains("[=") && drawn.contains(unit) && drawn.contains(" left"), "{drawn:?}");
        // The bar is cleared at the end.
        assert!(drawn.ends_with("\u{1b}[2K"), "{drawn:?}");
    } else {
        assert_eq!(drawn, "");
    }
}

#[test]
fn a_long_dump_to_a_file_draws_a_bar_on_a_terminal_alone() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 30);
    write(&log, std::iter::repeat_n([7u8; 1000].as_slice(), 10_000));
    let started = [("dump", true), ("dump", false), ("tail", true)].map(|(command, on_terminal)| {
        let printed = tempfile::NamedTempFile::new().unwrap();
        let arguments = [command, "--payload=hex", text(directory.path())];
        let run = Watched::new(&arguments, printed.reopen().unwrap().into(), on_terminal);
        until("the first lines", || printed.as_file().metadata().unwrap().len() > 0);
        run.signal(Signal::SIGSTOP);
        (run, printed, on_terminal)
    });
    std::thread::sleep(Duration::from_millis(1_100));
    started.iter().for_each(|(run, ..)| run.signal(Signal::SIGCONT));
    for (run, printed, on_terminal) in started {
        let (status, drawn) = run.end();
        assert_eq!(status, 0);
        assert_drawn(&drawn, on_terminal, " of 10000 entries, ");
        assert_eq!(fs::read_to_string(printed.path()).unwrap().lines().count(), 10_000);
    }
}

#[test]
fn a_dump_into_a_pipe_draws_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 30);
    write(&log, std::iter::repeat_n([7u8; 1000].as_slice(), 1_000));
    let mut run = Watched::new(&["dump", "--payload=hex", text(directory.path())], Stdio::piped(), true);
    // The dump waits for its reader.
    std::thread::sleep(Duration::from_millis(1_100));
    let mut lines = String::new();
    run.child.stdout.take().unwrap().read_to_string(&mut lines).unwrap();
    assert_eq!(lines.lines().count(), 1_000);
    assert_eq!(run.end(), (0, String::new()));
}

/// A check waits for an entry that is being written, as long as the entry grows.
#[test]
fn a_long_check_draws_a_bar_on_a_terminal_alone() {
    for on_terminal in [true, false] {
        let dir = some_log();
        let _held = open(dir.path(), 1 << 20);
        let mut next = Vec::new();
        Entry { sequence: 101, previous: 100, timestamp_us: 0, payload: &[7; 5000] }.encode_into(&mut next);
        let last = segments(dir.path()).pop().unwrap();
        let mut segment = fs::OpenOptions::new().append(true).open(last).unwrap();
        segment.write_all(&next[..40]).unwrap();
        let run = Watched::new(&["verify", text(dir.path())], Stdio::null(), on_terminal);
        until("it reads", || run.reads());
        let begun = Instant::now();
        for byte in &next[40..] {
            if begun.elapsed() > Duration::from_millis(1_100) {
                break;
            }
            segment.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        let (status, drawn) = run.end();
        assert_eq!(status, 3);
        assert_drawn(&drawn, on_terminal, " KiB, ");
    }
}

#[test]
fn help_and_errors_have_colors_on_a_terminal_alone() {
    for arguments in [&["--help"][..], &["dump", "--frob"]] {
        let printed = |variable: Option<(&str, &str)>| {
            let (master, program) = terminal();
            let mut command = tool(arguments);
            command.stdout(program.try_clone().unwrap()).stderr(program).env("TERM", "xterm");
            // Each of these decides about colors as well.
            for other in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
                command.env_remove(other);
            }
            command.envs(variable).status().unwrap();
            drop(command);
            shown(master)
        };
        assert!(printed(None).contains("\u{1b}["), "{arguments:?}");
        for without in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let text = printed(Some(without));
            assert!(text.contains("Usage: replctl") && !text.contains('\u{1b}'), "{text:?}");
        }
        let piped = run(arguments);
        assert!(!piped.out.contains('\u{1b}') && !piped.err.contains('\u{1b}'), "{}{}", piped.out, piped.err);
    }
}
