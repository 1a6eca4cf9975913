//! What a file is, by its first bytes; and whether a filesystem in it is whole.
//!
//! Not here: reading the file, or judging a tar beyond its first header.
//!
//! Invariant: every rule looks at fixed offsets of the head alone; nothing panics on short files.

use common::bundle::footer;
use common::id::ImageKind;

/// Bytes of a file that suffice to tell what it is.
pub const HEAD_BYTES: usize = 4096;

/// A compressed stream around something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// zstd.
    Zstd,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// An image of a kind other than raw.
    Image(ImageKind),
    /// A compressed stream.
    Compressed(Compression),
    /// A bundle.
    Bundle,
    /// Anything else.
    Other,
}

/// What a file with these first bytes is.
pub fn content_of(head: &[u8]) -> Content {
    if head.starts_with(&footer::header()[..8]) {
        return Content::Bundle;
    }
    let compressions: [(&[u8], Compression); 3] = [
        (b"\x1f\x8b\x08", Compression::Gzip),
        (b"\xfd7zXZ\0", Compression::Xz),
        (b"\x28\xb5\x2f\xfd", Compression::Zstd),
    ];
    if let Some((_, kind)) = compressions.into_iter().find(|(magic, _)| head.starts_with(magic)) {
        return Content::Compressed(kind);
    }
    match ext_kind(head) {
        Some(kind) => Content::Image(kind),
        None if u32_at(head, 1024) == Some(EROFS_MAGIC) => Content::Image(ImageKind::Erofs),
        None if head.starts_with(b"hsqs") => Content::Image(ImageKind::Squashfs),
        None if is_tar(head) => Content::Image(ImageKind::Tar),
        None => Content::Other,
    }
}

const EROFS_MAGIC: u32 = 0xe0f5_e1e2;
const EXT_MAGIC: u16 = 0xef53;
const EXT_HAS_JOURNAL: u32 = 0x4;
const EXT_NEEDS_RECOVERY: u32 = 0x4;
/// Incompatible features that ext2 may have: file types in directories, meta block groups.
const EXT2_INCOMPATIBLE: u32 = 0x2 | 0x10 | EXT_NEEDS_RECOVERY;
/// Read-only-compatible features that ext2 may have: sparse superblocks, large files.
const EXT2_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
const EXT_IS_CLEAN: u16 = 0x1;

/// ext3, and whatever ext2 cannot mount, is ext4: that driver mounts them all.
fn ext_kind(head: &[u8]) -> Option<ImageKind> {
    if u16_at(head, 1024 + 0x38)? != EXT_MAGIC {
        return None;
    }
    let feature = |at: usize| u32_at(head, 1024 + at).unwrap_or(0);
    let is_ext2 = feature(0x5c) & EXT_HAS_JOURNAL == 0
        && feature(0x60) & !EXT2_INCOMPATIBLE == 0
        && feature(0x64) & !EXT2_READ_ONLY == 0;
    Some(if is_ext2 { ImageKind::Ext2 } else { ImageKind::Ext4 })
}

