//! The tool's help, invalid arguments, tokens, and output that cannot be written.

use replication::log::disk::position::PositionFile;
use replication::protocol::token::Token;
use replication::sender::config::SenderConfig;

use super::*;

const COMMANDS: [&str; 6] = ["inspect", "verify", "dump", "tail", "slots", "token"];

#[test]
fn help_is_there_for_everybody() {
    let all = run(&["--help"]).exits(0);
    assert_eq!(run(&["help"]).exits(0).out, all.out);
    all.prints("\nExit status:\n  0  ");
    for command in COMMANDS {
        all.prints(&format!("\n  {command} "));
        let own = run(&[command, "--help"]).exits(0);
        own.prints(&format!("Usage: replctl {command} "));
        own.prints("Examples:");
        assert!(own.out.lines().all(|line| line.chars().count() <= 80), "{}", own.out);
        assert_eq!(run(&["help", command]).exits(0).out, own.out);
        let short = run(&[command, "/nowhere", "-h"]).exits(0);
        short.prints(&format!("Usage: replctl {command} "));
        assert!(short.out.len() < own.out.len(), "{}", short.out);
    }
    assert!(!all.out.contains("generate"), "{}", all.out);
    // Without a command it prints the help as an error.
    let nothing = run(&[]).exits(2);
    nothing.says("Usage: replctl <COMMAND>");
    assert_eq!(nothing.out, "");
    let version = format!("replctl {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]).exits(0).out, version);
    assert_eq!(run(&["dump", "-V"]).exits(0).out, version);
}

fn committed(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The committed manual page and completions match the declaration of the command line.
#[test]
fn what_is_made_from_the_options_is_committed() {
    for (what, path) in [
        ("man", "docs/replctl.1"),
        ("bash", "packaging/completions/replctl"),
        ("zsh", "packaging/completions/_replctl"),
        ("fish", "packaging/completions/replctl.fish"),
    ] {
        let made = run(&["generate", what]).exits(0).out;
        assert!(made == committed(path), "{path} is not what src/bin/replctl says: run `make manual`");
        assert!(!made.contains("generate"), "{path}");
    }
    let manual = committed("docs/replctl.1").replace('\\', "");
    for command in COMMANDS {
        assert!(manual.contains(&format!("\n.SS {command}\n")), "{command}");
        let help = run(&[command, "--help"]).exits(0).out;
        let options = help.lines().filter(|line| line.trim_start().starts_with('-'));
        let mut named = 0;
        for option in options.filter_map(|line| line.split("--").nth(1)?.split(' ').next()) {
            assert!(manual.contains(&format!("--{option}")), "--{option} of {command}");
            named += 1;
        }
        assert!(named >= 3, "{help}");
    }
    for status in 0..8 {
        assert!(manual.contains(&format!("\n.TP\nfB{status}fR\n")), "exit status {status}");
    }
}

/// What bash offers after `replctl`.
fn completed(words: &[&str]) -> Vec<String> {
    let script = "source \"$1\"; shift; COMP_WORDS=(replctl \"$@\"); COMP_CWORD=$#
        _replctl replctl \"${@: -1}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let completions = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/completions/replctl");
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script, "bash", text(&completions)]).args(words);
    let run = ended(command.output().unwrap()).exits(0);
    run.out.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    assert_eq!(completed(&["ver"]), ["verify"]);
    assert_eq!(completed(&["dump", "--pay"]), ["--payload"]);
    assert_eq!(completed(&["dump", "--payload", "b"]), ["base64"]);
    assert_eq!(completed(&["tail", "--protocol", ""]), ["auto", "v1", "v2"]);
}

#[test]
fn invalid_arguments_are_refused_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let dir = text(directory.path());
    let number = "it is not a number from 1 to 18446744073709551615";
    for (arguments, said) in [
        (&["frob"][..], "unrecognized subcommand 'frob'"),
        (&["help", "frob"], "unrecognized subcommand 'frob'"),
        (&["verfy", dir], "a similar subcommand exists: 'verify'"),
        (&["--frob"], "unexpected argument '--frob'"),
        (&["inspect"], "required arguments were not provided:\n  <DIR>"),
        (&["inspect", ""], "a value is required for '<DIR>'"),
        (&["inspect", "a", "b"], "unexpected argument 'b'"),
        (&["inspect", "--frob", dir], "unexpected argument '--frob'"),
        (&["dump", "--payloads", "hex", dir], "a similar argument exists: '--payload'"),
        (&["dump", dir, "--from"], "a value is required for '--from <SEQ>'"),
        (&["dump", dir, "--from", "0"], &format!("invalid value '0' for '--from <SEQ>': {number}")),
        (&["dump", dir, "--from", "-1"], &format!("invalid value '-1' for '--from <SEQ>': {number}")),
        (&["dump", dir, "--limit=1e3"], &format!("invalid value '1e3' for '--limit <N>': {number}")),
        (&["dump", dir, "--from", "9", "--to", "8"], "'--to 8' lies before '--from 9'"),
        (
            &["dump", dir, "--since", "yesterday"],
            "invalid value 'yesterday' for '--since <TIME>': it is not a time such",
        ),
        (&["dump", dir, "--payload", "xml"], "possible values: none, preview, text, hex, base64, records"),
        (&["dump", dir, "--json", "--payload", "preview"], "for people"),
        (&["tail", dir, "--from", "end"], "without '--follow'"),
        (&["tail", dir, "--from", "start"], "invalid value 'start' for '--from <SEQ|end>'"),
        (&["tail", dir, "--reader-id", "me"], "'--reader-id' is for a writer, but"),
        (&["tail", dir, "--tls-ca", "x"], "'--tls-ca' is for a writer, but"),
        (&["tail", "db:1", "--protocol", "v3"], "possible values: auto, v1, v2"),
        (&["tail", "db:1", "--tls-name", "x"], "--tls-ca <FILE>"),
        (&["tail", "db:1", "--tls-ca", "x", "--tls-key", "x"], "--tls-cert <FILE>"),
        (&["tail", dir, "--secret-file", "x", "--secret-name", "x"], "is for a writer, but"),
        (&["tail", "db:1", "--secret-file", "x"], "--secret-name <NAME>"),
        (&["tail", "db:1", "--plain-secret"], "--secret-file <FILE>"),
        (&["token"], "<HEX|--dir <DIR>>"),
        (&["token", ""], "invalid value '' for '[HEX]': it is empty"),
        (&["token", "00", "--dir", dir], "'[HEX]' cannot be used with '--dir <DIR>'"),
    ] {
        let run = run(arguments).exits(2);
        run.says(said);
        run.says("--help'.");
        assert_eq!(run.out, "");
    }
    // The last value of an option counts.
    assert_eq!(run(&["dump", "/nowhere", "--limit=1", "--json", "--limit=2", "--json"]).status, 1);
}

