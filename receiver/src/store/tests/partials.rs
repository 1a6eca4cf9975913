//! Receiving, and going on after an interruption.

#![expect(clippy::disallowed_methods, reason = "tests read and damage files")]

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::Arc;

use common::id::{ChunkIndex, FrameIndex, ImageKind};
use common::wire::Fault;

use super::fixture::{CHUNK_BYTES, Place, Release, begin, content, shop};

/// A raw release has frames 0..3 of data (4, 4 and 2 chunks), 3..5 of a gap, 5 of data.
fn numbers(frames: &[FrameIndex]) -> Vec<u32> {
    frames.iter().map(|frame| frame.0).collect()
}

#[test]
fn an_image_written_out_of_order_by_several_threads_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let (store, release) = (place.open(), Release::raw(1));
    let partial = begin(&store, &release.preamble);
    assert_eq!(numbers(&partial.held()), [3, 4], "gaps are held from the start");
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (release, partial) = (&release, &partial);
            scope.spawn(move || {
                let all: Vec<_> = release.frames().collect();
                for frame in all.into_iter().rev().filter(|frame| frame.0 % 2 != thread) {
                    release.write(partial, frame).unwrap();
                }
            });
        }
    });
    assert!(partial.is_complete());
    let image = partial.finish().unwrap();
    assert_eq!(fs::read(&image.path).unwrap(), release.image);
    let facts = fs::metadata(&image.path).unwrap();
    assert_eq!(facts.permissions().mode() & 0o7777, 0o400);
    assert!(facts.blocks() * 512 < release.image.len() as u64, "the gap is a hole");
    assert_eq!(place.names("incoming"), [""; 0]);
    assert!(store.holds_image(&shop(), &release.preamble.manifest.image.digest));
}

#[test]
fn frames_behind_two_and_four_gibibytes_land_in_their_place() {
    use common::bundle::{Chunk, ChunkTable, Frame, FrameKind, FrameTable};
    use common::digest::Digest;
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let gap = Chunk { bytes: 1 << 30, digest: Chunk::ZERO_DIGEST };
    let data = content(1, CHUNK_BYTES);
    let chunk = Chunk { bytes: CHUNK_BYTES as u32, digest: Digest::of(&data) };
    let frame = |first, count| Frame {
        kind: FrameKind::Stored,
        bytes: CHUNK_BYTES as u32,
        digest: Digest::of(b"sent"),
        first_chunk: ChunkIndex(first),
        chunk_count: count,
    };
    let mut preamble = (*Release::raw(1).preamble).clone();
    let chunks = vec![gap, gap, chunk, gap, gap, chunk];
    let zero = |first| Frame::zero(ChunkIndex(first), 2);
    preamble.chunks = ChunkTable::from_chunks(chunks).unwrap();
    preamble.plan =
        FrameTable::from_frames(vec![zero(0), frame(2, 1), zero(3), frame(5, 1)]).unwrap();
    preamble.manifest.image.bytes = preamble.chunks.image_bytes();
    let preamble = Arc::new(preamble);
    let partial = begin(&store, &preamble);
    partial.write(ChunkIndex(5), 1, &data).unwrap();
    drop(partial);
    let digest = preamble.manifest.image.digest;
    let part = place.store.join(format!("shop/incoming/{digest}.part"));
    let facts = fs::metadata(&part).unwrap();
    assert_eq!(facts.len(), (4 << 30) + 2 * CHUNK_BYTES as u64);
    assert!(facts.blocks() * 512 < 1 << 20, "gaps are holes");
    let mut found = vec![0; CHUNK_BYTES];
    let file = fs::File::open(part).unwrap();
    file.read_exact_at(&mut found, (4 << 30) + CHUNK_BYTES as u64).unwrap();
    assert_eq!(found, data);
    let partial = begin(&store, &preamble);
    assert_eq!(numbers(&partial.held()), [0, 2, 3], "found again by its digest");
}

#[test]
fn an_interrupted_image_goes_on_with_what_was_verified() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let release = Release::raw(1);
    let store = place.open();
    let partial = begin(&store, &release.preamble);
    for frame in [FrameIndex(1), FrameIndex(5)] {
        release.write(&partial, frame).unwrap();
    }
    drop((partial, store));
    let store = place.open();
    let partial = begin(&store, &release.preamble);
    assert_eq!(numbers(&partial.held()), [1, 3, 4, 5]);
    assert!(!partial.is_complete());
    release.fill(&partial).unwrap();
    partial.finish().unwrap();
}

// PROTOCOL 7.6.
#[test]
fn a_claim_whose_bytes_are_not_on_disk_is_not_offered() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let release = Release::raw(1);
    let store = place.open();
    let partial = begin(&store, &release.preamble);
    release.fill(&partial).unwrap();
    drop(partial);
    let digest = release.preamble.manifest.image.digest;
    let part = place.store.join(format!("shop/incoming/{digest}.part"));
    let file = OpenOptions::new().write(true).open(part).unwrap();
    file.write_all_at(b"rot", 5 * CHUNK_BYTES as u64).unwrap();
    let partial = begin(&store, &release.preamble);
    assert_eq!(numbers(&partial.held()), [0, 2, 3, 4, 5]);
    release.fill(&partial).unwrap();
    assert_eq!(fs::read(partial.finish().unwrap().path).unwrap(), release.image);
}

