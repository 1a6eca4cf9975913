//! Tar archives written header by header, so that tests can say what no archiver would.

use std::io::Read;
use std::path::Path;

use super::Unpacked;
use crate::store::error::StepError;
use crate::store::step::Bounds;

/// Unpacks an archive into the new directory `path`, in this process.
pub(super) fn unpack(
    archive: impl Read,
    path: &Path,
    bounds: Bounds,
) -> Result<Unpacked, StepError> {
    super::unpack_here(archive, path, bounds)
}

/// One entry before it is written.
#[derive(Clone)]
pub(in crate::store) struct Entry {
    pub(in crate::store) kind: u8,
    pub(in crate::store) name: Vec<u8>,
    pub(in crate::store) link: Vec<u8>,
    pub(in crate::store) data: Vec<u8>,
    pub(in crate::store) mode: u64,
    pub(in crate::store) owner: (u64, u64),
    pub(in crate::store) mtime: u64,
    /// What the header says where it lies about the length of `data`.
    pub(in crate::store) size: Option<u64>,
    /// Of a file that the old GNU format stores without its holes: where its data lies, and its
    /// length with them.
    pub(in crate::store) runs: Vec<(u64, u64)>,
    pub(in crate::store) real_bytes: u64,
    /// `ustar\0` and `00`, `ustar ` and ` \0`, or nothing for the oldest format.
    pub(in crate::store) magic: [u8; 8],
}

pub(in crate::store) const USTAR: [u8; 8] = *b"ustar\x0000";
pub(in crate::store) const GNU: [u8; 8] = *b"ustar  \0";
pub(in crate::store) const OLD: [u8; 8] = [0; 8];

impl Entry {
    pub(in crate::store) fn new(kind: u8, name: &[u8], data: &[u8]) -> Self {
        Self {
            kind,
            name: name.to_vec(),
            link: Vec::new(),
            data: data.to_vec(),
            mode: if kind == b'5' { 0o755 } else { 0o644 },
            owner: (0, 0),
            mtime: 1_600_000_000,
            size: None,
            runs: Vec::new(),
            real_bytes: 0,
            magic: USTAR,
        }
    }

    pub(in crate::store) fn file(name: &str, data: &[u8]) -> Self {
        Self::new(b'0', name.as_bytes(), data)
    }

    pub(in crate::store) fn directory(name: &str) -> Self {
        Self::new(b'5', name.as_bytes(), b"")
    }

    pub(in crate::store) fn symlink(name: &str, target: &str) -> Self {
        Self { link: target.into(), ..Self::new(b'2', name.as_bytes(), b"") }
    }

    pub(in crate::store) fn hard_link(name: &str, target: &str) -> Self {
        Self { link: target.into(), ..Self::new(b'1', name.as_bytes(), b"") }
    }

    /// A file that the old GNU format stores without its holes.
    pub(in crate::store) fn sparse(
        name: &str,
        data: &[u8],
        runs: &[(u64, u64)],
        real: u64,
    ) -> Self {
        let plain = Self::new(b'S', name.as_bytes(), data);
        Self { magic: GNU, runs: runs.to_vec(), real_bytes: real, ..plain }
    }

    /// The extended header for the entry behind it.
    pub(in crate::store) fn pax(records: &[(&str, &[u8])]) -> Self {
        let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        Self::new(b'x', b"././@PaxHeader", &data)
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let mut header = [0; 512];
        put(&mut header[..100], &self.name);
        put_octal(&mut header[100..108], self.mode);
        put_octal(&mut header[108..116], self.owner.0);
        put_octal(&mut header[116..124], self.owner.1);
        put_octal(&mut header[124..136], self.size.unwrap_or(self.data.len() as u64));
        put_octal(&mut header[136..148], self.mtime);
        header[156] = self.kind;
        put(&mut header[157..257], &self.link);
        header[257..265].copy_from_slice(&self.magic);
        if self.kind == b'S' {
            for (at, (offset, bytes)) in self.runs.iter().enumerate() {
                let place = 386 + 24 * at;
                put_octal(&mut header[place..place + 12], *offset);
                put_octal(&mut header[place + 12..place + 24], *bytes);
            }
            put_octal(&mut header[483..495], self.real_bytes);
        }
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        put(&mut header[148..156], format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&self.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

fn put(field: &mut [u8], bytes: &[u8]) {
    assert!(bytes.len() <= field.len(), "{} does not fit", bytes.escape_ascii());
    field[..bytes.len()].copy_from_slice(bytes);
}

/// Octal with a NUL; a number that does not fit is written in base 256.
fn put_octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let text = format!("{number:0digits$o}");
    if text.len() <= digits {
        return put(field, text.as_bytes());
    }
    let from = field.len() - 8;
    field.fill(0);
    field[0] = 0x80;
    field[from..].copy_from_slice(&number.to_be_bytes());
    field[0] |= 0x80;
}

/// One record of an extended header: its length counts its own digits.
pub(in crate::store) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut total = rest + 1;
    while total != rest + total.to_string().len() {
        total += 1;
    }
    let mut out = format!("{total} {key}=").into_bytes();
    out.extend_from_slice(value);
    out.push(b'\n');
    out
}

/// The archive of these entries, with its end mark.
pub(in crate::store) fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    entries.iter().for_each(|entry| entry.emit(&mut out));
    out.resize(out.len() + 1024, 0);
    out
}
