//! Names the shared library and generates the C header, into the build directory only: `make header` copies it to
//! `include/`, and `tests/it/header.rs` fails when both differ.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// Where the header's declarations are, in their order in the header.
const SOURCES: [&str; 5] =
    ["src/error.rs", "src/host.rs", "src/protocol/control.rs", "src/records/value.rs", "src/ffi/mod.rs"];

/// The sections of the header, each with its first function.
const SECTIONS: [(&str, &str); 11] = [
    ("Errors and texts", "replication_status_name"),
    ("Version", "replication_version"),
    ("Sender configuration", "sender_config_new"),
    ("Sender", "sender_new"),
    ("Waiting for readers", "replication_quorum_new"),
    ("Sender: the log on disk", "sender_config_set_log_dir"),
    ("Receiver configuration", "receiver_config_new"),
    ("Receiver", "receiver_new"),
    ("Receiver: the log on disk, and tokens", "receiver_config_set_log_dir"),
    ("Messages of protocol v1, over the caller's buffers", "replication_read_message"),
    ("Records: the msgpack payload, decoded", "replication_records_parse"),
];

fn main() -> Result<(), Box<dyn Error>> {
    for path in ["build.rs", "cbindgen.toml", "Cargo.toml", "src/ffi"].iter().chain(&SOURCES) {
        println!("cargo:rerun-if-changed={path}");
    }
    name_library()?;
    generate_header()
}

fn version_part(part: &str) -> Result<u32, Box<dyn Error>> {
    Ok(env::var(format!("CARGO_PKG_VERSION_{part}"))?.parse()?)
}

/// Before 1.0 every minor version may break hosts, from then on every major one.
fn name_library() -> Result<(), Box<dyn Error>> {
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(());
    }
    let abi = match (version_part("MAJOR")?, version_part("MINOR")?) {
        (0, minor) => format!("0.{minor}"),
        (major, _) => major.to_string(),
    };
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libreplication.so.{abi}");
    // Its threads and its fork handler must not lose their code to a dlclose().
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    Ok(())
}

fn generate_header() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    config.header = Some(fs::read_to_string(root.join("src/ffi/overview.txt"))?);
    config.after_includes = Some(macros()?);
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join(source));
    }
    let mut header = Vec::new();
    builder.generate()?.write(&mut header);
    let header = tidy(String::from_utf8(header)?)?;

    let path = PathBuf::from(env::var("OUT_DIR")?).join("replication.h");
    fs::write(&path, header)?;
    println!("cargo:rustc-env=REPLICATION_GENERATED_HEADER={}", path.display());
    Ok(())
}

/// The macros, which cannot be generated from Rust: the version is Cargo's. `tests/it/header.rs` compares them with the
/// library's own numbers.
fn macros() -> Result<String, Box<dyn Error>> {
    let (major, minor, patch) = (version_part("MAJOR")?, version_part("MINOR")?, version_part("PATCH")?);
    let number = major * 1_000_000 + minor * 1_000 + patch;
    Ok(format!(
        "
/** The version of this header. Compare `REPLICATION_VERSION_NUMBER` with replication_version_number(). */
#define REPLICATION_VERSION_MAJOR {major}
#define REPLICATION_VERSION_MINOR {minor}
#define REPLICATION_VERSION_PATCH {patch}
/** major * 1000000 + minor * 1000 + patch */
#define REPLICATION_VERSION_NUMBER {number}
/** The ABI of this header. It must be equal to replication_abi_version(). */
#define REPLICATION_ABI_VERSION 1

/** Bytes of a message before its JSON: the length and the type. */
#define REPLICATION_HEADER_SIZE 5
/** The largest length that a message may name: its type and its JSON, 100 MiB. */
#define REPLICATION_MAX_MESSAGE_SIZE 104857600
/** The longest reader id, without the NUL. */
#define REPLICATION_MAX_READER_ID_BYTES 255
/** The size of a stream id. */
#define REPLICATION_STREAM_ID_BYTES 16
/** The size of a token: a position with its stream, epoch and the hash of what lies before it. */
#define REPLICATION_TOKEN_BYTES 48
"
    ))
}

/// Makes the generated text read like one written for C.
fn tidy(mut header: String) -> Result<String, Box<dyn Error>> {
    // In Rust, what a caller must keep has a heading of that name.
    header = header.replace(" * # Safety\n", " * Requires:\n");
    for (title, function) in SECTIONS {
        let comment = comment_of(&header, function).ok_or_else(|| format!("{function} has no comment"))?;
        let line = "-".repeat(110_usize.saturating_sub(title.len()));
        header.insert_str(comment, &format!("\n/* {title} {line} */\n"));
    }
    Ok(one_line_comments(&header))
}

/// Where the comment of a function begins. Comments have a space or a slash at the start of their lines.
fn comment_of(header: &str, function: &str) -> Option<usize> {
    let mut at = 0;
    for line in header.split_inclusive('\n') {
        let name = line.find(&format!("{function}(")).filter(|_| !line.starts_with([' ', '/', '#']));
        if name.is_some_and(|name| line[..name].ends_with([' ', '*'])) {
            return header[..at].rfind("\n/**");
        }
        at += line.len();
    }
    None
}

/// Puts comments of one line on one line.
fn one_line_comments(header: &str) -> String {
    let lines: Vec<&str> = header.lines().collect();
    let mut tidy = String::with_capacity(header.len());
    let mut rest = lines.as_slice();
    while let [line, after @ ..] = rest {
        let indent = &line[..line.len() - line.trim_start().len()];
        match rest {
            [open, text, close, tail @ ..]
                if open.trim() == "/**" && close.trim() == "*/" && line.len() + text.len() < 118 =>
            {
                let text = text.trim_start().trim_start_matches("* ");
                tidy += &format!("{indent}/** {text} */\n");
                rest = tail;
            }
            _ => {
                tidy += line;
                tidy.push('\n');
                rest = after;
            }
        }
    }
    tidy
}
