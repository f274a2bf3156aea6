//! The parts of a receiver that the connection's task uses.

use std::sync::Arc;

use super::config::ReceiverConfig;
use super::local_log::LocalLog;
use super::progress::Progress;
use super::queue::Inbox;
use super::report::ReceiverReport;
use crate::options::LiveConfig;

/// The parts of a receiver that the connection's task uses.
pub(super) struct ConnectionContext {
    /// As it was when the attempt to connect began.
    pub(super) config: Arc<ReceiverConfig>,
    pub(super) live: Arc<LiveConfig<ReceiverConfig>>,
    pub(super) progress: Arc<Progress>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) report: Arc<ReceiverReport>,
    /// The local log on disk, if there is one.
    pub(super) local: Option<Arc<LocalLog>>,
}
