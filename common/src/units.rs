//! Rates and sizes with their units: parsed from the command line, printed for people.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A rate in bits per second, in decimal units as networks count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bitrate(u64);

/// A text that is no quantity with a unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct UnitError {
    text: String,
    what: &'static str,
}

impl Bitrate {
    /// `bits` per second.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// `megabits` × 10⁶ bits per second.
    pub const fn from_megabits(megabits: u64) -> Self {
        Self(megabits * 1_000_000)
    }

    /// Bits per second.
    pub const fn as_bits(self) -> u64 {
        self.0
    }

    /// Mean rate of `bytes` in `time`; zero for no time.
    pub fn of(bytes: u64, time: Duration) -> Self {
        let nanos = time.as_nanos().max(1);
        Self(u64::try_from(u128::from(bytes) * 8 * 1_000_000_000 / nanos).unwrap_or(u64::MAX))
    }

    /// Time that `bytes` take at this rate.
    ///
    /// # Panics
    /// When the rate is zero: a stopped stream has no transmission time.
    pub fn time_for(self, bytes: u64) -> Duration {
        assert!(self.0 > 0, "a rate of zero never transmits");
        let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(self.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Bytes that fit into `time` at this rate.
    pub fn bytes_in(self, time: Duration) -> u64 {
        let bytes = u128::from(self.0) * time.as_nanos() / 8_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// This rate times `numerator / denominator`.
    pub fn scaled(self, numerator: u64, denominator: u64) -> Self {
        let bits = u128::from(self.0) * u128::from(numerator) / u128::from(denominator);
        Self(u64::try_from(bits).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, unit) = match self.0 {
            0..1_000 => return write!(f, "{} bit/s", self.0),
            1_000..1_000_000 => (1e3, "kbit/s"),
            1_000_000..1_000_000_000 => (1e6, "Mbit/s"),
            _ => (1e9, "Gbit/s"),
        };
        let value = self.0 as f64 / scale;
        let decimals = if value < 10.0 {
            2
        } else if value < 100.0 {
            1
        } else {
            0
        };
        write!(f, "{value:.decimals$} {unit}")
    }
}

impl FromStr for Bitrate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let what = "a rate in bits per second such as 500Mbit or 2.5Gbit (Mbps and MB/s are \
                    too easily confused)";
        let units = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9), ("bit", 1.0)];
        let bits = quantity(text, &units).filter(|bits| *bits >= 1.0);
        bits.map(|bits| Self(bits as u64)).ok_or_else(|| UnitError { text: text.to_owned(), what })
    }
}

/// A count of bytes, printed in binary units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let decimals = if value < 10.0 {
            2
        } else if value < 100.0 {
            1
        } else {
            0
        };
        write!(f, "{value:.decimals$} {}", UNITS[unit])
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let what = "a size such as 64MiB, 1500MB or 512B";
        let units = [
            ("kib", 1024.0),
            ("mib", 1024f64.powi(2)),
            ("gib", 1024f64.powi(3)),
            ("tib", 1024f64.powi(4)),
            ("kb", 1e3),
            ("mb", 1e6),
            ("gb", 1e9),
            ("tb", 1e12),
            ("b", 1.0),
        ];
        quantity(text, &units)
            .map(|bytes| Self(bytes as u64))
            .ok_or_else(|| UnitError { text: text.to_owned(), what })
    }
}

/// The value of a decimal number followed by one of `units`, longest suffix first.
fn quantity(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, scale) = units.iter().find_map(|(unit, scale)| {
        lower.strip_suffix(unit).map(|number| (number.trim_end(), *scale))
    })?;
    let is_plain =
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value = is_plain.then(|| number.parse::<f64>().ok()).flatten()? * scale;
    (value < 9e18).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_a_unit_and_refused_without() {
        for (text, bits) in [
            ("500Mbit", 500_000_000),
            ("2.5Gbit", 2_500_000_000),
            ("64kbit", 64_000),
            ("1 gbit", 1_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Bitrate::from_bits(bits)), "{text}");
        }
        for text in
            ["", "500", "500Mbps", "-1Mbit", "0bit", "1e3Mbit", "Mbit", "1.2.3Gbit", "infbit"]
        {
            assert!(text.parse::<Bitrate>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_both_families_of_units() {
        for (text, bytes) in
            [("64MiB", 67_108_864), ("1500MB", 1_500_000_000), ("512B", 512), ("1.5KiB", 1536)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        assert!("512".parse::<ByteSize>().is_err());
    }

    #[test]
    fn printed_quantities_carry_three_digits() {
        assert_eq!(Bitrate::from_bits(941_000_000).to_string(), "941 Mbit/s");
        assert_eq!(Bitrate::from_bits(9_410_000_000).to_string(), "9.41 Gbit/s");
        assert_eq!(ByteSize(1023).to_string(), "1023 B");
        assert_eq!(ByteSize(67_108_864).to_string(), "64.0 MiB");
    }

    #[test]
    fn rate_time_and_bytes_agree() {
        let rate = Bitrate::from_megabits(1000);
        assert_eq!(rate.time_for(125_000_000), Duration::from_secs(1));
        assert_eq!(rate.bytes_in(Duration::from_millis(8)), 1_000_000);
        assert_eq!(Bitrate::of(125_000_000, Duration::from_secs(1)), rate);
    }
}
