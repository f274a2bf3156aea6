//! The tests that may run beside each other in one process.

mod access;
mod acks;
mod addresses;
mod architecture;
mod attacks;
mod certificates;
mod claims;
#[path = "../common/mod.rs"]
mod common;
mod crash_points;
mod disk_processes;
mod documents;
mod durable;
mod go_failures;
mod go_processes;
mod header;
mod heartbeats;
mod hostile_readers;
mod hostile_writers;
mod identities;
mod lineage;
mod log_identity;
mod options;
mod power_loss;
#[path = "../common/process.rs"]
mod process;
mod protocol_doc;
mod proxy;
mod replctl;
mod rust_api;
mod secret_wire;
mod secrets;
mod storm;
mod strangers_text;
mod stream;
mod tls;
mod tls_files;
mod tls_live;
mod two_processes;