/// Arguments may come from anywhere, so an error that repeats them escapes them.
#[test]
fn arguments_in_errors_are_escaped() {
    use std::os::unix::ffi::OsStrExt;

    let hostile = "a\u{1b}[31m\n\u{9b}2J\u{202e}";
    let escaped = "a\\u{1b}[31m\\n\\u{9b}2J\\u{202e}";
    let option = format!("--{hostile}");
    for arguments in [
        &[hostile][..],
        &["help", hostile],
        &[&option],
        &["inspect", &option],
        &["inspect", "a", hostile],
        &["dump", "a", "--from", hostile],
        &["dump", "a", "--since", hostile],
        &["dump", "a", "--payload", hostile],
        &["tail", "a", "--protocol", hostile],
        &["tail", hostile, "--coordinator"],
    ] {
        let run = run(arguments).exits(2);
        assert!(!run.err.chars().any(|c| is_hidden(c) && c != '\n'), "{:?}", run.err);
        run.says(escaped);
    }
    for arguments in
        [&["dump", "a", "--since"][..], &["dump", "a", "--payload"], &["tail", "a", "--reader-id"], &["token"]]
    {
        let run = ended(tool(arguments).arg(std::ffi::OsStr::from_bytes(b"\xff")).output().unwrap()).exits(2);
        run.says("invalid value '\u{fffd}' for '");
    }
}

#[test]
fn tokens_are_decoded() {
    let token = Token { stream_id: STREAM, epoch: 2, sequence: u64::MAX, hash: u64::MAX - 1 };
    let digits: String = token.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    let human = run(&["token", &digits]).exits(0);
    human.prints(&format!(
        "stream    {STREAM_HEX}\nepoch     2\nsequence  18446744073709551615\nhash      fffffffffffffffe\n"
    ));
    let found = run(&["token", "--json", &digits.to_uppercase()]).exits(0).json();
    assert_eq!(found["sequence"].as_u64(), Some(u64::MAX));
    assert_eq!(found["hash"].as_u64(), Some(u64::MAX - 1));
    assert_eq!(found["token"], digits);

    let dir = tempfile::tempdir().unwrap();
    let (mut position, _) = PositionFile::open(dir.path(), "applied").unwrap();
    run(&["token", "--dir", text(dir.path())]).exits(1).says("has no position");
    position.store(&token, false).unwrap();
    assert_eq!(run(&["token", "--dir", text(dir.path())]).exits(0).out, human.out);
    fs::write(dir.path().join("applied"), "something else").unwrap();
    run(&["token", "--dir", text(dir.path())]).exits(4).says("applied");

    run(&["token", "abc"]).exits(4).says("3 characters");
    run(&["token", &digits.replace('6', "g")]).exits(4).says("'g' is no hexadecimal digit");
    run(&["token", &digits.replace('6', "5")]).exits(4).says("CRC-32C");
    run(&["token", &"ö".repeat(48)]).exits(4).says("no hexadecimal digit");
}

#[test]
fn a_closed_output_pipe_ends_it_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 20);
    write(&log, [[7u8; 1000].as_slice(); 3000]);
    for arguments in [&["dump", "--json"][..], &["tail", "--json", "-f"], &["dump", "--payload=hex"]] {
        let mut child = tool(&[arguments, &[text(directory.path())]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(wait(&mut child), 0);
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(err, "");
    }
    // Also while there is nothing to write.
    let (sender, address, _) = sender(SenderConfig::default());
    for source in [text(directory.path()), &address] {
        let mut child = tool(&["tail", "-f", "--from=end", source]).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(wait(&mut child), 0);
    }
    drop(sender);
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let dir = some_log();
    for arguments in [&["inspect"][..], &["verify"], &["dump"], &["tail"], &["slots", "--json"], &["dump", "--json"]] {
        let arguments = [arguments, &[text(dir.path())]].concat();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let run = ended(tool(&arguments).stdout(full).output().unwrap());
        if run.status != 0 {
            run.exits(1).says("cannot write to standard output: No space left on device");
        }
        let script = format!("'{}' {} >&- 2>&-", env!("CARGO_BIN_EXE_replctl"), arguments.join(" "));
        let closed = Command::new("sh").args(["-c", &script]).status().unwrap();
        assert_eq!(code(closed), 0, "{arguments:?}");
        // Nobody hears what it has to say.
        let script = format!("'{}' {} /nowhere 2>&1 | true", env!("CARGO_BIN_EXE_replctl"), arguments[0]);
        assert_eq!(code(Command::new("sh").args(["-c", &script]).status().unwrap()), 0);
    }
}
