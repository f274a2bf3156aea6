//! The header: the committed one is the generated one, every compiler and standard takes it, and what it says is what
//! the library is.

use std::collections::BTreeSet;
use std::fs;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

use replication::error::Status;
use replication::ffi::callbacks::{EntryView, EventView, SliceView};
use replication::ffi::receiver_config::{ApplyPolicyNumber, GapPolicyNumber, ProtocolNumber};
use replication::ffi::sender_config::FullPolicyNumber;
use replication::ffi::sender_config_acks::GatePolicyNumber;
use replication::ffi::sender_storage::SyncPolicyNumber;
use replication::ffi::version::{ABI_VERSION, replication_version_number};
use replication::host::{EventKind, LogLevel};
use replication::protocol::token::TOKEN_BYTES;
use replication::protocol::{HEADER_SIZE, MAX_MESSAGE_SIZE, MAX_READER_ID_BYTES};
use replication::records::ValueType;
use replication::sender::AckLevel;

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

fn include_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

fn header() -> String {
    fs::read_to_string(include_dir().join("replication.h")).unwrap()
}

/// The shared library that was built together with this test.
fn library() -> PathBuf {
    let library = std::env::current_exe().unwrap().with_file_name("libreplication.so");
    assert!(library.is_file(), "{} is not there", library.display());
    library
}

/// A place for the files of one test.
fn scratch(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header").join(test);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn source(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Runs a program that must succeed; its output.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn compile(compiler: &str, standard: &str) -> Command {
    let mut command = Command::new(compiler);
    command.arg(format!("-std={standard}")).args(WARNINGS).arg("-I").arg(include_dir());
    if compiler == "cc" {
        command.arg("-Wstrict-prototypes");
    }
    command
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let generated = fs::read_to_string(env!("REPLICATION_GENERATED_HEADER")).unwrap();
    let committed = header();
    if generated == committed {
        return;
    }
    let files = [include_dir().join("replication.h"), env!("REPLICATION_GENERATED_HEADER").into()];
    let diff = Command::new("diff").arg("-u").args(files).output();
    let diff = diff.map(|diff| String::from_utf8_lossy(&diff.stdout).into_owned()).unwrap_or_default();
    panic!("include/replication.h is not what src/ffi says: run `make header`\n{diff}");
}

#[test]
fn every_standard_takes_the_header_alone_and_twice() {
    let dir = scratch("standards");
    let once = "#include <replication.h>\n";
    let twice = "#include <replication.h>\n#include <replication.h>\n";
    // A file of declarations only is not a program that ISO C knows, so each has one more of its own.
    for (name, text) in [("once", once), ("twice", twice)] {
        let text = format!("{text}extern int replication_test_{name};\n");
        let c = source(&dir, &format!("{name}.c"), &text);
        let cpp = source(&dir, &format!("{name}.cpp"), &text);
        for standard in ["c99", "gnu99", "c11", "gnu11", "c17", "c2x"] {
            run(compile("cc", standard).arg("-fsyntax-only").arg(&c));
        }
        for standard in ["c++11", "c++14", "c++17", "c++20"] {
            run(compile("c++", standard).arg("-fsyntax-only").arg(&cpp));
        }
    }
}

