//! `access`: docs/access.md is run as printed, and what the tool says is what a sender does.

use replication::sender::config::DEFAULT_RULES;

use super::*;

const DOCUMENT: &str = include_str!("../../../docs/access.md");

/// The blocks of the document without a language, and those that are text.
fn blocks() -> Vec<&'static str> {
    let mut blocks = Vec::new();
    let mut rest = DOCUMENT;
    while let Some((_, after)) = rest.split_once("```text\n") {
        let (block, after) = after.split_once("```").unwrap();
        blocks.push(block);
        rest = after;
    }
    blocks
}

#[test]
fn the_document_shows_the_default_rules_and_what_a_test_says() {
    let [default, rules, session] = blocks()[..] else { panic!("three blocks of text") };
    assert_eq!(default, DEFAULT_RULES);
    assert_eq!(run(&["access", "default"]).exits(0).out, DEFAULT_RULES);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.conf");
    fs::write(&file, rules).unwrap();
    let (command, printed) = session.split_once('\n').unwrap();
    let arguments: Vec<_> =
        command.strip_prefix("$ replctl ").unwrap().split(' ').map(|word| word.trim_matches('"')).collect();
    let arguments: Vec<_> =
        arguments.into_iter().map(|word| if word == "access.conf" { text(&file) } else { word }).collect();
    assert_eq!(run(&arguments).exits(6).out, printed);
}

#[test]
fn a_connection_that_may_follow_is_told_from_one_that_may_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.conf");
    fs::write(&file, "unix * same-user r* read\ntls 10.0.0.0/8 name:{id} * read,ack\nhanded * none m monitor\n")
        .unwrap();
    let own = format!("uid:{} gid:1 pid:7", nix::unistd::geteuid());
    let test = |arguments: &[&str]| {
        let common = ["access", "test", "--json", "--rules", text(&file), "--reader-id"];
        let run = run(&[&common[..], arguments].concat());
        let said: serde_json::Value = serde_json::from_str(&run.out).unwrap();
        (said["line"].clone(), said["rights"].clone(), run)
    };
    for (arguments, line, rights, exit) in [
        (&["r1", "--address", "unix", "--identity", &own][..], Some(1), &["read"][..], 0),
        (&["s1", "--address", "unix", "--identity", &own], None, &[], 6),
        (&["r1", "--address", "unix", "--identity", "uid:4000000000"], None, &[], 6),
        (&["s1", "--address", "10.1.2.3:4000", "--tls", "--identity", "cn:x dns:s1"], Some(2), &["read", "ack"], 0),
        (&["s1", "--address", "10.1.2.3", "--identity", "cn:x dns:s1"], None, &[], 6),
        (&["m", "--handed"], Some(3), &["monitor"], 6),
        (&["m", "--address", "[::1]:9"], None, &[], 6),
    ] {
        let (found, may, run) = test(arguments);
        assert_eq!((found, may), (line.into(), rights.into()), "{arguments:?}");
        run.exits(exit);
    }
    let (.., run) = test(&["m", "--handed"]);
    let said: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(said["passed_over"][1]["why"], "another transport");
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.conf");
    fs::write(&file, "* * * * read\n* * * * reads\n").unwrap();
    let rules = text(&file);
    run(&["access", "test", "--rules", rules, "--reader-id", "r"])
        .exits(1)
        .says("line 2, column 9: unknown right \"reads\"");
    run(&["access", "test", "--rules", "/nowhere", "--reader-id", "r"]).exits(1).says("/nowhere");
    run(&["access", "test"]).exits(2).says("--reader-id");
    run(&["access", "test", "--reader-id", "r", "--address", "here"]).exits(2).says("neither unix nor an IP address");
    run(&["access", "test", "--reader-id", "r", "--identity", "root"]).exits(2).says("is no part of an identity");
    run(&["access", "try"]).exits(2).says("default");
}
