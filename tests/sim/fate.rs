//! What goes wrong in a cluster, and when: drawn from the seed beforehand, so that a failure can be shown with less of it.

use std::time::Duration;

use replication::sender::config::Secret;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// A process dies, perhaps with its machine's power.
    Kill { power: bool },
    /// All machines lose their power at once.
    Blackout,
    /// A process dies, perhaps with its power, at one of its next changes of its disk.
    KillAtChange { changes: u64 },
    /// A machine loses its power during one of its next syncs.
    PowerAtSync { syncs: u64 },
    /// A disk is full, or fails now and then, for a while.
    Disk { full: bool, ms: u64 },
    /// Syncs fail for a while.
    Syncs { ms: u64 },
    /// A wall clock is set.
    Clock { us: i64 },
    /// Nothing gets from one node to another for a while.
    Cut { back: bool, ms: u64 },
    /// A connection breaks.
    Break,
    /// A copy of the writer's disk is taken, or restored if there is one.
    Copy,
    /// A reader with a log becomes the writer; the old one goes on for a while.
    Promote { overlap_ms: u64 },
    /// Another machine becomes the writer with a copy of the writer's disk, which goes on for a while too.
    Fork { overlap_ms: u64 },
    /// A bit of a disk flips.
    Flip,
    /// Somebody connects who lies about who or where it is.
    Lie,
    /// Somebody asks whether it could follow from some entry on.
    Ask,
}

/// What access rules say of a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It may not follow.
    Denies,
    /// It may read, and no more.
    LetsRead,
    /// Whoever proves the secret of the nodes may follow, and it cannot.
    WantsSecret,
}

/// What the nodes share where a secret is wanted.
pub fn secret() -> Secret {
    Secret::from_bytes("cluster", SECRET_NAME, &[7; 32]).expect("a secret")
}

pub const SECRET_NAME: &str = "nodes";

impl Guard {
    /// Whether the writers of a cluster have rules. Drawn by itself: the rest of a cluster is the same with and without.
    pub fn of(seed: u64) -> Option<Self> {
        match seed % 16 {
            6 => Some(Self::Denies),
            14 => Some(Self::WantsSecret),
            7 | 15 => Some(Self::LetsRead),
            _ => None,
        }
    }

    /// The rules, with the stranger at this node.
    pub fn rules(self, stranger: usize) -> String {
        match self {
            Self::Denies => format!("* 10.0.0.{stranger} * * deny\n* * * * read,ack,slot,hold\n"),
            Self::LetsRead => format!("* 10.0.0.{stranger} * * read\n* * * * read,ack,slot,hold\n"),
            Self::WantsSecret => format!("* * secret:{SECRET_NAME} * read,ack,slot,hold\n"),
        }
    }
}

/// A stroke at a time.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    pub at: Duration,
    pub stroke: Stroke,
    /// Says whom it strikes.
    pub whom: u64,
}

/// Draws what happens until `end`: each cluster has a mix of its own.
pub fn draw(rng: &mut fastrand::Rng, end: Duration) -> Vec<Fate> {
    let kinds: Vec<u32> = (0..17).filter(|_| rng.u32(..3) == 0).collect();
    let (least, most) = (rng.u64(5..100), rng.u64(100..1_500));
    let mut fates = Vec::new();
    let mut at = Duration::ZERO;
    while !kinds.is_empty() {
        at += Duration::from_millis(rng.u64(least..=most));
        if at >= end {
            break;
        }
        let stroke = match kinds[rng.usize(..kinds.len())] {
            0 | 1 => Stroke::Kill { power: false },
            2 => Stroke::Kill { power: true },
            3 => Stroke::KillAtChange { changes: rng.u64(..30) },
            4 => Stroke::Disk { full: rng.bool(), ms: rng.u64(10..1_000) },
            5 => Stroke::Syncs { ms: rng.u64(10..200) },
            6 => Stroke::Clock { us: rng.i64(-400 * 86_400_000_000..400 * 86_400_000_000) },
            7 => Stroke::Cut { back: rng.bool(), ms: rng.u64(10..4_000) },
            8 => Stroke::Copy,
            9 => Stroke::Promote { overlap_ms: if rng.u32(..4) == 0 { 0 } else { rng.u64(1..4_000) } },
            10 => Stroke::Flip,
            11 => Stroke::Lie,
            12 => Stroke::Ask,
            15 => Stroke::PowerAtSync { syncs: rng.u64(..30) },
            14 => Stroke::Blackout,
            13 => Stroke::Fork { overlap_ms: rng.u64(1..3_000) },
            _ => Stroke::Break,
        };
        // A flipped bit and a promotion change what is true afterwards: few of them.
        if stroke == Stroke::Flip && rng.u32(..4) > 0 {
            continue;
        }
        fates.push(Fate { at, stroke, whom: rng.u64(..) });
    }
    fates
}
