//! Reading fields off a datagram and putting them onto one: the only place where bytes are counted.
//!
//! Not here: what a field means. Invariants: a read never looks past the datagram, and memory for
//! a list is taken only when the datagram holds all its items (PROTOCOL 2.2).

use std::str::FromStr;
use std::time::Duration;

use super::WireError;
use crate::digest::Digest;
use crate::id::{
    BlockIndex, BootNonce, FrameIndex, ImageKind, ReleaseId, SessionId, Slot, is_name,
};

/// A value of fixed length on the wire, big-endian.
pub(super) trait Field: Sized {
    /// Length on the wire.
    const BYTES: usize;

    /// Takes the value off `reader`.
    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError>;

    /// Puts the value onto `writer`.
    fn write(&self, writer: &mut Writer<'_>);
}

/// What is left to read of a datagram.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field, of the type that the caller asks for.
    pub(super) fn read<T: Field>(&mut self) -> Result<T, WireError> {
        T::read(self)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// A text behind its length in one byte.
    fn text_ref(&mut self, bytes_max: usize) -> Result<&'a str, WireError> {
        let count = usize::from(self.read::<u8>()?);
        if count > bytes_max {
            return Err(WireError::Text);
        }
        std::str::from_utf8(self.bytes(count)?).map_err(|_| WireError::Text)
    }

    /// A text of at most `bytes_max` bytes, kept as it came.
    pub(super) fn text(&mut self, bytes_max: usize) -> Result<String, WireError> {
        self.text_ref(bytes_max).map(str::to_owned)
    }

    /// A name (PROTOCOL 1.4); tested before it is parsed, since the parser's refusal keeps the text
    /// on the heap.
    pub(super) fn name<T: FromStr>(&mut self) -> Result<T, WireError> {
        let text = self.text_ref(NAME_BYTES_MAX).map_err(|error| match error {
            WireError::Text => WireError::Name,
            other => other,
        })?;
        if !is_name(text) {
            return Err(WireError::Name);
        }
        text.parse().map_err(|_| WireError::Name)
    }

    /// Items behind their count in two bytes.
    pub(super) fn list<T: Field>(&mut self, items_max: usize) -> Result<Vec<T>, WireError> {
        let count = usize::from(self.read::<u16>()?);
        if count > items_max {
            return Err(WireError::TooMany);
        }
        let mut items = Reader::new(self.bytes(count * T::BYTES)?);
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(items.read()?);
        }
        Ok(list)
    }
}

/// Longest name on the wire.
pub(super) const NAME_BYTES_MAX: usize = 63;

/// A datagram being written, at the end of `out`.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    pub(super) fn put<T: Field>(&mut self, value: T) -> &mut Self {
        value.write(self);
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// Puts `text` behind its length. One that is longer than `bytes_max` (3 to 255) is cut
    /// behind a word and ends in an ellipsis: an error message of any length can be reported.
    pub(super) fn text(&mut self, text: &str, bytes_max: u8) -> &mut Self {
        let (kept, ellipsis) = shortened(text, bytes_max.into());
        self.put((kept.len() + ellipsis.len()) as u8)
            .bytes(kept.as_bytes())
            .bytes(ellipsis.as_bytes())
    }

    /// Puts `items` behind their count.
    ///
    /// # Panics
    /// When there are more than `items_max`: the sessions split their lists.
    pub(super) fn list<T: Field + Copy>(&mut self, items: &[T], items_max: usize) -> &mut Self {
        assert!(items.len() <= items_max, "a list of {} exceeds {items_max} items", items.len());
        self.put(items.len() as u16);
        for item in items {
            self.put(*item);
        }
        self
    }
}

const ELLIPSIS: &str = "…";

