//! tar images: written from a tree, or taken as they come and judged by what hosts will unpack.
//!
//! Not here: unpacking, which judges again (`receiver::store`).
//!
//! Invariant: an archive written here depends on the tree alone: GNU headers, numeric owners, whole
//! seconds, entries in the tree's order, a file with several names once and links to the first.
#![expect(clippy::disallowed_methods, reason = "reads the files that it archives")]

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use common::bundle::UnpackLimits;
use tar::{Entry as TarEntry, EntryType, Header};

use super::cancel::Cancel;
use super::error::{PackError, shown};
use super::ext_patch::Owner;
use super::scan::{Entry, EntryKind, Tree};

const BLOCK_BYTES: u64 = 512;
/// Longest name that a header holds; longer ones get an entry of their own before it.
const NAME_BYTES_MAX: usize = 100;
const LONG_NAME: &[u8] = b"././@LongLink";
const BUFFER_BYTES: usize = 256 << 10;

/// What unpacking `tree` costs.
pub fn limits_of(tree: &Tree) -> UnpackLimits {
    let mut limits = UnpackLimits {
        entries: tree.entries.len() as u64,
        bytes: tree.inodes().map(|entry| entry.facts.bytes).sum(),
        depth: 0,
        name: 0,
    };
    tree.entries.iter().for_each(|entry| take_path(&mut limits, &entry.path));
    limits
}

/// Raises the limits to what a path needs.
fn take_path(limits: &mut UnpackLimits, path: &Path) {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(as_limit(name.len())),
        _ => None,
    });
    let names: Vec<u32> = names.collect();
    limits.depth = limits.depth.max(as_limit(names.len()));
    limits.name = names.into_iter().fold(limits.name, u32::max);
}

/// About how long the archive of `tree` is, for the progress bar.
pub fn estimate_bytes(tree: &Tree) -> u64 {
    let entry_bytes = |entry: &Entry| BLOCK_BYTES + entry.facts.bytes.next_multiple_of(BLOCK_BYTES);
    tree.inodes().map(entry_bytes).sum::<u64>() + 2 * BLOCK_BYTES
}

/// Writes the archive of `tree`.
///
/// # Errors
/// Names the file that cannot be read or is no longer what was scanned.
pub fn write(tree: &Tree, owner: Owner, out: impl Write, cancel: &Cancel) -> Result<(), PackError> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let mut firsts = HashMap::new();
    for entry in &tree.entries {
        cancel.check()?;
        write_entry(tree, entry, owner, &mut firsts, &mut out)?;
    }
    out.write_all(&[0; 2 * BLOCK_BYTES as usize]).map_err(PackError::Machine)?;
    out.flush().map_err(PackError::Machine)
}

fn write_entry<'a>(
    tree: &Tree,
    entry: &'a Entry,
    owner: Owner,
    firsts: &mut HashMap<(u64, u64), &'a Path>,
    out: &mut impl Write,
) -> Result<(), PackError> {
    let mut header = header_of(entry, owner);
    let mut link: &[u8] = b"";
    let mut bytes = 0;
    match &entry.kind {
        EntryKind::Directory => header.set_entry_type(EntryType::Directory),
        EntryKind::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            link = target.as_os_str().as_bytes();
        }
        EntryKind::File => match firsts.get(&entry.facts.identity) {
            Some(first) if entry.facts.links > 1 => {
                header.set_entry_type(EntryType::Link);
                link = first.as_os_str().as_bytes();
            }
            _ => {
                firsts.insert(entry.facts.identity, &entry.path);
                header.set_entry_type(EntryType::Regular);
                bytes = entry.facts.bytes;
            }
        },
    }
    header.set_size(bytes);
    write_header(&mut header, &name_of(entry), link, out).map_err(PackError::Machine)?;
    if bytes > 0 { copy_file(&tree.full_path(entry), bytes, out) } else { Ok(()) }
}

fn header_of(entry: &Entry, owner: Owner) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(entry.facts.mode);
    let (uid, gid) = match owner {
        Owner::Root => (0, 0),
        Owner::Keep => (entry.facts.uid, entry.facts.gid),
    };
    header.set_uid(u64::from(uid));
    header.set_gid(u64::from(gid));
    header.set_mtime(u64::try_from(entry.facts.mtime).unwrap_or(0));
    header
}

/// Directories end in a slash; the source itself is `./`, so that its mode and time travel too.
fn name_of(entry: &Entry) -> Vec<u8> {
    let mut name = entry.path.as_os_str().as_bytes().to_vec();
    if name.is_empty() {
        name.push(b'.');
    }
    if entry.kind == EntryKind::Directory {
        name.push(b'/');
    }
    name
}

