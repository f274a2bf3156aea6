//! Times for people and for the wire.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch; 0 on a machine whose clock stands before it.
pub(crate) fn unix_time_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The time as RFC 3339 in UTC, such as `2026-01-31T12:00:00.000000Z`.
pub(crate) fn rfc3339(unix_time_us: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_micros(unix_time_us);
    humantime::format_rfc3339_micros(time).to_string()
}
