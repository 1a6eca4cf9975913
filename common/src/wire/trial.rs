//! The trial of a release on a host, as an extension of STATUS and ACTIVATED.
//!
//! ```text
//!  0            1          5
//!  +------------+----------+----------+---------------------------------------------------+
//!  | verdict u8 | left u32 | count u8 | count × { point u8, ending u8, code u32, took u32, |
//!  +------------+----------+----------+              output: length u8, text }            |
//!                                     +---------------------------------------------------+
//! ```
//!
//! There is none where a host runs no hooks and asks for no health (PROTOCOL 4.17).

use std::time::Duration;

use super::cursor::{Reader, Writer, wire_numbers};
use super::status::DETAIL_BYTES_MAX;
use super::{WireError, assert_control_fits, tlv};
use crate::hook::{Ending, Point, Ran};

/// Type of the extension.
pub const TRIAL: u8 = 1;
/// Results that one extension carries, the last ones.
pub const TRIAL_RESULTS_MAX: usize = 10;
/// Bytes of a result's last line.
pub const TRIAL_OUTPUT_BYTES_MAX: u8 = 78;

const RESULT_BYTES_MAX: usize = 11 + TRIAL_OUTPUT_BYTES_MAX as usize;

/// Bytes of the longest.
pub(super) const TRIAL_BYTES_MAX: usize = 9 + TRIAL_RESULTS_MAX * RESULT_BYTES_MAX;

const _: () = assert_control_fits(65 + DETAIL_BYTES_MAX as usize + TRIAL_BYTES_MAX);

wire_numbers! {
    /// What a host knows of a release that it switched to.
    TrialVerdict {
        /// Nobody asks how it does, or nobody will know.
        Unjudged = 1 "unjudged",
        /// Not known yet; worth waiting for.
        Pending = 2 "pending",
        /// Its health was asked, and it does well.
        Good = 3 "good",
        /// It does not; the release before it is current again.
        RolledBack = 4 "rolled-back",
        /// It does not, and stays, because there is no good one before it.
        Bad = 5 "bad",
    }
}

/// How a release does on a host, and what its administrator had run around the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// What is known.
    pub verdict: TrialVerdict,
    /// Until a pending verdict is there at the latest.
    pub left: Duration,
    /// What ran, in order; of each the last line that it wrote. The last [`TRIAL_RESULTS_MAX`] are
    /// sent, and [`TRIAL_OUTPUT_BYTES_MAX`] bytes of a line. Print them through
    /// [`super::escaped`].
    pub results: Vec<Ran>,
}

impl Trial {
    /// Appends the extension to a message.
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        let results = &self.results[self.results.len().saturating_sub(TRIAL_RESULTS_MAX)..];
        let mut writer = Writer::new(&mut value);
        writer.put((self.verdict, self.left)).put(results.len() as u8);
        for ran in results {
            let (ending, code) = numbers(ran.ending);
            writer.put((point_number(ran.point), ending)).put((code, ran.took));
            writer.text(&ran.output, TRIAL_OUTPUT_BYTES_MAX);
        }
        tlv::Tlv { kind: TRIAL, value: &value }.emit(out);
    }

    /// The trial among the extensions that are left in `reader`.
    pub(super) fn find(reader: Reader<'_>) -> Result<Option<Self>, WireError> {
        let mut trial = None;
        tlv::walk(reader, |kind, value| {
            if kind == TRIAL {
                trial = Some(Self::parse(Reader::new(value))?);
            }
            Ok(kind == TRIAL)
        })?;
        Ok(trial)
    }

    /// Parses the extension's value.
    pub(super) fn parse(mut reader: Reader<'_>) -> Result<Self, WireError> {
        let (verdict, left) = reader.read()?;
        let count = usize::from(reader.read::<u8>()?);
        if count > TRIAL_RESULTS_MAX {
            return Err(WireError::TooMany);
        }
        let mut results = Vec::new();
        for _ in 0..count {
            let (point, ending) = reader.read::<(u8, u8)>()?;
            let (code, took) = reader.read()?;
            let output = reader.text(TRIAL_OUTPUT_BYTES_MAX.into())?;
            let point = point_of(point).ok_or(WireError::Value)?;
            let ending = ending_of(ending, code).ok_or(WireError::Value)?;
            results.push(Ran { point, ending, took, output });
        }
        // What a newer host adds behind this is not for us.
        Ok(Self { verdict, left, results })
    }
}

const fn point_number(point: Point) -> u8 {
    match point {
        Point::PreActivate => 1,
        Point::PostActivate => 2,
        Point::Health => 3,
    }
}

const fn point_of(number: u8) -> Option<Point> {
    match number {
        1 => Some(Point::PreActivate),
        2 => Some(Point::PostActivate),
        3 => Some(Point::Health),
        _ => None,
    }
}

const fn numbers(ending: Ending) -> (u8, u32) {
    match ending {
        Ending::Exited(status) => (1, status as u32),
        Ending::Signalled(signal) => (2, signal as u32),
        Ending::TimedOut => (3, 0),
        Ending::NotStarted => (4, 0),
        Ending::Answered(status) => (5, status as u32),
        Ending::NoAnswer => (6, 0),
    }
}