fn write_header(
    header: &mut Header,
    name: &[u8],
    link: &[u8],
    out: &mut impl Write,
) -> io::Result<()> {
    write_long(EntryType::GNULongLink, link, out)?;
    write_long(EntryType::GNULongName, name, out)?;
    let fields = header.as_old_mut();
    put(&mut fields.name, name);
    put(&mut fields.linkname, link);
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// A name that does not fit its header, in an entry before it.
fn write_long(kind: EntryType, name: &[u8], out: &mut impl Write) -> io::Result<()> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let mut header = Header::new_gnu();
    put(&mut header.as_old_mut().name, LONG_NAME);
    header.set_entry_type(kind);
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let bytes = name.len() as u64 + 1;
    header.set_size(bytes);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(name)?;
    pad(bytes, 1, out)
}

fn put(field: &mut [u8; NAME_BYTES_MAX], name: &[u8]) {
    let count = name.len().min(NAME_BYTES_MAX);
    field[..count].copy_from_slice(&name[..count]);
}

/// Zeros up to the next block, and `extra` before them that `bytes` counts already.
fn pad(bytes: u64, extra: usize, out: &mut impl Write) -> io::Result<()> {
    let gap = usize::try_from(bytes.next_multiple_of(BLOCK_BYTES) - bytes).expect("below a block");
    out.write_all(&[0; BLOCK_BYTES as usize + 1][..gap + extra])
}

fn copy_file(path: &Path, bytes: u64, out: &mut impl Write) -> Result<(), PackError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => PackError::Changed(path.to_owned()),
        _ => PackError::source(path, error),
    })?;
    let copied = io::copy(&mut file.take(bytes), out).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => PackError::Interrupted,
        _ => PackError::source(path, error),
    })?;
    if copied != bytes {
        return Err(PackError::Changed(path.to_owned()));
    }
    pad(bytes, 0, out).map_err(PackError::Machine)
}

/// Judges the archive in `file` and counts what unpacking it costs.
///
/// # Errors
/// Says what hosts would refuse, or that it is damaged.
pub fn check_file(file: &mut File, path: &Path) -> Result<UnpackLimits, PackError> {
    let unreadable = |error| PackError::source(path, error);
    let file_bytes = file.metadata().map_err(unreadable)?.len();
    file.rewind().map_err(unreadable)?;
    let (mut check, at) = (Check::new(path), Cell::new(0));
    let mut archive = tar::Archive::new(Placed { input: &mut *file, at: &at });
    let entries = archive.entries_with_seek().map_err(|error| check.damaged(error))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| check.damaged(error))?;
        check.entry(&mut entry, at.get())?;
    }
    file.seek(SeekFrom::Start(check.end)).map_err(unreadable)?;
    let behind = file_bytes.saturating_sub(check.end);
    check.tail(&mut file.take(behind))
}

/// Passes an archive on while it judges and counts it.
///
/// # Errors
/// As [`check_file`]; also when nobody takes the bytes any more.
pub fn check_stream(
    archive: impl Read,
    path: &Path,
    out: impl Write,
    cancel: &Cancel,
) -> Result<UnpackLimits, PackError> {
    let (mut check, at) = (Check::new(path), Cell::new(0));
    let out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let mut tee = Tee { input: Placed { input: archive, at: &at }, out };
    let mut archive = tar::Archive::new(&mut tee);
    for entry in archive.entries().map_err(|error| check.damaged(error))? {
        cancel.check()?;
        let mut entry = entry.map_err(|error| check.damaged(error))?;
        check.entry(&mut entry, at.get())?;
    }
    // The reader stops behind the first block of the end mark, or at a cut.
    if at.get() <= check.end {
        return Err(check.cut_short());
    }
    let behind = at.get() - check.end;
    check.end_mark_bytes = behind;
    let limits = check.tail(&mut tee)?;
    tee.out.flush().map_err(PackError::Machine)?;
    Ok(limits)
}

struct Tee<R, W> {
    input: R,
    out: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buf)?;
        self.out.write_all(&buf[..count])?;
        Ok(count)
    }
}

/// Knows where its reader is: the library does not say how many headers a sparse file has.
struct Placed<'a, R> {
    input: R,
    at: &'a Cell<u64>,
}

impl<R: Read> Read for Placed<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buf)?;
        self.at.set(self.at.get() + count as u64);
        Ok(count)
    }
}

impl<R: Seek> Seek for Placed<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = self.input.seek(to)?;
        self.at.set(at);
        Ok(at)
    }
}

/// The judgement so far.
struct Check<'a> {
    archive: &'a Path,
    limits: UnpackLimits,
    /// Where the last entry ends.
    end: u64,
    /// Zeros of the end mark that were read already.
    end_mark_bytes: u64,
}

