//! The host's choices about what a reader does.

/// Which protocol versions a receiver speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// Offer v2, accept v1.
    Auto,
    /// Speak v1 only.
    V1,
    /// Refuse a writer that does not speak v2.
    V2,
}

/// What happens when the writer's entries have a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapPolicy {
    /// Report it and do not go on.
    Refuse,
    /// Report it, count it and go on after it.
    Continue,
}

/// What happens to an entry that the handler does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyPolicy {
    /// Try for ever.
    Retry,
    /// Try so many times more, then stop applying.
    Stop(u32),
    /// Try so many times more, then skip it, reported and counted.
    Skip(u32),
}
