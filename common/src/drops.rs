//! Datagrams that are ignored: each for a typed reason, counted, without heap and without a log
//! line, since whoever sends garbage decides how often this runs (PROTOCOL 9).

use std::fmt;

use crate::wire::WireError;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)+) => {
        /// Why a datagram was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)+
            /// It is no message.
            Malformed(WireError),
        }

        impl DropReason {
            const PLAIN: &'static [Self] = &[$(Self::$variant),+];

            /// Position in [`DropReason::all`].
            const fn index(self) -> usize {
                enum Position { $($variant,)+ }
                match self {
                    $(Self::$variant => Position::$variant as usize,)+
                    Self::Malformed(error) => Self::PLAIN.len() + error as usize,
                }
            }

            /// Name in JSON and in the log.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Malformed(_) => "malformed",
                }
            }
        }
    };
}

drop_reasons! {
    /// The checksum is wrong.
    BadChecksum "bad-checksum",
    /// The tag is wrong: whoever made it has not the key.
    BadTag "bad-tag",
    /// Belongs to a session that we take no part in.
    UnknownSession "unknown-session",
    /// From a host that is not in the roster.
    UnknownHost "unknown-host",
    /// A block, a frame or a length that the session does not have.
    OutsideGeometry "outside-geometry",
    /// Has been seen before.
    Duplicate "duplicate",
    /// For a block, a sweep or a phase that is done.
    Late "late",
    /// No room for its symbol within the budget.
    NoMemory "no-memory",
    /// A message of the other direction, or for another host.
    NotForUs "not-for-us",
    /// Superseded by a newer one: an old issue, nonce or instance.
    Stale "stale",
    /// Not sealed where a seal is asked for, or the other way round.
    Insecure "insecure",
    /// Closed or signed with a key that is not known here.
    UnknownKey "unknown-key",
    /// A signature that is missing or wrong, or for a time that is over.
    BadSignature "bad-signature",
    /// Seen before, and sent again by somebody.
    Replayed "replayed",
    /// Of a session whose sender has not answered this host yet, and may be a recording.
    Unproven "unproven",
    /// Of a session, and not from its sender's address.
    ForeignSource "foreign-source",
    /// A symbol that is not what its digest says.
    FalseSymbol "false-symbol",
    /// A symbol of a block whose digests are asked for and not here.
    NoDigest "no-digest",
    /// More sessions or hosts than we count.
    TooMany "too-many",
    /// Signed, beyond as many wrong signatures as are looked at.
    TooManySigned "too-many-signed",
}

impl DropReason {
    /// Number of reasons, each kind of malformation counted as one.
    pub const COUNT: usize = Self::PLAIN.len() + WireError::ALL.len();

    /// Every reason.
    pub fn all() -> impl Iterator<Item = Self> {
        let malformed = WireError::ALL.iter().copied().map(Self::Malformed);
        Self::PLAIN.iter().copied().chain(malformed)
    }
}

impl From<WireError> for DropReason {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Checksum => Self::BadChecksum,
            WireError::Tag => Self::BadTag,
            WireError::Sealed | WireError::Unsealed => Self::Insecure,
            WireError::UnknownKey => Self::UnknownKey,
            WireError::Signature | WireError::Expired => Self::BadSignature,
            WireError::Replayed => Self::Replayed,
            WireError::TooManySigned => Self::TooManySigned,
            other => Self::Malformed(other),
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "malformed: {error}"),
            other => f.write_str(other.as_str()),
        }
    }
}

/// How many datagrams were dropped, for each reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropCounters {
    counts: [u64; DropReason::COUNT],
}

impl Default for DropCounters {
    fn default() -> Self {
        Self { counts: [0; DropReason::COUNT] }
    }
}

impl DropCounters {
    /// Counts one drop.
    pub fn increment(&mut self, reason: impl Into<DropReason>) {
        self.add(reason, 1);
    }

    /// Counts `count` drops for one reason.
    pub fn add(&mut self, reason: impl Into<DropReason>, count: u64) {
        let slot = &mut self.counts[reason.into().index()];
        *slot = slot.saturating_add(count);
    }

    /// Drops for `reason` so far.
    pub fn get(&self, reason: impl Into<DropReason>) -> u64 {
        self.counts[reason.into().index()]
    }

    /// The reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::all().zip(self.counts).filter(|(_, count)| *count > 0)
    }

    /// Drops for any reason.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine = mine.saturating_add(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let mut drops = DropCounters::default();
        assert_eq!(DropReason::all().count(), DropReason::COUNT);
        for (index, reason) in DropReason::all().enumerate() {
            assert_eq!(reason.index(), index);
            drops.add(reason, index as u64 + 1);
        }
        for (index, reason) in DropReason::all().enumerate() {
            assert_eq!(drops.get(reason), index as u64 + 1, "{reason}");
        }
        let count = DropReason::COUNT as u64;
        assert_eq!(drops.total(), count * (count + 1) / 2);
    }

    #[test]
    fn a_refused_seal_is_no_malformed_message() {
        let mut drops = DropCounters::default();
        drops.increment(WireError::Checksum);
        drops.increment(WireError::Magic);
        drops.increment(WireError::Magic);
        let counted: Vec<_> = drops.iter().collect();
        let expected = [(DropReason::BadChecksum, 1), (DropReason::Malformed(WireError::Magic), 2)];
        assert_eq!(counted, expected);
    }
}