impl<'a> Check<'a> {
    fn new(archive: &'a Path) -> Self {
        let limits = UnpackLimits { entries: 0, bytes: 0, depth: 0, name: 0 };
        Self { archive, limits, end: 0, end_mark_bytes: 0 }
    }

    /// Takes an entry whose data begins at `data`.
    fn entry<R: Read>(&mut self, entry: &mut TarEntry<'_, R>, data: u64) -> Result<(), PackError> {
        let kind = entry.header().entry_type();
        let stored = match kind {
            // The library counts its holes.
            EntryType::GNUSparse => {
                entry.header().entry_size().map_err(|error| self.damaged(error))?
            }
            _ => entry.size(),
        };
        self.end = data + stored.next_multiple_of(BLOCK_BYTES);
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let (own_name, own_bytes) = own_facts(entry).map_err(|error| self.damaged(error))?;
        let name = own_name.unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = PathBuf::from(std::ffi::OsString::from_vec(name));
        if let Some(reason) = refusal(kind, &path) {
            let reason = format!("its entry {} {reason}", shown(&path));
            return Err(PackError::refused(self.archive, reason));
        }
        self.limits.entries += 1;
        let bytes = own_bytes.unwrap_or_else(|| entry.size());
        self.limits.bytes = self.limits.bytes.saturating_add(bytes);
        take_path(&mut self.limits, &path);
        Ok(())
    }

    /// What follows the last entry: an end mark of zeros and nothing else. An archive without it
    /// was cut, perhaps between two entries, where nothing else would show it.
    fn tail(self, rest: &mut impl Read) -> Result<UnpackLimits, PackError> {
        let mut zeros = self.end_mark_bytes;
        let mut buf = vec![0; BUFFER_BYTES];
        loop {
            let count = match rest.read(&mut buf) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(self.damaged(error)),
            };
            if buf[..count].iter().any(|byte| *byte != 0) {
                let reason = "it has data behind its end mark, which hosts would not unpack";
                return Err(PackError::refused(self.archive, reason));
            }
            zeros += count as u64;
        }
        if zeros < BLOCK_BYTES { Err(self.cut_short()) } else { Ok(self.limits) }
    }

    fn cut_short(&self) -> PackError {
        PackError::refused(self.archive, "the archive is cut short: it has no end mark")
    }

    fn damaged(&self, error: io::Error) -> PackError {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return PackError::Interrupted;
        }
        PackError::refused(self.archive, format!("the archive is damaged: {error}"))
    }
}

fn as_limit(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What an extended header says of a file that is stored without its holes: its name and its
/// length, in whose place the entry has others.
fn own_facts<R: Read>(entry: &mut TarEntry<'_, R>) -> io::Result<(Option<Vec<u8>>, Option<u64>)> {
    let (mut name, mut bytes) = (None, None);
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        match record.key_bytes() {
            b"GNU.sparse.name" => name = Some(record.value_bytes().to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                // One that cannot be read is the host's to refuse.
                bytes = record.value().ok().and_then(|text| text.parse().ok());
            }
            _ => {}
        }
    }
    Ok((name, bytes))
}