#[test]
fn the_same_image_cut_into_other_frames_keeps_what_was_verified() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let release = Release::raw(1);
    let store = place.open();
    let partial = begin(&store, &release.preamble);
    for frame in [FrameIndex(0), FrameIndex(1)] {
        release.write(&partial, frame).unwrap();
    }
    drop(partial);
    let mut other = (*release.preamble).clone();
    let mut frames: Vec<_> = other.plan.iter().copied().collect();
    let second = frames.remove(1);
    frames[0].chunk_count += second.chunk_count;
    frames[0].bytes += second.bytes;
    other.plan = common::bundle::FrameTable::from_frames(frames).unwrap();
    let partial = begin(&store, &Arc::new(other));
    assert_eq!(numbers(&partial.held()), [0, 2, 3]);
}

#[test]
fn a_torn_or_foreign_journal_and_a_foreign_part_start_anew() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let release = Release::raw(1);
    let store = place.open();
    let partial = begin(&store, &release.preamble);
    release.fill(&partial).unwrap();
    drop(partial);
    let digest = release.preamble.manifest.image.digest;
    let path = |end: &str| place.store.join(format!("shop/incoming/{digest}.{end}"));
    let held = || {
        let partial = begin(&store, &release.preamble);
        numbers(&partial.held())
    };
    let journal = fs::read(path("journal")).unwrap();
    fs::write(path("journal"), &journal[..journal.len() - 7]).unwrap();
    assert_eq!(held(), [0, 1, 2, 3, 4], "one record was torn");
    assert_eq!(fs::metadata(path("journal")).unwrap().len() as usize, journal.len() - 20);
    fs::write(path("journal"), b"something else").unwrap();
    assert_eq!(held(), [3, 4]);
    fs::write(path("journal"), &journal).unwrap();
    assert_eq!(held(), [0, 1, 2, 3, 4, 5], "claims are looked up on disk, so they are as good");
    let file = OpenOptions::new().write(true).open(path("part")).unwrap();
    file.write_all_at(b"x", 12 * CHUNK_BYTES as u64).unwrap();
    assert_eq!(held(), [3, 4], "bytes in a gap: not our file");
    file.set_len(100).unwrap();
    assert_eq!(held(), [3, 4]);
}

// PROTOCOL 7.6.
#[test]
fn a_held_image_that_was_changed_is_removed_said_and_received_again() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let release = Release::raw(1);
    let path = release.receive(&store).unwrap().path;
    let verified = store.verify_held(&shop(), &release.offer()).unwrap();
    assert_eq!(verified.unwrap().path, path);
    let changes: [fn(&mut Vec<u8>); 3] =
        [|image| image[70_000] ^= 1, |image| image.truncate(1000), |image| image.push(0)];
    for change in changes {
        let mut content = release.image.clone();
        change(&mut content);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, content).unwrap();
        assert!(store.verify_held(&shop(), &release.offer()).unwrap().is_none());
        let complaints = store.take_complaints();
        assert!(complaints[0].contains("was changed since it was verified"), "{complaints:?}");
        assert!(!path.exists());
        release.receive(&store).unwrap();
        assert_eq!(fs::read(&path).unwrap(), release.image);
    }
}

#[test]
fn an_image_with_missing_frames_is_not_finished() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let partial = begin(&store, &Release::tar(1).preamble);
    assert_eq!(partial.finish().unwrap_err().fault(), Fault::Internal);
    assert_eq!(place.names("images"), [""; 0]);
}

#[test]
fn one_image_is_received_once_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let release = Release::raw(1);
    let first = begin(&store, &release.preamble);
    let error = store.begin(&shop(), Arc::clone(&release.preamble)).unwrap_err();
    assert!(error.is_busy() && error.to_string().contains("is being received already"), "{error}");
    drop(first);
    begin(&store, &release.preamble);
}

#[test]
fn a_tar_is_unpacked_while_it_arrives_from_its_first_frame_on() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let release = Release::tar(1);
    let partial = begin(&store, &release.preamble);
    release.write(&partial, FrameIndex(0)).unwrap();
    let tree = place.root.join(format!(".incoming/{}.tree", release.id()));
    // The second frame is missing, yet the first file appears; a bound ends a test that fails.
    let appears = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        tree.join("directory/file0").is_file()
    });
    assert!(appears, "{}", tree.display());
    assert!(!tree.join("directory/file19").exists());
    release.fill(&partial).unwrap();
    assert_eq!(partial.finish().unwrap().tree, Some(tree.clone()));
    assert!(tree.join("directory/file19").is_file());
}

#[test]
fn a_tar_that_is_given_up_leaves_no_tree_but_its_part() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let release = Release::tar(1);
    let partial = begin(&store, &release.preamble);
    release.write(&partial, FrameIndex(0)).unwrap();
    drop(partial);
    assert_eq!((place.names("srv/.incoming").len(), place.names("incoming").len()), (0, 2));
    assert!(store.holds_partial(&shop(), &release.preamble.manifest.image.digest));
    release.install(&store).unwrap();
}

#[test]
fn a_refused_archive_leaves_neither_tree_nor_image() {
    use crate::store::unpack::archive::{Entry, archive};
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let evil = archive(&[Entry::file("a", b"x"), Entry::file("../escape", b"x")]);
    let release = Release::new(ImageKind::Tar, 1, evil);
    let error = release.receive(&store).unwrap_err();
    assert_eq!(error.fault(), Fault::UnpackRefused);
    assert!(error.to_string().contains("entry \"../escape\" has .. in its path"), "{error}");
    assert_eq!((place.names("images").len(), place.names("srv/.incoming").len()), (0, 0));
    assert!(!place.root.join("escape").exists() && !place.root.join(".incoming/escape").exists());
}
