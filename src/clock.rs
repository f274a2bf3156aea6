//! Times for people and for the wire.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch; 0 on a machine whose clock stands before it.
pub(crate) fn unix_time_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The last microsecond that RFC 3339 has a form for, at the end of the year 9999.
const LAST_US: u64 = 253_402_300_799_999_999;

/// The time as RFC 3339 in UTC, such as `2026-01-31T12:00:00.000000Z`; the last possible one for times behind it, which only
/// hosts and hostile files have.
pub(crate) fn rfc3339(unix_time_us: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_micros(unix_time_us.min(LAST_US));
    humantime::format_rfc3339_micros(time).to_string()
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn p8_every_number_is_some_time() {
        assert_eq!(rfc3339(1), "1970-01-01T00:00:00.000001Z");
        assert_eq!(rfc3339(LAST_US), "9999-12-31T23:59:59.999999Z");
        assert_eq!(rfc3339(u64::MAX), rfc3339(LAST_US));
    }
}
