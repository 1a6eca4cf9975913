//! Where the data of a file lies that an archive stores without its holes.
//!
//! GNU tar has written such files in four ways: the old one, which the tar library reads, and three
//! with extended headers: 0.0 and 0.1 have the map in the header, 1.0 has it before the data. Not
//! here: reading the headers ([`super::pax`]). Invariant: the runs of a [`Map`] follow each other,
//! lie within the file, and are together what the archive stores.

use std::io::{self, Read};

use crate::store::limits::SPARSE_RUNS_MAX;

/// The map before the data is padded to whole blocks.
const BLOCK_BYTES: usize = 512;
/// Digits of the longest number, and the end of its line.
const LINE_BYTES_MAX: usize = 21;

/// Data of a file: where, and how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// What an extended header says of holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stated {
    /// The file's own name; the entry's is then made up.
    pub(super) name: Option<Vec<u8>>,
    /// Its length with its holes.
    pub(super) bytes: Option<u64>,
    pub(super) version: (Option<u64>, Option<u64>),
    /// How many runs there are, where that is said.
    pub(super) count: Option<u64>,
    /// The runs, where the header has them.
    pub(super) runs: Option<Vec<Run>>,
    /// Where a run begins whose length comes next.
    pub(super) begun: Option<u64>,
}

/// Why a map is refused, or could not be read.
#[derive(Debug)]
pub(super) enum MapError {
    Refused(String),
    Read(io::Error),
}

impl From<io::Error> for MapError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// The runs of a file, and its length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) runs: Vec<Run>,
    pub(super) bytes: u64,
}

impl Map {
    /// A file without holes.
    pub(super) fn whole(bytes: u64) -> Self {
        Self { runs: vec![Run { offset: 0, bytes }], bytes }
    }

    /// The map of an entry that stores `stored` bytes, which are read from `data` as far as they
    /// are map.
    ///
    /// # Errors
    /// What is wrong with it, or why `data` could not be read.
    pub(super) fn read(
        stated: &mut Stated,
        mut data: impl Read,
        stored: u64,
    ) -> Result<Self, MapError> {
        let refuse = |reason: &str| MapError::Refused(reason.into());
        let bytes = stated.bytes.ok_or_else(|| refuse("has holes and does not say its length"))?;
        if stated.begun.is_some() {
            return Err(refuse("has a map of its holes that is cut short"));
        }
        let (runs, left) = match (stated.version, stated.runs.take()) {
            ((Some(1), Some(0)), None) => {
                let mut lines = Lines::of(&mut data);
                let runs = lines.runs()?;
                let left = stored.checked_sub(lines.read);
                (runs, left.ok_or_else(|| refuse("is shorter than the map of its holes"))?)
            }
            ((None, None) | (Some(0), _), Some(runs)) => (runs, stored),
            ((None, None), None) => return Err(refuse("has holes and no map of them")),
            _ => return Err(refuse("has a map of its holes of an unknown version")),
        };
        if stated.count.is_some_and(|count| count != runs.len() as u64) {
            return Err(refuse("has more or fewer holes than it says"));
        }
        Self { runs, bytes }.check(left)
    }

    /// Refuses runs out of order, beyond the file's end, or of another length than is stored.
    fn check(self, stored: u64) -> Result<Self, MapError> {
        let refuse = |reason: &str| MapError::Refused(reason.into());
        let (mut end, mut sum) = (0_u64, 0_u64);
        for run in &self.runs {
            if run.offset < end {
                return Err(refuse("has data in its map that overlaps, or is out of order"));
            }
            // Some readers pad what was before, others do not.
            if run.bytes > 0 && !sum.is_multiple_of(BLOCK_BYTES as u64) {
                return Err(refuse("has data in its map that begins within a block"));
            }
            let after = run.offset.checked_add(run.bytes).filter(|end| *end <= self.bytes);
            end = after.ok_or_else(|| refuse("has data in its map beyond its end"))?;
            sum += run.bytes;
        }
        if sum == stored { Ok(self) } else { Err(refuse("stores other data than its map says")) }
    }
}

/// Numbers of a map before the data, a line each.
struct Lines<R> {
    data: R,
    block: [u8; BLOCK_BYTES],
    at: usize,
    /// Bytes of whole blocks that were read.
    read: u64,
}

impl<R: Read> Lines<R> {
    fn of(data: R) -> Self {
        Self { data, block: [0; BLOCK_BYTES], at: BLOCK_BYTES, read: 0 }
    }

    fn runs(&mut self) -> Result<Vec<Run>, MapError> {
        let count = self.number()?;
        if count > SPARSE_RUNS_MAX as u64 {
            let reason = format!("has more than {SPARSE_RUNS_MAX} holes");
            return Err(MapError::Refused(reason));
        }
        let mut runs = Vec::new();
        for _ in 0..count {
            runs.push(Run { offset: self.number()?, bytes: self.number()? });
        }
        Ok(runs)
    }

    fn number(&mut self) -> Result<u64, MapError> {
        let bad = || MapError::Refused("has an unreadable map of its holes".into());
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte if line.len() < LINE_BYTES_MAX => line.push(byte),
                _ => return Err(bad()),
            }
        }
        number(&line).ok_or_else(bad)
    }

    fn byte(&mut self) -> Result<u8, MapError> {
        if self.at == BLOCK_BYTES {
            self.data.read_exact(&mut self.block).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    MapError::Refused("has a map of its holes that is cut short".into())
                }
                _ => MapError::Read(error),
            })?;
            self.read += BLOCK_BYTES as u64;
            self.at = 0;
        }
        self.at += 1;
        Ok(self.block[self.at - 1])
    }
}

/// A decimal number of digits alone.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let is_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_digits.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// The runs of a map in a header: `offset,bytes,offset,bytes…`.
pub(super) fn runs_of(text: &[u8]) -> Option<Vec<Run>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let numbers: Option<Vec<u64>> = text.split(|byte| *byte == b',').map(number).collect();
    let numbers = numbers.filter(|numbers| numbers.len().is_multiple_of(2))?;
    let run = |pair: &[u64]| Run { offset: pair[0], bytes: pair[1] };
    Some(numbers.chunks(2).map(run).collect())
}

impl Stated {
    /// Takes one word of an extended header; `key` is what stands behind `GNU.sparse.` in it.
    ///
    /// # Errors
    /// The reason for which the entry is refused.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let shown = || format!("GNU.sparse.{}", key.escape_ascii());
        let number = || number(value).ok_or_else(|| format!("has no readable {}", shown()));
        let is_first = match key {
            b"name" => self.name.replace(value.to_vec()).is_none(),
            b"size" | b"realsize" => self.bytes.replace(number()?).is_none(),
            b"major" => self.version.0.replace(number()?).is_none(),
            b"minor" => self.version.1.replace(number()?).is_none(),
            b"numblocks" => self.count.replace(number()?).is_none(),
            b"map" => {
                let runs = runs_of(value).ok_or_else(|| format!("has no readable {}", shown()))?;
                self.runs.replace(runs).is_none()
            }
            b"offset" => self.begun.replace(number()?).is_none(),
            b"numbytes" => {
                let offset = self.begun.take();
                let offset = offset.ok_or_else(|| format!("has a {} of nothing", shown()))?;
                self.runs.get_or_insert_default().push(Run { offset, bytes: number()? });
                true
            }
            _ => return Err(format!("has the unknown {}", shown())),
        };
        if is_first { Ok(()) } else { Err(format!("sets {} twice", shown())) }
    }
}
