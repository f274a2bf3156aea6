//! The headers: every compiler and standard takes them, and what they say is what the library is. `cargo xtask api --check`
//! compares them with `src/ffi`.

use std::fs;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

use replication::error::Status;
use replication::ffi::callbacks::{EntryView, EventView, SliceView};
use replication::ffi::version::{ABI_VERSION, replication_version_number};
use replication::host::{EventKind, LogLevel};
use replication::protocol::token::TOKEN_MAX_BYTES;
use replication::protocol::{HEADER_SIZE, MAX_MESSAGE_SIZE, MAX_READER_ID_BYTES};
use replication::records::ValueType;
use replication::sender::AckLevel;
use serde_json::Value;
use strum::IntoEnumIterator;

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

fn include_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

/// The description of the interface: its declarations of one kind.
fn described(kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(include_dir().join("replication.api.json")).unwrap();
    let api: Value = serde_json::from_str(&text).unwrap();
    let headers = api["headers"].as_array().unwrap().iter();
    let sections = headers.flat_map(|header| header["sections"].as_array().unwrap());
    let items = sections.flat_map(|section| section["items"].as_array().unwrap());
    items.filter(|item| item["kind"] == kind).cloned().collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
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
fn every_standard_takes_each_header_alone_and_twice() {
    let dir = scratch("standards");
    let header = |name: &str| format!("#include <replication{name}.h>\n");
    // A file of declarations only is not a program that ISO C knows, so each has one more of its own.
    for (name, text) in [
        ("once", header("")),
        ("twice", header("") + &header("")),
        ("records", header("_records")),
        ("wire", header("_wire") + &header("")),
    ] {
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
fn every_function_says_what_it_returns() {
    for function in described("function") {
        let doc = function["doc"].to_string();
        assert!(function["returns"] == "void" || doc.contains("Returns "), "{} does not say it", function["name"]);
        let can_fail = function["returns"] == "replication_status";
        let names_success = function["statuses"].as_array().is_some_and(|statuses| statuses.contains(&"OK".into()));
        assert!(!can_fail || names_success, "{} names no status", function["name"]);
    }
}

/// Every name with a number in the description.
fn numbers() -> Vec<(String, i128)> {
    let mut numbers = Vec::new();
    for of in described("enum") {
        for member in of["members"].as_array().unwrap() {
            let name = format!("{}_{}", text(&of["prefix"]), text(&member["name"]));
            numbers.push((name, i128::from(member["value"].as_i64().unwrap())));
        }
    }
    numbers
}

#[test]
fn the_description_has_the_numbers_of_the_library() {
    let numbers = numbers();
    let mut of_library = Vec::new();
    of_library.extend(Status::iter().map(|status| (format!("REPLICATION_STATUS_{}", status.name()), status as i128)));
    of_library.extend(EventKind::iter().map(|kind| (format!("REPLICATION_EVENT_KIND_{}", kind.name()), kind as i128)));
    for (name, number) in &of_library {
        let found = numbers.iter().find(|(described, _)| described == name);
        assert_eq!(found.map(|(_, number)| number), Some(number), "{name}");
    }
    let prefixes = ["REPLICATION_STATUS_", "REPLICATION_EVENT_KIND_"];
    let described = numbers.iter().filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
    assert_eq!(described.count(), of_library.len());
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
        ("TOKEN_MAX_BYTES", TOKEN_MAX_BYTES as i128),
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