#[test]
fn two_cpp_files_that_include_the_header_link() {
    let dir = scratch("link");
    let one = source(
        &dir,
        "one.cpp",
        "#include <replication.h>\nreplication_status two();\nint main() { return two() == REPLICATION_STATUS_OK ? 0 : 1; }\n",
    );
    let two = source(
        &dir,
        "two.cpp",
        "#include <replication.h>\nreplication_status two();\nreplication_status two() {\n    \
         return replication_abi_version() == REPLICATION_ABI_VERSION ? REPLICATION_STATUS_OK : REPLICATION_STATUS_PANIC;\n}\n",
    );
    let program = dir.join("program");
    run(compile("c++", "c++11").args([&one, &two]).arg(library()).arg("-o").arg(&program));
    // The library's SONAME is not its file name in the build directory.
    std::os::unix::fs::symlink(library(), dir.join(soname()))
        .or_else(|error| if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
        .unwrap();
    run(Command::new(&program).env("LD_LIBRARY_PATH", &dir));
}

/// The functions that the header declares, each with its comment.
fn declared_functions() -> Vec<(String, String)> {
    let header = header();
    let mut functions = Vec::new();
    let mut comment = String::new();
    let mut in_comment = false;
    for line in header.lines() {
        if line.starts_with("/**") {
            comment.clear();
            in_comment = true;
        }
        if in_comment {
            comment += line;
            comment.push('\n');
            in_comment = !line.ends_with("*/");
            continue;
        }
        if line.starts_with([' ', '#', '}', '/']) || line.starts_with("typedef") {
            continue;
        }
        if let Some((before, _)) = line.split_once('(') {
            let name = before.rsplit([' ', '*']).next().unwrap();
            functions.push((name.to_owned(), std::mem::take(&mut comment)));
        }
    }
    functions
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let exported: BTreeSet<String> = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library()))
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .map(|symbol| symbol.split('@').next().unwrap().to_owned())
        .collect();
    let declared: BTreeSet<String> = declared_functions().into_iter().map(|(name, _)| name).collect();
    assert!(declared.len() > 100, "only {} functions were found in the header", declared.len());
    let missing: Vec<_> = declared.difference(&exported).collect();
    let undeclared: Vec<_> = exported.difference(&declared).collect();
    assert!(missing.is_empty() && undeclared.is_empty(), "not exported: {missing:?}; not declared: {undeclared:?}");
}

fn dynamic_section() -> String {
    run(Command::new("readelf").arg("-dW").arg(library()).env("LC_ALL", "C"))
}

fn soname() -> String {
    let dynamic = dynamic_section();
    let line = dynamic.lines().find(|line| line.contains("(SONAME)")).expect("the library has no SONAME");
    line.split(['[', ']']).nth(1).unwrap().to_owned()
}

#[test]
fn the_library_is_named_after_its_abi_and_stays_loaded() {
    let number = replication_version_number();
    let abi = match (number / 1_000_000, number / 1_000 % 1_000) {
        (0, minor) => format!("0.{minor}"),
        (major, _) => major.to_string(),
    };
    assert_eq!(soname(), format!("libreplication.so.{abi}"));
    assert!(dynamic_section().contains("NODELETE"));
}

#[test]
fn every_function_says_what_it_returns_and_where_it_may_be_called() {
    for (name, comment) in declared_functions() {
        assert!(comment.len() > 40, "{name} has no comment");
        let returns_nothing = header().contains(&format!("\nvoid {name}("));
        assert!(returns_nothing || comment.contains("Returns "), "{name} does not say what it returns");
        let words = comment.split(|c: char| c.is_whitespace() || c == '*').filter(|word| !word.is_empty());
        let text = words.collect::<Vec<_>>().join(" ");
        let is_setter = name.contains("_config_set_");
        let said = text.contains("Any thread; allowed in callbacks") || text.contains("Any other thread");
        assert!(is_setter || said, "{name} does not say where it may be called");
    }
}

