//! Header and footer of a bundle: where its parts lie, and their digests.
//!
//! Not here: reading files ([`file`](super::file)) or the parts themselves.
//!
//! Invariant: the parts follow each other without a gap from the header to the footer, so that no
//! byte of the file is outside a digest. BUNDLE 1.
//!
//! ```text
//! header  magic [8] | format u32 | 0 u32
//! footer  magic [8] | format u32 | 0 u32
//!         payload offset u64, bytes u64
//!         frame table, chunk table, manifest, signatures: offset u64, bytes u64, digest [32]
//!         digest [32] of the footer before it
//! ```

use crate::digest::Digest;
use crate::limits::{
    MANIFEST_BYTES_MAX, PAYLOAD_BYTES_MAX, PREAMBLE_BYTES_MAX, SIGNATURES_BYTES_MAX,
};

use super::FORMAT_VERSION;
use super::chunks::field;

/// Length of the header, and so the offset of the payload.
pub const HEADER_BYTES: usize = 16;
/// Length of the footer.
pub const FOOTER_BYTES: usize = 256;

/// As PNG's: the first byte is no text, the line ends show a transfer in text mode.
const HEADER_MAGIC: [u8; 8] = *b"\x89FAN\r\n\x1a\n";
const FOOTER_MAGIC: [u8; 8] = *b"FANFOOT\n";
const SECTION_BYTES: usize = 16 + Digest::BYTES;
const SECTIONS_AT: usize = 32;
const DIGEST_AT: usize = FOOTER_BYTES - Digest::BYTES;

const _: () = assert!(SECTIONS_AT + 4 * SECTION_BYTES == DIGEST_AT);

/// A part of the file under a digest of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Its first byte in the file.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// Where everything lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Length of the payload, which follows the header.
    pub payload_bytes: u64,
    /// The frame table, which holds the payload's digests.
    pub frame_table: Section,
    /// The chunk table.
    pub chunk_table: Section,
    /// The manifest.
    pub manifest: Section,
    /// The signatures.
    pub signatures: Section,
}

/// Bytes at the ends of a file that are not those of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FooterError {
    /// The file does not start like a bundle.
    #[error("it is not a fanfare bundle")]
    NotABundle,
    /// A bundle of another version.
    #[error("it has format {0}, this program knows format {FORMAT_VERSION}: update the program")]
    Version(u32),
    /// It starts like a bundle and does not end like one.
    #[error("it is incomplete or damaged at its end: copy it again")]
    Truncated,
    /// The footer is whole and names parts that cannot be.
    #[error("its footer names parts that do not fit the file")]
    Layout,
}

/// The first bytes of every bundle.
pub fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&HEADER_MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
    bytes
}

/// Checks the first bytes of a file.
///
/// # Errors
/// When they are not those of a bundle of this version.
pub fn check_header(bytes: &[u8; HEADER_BYTES]) -> Result<(), FooterError> {
    if bytes[..8] != HEADER_MAGIC || bytes[12..] != [0; 4] {
        return Err(FooterError::NotABundle);
    }
    match u32::from_be_bytes(field(bytes, 8)) {
        FORMAT_VERSION => Ok(()),
        version => Err(FooterError::Version(version)),
    }
}

impl Footer {
    /// Lays the parts end to end behind the payload.
    pub fn lay_out(payload_bytes: u64, parts: [&[u8]; 4]) -> Self {
        let mut offset = HEADER_BYTES as u64 + payload_bytes;
        let [frame_table, chunk_table, manifest, signatures] = parts.map(|part| {
            let section = Section { offset, bytes: part.len() as u64, digest: Digest::of(part) };
            offset += section.bytes;
            section
        });
        Self { payload_bytes, frame_table, chunk_table, manifest, signatures }
    }

    /// Reads the footer of a file that is `file_bytes` long.
    ///
    /// # Errors
    /// When its digest is wrong, or its parts leave a gap, overlap or exceed a limit.
    pub fn parse(bytes: &[u8; FOOTER_BYTES], file_bytes: u64) -> Result<Self, FooterError> {
        let (covered, digest) = bytes.split_at(DIGEST_AT);
        if bytes[..8] != FOOTER_MAGIC || Digest::of(covered).as_bytes() != digest {
            return Err(FooterError::Truncated);
        }
        if u64_at(bytes, 8) != u64::from(FORMAT_VERSION) << 32 {
            return Err(FooterError::Version(u32::from_be_bytes(field(bytes, 8))));
        }
        let section = |index: usize| {
            let at = SECTIONS_AT + index * SECTION_BYTES;
            Section {
                offset: u64_at(bytes, at),
                bytes: u64_at(bytes, at + 8),
                digest: Digest::from_bytes(field(bytes, at + 16)),
            }
        };
        let footer = Self {
            payload_bytes: u64_at(bytes, 24),
            frame_table: section(0),
            chunk_table: section(1),
            manifest: section(2),
            signatures: section(3),
        };
        let is_laid_out = u64_at(bytes, 16) == HEADER_BYTES as u64 && footer.fits(file_bytes);
        if is_laid_out { Ok(footer) } else { Err(FooterError::Layout) }
    }

