//! A moment as people and scripts both read it: `2023-11-14T22:13:20Z`.
//!
//! Not here: reading a clock.

use std::time::{Duration, UNIX_EPOCH};

/// The end of the year 9999, after which RFC 3339 has no form.
const LAST_SECOND: u64 = 253_402_300_799;

/// The moment `seconds` after 1970, in RFC 3339.
pub fn utc(seconds: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    humantime::format_rfc3339_seconds(at).to_string()
}
