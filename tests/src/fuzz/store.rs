//! What a host finds on its own disk after a crash: journal and state file.

use common::digest::Digest;
use receiver::store::doors;

use super::input::Input;

/// Length of the image that journals are about.
const IMAGE_BYTES: u64 = 1 << 32;

/// Claims lie in the image, in order and apart, whatever the journal says; and a journal that is
/// written of them claims the same. The bytes are a whole journal, then records behind a right
/// header, then the numbers of records whose sums are right.
pub fn journal(data: &[u8]) {
    let image = Digest::of(b"image");
    check_journal(data, &image);
    let header = doors::journal_of(&image, IMAGE_BYTES, &[]);
    check_journal(&[&header, data].concat(), &image);
    let mut input = Input::new(data);
    let mut records = Vec::new();
    while !input.is_empty() {
        records.push((input.u64() >> input.below(64), input.u64() >> input.below(64)));
    }
    let mut whole = doors::journal_of(&image, IMAGE_BYTES, &records);
    whole.extend_from_slice(&data[..data.len().min(7)]);
    check_journal(&whole, &image);
}

fn check_journal(journal: &[u8], image: &Digest) {
    let (ranges, whole_bytes) = doors::read_journal(journal, image, IMAGE_BYTES);
    assert!(whole_bytes <= journal.len() as u64);
    assert!(ranges.iter().all(|range| range.start <= range.end && range.end <= IMAGE_BYTES));
    assert!(ranges.is_sorted_by(|one, next| one.end < next.start), "{ranges:?}");
    let claims: Vec<_> =
        ranges.iter().map(|range| (range.start, range.end - range.start)).collect();
    let written = doors::journal_of(image, IMAGE_BYTES, &claims);
    assert_eq!(doors::read_journal(&written, image, IMAGE_BYTES), (ranges, written.len() as u64));
}

/// A state file that is read is the same once it is written, also one of the former version.
pub fn state(data: &[u8]) {
    if let Ok(written) = doors::read_state(data) {
        assert_eq!(doors::read_state(&written), Ok(written));
    }
}
