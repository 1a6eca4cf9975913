//! The operator's signature, an extension at the end of a message (PROTOCOL 10.4).
//!
//! ```text
//!  +-----------+-----------+-------------------------------------+
//!  | 0x03 u8   | 8 u16     | expires u64, unix seconds           |   ANNOUNCE and orders
//!  +-----------+-----------+-------------+-----------------------+
//!  | 0x02 u8   | 72 u16    | key id (8)  | Ed25519 signature (64)|   the last extension
//!  +-----------+-----------+-------------+-----------------------+
//! ```
//!
//! What is signed: a word for the purpose, what makes the session its own, and the datagram up to
//! the signature, its header included.

use super::context::Context;
use crate::keys::{KeyId, Keyring, SecretKey, Untrusted};
use crate::wire::{Kind, SIGNATURE_BYTES, Tlv, WireError};

pub(super) const SIGNATURE: u8 = 0x02;
pub(super) const EXPIRES: u8 = 0x03;
/// What is signed and expires is good for so long, in seconds; it is repeated with a new time.
pub(super) const GOOD_SECONDS: u64 = 600;
/// Signed messages may be this much older than they say: clocks of hosts are wrong by hours, rarely
/// by days (an hour where a zone was mistaken, a day where a date was).
pub(super) const HOST_TOLERANCE: u64 = GOOD_SECONDS + 24 * 3600;
/// An announce that a sender takes for that of a rival was signed so many seconds ago at most.
/// Senders know the time; whoever played a recording could keep them from sending.
pub(super) const SENDER_TOLERANCE: u64 = 10;

/// Whether hosts take a message of this kind only with a signature: what they act upon, or answer
/// all together.
pub(super) fn is_needed(kind: Kind) -> bool {
    matches!(kind, Kind::Announce | Kind::Poll | Kind::Hashes) || expires(kind)
}

/// Whether a message in a session expires: orders do, the others mean nothing outside of it.
pub(super) fn expires(kind: Kind) -> bool {
    matches!(kind, Kind::Activate | Kind::Cancel | Kind::Stop)
}

/// Why something was signed: a signature for one purpose is none for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Announce,
    /// In a stream, or to one host, of the session.
    Control(Context),
}

impl Purpose {
    fn prefix(self) -> Vec<u8> {
        match self {
            Self::Announce => b"fanfare announce 1\0".to_vec(),
            Self::Control(context) => [b"fanfare control 1\0", &context.bytes()[..]].concat(),
        }
    }
}

/// Appends the operator's signature over `out[from..]`; where a time is given, the message expires
/// then.
pub(super) fn sign(
    operator: &SecretKey,
    purpose: Purpose,
    expires: Option<u64>,
    from: usize,
    out: &mut Vec<u8>,
) {
    if let Some(expires) = expires {
        Tlv { kind: EXPIRES, value: &expires.to_be_bytes() }.emit(out);
    }
    let signature = operator.sign_raw(&[&purpose.prefix(), &out[from..]].concat());
    let value = [&operator.id().0[..], &signature].concat();
    Tlv { kind: SIGNATURE, value: &value }.emit(out);
}

/// Checks that `inner`, a datagram without its trailer, ends in the signature of one of `keys`.
///
/// # Errors
/// [`WireError::Signature`] where there is none or a wrong one, [`WireError::UnknownKey`] where the
/// key is not among them.
pub(super) fn verify(keys: &Keyring, purpose: Purpose, inner: &[u8]) -> Result<(), WireError> {
    let (signed, extension) =
        inner.split_last_chunk::<SIGNATURE_BYTES>().ok_or(WireError::Signature)?;
    let [kind, l0, l1, rest @ ..] = extension;
    if *kind != SIGNATURE || u16::from_be_bytes([*l0, *l1]) as usize != rest.len() {
        return Err(WireError::Signature);
    }
    let (id, signature) = rest.split_first_chunk::<{ KeyId::BYTES }>().expect("it is longer");
    let signature = signature.try_into().expect("what is left of the extension");
    let signed = [&purpose.prefix(), signed].concat();
    keys.check(KeyId(*id), &signed, signature).map_err(|error| match error {
        Untrusted::Unknown(_) => WireError::UnknownKey,
        Untrusted::Wrong(_) => WireError::Signature,
    })
}

/// Checks that a signed message was signed at most `tolerance` seconds before `wall`, unix seconds,
/// as the time tells at which it expires.
///
/// # Errors
/// [`WireError::Expired`], where it has none, too.
pub(super) fn check_age(inner: &[u8], wall: u64, tolerance: u64) -> Result<(), WireError> {
    let expires = inner
        .split_last_chunk::<{ SIGNATURE_BYTES + 8 }>()
        .and_then(|(rest, tail)| {
            let is_there = rest.ends_with(&[EXPIRES, 0, 8]);
            is_there.then(|| tail.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)))
        })
        .flatten()
        .ok_or(WireError::Expired)?;
    let signed = expires.saturating_sub(GOOD_SECONDS);
    (signed.saturating_add(tolerance) >= wall).then_some(()).ok_or(WireError::Expired)
}
