//! What extended headers of a tar may say.
//!
//! Not here: the merging of names, sizes and owners into an entry, which the tar library does.
//! Invariant: a header that two readers could understand differently is refused.

use std::io::Read;

use rustix::fs::Timespec;
use tar::Entry;

use super::sparse::{self, Stated};

/// Keys that change what an entry is; each may stand once.
const OVERRIDES: [&[u8]; 5] = [b"path", b"linkpath", b"size", b"uid", b"gid"];

/// What GNU tar's words about holes begin with.
const HOLES: &[u8] = b"GNU.sparse.";

/// The extended header of one entry.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    path: Option<Vec<u8>>,
    linkpath: Option<Vec<u8>>,
    size: Option<u64>,
    /// Modification time, where it is more precise than the plain header's.
    pub(super) mtime: Option<Timespec>,
    /// Attributes of the user's own namespace, by name: the only ones that are unpacked.
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// What it says of holes, for a file that is stored without them.
    pub(super) holes: Option<Stated>,
    /// Other attributes, access control lists and labels.
    pub(super) attributes_dropped: u64,
    overrides: u32,
}

impl Extensions {
    /// Reads the extended header that precedes `entry`, or that `entry` is.
    ///
    /// # Errors
    /// The reason for which the entry is refused.
    pub(super) fn read<R: Read>(entry: &mut Entry<'_, R>) -> Result<Self, String> {
        let mut extensions = Self::default();
        let records = entry.pax_extensions().map_err(|error| format!("is unreadable: {error}"))?;
        for record in records.into_iter().flatten() {
            let record = record.map_err(|_| "has a malformed extended header")?;
            extensions.take(record.key_bytes(), record.value_bytes())?;
        }
        Ok(extensions)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        if let Some(at) = OVERRIDES.iter().position(|known| *known == key) {
            if self.overrides & 1 << at != 0 {
                return Err(format!("sets {} twice", key.escape_ascii()));
            }
            self.overrides |= 1 << at;
        }
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.linkpath = Some(value.to_vec()),
            b"size" => self.size = Some(number(key, value)?),
            b"uid" | b"gid" => _ = number(key, value)?,
            b"mtime" => self.mtime = Some(timestamp(value).ok_or("has no readable mtime")?),
            _ if key.starts_with(HOLES) => {
                self.holes.get_or_insert_default().take(&key[HOLES.len()..], value)?;
            }
            _ if key.starts_with(b"SCHILY.xattr.user.") => {
                let name = key.strip_prefix(b"SCHILY.xattr.").unwrap_or_default().to_vec();
                if name.contains(&0) || self.attributes.iter().any(|(other, _)| *other == name) {
                    return Err(format!("sets {} twice or with a NUL", key.escape_ascii()));
                }
                self.attributes.push((name, value.to_vec()));
            }
            // libarchive writes them under this name, too.
            _ if key.starts_with(b"LIBARCHIVE.xattr.user.") => {}
            _ if key.starts_with(b"SCHILY.xattr.")
                || key.starts_with(b"SCHILY.acl.")
                || key == b"RHT.security.selinux" =>
            {
                self.attributes_dropped += 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// A header for all following entries may carry comments, nothing that changes them: the
    /// library ignores it, other readers apply it.
    ///
    /// # Errors
    /// The reason for which the archive is refused.
    pub(super) fn expect_no_override(&self) -> Result<(), String> {
        let has_attributes = !self.attributes.is_empty() || self.attributes_dropped > 0;
        let changes = self.mtime.is_some() || self.holes.is_some() || has_attributes;
        if self.overrides == 0 && !changes {
            return Ok(());
        }
        Err("is a global header that changes the entries behind it".into())
    }

    /// Refuses an entry whose plain and extended headers disagree where both speak.
    ///
    /// # Errors
    /// The reason for which the entry is refused.
    pub(super) fn expect_agreement<R: Read>(&self, entry: &Entry<'_, R>) -> Result<(), String> {
        let plain = entry.header().entry_size().map_err(|_| "has no readable size")?;
        // Sizes beyond eleven octal digits exist only in the extended header.
        let fits = |size: u64| size < 1 << 33;
        if self.size.is_some_and(|size| fits(size) && plain != 0 && plain != size) {
            return Err("states two different sizes".into());
        }
        let is_other = |own: &Option<Vec<u8>>, used: &[u8]| {
            own.as_ref().is_some_and(|own| own.as_slice() != used)
        };
        let link = entry.link_name_bytes().unwrap_or_default();
        if is_other(&self.path, &entry.path_bytes()) || is_other(&self.linkpath, &link) {
            return Err("states two different names".into());
        }
        Ok(())
    }
}

fn number(key: &[u8], value: &[u8]) -> Result<u64, String> {
    sparse::number(value).ok_or_else(|| format!("has no readable {}", key.escape_ascii()))
}

/// A plain header's time.
///
/// # Errors
/// The reason for which the entry is refused: no kernel stores such a time.
pub(super) fn seconds(seconds: u64) -> Result<Timespec, String> {
    let tv_sec = i64::try_from(seconds).map_err(|_| "has no possible mtime")?;
    Ok(Timespec { tv_sec, tv_nsec: 0 })
}

/// An extended header's time: decimal seconds, perhaps negative, with a fraction.
fn timestamp(value: &[u8]) -> Option<Timespec> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(fraction) || !is_digits(whole.strip_prefix('-').unwrap_or(whole)) {
        return None;
    }
    let tv_sec: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let tv_nsec: i64 = digits.parse().ok()?;
    if !whole.starts_with('-') || tv_nsec == 0 {
        return Some(Timespec { tv_sec, tv_nsec });
    }
    // Before 1970 the fraction counts backwards, the kernel's nanoseconds never do.
    Some(Timespec { tv_sec: tv_sec.checked_sub(1)?, tv_nsec: 1_000_000_000 - tv_nsec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond_on_both_sides_of_1970() {
        let read = |text: &str| timestamp(text.as_bytes()).map(|time| (time.tv_sec, time.tv_nsec));
        assert_eq!(read("1700000000"), Some((1_700_000_000, 0)));
        assert_eq!(read("1700000000.5"), Some((1_700_000_000, 500_000_000)));
        assert_eq!(read("0.1234567891"), Some((0, 123_456_789)));
        assert_eq!(read("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(read("-7"), Some((-7, 0)));
        for text in ["", ".", "x", "1.x", "1e3", "--1", "+1.0.0", "99999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
