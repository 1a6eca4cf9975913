//! Where bytes that this program did not write come into the store, opened for tests from outside
//! of this crate; nothing in the product calls them.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use common::digest::Digest;

use super::journal::{self, Claims};
use super::state::AppState;
use super::unpack::{self, Unpacked};
use super::{Bounds, StepError};

/// What a journal claims of an image of `bytes`, and the length of its whole records.
pub fn read_journal(journal: &[u8], image: &Digest, bytes: u64) -> (Vec<Range<u64>>, u64) {
    let claims = Claims::parse(journal, image, bytes);
    (claims.ranges, claims.whole_bytes)
}

/// The journal of an image with these claims: offset and length.
pub fn journal_of(image: &Digest, bytes: u64, claims: &[(u64, u64)]) -> Vec<u8> {
    let mut out = journal::header(image, bytes);
    claims.iter().for_each(|(offset, bytes)| out.extend(journal::record(*offset, *bytes)));
    out
}

/// A state file, read and written anew.
///
/// # Errors
/// What is wrong with it.
pub fn read_state(bytes: &[u8]) -> Result<Vec<u8>, String> {
    AppState::parse(bytes).map(|state| state.to_json())
}

/// Unpacks an archive into the new directory `path`.
///
/// # Errors
/// As hosts do; a half tree may be left behind.
pub fn unpack(archive: impl Read, path: &Path, bounds: Bounds) -> Result<Unpacked, StepError> {
    unpack::unpack_here(archive, path, bounds)
}