    /// The footer's bytes.
    pub fn emit(&self) -> [u8; FOOTER_BYTES] {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(&FOOTER_MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(HEADER_BYTES as u64).to_be_bytes());
        out.extend_from_slice(&self.payload_bytes.to_be_bytes());
        for section in self.sections() {
            out.extend_from_slice(&section.offset.to_be_bytes());
            out.extend_from_slice(&section.bytes.to_be_bytes());
            out.extend_from_slice(section.digest.as_bytes());
        }
        out.extend_from_slice(Digest::of(&out).as_bytes());
        out.try_into().expect("the parts of a footer add up to its length")
    }

    /// The parts in their order in the file.
    pub fn sections(&self) -> [Section; 4] {
        [self.frame_table, self.chunk_table, self.manifest, self.signatures]
    }

    fn fits(&self, file_bytes: u64) -> bool {
        let table_bytes = self.frame_table.bytes.saturating_add(self.chunk_table.bytes);
        let is_within = self.payload_bytes <= PAYLOAD_BYTES_MAX
            && table_bytes <= u64::from(PREAMBLE_BYTES_MAX)
            && self.manifest.bytes <= u64::from(MANIFEST_BYTES_MAX)
            && self.signatures.bytes <= u64::from(SIGNATURES_BYTES_MAX);
        if !is_within {
            return false;
        }
        let mut next = HEADER_BYTES as u64 + self.payload_bytes;
        for section in self.sections() {
            if section.offset != next {
                return false;
            }
            next += section.bytes;
        }
        next + FOOTER_BYTES as u64 == file_bytes
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(field(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> (Footer, u64) {
        let footer = Footer::lay_out(1000, [b"frames", b"chunks!", b"manifest", b""]);
        (footer, 16 + 1000 + 6 + 7 + 8 + 256)
    }

    #[test]
    fn header_and_footer_have_these_bytes() {
        assert_eq!(&header(), b"\x89FAN\r\n\x1a\n\0\0\0\x01\0\0\0\0");
        let bytes = footer().0.emit();
        assert_eq!(&bytes[..16], b"FANFOOT\n\0\0\0\x01\0\0\0\0");
        assert_eq!(&bytes[16..32], b"\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\x03\xe8");
        assert_eq!(&bytes[32..48], b"\0\0\0\0\0\0\x03\xf8\0\0\0\0\0\0\0\x06");
        assert_eq!(&bytes[48..80], Digest::of(b"frames").as_bytes());
        assert_eq!(&bytes[224..], Digest::of(&bytes[..224]).as_bytes());
    }

    #[test]
    fn a_footer_is_read_back_only_for_a_file_of_its_length() {
        let (footer, file_bytes) = footer();
        assert_eq!(Footer::parse(&footer.emit(), file_bytes), Ok(footer));
        for other in [0, file_bytes - 1, file_bytes + 1, u64::MAX] {
            assert_eq!(Footer::parse(&footer.emit(), other), Err(FooterError::Layout));
        }
    }

    #[test]
    fn every_flipped_byte_is_found() {
        let (footer, file_bytes) = footer();
        for at in 0..FOOTER_BYTES {
            let mut bytes = footer.emit();
            bytes[at] ^= 0x40;
            assert_eq!(Footer::parse(&bytes, file_bytes), Err(FooterError::Truncated), "{at}");
        }
        for at in 0..HEADER_BYTES {
            let mut bytes = header();
            bytes[at] ^= 0x40;
            assert!(check_header(&bytes).is_err(), "{at}");
        }
    }

    #[test]
    fn parts_with_gaps_or_beyond_limits_are_refused_although_the_digest_is_right() {
        let (footer, file_bytes) = footer();
        let mut gap = footer;
        gap.manifest.offset += 1;
        let mut huge = footer;
        huge.payload_bytes = u64::MAX;
        let mut long = footer;
        long.signatures.bytes = u64::MAX;
        for bad in [gap, huge, long] {
            assert_eq!(Footer::parse(&bad.emit(), file_bytes), Err(FooterError::Layout));
        }
    }
}
