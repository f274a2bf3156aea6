//! Replays what is in the tree: seeds, and inputs that a run of the fuzzer found. No fuzzer and no special compiler is
//! needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{TARGETS, Target, seeds};

/// Inputs of a target are its directories in these.
const SEEDS: &str = "fuzz/seeds";
const FOUND: &str = "fuzz/found";

fn directory(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target)
}

fn inputs(kind: &str, target: &str) -> BTreeMap<String, Vec<u8>> {
    let Ok(items) = fs::read_dir(directory(kind, target)) else { return BTreeMap::new() };
    let paths = items.map(|item| item.unwrap().path());
    paths.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())).collect()
}

fn run(target: &str) -> Target {
    TARGETS.iter().find(|(name, _)| *name == target).map(|(_, run)| *run).unwrap()
}

/// Replays the inputs of a target, and some that differ from its seeds in a few places.
fn replay(target: &str, mutants: u32) {
    let run = run(target);
    let seeds = inputs(SEEDS, target);
    for (name, bytes) in &seeds {
        assert_eq!(run(bytes), name.starts_with("good"), "{SEEDS}/{target}/{name}");
    }
    for (accepted, what) in [("good", "reaches past its checks"), ("bad", "refuses something")] {
        assert!(seeds.keys().any(|name| name.starts_with(accepted)), "no seed shows that {target} {what}");
    }
    for bytes in inputs(FOUND, target).values() {
        run(bytes);
    }
    let mut random = Random(1);
    for bytes in seeds.values() {
        for _ in 0..mutants {
            run(&random.mutate(bytes));
        }
    }
}

/// The same sequence each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.below(256) as u8),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                _ if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ => {}
            }
        }
        bytes
    }
}

macro_rules! replays {
    ($($test:ident: $target:literal, $mutants:literal;)*) => {
        $(
            #[test]
            fn $test() {
                replay($target, $mutants);
            }
        )*

        #[test]
        fn every_target_is_replayed_and_has_a_program() {
            let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$($target),*]);
            let manifest = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml"));
            for name in names {
                assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
                let program = fs::read_to_string(directory("fuzz/fuzz_targets", &format!("{name}.rs"))).unwrap();
                assert!(program.contains(&format!("replication::fuzzing::{name}(")), "{name}");
            }
        }
    };
}

replays! {
    p8_fuzz_base64: "base64", 300;
    p8_fuzz_control: "control", 300;
    p8_fuzz_frames: "frames", 300;
    p8_fuzz_handshake: "handshake", 300;
    p8_fuzz_inbound: "inbound", 200;
    p8_fuzz_message: "message", 300;
    p8_fuzz_pem: "pem", 30;
    p8_fuzz_position: "position", 100;
    p1_p8_fuzz_receiver: "receiver", 8;
    p8_fuzz_records: "records", 300;
    p8_fuzz_rules: "rules", 300;
    p4_p8_fuzz_secret: "secret", 100;
    p8_fuzz_segment: "segment", 50;
    p4_p8_fuzz_sender: "sender", 30;
    p8_fuzz_slots: "slots", 100;
    p8_fuzz_token: "token", 300;
}

/// What the encoders write changed, or a seed was changed by hand: `write_the_seeds` brings them together again.
#[test]
fn the_seeds_in_the_tree_are_those_that_the_encoders_make() {
    let made = seeds::all();
    for ((target, name), bytes) in &made {
        let there = inputs(SEEDS, target);
        assert!(there.get(*name) == Some(bytes), "{SEEDS}/{target}/{name} is another one, or missing");
    }
    let there: usize = TARGETS.iter().map(|(target, _)| inputs(SEEDS, target).len()).sum();
    assert_eq!(there, made.len());
}

/// Run by hand after a change of `seeds.rs` or of what is encoded.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_seeds() {
    for (target, _) in TARGETS {
        let _ = fs::remove_dir_all(directory(SEEDS, target));
    }
    for ((target, name), bytes) in seeds::all() {
        fs::create_dir_all(directory(SEEDS, target)).unwrap();
        fs::write(directory(SEEDS, target).join(name), bytes).unwrap();
    }
}
