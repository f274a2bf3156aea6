//! Compares what was built with the description: what the library exports, and which functions programs call.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::api::Api;

/// Libraries that a program of C has anyway.
const SYSTEM: [&str; 7] = ["libc.", "libm.", "libgcc_s.", "ld-linux", "libpthread.", "libdl.", "librt."];

/// Fails unless the library exports exactly the described functions, carries its SONAME, cannot be unloaded (its threads
/// would go on in unmapped code), and needs no library beyond the C runtime.
pub fn check(api: &Api, library: &str) -> Result<()> {
    let declared: BTreeSet<&str> = api.functions().map(|function| function.name.as_str()).collect();
    let symbols = output("nm", &["-D", "--defined-only", library])?;
    let exported: BTreeSet<&str> = symbols.lines().filter_map(|line| line.split_whitespace().last()).collect();
    same("src/ffi declares, but the library does not export,", &declared, &exported)?;
    same("the library exports, but src/ffi does not declare,", &exported, &declared)?;

    let dynamic = output("readelf", &["-d", "-W", library])?;
    let tagged = |tag: &'static str| dynamic.lines().filter(move |line| line.contains(tag));
    let soname = &api.soname;
    ensure!(
        tagged("(SONAME)").any(|line| line.contains(&format!("[{soname}]"))),
        "the SONAME of {library} is not {soname}"
    );
    ensure!(tagged("(FLAGS_1)").any(|line| line.contains("NODELETE")), "{library} is not linked with -z nodelete");
    for line in tagged("(NEEDED)") {
        let needed = line.split(['[', ']']).nth(1).unwrap_or(line);
        ensure!(SYSTEM.iter().any(|system| needed.starts_with(system)), "{library} needs {needed}");
    }
    println!("{library}: {} functions exported and nothing else; SONAME {soname}, nodelete", declared.len());
    Ok(())
}

/// Fails unless each function is called by one of the programs.
pub fn check_calls(api: &Api, programs: &[&str]) -> Result<()> {
    let declared: BTreeSet<&str> = api.functions().map(|function| function.name.as_str()).collect();
    let symbols = output("nm", &[&["-D", "--undefined-only"], programs].concat())?;
    let called: BTreeSet<&str> = symbols.lines().filter_map(|line| line.split_whitespace().last()).collect();
    same("no test calls", &declared, &called)?;
    println!("{} functions, each called by one of {} test programs", declared.len(), programs.len());
    Ok(())
}

/// Fails when a function of the description is not named in a source file outside of its comments.
pub fn check_mentions(api: &Api, path: &str) -> Result<()> {
    let source = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
    let code = source.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let words: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let declared: BTreeSet<&str> = api.functions().map(|function| function.name.as_str()).collect();
    same(&format!("{path} does not call"), &declared, &words)?;
    println!("{path}: calls each of {} functions", declared.len());
    Ok(())
}

fn same(complaint: &str, these: &BTreeSet<&str>, those: &BTreeSet<&str>) -> Result<()> {
    let missing: Vec<&str> = these.difference(those).copied().collect();
    ensure!(missing.is_empty(), "{complaint} {}", missing.join(", "));
    Ok(())
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let done = Command::new(program).args(arguments).env("LC_ALL", "C").output().with_context(|| program.to_owned())?;
    ensure!(
        done.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&done.stderr).trim_end()
    );
    Ok(String::from_utf8(done.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let declared = BTreeSet::from(["sender_new", "sender_free", "sender_stop"]);
        assert!(same("lacks", &declared, &declared).is_ok());
        let error = same("the library lacks", &declared, &BTreeSet::from(["sender_new", "other"])).unwrap_err();
        assert_eq!(error.to_string(), "the library lacks sender_free, sender_stop");
    }
}