/// Whether the first header has a name and the sum of its bytes, as every tar since Unix V7 has.
fn is_tar(head: &[u8]) -> bool {
    let Some(header) = head.get(..512) else { return false };
    let digits = header[148..156].iter().skip_while(|byte| **byte == b' ');
    let digits = digits.take_while(|byte| (b'0'..=b'7').contains(*byte));
    let stated = digits.fold(0_u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
    let plain: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let field: u32 = header[148..156].iter().map(|byte| u32::from(*byte)).sum();
    header[0] != 0 && stated == plain - field + 8 * u32::from(b' ')
}

/// Why hosts could not mount this filesystem, which is `file_bytes` long.
pub fn filesystem_fault(kind: ImageKind, head: &[u8], file_bytes: u64) -> Option<String> {
    let needed = match kind {
        ImageKind::Ext2 | ImageKind::Ext4 => {
            if let Some(fault) = ext_fault(head) {
                return Some(fault);
            }
            let shift = 10 + u32_at(head, 1024 + 0x18)?.min(6);
            u64::from(u32_at(head, 1024 + 0x04)?) << shift
        }
        ImageKind::Erofs => {
            let shift = u32::from(*head.get(1024 + 12)?).min(16);
            u64::from(u32_at(head, 1024 + 36)?) << shift
        }
        ImageKind::Squashfs => u64::from(u32_at(head, 44)?) << 32 | u64::from(u32_at(head, 40)?),
        ImageKind::Tar | ImageKind::Raw => 0,
    };
    (needed > file_bytes).then(|| {
        format!("it is cut short: its {kind} filesystem has {needed} bytes, the file {file_bytes}")
    })
}

/// A filesystem that was not unmounted replays its journal, which a read-only host cannot.
fn ext_fault(head: &[u8]) -> Option<String> {
    let needs_recovery = u32_at(head, 1024 + 0x60)? & EXT_NEEDS_RECOVERY != 0;
    let is_clean = u16_at(head, 1024 + 0x3a)? & EXT_IS_CLEAN != 0;
    if is_clean && !needs_recovery {
        return None;
    }
    Some("its filesystem was not cleanly unmounted: unmount it, run e2fsck -f on it".into())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; HEAD_BYTES];
        for (at, bytes) in fields {
            head[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn kinds_are_known_by_their_magic() {
        let image = |kind| Content::Image(kind);
        let ext: (usize, &[u8]) = (1080, b"\x53\xef");
        assert_eq!(content_of(&head(&[ext])), image(ImageKind::Ext2));
        assert_eq!(content_of(&head(&[ext, (1116, b"\x04")])), image(ImageKind::Ext4), "journal");
        assert_eq!(content_of(&head(&[ext, (1120, b"\x42")])), image(ImageKind::Ext4), "extents");
        let erofs = head(&[(1024, b"\xe2\xe1\xf5\xe0")]);
        assert_eq!(content_of(&erofs), image(ImageKind::Erofs));
        assert_eq!(content_of(&head(&[(0, b"hsqs")])), image(ImageKind::Squashfs));
        assert_eq!(content_of(b"\x1f\x8b\x08"), Content::Compressed(Compression::Gzip));
        assert_eq!(content_of(b"\xfd7zXZ\0"), Content::Compressed(Compression::Xz));
        assert_eq!(content_of(b"\x28\xb5\x2f\xfd"), Content::Compressed(Compression::Zstd));
        assert_eq!(content_of(&footer::header()), Content::Bundle);
        for other in [&b""[..], b"text", &[0; HEAD_BYTES]] {
            assert_eq!(content_of(other), Content::Other);
        }
    }

    #[test]
    fn a_tar_is_known_by_the_sum_of_its_first_header() {
        let mut header = tar::Header::new_gnu();
        header.set_path("file").unwrap();
        header.set_size(0);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        assert_eq!(content_of(&bytes), Content::Image(ImageKind::Tar));
        assert_eq!(content_of(&bytes[..511]), Content::Other);
        bytes[100] ^= 1;
        assert_eq!(content_of(&bytes), Content::Other);
    }

    #[test]
    fn unclean_and_shortened_filesystems_have_a_fault() {
        let fields: [(usize, &[u8]); 3] = [(1080, b"\x53\xef"), (1082, b"\x01"), (1028, b"\x08")];
        let clean = head(&fields);
        assert_eq!(filesystem_fault(ImageKind::Ext2, &clean, 8192), None);
        let short = filesystem_fault(ImageKind::Ext2, &clean, 8191).unwrap();
        assert!(short.starts_with("it is cut short"), "{short}");
        let mut dirty = clean.clone();
        dirty[1082] = 0;
        let fault = filesystem_fault(ImageKind::Ext2, &dirty, 8192).unwrap();
        assert!(fault.contains("not cleanly unmounted"), "{fault}");
        let mut journal = clean;
        journal[1120] = 4;
        assert!(filesystem_fault(ImageKind::Ext4, &journal, 8192).is_some());
        let squashfs = head(&[(0, b"hsqs"), (44, b"\x01")]);
        assert!(filesystem_fault(ImageKind::Squashfs, &squashfs, 1 << 32).is_none());
        assert!(filesystem_fault(ImageKind::Squashfs, &squashfs, (1 << 32) - 1).is_some());
    }
}