/// Why hosts would refuse an entry.
fn refusal(kind: EntryType, path: &Path) -> Option<&'static str> {
    let leaves = |part| matches!(part, Component::ParentDir | Component::RootDir);
    if path.components().any(leaves) {
        return Some("would leave the release: hosts refuse absolute paths and \"..\"");
    }
    match kind {
        EntryType::Regular
        | EntryType::Continuous
        | EntryType::GNUSparse
        | EntryType::Directory
        | EntryType::Symlink
        | EntryType::Link => None,
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            Some("is a device or a pipe, which hosts refuse")
        }
        _ => Some("is of a kind that hosts do not know"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn source() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let long = "n".repeat(150);
        for (path, text) in [("d/a", "text"), ("d/empty", ""), (&long, "long name")] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::hard_link(dir.path().join("d/a"), dir.path().join("z")).unwrap();
        std::os::unix::fs::symlink("./d//a/", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("t".repeat(200), dir.path().join("long-link")).unwrap();
        dir
    }

    fn archive(dir: &Path) -> Vec<u8> {
        let tree = Tree::scan(dir, &[], &Cancel::default()).unwrap();
        let mut out = Vec::new();
        write(&tree, Owner::Root, &mut out, &Cancel::default()).unwrap();
        out
    }

    fn check(archive: &[u8]) -> Result<UnpackLimits, PackError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        let by_file = check_file(&mut file, Path::new("x.tar"));
        let mut passed = Vec::new();
        let cancel = Cancel::default();
        let by_stream = check_stream(archive, Path::new("x.tar"), &mut passed, &cancel);
        match (&by_file, &by_stream) {
            (Ok(a), Ok(b)) => assert_eq!((a, &*passed), (b, archive)),
            (Err(PackError::Refused { .. }), Err(PackError::Refused { .. })) => (),
            other => panic!("the two ways disagree: {other:?}"),
        }
        by_file
    }

    #[test]
    fn what_is_written_is_read_back_with_long_names_and_links() {
        let dir = source();
        let bytes = archive(dir.path());
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&*bytes).entries().unwrap() {
            let entry = entry.unwrap();
            let link =
                entry.link_name_bytes().map(|link| String::from_utf8(link.to_vec()).unwrap());
            let path = String::from_utf8(entry.path_bytes().to_vec()).unwrap();
            seen.push((path, entry.header().entry_type(), link));
        }
        let long = "n".repeat(150);
        let expected = [
            ("./", EntryType::Directory, None),
            ("d/", EntryType::Directory, None),
            ("d/a", EntryType::Regular, None),
            ("d/empty", EntryType::Regular, None),
            ("link", EntryType::Symlink, Some("./d//a/".to_owned())),
            ("long-link", EntryType::Symlink, Some("t".repeat(200))),
            (&long, EntryType::Regular, None),
            ("z", EntryType::Link, Some("d/a".to_owned())),
        ];
        let expected = expected.map(|(path, kind, link)| (path.to_owned(), kind, link));
        assert_eq!(seen, expected);
    }

    #[test]
    fn limits_counted_from_the_tree_and_from_the_archive_are_the_same() {
        let dir = source();
        let tree = Tree::scan(dir.path(), &[], &Cancel::default()).unwrap();
        let limits = check(&archive(dir.path())).unwrap();
        assert_eq!(limits, limits_of(&tree));
        assert_eq!(limits, UnpackLimits { entries: 8, bytes: 13, depth: 2, name: 150 });
    }

    #[test]
    fn holes_count_as_bytes_of_their_file_and_not_of_the_archive() {
        let dir = tempfile::tempdir().unwrap();
        let sparse = File::create(dir.path().join("sparse")).unwrap();
        // More of them than a header has room for.
        for nth in 1..40 {
            std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", nth << 17).unwrap();
        }
        sparse.set_len(6 << 20).unwrap();
        let formats = [
            ["--format=gnu", "--sparse"],
            ["--format=posix", "--sparse-version=0.0"],
            ["--format=posix", "--sparse-version=0.1"],
            ["--format=posix", "--sparse-version=1.0"],
        ];
        for format in formats {
            let mut tar = std::process::Command::new("tar");
            tar.args(format).arg("-C").arg(dir.path()).args(["-Scf", "-", "sparse"]);
            let bytes = tar.output().unwrap().stdout;
            assert!(bytes.len() < 1 << 20, "{format:?}: {} bytes", bytes.len());
            let limits = UnpackLimits { entries: 1, bytes: 6 << 20, depth: 1, name: 6 };
            assert_eq!(check(&bytes).unwrap(), limits, "{format:?}");
            // Cut in its data, and within the last of it.
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            for end in [end / 2, end] {
                assert!(check(&bytes[..end]).is_err(), "{format:?}, cut at {end}");
            }
        }
    }

    #[test]
    fn an_archive_cut_anywhere_is_refused() {
        let dir = source();
        let bytes = archive(dir.path());
        for end in (0..bytes.len() - 512).step_by(128) {
            let error = check(&bytes[..end]).unwrap_err();
            assert!(matches!(error, PackError::Refused { .. }), "{end}: {error}");
        }
        let twice = [&*bytes, &*bytes].concat();
        assert!(check(&twice).unwrap_err().to_string().contains("behind its end mark"));
    }

    #[test]
    fn entries_that_hosts_refuse_are_refused_before_they_are_sent() {
        let with = |path: &[u8], kind| {
            let mut header = Header::new_gnu();
            put(&mut header.as_old_mut().name, path);
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_cksum();
            let bytes = [header.as_bytes().as_slice(), &[0; 1024]].concat();
            check(&bytes).unwrap_err().to_string()
        };
        assert!(with(b"../x", EntryType::Regular).contains("would leave the release"));
        assert!(with(b"/x", EntryType::Regular).contains("would leave the release"));
        assert!(with(b"dev/null", EntryType::Char).contains("is a device"));
        assert!(with(b"odd", EntryType::new(b'V')).contains("hosts do not know"));
    }

    #[test]
    fn a_file_that_shrinks_meanwhile_has_changed() {
        let dir = source();
        let tree = Tree::scan(dir.path(), &[], &Cancel::default()).unwrap();
        fs::write(dir.path().join("d/a"), "t").unwrap();
        let error = write(&tree, Owner::Root, io::sink(), &Cancel::default()).unwrap_err();
        assert!(matches!(error, PackError::Changed(path) if path.ends_with("d/a")));
    }
}
