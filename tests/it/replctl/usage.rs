//! The tool's help, invalid arguments, tokens, and output that cannot be written.

use replication::log::disk::position::PositionFile;
use replication::protocol::token::Token;
use replication::sender::config::SenderConfig;

use super::*;

#[test]
fn help_is_there_for_everybody() {
    let all = run(&["--help"]).exits(0);
    assert_eq!(run(&["help"]).exits(0).out, all.out);
    for command in ["inspect", "verify", "dump", "tail", "slots", "token"] {
        all.prints(&format!("\n  {command} "));
        let own = run(&[command, "--help"]).exits(0);
        own.prints(&format!("Usage: replctl {command} "));
        own.prints("Examples:");
        assert!(own.out.lines().all(|line| line.chars().count() <= 80), "{}", own.out);
        assert_eq!(run(&["help", command]).exits(0).out, own.out);
        assert_eq!(run(&[command, "/nowhere", "-h"]).exits(0).out, own.out);
    }
    let version = format!("replctl {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]).exits(0).out, version);
    assert_eq!(run(&["dump", "-V"]).exits(0).out, version);
}

/// The manual names every option that the help names, and every exit status.
#[test]
fn the_manual_has_every_option() {
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/replctl.1")).unwrap();
    let mut named = 0;
    for command in ["inspect", "verify", "dump", "tail", "slots", "token"] {
        assert!(manual.contains(&format!("\n.It Cm {command} ")), "{command}");
        let help = run(&[command, "--help"]).exits(0).out;
        let options = help.lines().filter(|line| line.starts_with("  ")).filter_map(|line| line.split("--").nth(1));
        for option in options.filter_map(|rest| rest.split(|c: char| c != '-' && !c.is_ascii_lowercase()).next()) {
            assert!(manual.contains(&format!(" -{option}")), "--{option} of {command}");
            named += 1;
        }
    }
    assert!(named > 30, "{named}");
    let all = run(&["--help"]).exits(0).out;
    let statuses: Vec<_> = all.lines().skip_while(|line| !line.starts_with("Exit status")).skip(1).collect();
    for status in statuses.iter().filter_map(|line| line.trim_start().split_once("  ")).map(|(status, _)| status) {
        assert!(manual.contains(&format!("\n.It {status}\n")), "exit status {status}");
    }
    assert_eq!(statuses.len(), 8);
}

#[test]
fn invalid_arguments_are_refused_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let dir = text(directory.path());
    for (arguments, said) in [
        (&[][..], "a command is missing"),
        (&["frob"], "there is no command \"frob\""),
        (&["help", "frob"], "there is no command \"frob\""),
        (&["--frob"], "'--frob'"),
        (&["inspect"], "the directory of the log is missing"),
        (&["inspect", ""], "the directory of the log is missing"),
        (&["inspect", "a", "b"], "one argument too many: \"b\""),
        (&["inspect", "--frob", dir], "'--frob'"),
        (&["dump", dir, "--from"], "'--from'"),
        (&["dump", dir, "--from", "0"], "--from takes a number from 1 to 18446744073709551615, not '0'"),
        (&["dump", dir, "--limit=1e3"], "--limit takes a number"),
        (&["dump", dir, "--from", "9", "--to", "8"], "--to 8 lies before --from"),
        (&["dump", dir, "--since", "yesterday"], "--since takes a time"),
        (&["dump", dir, "--payload", "xml"], "--payload takes none, preview, text, hex, base64 or records"),
        (&["dump", dir, "--json", "--payload", "preview"], "for people"),
        (&["tail", dir, "--from", "end"], "without --follow"),
        (&["tail", dir, "--from", "start"], "--from"),
        (&["tail", dir, "--reader-id", "me"], "is for a writer"),
        (&["tail", "db:1", "--protocol", "v3"], "--protocol takes auto, v1 or v2"),
        (&["tail", "db:1", "--tls-name", "x"], "--tls-ca"),
        (&["tail", "db:1", "--tls-ca", "x", "--tls-key", "x"], "belong together"),
        (&["token"], "the token is missing"),
        (&["token", "00", "--dir", dir], "not both"),
    ] {
        let run = run(arguments).exits(2);
        run.says(said);
        run.says("--help'.");
        assert_eq!(run.out, "");
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
