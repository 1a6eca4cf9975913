//! What the tests of all messages share: golden bytes, prefixes, round trips, generated fields.

use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// A message's body, so that one assertion serves every message.
pub(super) trait Body: Sized + PartialEq + Debug {
    fn parse_body(body: &[u8]) -> Result<Self, WireError>;
    fn emit_body(&self, out: &mut Vec<u8>);
}

macro_rules! body {
    ($($message:ident),+) => {$(
        impl Body for $message {
            fn parse_body(body: &[u8]) -> Result<Self, WireError> {
                Self::parse(body)
            }

            fn emit_body(&self, out: &mut Vec<u8>) {
                self.emit(out);
            }
        }
    )+};
}

body!(
    Activated, Advertise, Announce, CatchUp, Doubt, Hashes, Have, Join, JoinAck, Need, Order, Poll,
    Rate, Solicit, Status
);

/// The bytes that `text` spells in hexadecimal; blanks, and what follows a `;` in a line, are for
/// the reader.
pub(super) fn bytes_of(text: &str) -> Vec<u8> {
    let is_hex = |character: &char| !character.is_whitespace();
    let code = |line: &str| line.split(';').next().unwrap_or_default().to_owned();
    let digits: String = text.lines().map(code).collect();
    let digits: Vec<u32> =
        digits.chars().filter(is_hex).map(|digit| digit.to_digit(16).unwrap()).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in the golden text");
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

pub(super) fn emitted<B: Body>(message: &B) -> Vec<u8> {
    let mut out = Vec::new();
    message.emit_body(&mut out);
    out
}

/// `message` is written behind what is in the buffer, as exactly these bytes, and read back.
pub(super) fn assert_golden<B: Body>(message: &B, text: &str) {
    let mut out = vec![0xa5; 3];
    message.emit_body(&mut out);
    assert_eq!(out[..3], [0xa5; 3]);
    assert_eq!(out[3..], bytes_of(text), "\n{:02x?}", &out[3..]);
    assert_eq!(B::parse_body(&out[3..]).as_ref(), Ok(message));
}

pub(super) fn assert_round_trip<B: Body>(message: &B) {
    let body = emitted(message);
    assert!(COMMON_HEADER_BYTES + body.len() + limits::TAG_BYTES_MAX <= CONTROL_BYTES_MAX);
    assert_eq!(B::parse_body(&body).as_ref(), Ok(message));
}

/// Every prefix of the body ends inside a field; so does the body with a stray byte behind it,
/// which begins an extension.
pub(super) fn assert_prefixes_refused<B: Body>(message: &B) {
    let mut body = emitted(message);
    for end in 0..body.len() {
        assert_eq!(B::parse_body(&body[..end]), Err(WireError::Truncated), "{end} bytes");
    }
    body.push(0);
    assert_eq!(B::parse_body(&body), Err(WireError::Truncated));
}

/// What becomes of `message` once the bytes at `offset` of its datagram are `bytes`.
pub(super) fn refusal<B: Body>(message: &B, offset: usize, bytes: &[u8]) -> Option<WireError> {
    let mut body = emitted(message);
    let start = offset - COMMON_HEADER_BYTES;
    body[start..start + bytes.len()].copy_from_slice(bytes);
    B::parse_body(&body).err()
}

/// A time as the wire carries it.
pub(super) fn any_micros() -> impl Strategy<Value = Duration> {
    any::<u32>().prop_map(|micros| Duration::from_micros(micros.into()))
}

/// A name of an app, a label or a host.
pub(super) fn any_name<T: std::str::FromStr<Err: Debug> + Debug>() -> impl Strategy<Value = T> {
    "[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}".prop_map(|text| text.parse().unwrap())
}

/// A text of at most `bytes_max` bytes, control characters and all.
pub(super) fn any_text(bytes_max: u8) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..=usize::from(bytes_max) / 4)
        .prop_map(|characters| characters.into_iter().collect())
}

/// One of an enum's values.
pub(super) fn any_of<T: Copy + Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}