const fn ending_of(number: u8, code: u32) -> Option<Ending> {
    match number {
        1 => Some(Ending::Exited(code as i32)),
        2 => Some(Ending::Signalled(code as i32)),
        3 => Some(Ending::TimedOut),
        4 => Some(Ending::NotStarted),
        5 if code <= u16::MAX as u32 => Some(Ending::Answered(code as u16)),
        6 => Some(Ending::NoAnswer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bytes_of;
    use super::super::tests::messages;
    use super::super::{Alarm, CONTROL_BYTES_MAX, Message, Status};
    use super::*;
    use crate::id::SessionId;
    use crate::limits::TAG_BYTES_MAX;

    fn ran(point: Point, ending: Ending, output: &str) -> Ran {
        Ran { point, ending, took: Duration::from_millis(3), output: output.into() }
    }

    fn trial(results: Vec<Ran>) -> Trial {
        Trial { verdict: TrialVerdict::Pending, left: Duration::from_secs(1), results }
    }

    fn found(bytes: &[u8]) -> Result<Option<Trial>, WireError> {
        Trial::find(Reader::new(bytes))
    }

    fn emitted(trial: &Trial) -> Vec<u8> {
        let mut out = Vec::new();
        trial.emit(&mut out);
        out
    }

    // PROTOCOL 4.17.
    #[test]
    fn a_trial_matches_golden_bytes() {
        let trial = trial(vec![ran(Point::PostActivate, Ending::Exited(-1), "oh")]);
        let golden = "
            01 0013         ; type, length
            02 000f4240     ; pending, a second left
            01              ; one result
            02 01 ffffffff  ; post-activate, exited, status -1
            00000bb8        ; took 3 ms
            02 6f68         ; its words
        ";
        assert_eq!(emitted(&trial), bytes_of(golden));
        assert_eq!(found(&emitted(&trial)), Ok(Some(trial)));
        assert_eq!(found(&[]), Ok(None));
    }

    #[test]
    fn the_longest_status_with_a_trial_and_an_alarm_fits_into_a_control_datagram() {
        let Some(Message::Status(status)) = messages().into_iter().find(is_status) else {
            panic!("there is one")
        };
        let ran = ran(Point::PreActivate, Ending::Exited(i32::MIN), &"y".repeat(78));
        let trial = trial(vec![ran; TRIAL_RESULTS_MAX]);
        let source = "[fd00::9]:7071".parse().unwrap();
        let alarm = Some(Alarm { false_symbols: 1, foreign: u32::MAX, source });
        let longest = Status { detail: "x".repeat(200), trial: Some(trial), alarm, ..status };
        let message = Message::Status(longest);
        let mut datagram = Vec::new();
        message.emit(SessionId(1), 2, 0, &mut datagram);
        assert!(datagram.len() + TAG_BYTES_MAX <= CONTROL_BYTES_MAX, "{}", datagram.len());
        assert_eq!(Message::parse(&datagram).map(|(_, parsed)| parsed), Ok(message));
    }

    fn is_status(message: &Message) -> bool {
        matches!(message, Message::Status(_))
    }

    #[test]
    fn every_ending_and_every_verdict_comes_back() {
        let endings = [
            Ending::Exited(0),
            Ending::Exited(255),
            Ending::Signalled(9),
            Ending::TimedOut,
            Ending::NotStarted,
            Ending::Answered(503),
            Ending::NoAnswer,
        ];
        for verdict in TrialVerdict::ALL {
            for (ending, point) in endings
                .into_iter()
                .zip([Point::PreActivate, Point::PostActivate, Point::Health].into_iter().cycle())
            {
                let trial = Trial { verdict: *verdict, ..trial(vec![ran(point, ending, "x")]) };
                assert_eq!(found(&emitted(&trial)), Ok(Some(trial)));
            }
        }
    }

    #[test]
    fn the_last_results_are_sent_and_their_words_are_cut() {
        let long = "y".repeat(100);
        let many = (0..20).map(|nth| ran(Point::Health, Ending::Exited(nth), &long)).collect();
        let back = found(&emitted(&trial(many))).unwrap().unwrap();
        assert_eq!(back.results.len(), TRIAL_RESULTS_MAX);
        assert_eq!(
            back.results[9],
            ran(Point::Health, Ending::Exited(19), &format!("{}…", &long[..75]))
        );
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        let good = emitted(&trial(vec![ran(Point::Health, Ending::Answered(503), "")]));
        for (at, byte) in [(3, 0), (3, 6), (8, 11), (9, 0), (9, 4), (10, 0), (10, 7)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(found(&bad).is_err(), "{byte} at {at}");
        }
        for end in 4..good.len() {
            let mut short = good[..end].to_vec();
            short[2] = (end - 3) as u8;
            assert_eq!(found(&short), Err(WireError::Truncated), "{end}");
        }
    }
}