/// Every name with a number in the header and what the library knows of it.
fn numbers() -> Vec<(String, i128)> {
    let mut numbers: Vec<(String, i128)> = Vec::new();
    for status in Status::ALL {
        numbers.push((format!("REPLICATION_STATUS_{}", status.name()), status as i128));
    }
    let mut add = |prefix: &str, names: &[(&str, i128)]| {
        numbers.extend(names.iter().map(|(name, number)| (format!("REPLICATION_{prefix}{name}"), *number)));
    };
    let levels = [
        ("ERROR", LogLevel::Error as i128),
        ("WARN", LogLevel::Warn as i128),
        ("INFO", LogLevel::Info as i128),
        ("DEBUG", LogLevel::Debug as i128),
    ];
    add("LOG_LEVEL_", &levels);
    let kinds = [
        ("CONNECTED", EventKind::Connected as i128),
        ("DISCONNECTED", EventKind::Disconnected as i128),
        ("REFUSED", EventKind::Refused as i128),
        ("GAP", EventKind::Gap as i128),
        ("REGRESSED", EventKind::Regressed as i128),
        ("DIVERGED", EventKind::Diverged as i128),
        ("LAGGING", EventKind::Lagging as i128),
        ("CUT_OFF", EventKind::CutOff as i128),
        ("APPLY_FAILED", EventKind::ApplyFailed as i128),
        ("ENTRY_SKIPPED", EventKind::EntrySkipped as i128),
        ("HOLE_PASSED", EventKind::HolePassed as i128),
        ("STOPPED", EventKind::Stopped as i128),
        ("PROTOCOL_ERROR", EventKind::ProtocolError as i128),
        ("ENTRY_REFUSED", EventKind::EntryRefused as i128),
        ("EVENTS_LOST", EventKind::EventsLost as i128),
        ("SLOT_LOST", EventKind::SlotLost as i128),
        ("SLOT_EXPIRED", EventKind::SlotExpired as i128),
        ("LOG_STALLED", EventKind::LogStalled as i128),
        ("LOG_RESUMED", EventKind::LogResumed as i128),
        ("LOG_FAILED", EventKind::LogFailed as i128),
        ("LOG_RECOVERED", EventKind::LogRecovered as i128),
        ("LOG_TRIMMED", EventKind::LogTrimmed as i128),
        ("SLOT_REFUSED", EventKind::SlotRefused as i128),
        ("READER_REWOUND", EventKind::ReaderRewound as i128),
        ("DESCRIPTORS_LOW", EventKind::DescriptorsLow as i128),
        ("LISTEN_INCOMPLETE", EventKind::ListenIncomplete as i128),
        ("UNPROTECTED", EventKind::Unprotected as i128),
        ("GATE_CLOSED", EventKind::GateClosed as i128),
        ("GATE_OPENED", EventKind::GateOpened as i128),
    ];
    add("EVENT_KIND_", &kinds);
    let ack_levels = [
        ("RECEIVED", AckLevel::Received as i128),
        ("DURABLE", AckLevel::Durable as i128),
        ("APPLIED", AckLevel::Applied as i128),
    ];
    add("ACK_LEVEL_", &ack_levels);
    let full_policies = [
        ("CUT_OFF_SLOWEST", FullPolicyNumber::CutOffSlowest as i128),
        ("REFUSE", FullPolicyNumber::Refuse as i128),
        ("WAIT", FullPolicyNumber::Wait as i128),
    ];
    add("FULL_POLICY_", &full_policies);
    let sync_policies = [
        ("ALWAYS", SyncPolicyNumber::Always as i128),
        ("GROUP", SyncPolicyNumber::Group as i128),
        ("OS", SyncPolicyNumber::Os as i128),
    ];
    add("SYNC_POLICY_", &sync_policies);
    let gate_policies = [("REFUSE", GatePolicyNumber::Refuse as i128), ("SLOW", GatePolicyNumber::Slow as i128)];
    add("GATE_POLICY_", &gate_policies);
    let apply_policies = [
        ("RETRY", ApplyPolicyNumber::Retry as i128),
        ("STOP", ApplyPolicyNumber::Stop as i128),
        ("SKIP", ApplyPolicyNumber::Skip as i128),
    ];
    add("APPLY_POLICY_", &apply_policies);
    let gap_policies = [("REFUSE", GapPolicyNumber::Refuse as i128), ("CONTINUE", GapPolicyNumber::Continue as i128)];
    add("GAP_POLICY_", &gap_policies);
    let protocols = [
        ("AUTO", ProtocolNumber::Auto as i128),
        ("V1", ProtocolNumber::V1 as i128),
        ("V2", ProtocolNumber::V2 as i128),
    ];
    add("PROTOCOL_", &protocols);
    let types = [
        ("NIL", ValueType::Nil as i128),
        ("BOOL", ValueType::Bool as i128),
        ("I64", ValueType::I64 as i128),
        ("U64", ValueType::U64 as i128),
        ("F64", ValueType::F64 as i128),
        ("STRING", ValueType::String as i128),
        ("BYTES", ValueType::Bytes as i128),
        ("ARRAY", ValueType::Array as i128),
        ("MAP", ValueType::Map as i128),
        ("EXT", ValueType::Ext as i128),
    ];
    add("VALUE_TYPE_", &types);
    numbers
}

