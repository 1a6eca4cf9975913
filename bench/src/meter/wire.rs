//! Bytes that left the sender's machine, headers included, and how fast they left.
//!
//! Trains are one packet to the interface's own counters, which so miss the headers of all
//! datagrams but the first; the queueing discipline counts every datagram with its headers. To ask
//! it takes a process, so the rate is taken from the interface and scaled by what both counted.

use std::time::Duration;

use ::tests::lab::{INTERFACE, Node};
use common::time::Timestamp;
use common::units::Bitrate;
use serde_json::Value;

/// The part of all bytes that a rate is taken over: without the start and the repairs at the end.
const MIDDLE: (f64, f64) = (0.1, 0.9);

/// What the queueing discipline of the sender's interface has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes sent, with Ethernet, IP and UDP headers.
    pub bytes: u64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Datagrams, or trains of them, that found the queue full.
    pub dropped: u64,
}

/// How many bytes had left by when.
#[derive(Debug, Clone, Default)]
pub struct Trace(Vec<(Timestamp, u64)>);

impl Counts {
    /// Those of `node`, which must have been given a queue.
    ///
    /// # Panics
    /// When it has none.
    pub fn of(node: &Node) -> Self {
        let text = node.tool("tc", &format!("-s -j qdisc show dev {INTERFACE}"));
        Self::parse(&text).unwrap_or_else(|| panic!("no counts in {text:?}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let all: Value = serde_json::from_str(text).ok()?;
        let root = all.as_array()?.iter().find(|it| it["root"] == true)?;
        let count = |name: &str| root[name].as_u64();
        let (bytes, datagrams) = (count("bytes")?, count("packets")?);
        Some(Self { bytes, datagrams, dropped: count("drops")? })
    }

    /// What was counted since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes - earlier.bytes,
            datagrams: self.datagrams - earlier.datagrams,
            dropped: self.dropped - earlier.dropped,
        }
    }
}

impl Trace {
    /// `bytes` had left at `now`, by the interface's own count.
    pub fn add(&mut self, now: Timestamp, bytes: u64) {
        self.0.push((now, bytes));
    }

    /// Mean rate while the middle eight tenths of the bytes left; `sent_bytes` is what really left.
    pub fn middle_rate(&self, sent_bytes: u64) -> Option<Bitrate> {
        let (first, last) = (self.0.first()?.1, self.0.last()?.1);
        let all = last.checked_sub(first).filter(|all| *all > 0)?;
        let at = |share: f64| self.time_at(first as f64 + all as f64 * share);
        let time = at(MIDDLE.1)? - at(MIDDLE.0)?;
        let bytes = sent_bytes as f64 * (MIDDLE.1 - MIDDLE.0);
        let time = Duration::try_from_secs_f64(time).ok().filter(|time| !time.is_zero())?;
        Some(Bitrate::of(bytes as u64, time))
    }

    /// When `bytes` had left, in seconds: between two looks, in proportion.
    fn time_at(&self, bytes: f64) -> Option<f64> {
        let seconds = |at: Timestamp| at.since(Timestamp::ZERO).as_secs_f64();
        let behind = self.0.iter().position(|(_, count)| *count as f64 >= bytes)?;
        let (at, count) = self.0[behind];
        let Some((before, counted)) = behind.checked_sub(1).map(|index| self.0[index]) else {
            return Some(seconds(at));
        };
        let share = (bytes - counted as f64) / (count - counted) as f64;
        Some(seconds(before) + (seconds(at) - seconds(before)) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(points: &[(u64, u64)]) -> Trace {
        let mut trace = Trace::default();
        for (millis, bytes) in points {
            trace.add(Timestamp::from_nanos(millis * 1_000_000), *bytes);
        }
        trace
    }

    #[test]
    fn the_root_queue_is_read_and_no_other() {
        let text = r#"[{"kind":"pfifo","parent":"1:","bytes":1,"packets":1,"drops":1},
                       {"kind":"tbf","root":true,"bytes":1500,"packets":2,"drops":3}]"#;
        let counts = Counts { bytes: 1500, datagrams: 2, dropped: 3 };
        assert_eq!(Counts::parse(text), Some(counts));
        assert_eq!(counts.since(counts), Counts::default());
        assert_eq!(Counts::parse("[]"), None);
        assert_eq!(Counts::parse(""), None);
    }

    #[test]
    fn a_rate_leaves_out_a_slow_start_and_a_slow_end() {
        // Two seconds for the first tenth, one for the middle, three for the last tenth.
        let points = [(0, 1000), (2000, 1100), (3000, 1900), (6000, 2000)];
        assert_eq!(trace(&points).middle_rate(1000), Some(Bitrate::from_bits(6400)));
        // The interface missed a tenth of the bytes.
        assert_eq!(trace(&points).middle_rate(1100), Some(Bitrate::from_bits(7040)));
    }

    #[test]
    fn looks_need_not_fall_on_the_borders() {
        let even = trace(&[(0, 0), (700, 700), (1000, 1000)]);
        assert_eq!(even.middle_rate(1000).map(Bitrate::as_bits), Some(8000));
        let all_at_once = trace(&[(0, 0), (1000, 1000)]);
        assert_eq!(all_at_once.middle_rate(1000).map(Bitrate::as_bits), Some(8000));
    }

    #[test]
    fn without_bytes_there_is_no_rate() {
        assert_eq!(trace(&[]).middle_rate(0), None);
        assert_eq!(trace(&[(0, 5), (10, 5)]).middle_rate(0), None);
        assert_eq!(trace(&[(0, 5)]).middle_rate(0), None);
    }
}