/// As much of `text` as goes into `bytes_max`, and what follows it. Words are kept whole unless a
/// quarter of the room would be lost by that, as with a long path.
fn shortened(text: &str, bytes_max: usize) -> (&str, &'static str) {
    if text.len() <= bytes_max {
        return (text, "");
    }
    let room = bytes_max.saturating_sub(ELLIPSIS.len());
    let end = (0..=room).rfind(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let cut = &text[..end];
    let is_between_words = text[end..].starts_with(char::is_whitespace);
    let word_end = cut.rfind(char::is_whitespace).filter(|at| *at >= room / 4 * 3);
    let kept = word_end.filter(|_| !is_between_words).map_or(cut, |at| &cut[..at]);
    (kept.trim_end_matches([' ', ',', ';', ':']), ELLIPSIS)
}

macro_rules! number_field {
    ($($type:ty),+) => {$(
        impl Field for $type {
            const BYTES: usize = size_of::<Self>();

            fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
                reader.array().map(Self::from_be_bytes)
            }

            fn write(&self, writer: &mut Writer<'_>) {
                writer.bytes(&self.to_be_bytes());
            }
        }
    )+};
}

macro_rules! newtype_field {
    ($($type:ident($inner:ty)),+) => {$(
        impl Field for $type {
            const BYTES: usize = <$inner as Field>::BYTES;

            fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
                reader.read().map($type)
            }

            fn write(&self, writer: &mut Writer<'_>) {
                self.0.write(writer);
            }
        }
    )+};
}

number_field!(u8, u16, u32, u64);
newtype_field!(
    SessionId(u32),
    BlockIndex(u32),
    FrameIndex(u32),
    Slot(u32),
    BootNonce(u64),
    ReleaseId(Digest)
);

impl<const N: usize> Field for [u8; N] {
    const BYTES: usize = N;

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        reader.array()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(self);
    }
}

impl Field for bool {
    const BYTES: usize = 1;

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        match reader.read::<u8>()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Value),
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(u8::from(*self));
    }
}

/// Microseconds in four bytes, up to 71 minutes; longer times saturate.
impl Field for Duration {
    const BYTES: usize = 4;

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        reader.read::<u32>().map(|micros| Self::from_micros(micros.into()))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(u32::try_from(self.as_micros()).unwrap_or(u32::MAX));
    }
}

impl Field for Digest {
    const BYTES: usize = Self::BYTES;

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        reader.array().map(Self::from_bytes)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(self.as_bytes());
    }
}

impl Field for ImageKind {
    const BYTES: usize = 1;

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Self::from_wire(reader.read()?).ok_or(WireError::Value)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(*self as u8);
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    const BYTES: usize = A::BYTES + B::BYTES;

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok((reader.read()?, reader.read()?))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.0.write(writer);
        self.1.write(writer);
    }
}

/// An enum of numbered, named values in one byte; an unassigned number is refused.
macro_rules! wire_numbers {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $value:literal $text:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $value,)+
        }

        impl $name {
            /// Every value, in wire order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value with this number.
            pub const fn from_wire(number: u8) -> Option<Self> {
                match number {
                    $($value => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Name for people and for JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl $crate::wire::cursor::Field for $name {
            const BYTES: usize = 1;

            fn read(
                reader: &mut $crate::wire::cursor::Reader<'_>,
            ) -> Result<Self, $crate::wire::WireError> {
                Self::from_wire(reader.read()?).ok_or($crate::wire::WireError::Value)
            }

            fn write(&self, writer: &mut $crate::wire::cursor::Writer<'_>) {
                writer.put(*self as u8);
            }
        }
    };
}

pub(super) use wire_numbers;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_behind_a_word_and_says_so() {
        let short = |text: &str, bytes_max| {
            let (kept, ellipsis) = shortened(text, bytes_max);
            assert!(kept.len() + ellipsis.len() <= bytes_max, "{kept:?}");
            format!("{kept}{ellipsis}")
        };
        let text = "needs 3.00 GiB, has 1.00 GiB";
        assert_eq!(short(text, 28), text);
        assert_eq!(short(text, 27), "needs 3.00 GiB, has 1.00…");
        assert_eq!(short(text, 23), "needs 3.00 GiB, has…", "a number is a word");
        assert_eq!(short(text, 22), "needs 3.00 GiB, has…", "the word ends there");
        assert_eq!(short(text, 19), "needs 3.00 GiB…", "no comma before it");
        assert_eq!(short("/srv/shop/releases/r1", 12), "/srv/shop…", "a path is no word");
        assert_eq!(short("no /srv/shop/releases/r1", 12), "no /srv/s…");
        assert_eq!(short("größer", 6), "gr…", "no half characters");
        assert_eq!(short("größer", 3), "…");
    }
}
