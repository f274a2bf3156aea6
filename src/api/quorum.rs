/// Which readers must have acknowledged an entry: a number of any readers, numbers of the readers of groups, or both.
///
/// Wherever a quorum is wanted, a plain number stands for [`Quorum::any`].
///
/// ```
/// use std::time::Duration;
/// use replication::{AckLevel, Quorum, Sender};
///
/// # fn main() -> replication::Result<()> {
/// let sender = Sender::builder().group("east", ["east-*"]).group("west", ["west-1", "west-2"]).build()?;
/// sender.start()?;
/// let sequence = sender.replicate("insert")?;
/// let both_sides = Quorum::group("east", 2).and_group("west", 1);
/// let error = sender.acked(sequence, AckLevel::Durable, both_sides).unwrap_err();
/// assert_eq!(error.status(), replication::Status::Timeout); // nobody is connected
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Quorum {
    terms: Vec<(Option<String>, usize)>,
}

impl Quorum {
    /// So many readers, whichever they are.
    pub fn any(readers: usize) -> Self {
        Self { terms: vec![(None, readers)] }
    }

    /// So many readers of a group, which was named with
    /// [`SenderBuilder::group`](crate::SenderBuilder::group).
    pub fn group(name: impl Into<String>, readers: usize) -> Self {
        Self { terms: vec![(Some(name.into()), readers)] }
    }

    /// And so many readers, whichever they are. One reader may count for several conditions.
    pub fn and_any(mut self, readers: usize) -> Self {
        self.terms.push((None, readers));
        self
    }

    /// And so many readers of this group. One reader may count for several conditions.
    pub fn and_group(mut self, name: impl Into<String>, readers: usize) -> Self {
        self.terms.push((Some(name.into()), readers));
        self
    }

    pub(super) fn terms(&self) -> Vec<(Option<&str>, usize)> {
        self.terms.iter().map(|(name, readers)| (name.as_deref(), *readers)).collect()
    }
}

/// Conditions that come from a configuration, say: each a number of readers of a group or, for `None`, of any. Without one,
/// the quorum is refused where it is used.
impl<N: Into<String>> FromIterator<(Option<N>, usize)> for Quorum {
    fn from_iter<I: IntoIterator<Item = (Option<N>, usize)>>(conditions: I) -> Self {
        Self { terms: conditions.into_iter().map(|(name, readers)| (name.map(Into::into), readers)).collect() }
    }
}

impl From<usize> for Quorum {
    fn from(readers: usize) -> Self {
        Self::any(readers)
    }
}

impl From<&Quorum> for Quorum {
    fn from(quorum: &Quorum) -> Self {
        quorum.clone()
    }
}
