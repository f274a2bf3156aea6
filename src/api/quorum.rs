/// Which readers must have acknowledged an entry: a number of any readers, a number of readers of each of several
/// groups, or both.
///
/// Functions that take a quorum also accept a plain number, which means [`Quorum::any`].
///
/// ```
/// use std::time::Duration;
/// use replication::{AckLevel, Quorum, Sender};
///
/// # fn main() -> replication::Result<()> {
/// let sender = Sender::builder().group("east", ["east-*"]).group("west", ["west-1", "west-2"]).build()?;
/// sender.start()?;
/// let token = sender.replicate_token("insert")?;
/// let both_sides = Quorum::group("east", 2).and_group("west", 1);
/// let error = sender.acked(&token, AckLevel::Durable, both_sides).unwrap_err();
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
    /// Requires `readers` readers, from any group or none.
    pub fn any(readers: usize) -> Self {
        Self { terms: vec![(None, readers)] }
    }

    /// Requires `readers` readers of a group defined with [`SenderBuilder::group`](crate::SenderBuilder::group).
    pub fn group(name: impl Into<String>, readers: usize) -> Self {
        Self { terms: vec![(Some(name.into()), readers)] }
    }

    /// Also requires `readers` readers, from any group or none. One reader may count toward several conditions.
    pub fn and_any(mut self, readers: usize) -> Self {
        self.terms.push((None, readers));
        self
    }

    /// Also requires `readers` readers of this group. One reader may count toward several conditions.
    pub fn and_group(mut self, name: impl Into<String>, readers: usize) -> Self {
        self.terms.push((Some(name.into()), readers));
        self
    }

    pub(super) fn terms(&self) -> Vec<(Option<&str>, usize)> {
        self.terms.iter().map(|(name, readers)| (name.as_deref(), *readers)).collect()
    }
}

/// Collects conditions, for example from a configuration: each a number of readers of a group or, for `None`, of any
/// readers. A quorum without conditions is rejected by the function that uses it.
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
