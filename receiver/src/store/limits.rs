//! Every bound of the store, with its reason.
//!
//! Not here: the bounds of a bundle and of datagrams, which live in `common`.

use std::time::Duration;

/// Good releases kept per app unless configured otherwise: the current, the previous, three more.
pub const KEEP_DEFAULT: usize = 5;

/// How long a release stays after `current` went on, unless configured otherwise: longer than a
/// request that began on it, and than a person takes to see that the new one is no good.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(600);

/// Releases that are gone and still remembered: a few weeks of two deploys a day; with 300 bytes
/// each they stay small beside the bound of the file.
pub const PRUNED_REMEMBERED_MAX: usize = 64;

/// Bytes written to an image between two requests that the kernel start writing them out: small
/// enough that the last fsync finds little left, large enough that a disk still sees long runs.
pub const WRITEBACK_BYTES: u64 = 32 << 20;

/// Bytes read at a time when an image or a claim is hashed.
pub const READ_BYTES: usize = 1 << 20;

/// How long an unfinished image or one that no release names may lie untouched, and how long every
/// release that waits to be activated stays.
pub const ABANDONED_AGE: Duration = Duration::from_secs(24 * 3600);

/// Space left free beside what a release needs: manifests, journals, directories.
pub const SPARE_BYTES: u64 = 4 << 20;

/// Entries of a tar whose manifest states no limit.
pub const ENTRIES_DEFAULT: u64 = 4_000_000;

/// Depth of a tar's paths whose manifest states no limit.
pub const DEPTH_DEFAULT: u32 = 64;

/// Bytes of a name in a tar whose manifest states no limit: NAME_MAX.
pub const NAME_DEFAULT: u32 = 255;

/// Bytes of headers (long names, attributes) that may precede one entry of a tar: the library
/// reads them into memory, so a bound is needed; PATH_MAX twice and 64 KiB of attributes fit.
pub const ENTRY_HEADER_BYTES: u64 = 256 << 10;

/// Bytes of directory paths remembered while a tar is unpacked, because a directory's mode and
/// mtime are set last: 300,000 directories of 100 bytes.
pub const DIRECTORY_PATH_BYTES: usize = 32 << 20;

/// Memory that the process that unpacks may map: what is remembered of directories three times
/// over, the program itself, and what the C library sets aside for each of a few threads.
pub const UNPACKER_MEMORY_BYTES: u64 = 1 << 30;

/// Files that it may have open: the image, its socket, four of one entry, and what it began with.
pub const UNPACKER_FILES: u64 = 32;

/// Holes of one file of a tar whose map stands before its data: a file of 4 GiB in which every
/// second block is one has half of them. Where headers have the map, their bound is the limit.
pub const SPARSE_RUNS_MAX: usize = 1 << 20;

/// Bytes of zeros that become a hole: the block of most filesystems.
pub const HOLE_BYTES: u64 = 4096;

/// Bytes of a path inside a tar, as the kernel's PATH_MAX.
pub const PATH_BYTES: usize = 4095;

/// Bytes of one component of a path inside a tar, as the kernel's NAME_MAX.
pub const NAME_BYTES: usize = 255;

/// Attempts to take a free loop device while other processes take it first.
pub const LOOP_ATTEMPTS: u32 = 32;

/// How long a start waits for the store's lock: a daemon that was killed a moment ago gives it back
/// only when the kernel has closed its files, which takes as long as a write that is under way.
pub const LOCK_WAIT: Duration = Duration::from_secs(3);

/// How long a process that was killed may still end what it was doing, which is one write.
pub const DYING_WAIT: Duration = Duration::from_secs(3);

/// Between two attempts at the lock.
pub const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Clocks and people are wrong by so much: dates of a release count only beyond it.
pub const DATE_TOLERANCE: Duration = Duration::from_secs(24 * 3600);

/// Keys that releases have named and that are remembered: as many rotations without a change of the
/// configuration.
pub const ANNOUNCED_MAX: usize = 8;

/// Bytes of `state.json` and of a manifest that are read back.
pub const SMALL_FILE_BYTES: u64 = 1 << 20;