/// Every macro with a number and what the library knows of it.
fn macros() -> Vec<(String, i128)> {
    let number = i128::from(replication_version_number());
    [
        ("VERSION_MAJOR", number / 1_000_000),
        ("VERSION_MINOR", number / 1_000 % 1_000),
        ("VERSION_PATCH", number % 1_000),
        ("VERSION_NUMBER", number),
        ("ABI_VERSION", i128::from(ABI_VERSION)),
        ("HEADER_SIZE", HEADER_SIZE as i128),
        ("MAX_MESSAGE_SIZE", MAX_MESSAGE_SIZE as i128),
        ("MAX_READER_ID_BYTES", MAX_READER_ID_BYTES as i128),
        ("STREAM_ID_BYTES", 16),
        ("TOKEN_BYTES", TOKEN_BYTES as i128),
    ]
    .map(|(name, value)| (format!("REPLICATION_{name}"), value))
    .into()
}

/// Sizes and places of everything whose layout C sees.
fn layout() -> Vec<(String, i128)> {
    macro_rules! fields {
        ($rust:ty, $c:literal, $($field:ident),+) => {
            vec![
                (format!("sizeof({})", $c), size_of::<$rust>() as i128),
                $((format!("offsetof({}, {})", $c, stringify!($field)), offset_of!($rust, $field) as i128)),+
            ]
        };
    }
    let enums = [
        ("status", size_of::<Status>()),
        ("log_level", size_of::<LogLevel>()),
        ("event_kind", size_of::<EventKind>()),
        ("ack_level", size_of::<AckLevel>()),
        ("value_type", size_of::<ValueType>()),
    ];
    [
        fields!(SliceView, "replication_slice", data, len),
        fields!(EntryView, "replication_entry", sequence, timestamp_us, payload, payload_len),
        fields!(
            EventView,
            "replication_event",
            struct_size,
            kind,
            status,
            sequence,
            reader_id,
            address,
            message,
            detail_json
        ),
        enums.map(|(name, size)| (format!("sizeof(replication_{name})"), size as i128)).into(),
    ]
    .concat()
}

#[test]
fn sizes_places_and_numbers_are_the_same_in_c() {
    let expected = [numbers(), macros(), layout()].concat();
    let prints: String =
        expected.iter().map(|(name, _)| format!("    printf(\"%lld\\n\", (long long)({name}));\n")).collect();
    let dir = scratch("layout");
    let text =
        format!("#include <replication.h>\n#include <stdio.h>\n\nint main(void)\n{{\n{prints}    return 0;\n}}\n");
    let file = source(&dir, "layout.c", &text);
    for standard in ["c99", "c2x"] {
        let program = dir.join(standard);
        run(compile("cc", standard).arg(&file).arg("-o").arg(&program));
        let printed = run(&mut Command::new(&program));
        let found: Vec<(String, i128)> = expected
            .iter()
            .zip(printed.lines())
            .map(|((name, _), line)| (name.clone(), line.parse().unwrap()))
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn no_number_of_the_header_is_left_out() {
    let known: BTreeSet<String> = [numbers(), macros()].concat().into_iter().map(|(name, _)| name).collect();
    let header = header();
    let in_header: BTreeSet<String> = header
        .lines()
        .filter_map(|line| {
            let line = line.trim_start();
            let define = line.strip_prefix("#define ").and_then(|define| define.split_once(' '));
            let enumerator = line.split_once(" = ").filter(|_| line.starts_with("REPLICATION_"));
            define.or(enumerator).map(|(name, _)| name.to_owned())
        })
        .collect();
    assert_eq!(in_header, known);
}
