//! Why bytes from a peer are no message: one word, no heap, since the peer decides how often
//! (PROTOCOL 2.10).

macro_rules! wire_errors {
    ($($(#[$doc:meta])* $variant:ident => $text:literal,)+) => {
        /// Why a datagram was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
        pub enum WireError {
            $($(#[$doc])* #[error($text)] $variant,)+
        }

        impl WireError {
            /// Every reason, in the order of the enum.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
        }
    };
}

wire_errors! {
    /// The datagram ends inside a field.
    Truncated => "datagram ends too early",
    /// It does not begin with our magic number.
    Magic => "not one of our datagrams",
    /// A version of the protocol that this program does not speak.
    Version => "protocol version not spoken here",
    /// No message has this number.
    Kind => "unknown kind of message",
    /// A message where a symbol was expected, or the reverse.
    Unexpected => "kind of message is not expected here",
    /// The bytes were changed on the way.
    Checksum => "checksum does not match",
    /// More items than a list may have.
    TooMany => "list is longer than allowed",
    /// Too long, or not UTF-8.
    Text => "text is too long or not UTF-8",
    /// Breaks the rule for names of apps, labels and hosts.
    Name => "not a valid name",
    /// A number without a meaning in this field.
    Value => "field has an unassigned value",
    /// A range that ends before it begins, a part beyond its parts, a share above the whole.
    Range => "range is empty or out of order",
    /// Numbers that cannot be a geometry, or a preamble that is not the sum of its parts.
    Geometry => "not a valid geometry",
    /// Neither IPv4 nor IPv6.
    Family => "unknown address family",
    /// The data group is not a multicast address with a port.
    Group => "data group is not a multicast address",
    /// The feedback address is not a unicast address with a port.
    Feedback => "feedback address is not a unicast address",
    /// An extension that must be understood and is not.
    UnknownCritical => "unknown critical extension",
    /// The tag is wrong: no key closes the datagram, or the wrong one.
    Tag => "tag does not match",
    /// Sealed, and there are no keys here.
    Sealed => "sealed, and there are no keys here",
    /// In the clear where a seal is asked for.
    Unsealed => "not sealed, and keys are asked for",
    /// Closed or signed with a key that is not held or not trusted here.
    UnknownKey => "key is not known here",
    /// Not signed by whom it says, or not at all.
    Signature => "signature is missing or wrong",
    /// Signed, for a time that is over.
    Expired => "signed for a time that is over; is the clock right?",
    /// Seen before.
    Replayed => "has been received before",
    /// More signatures in a second than are looked at.
    TooManySigned => "more signed messages than are looked at",
}
