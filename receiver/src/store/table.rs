//! What is mounted, as the kernel's mount table says, and which loop devices are left over.
//!
//! Not here: mounting ([`super::mount`]). The table belongs to a mount namespace: this thread's, or
//! that of another task.

#![expect(clippy::disallowed_methods, reason = "reads the mount table and the loop devices")]

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dev, makedev};

/// One line of a mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Its number within the table.
    pub id: u32,
    /// The number of the mount that it lies on.
    pub parent: u32,
    /// The device of its filesystem.
    pub device: Dev,
    /// What of that filesystem is seen.
    pub root: PathBuf,
    /// Where.
    pub target: PathBuf,
    /// The peer group whose mounts it shares, both ways.
    pub shared: Option<u32>,
    /// The peer group whose mounts it follows.
    pub master: Option<u32>,
    /// Filesystem type.
    pub kind: String,
    /// From what: a device, or what whoever mounted it said.
    pub source: PathBuf,
}

/// The mount table of this thread's namespace.
///
/// # Errors
/// The kernel's answer when /proc is not mounted.
pub(super) fn mount_table() -> io::Result<Vec<Mounted>> {
    mount_table_of(Path::new("/proc/thread-self"))
}

/// The mount table of the task that `proc` is the directory of.
///
/// # Errors
/// The kernel's answer when the task is gone or not ours to look at.
pub(super) fn mount_table_of(proc: &Path) -> io::Result<Vec<Mounted>> {
    let text = std::fs::read(proc.join("mountinfo"))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
}

/// proc(5): id, parent, device, root, target, options, optional fields, "-", type, source, options.
fn parse_line(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (id, parent) = (number(fields.next()?)?, number(fields.next()?)?);
    let device = fields.next()?;
    let at = device.iter().position(|byte| *byte == b':')?;
    let device = makedev(number(&device[..at])?, number(&device[at + 1..])?);
    let (root, target) = (unescape(fields.next()?), unescape(fields.next()?));
    let mut after = fields.skip(1);
    let (mut shared, mut master) = (None, None);
    loop {
        let field = after.next()?;
        if field == b"-" {
            break;
        }
        let group = |name: &[u8]| field.strip_prefix(name).and_then(number);
        shared = shared.or_else(|| group(b"shared:"));
        master = master.or_else(|| group(b"master:"));
    }
    let kind = String::from_utf8_lossy(after.next()?).into_owned();
    let source = unescape(after.next()?);
    Some(Mounted { id, parent, device, root, target, shared, master, kind, source })
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Loop devices whose file lies under `directory` and which nothing is mounted from here.
pub(super) fn orphan_loops(directory: &Path) -> Vec<PathBuf> {
    let mounted = mount_table().unwrap_or_default();
    let Ok(entries) = std::fs::read_dir("/sys/block") else { return Vec::new() };
    let devices = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let backing = std::fs::read(entry.path().join("loop/backing_file")).ok()?;
        let backing = PathBuf::from(OsString::from_vec(backing.trim_ascii_end().to_vec()));
        backing.starts_with(directory).then(|| Path::new("/dev").join(entry.file_name()))
    });
    devices.filter(|device| mounted.iter().all(|mount| &mount.source != device)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read_with_its_escapes_and_optional_fields() {
        let line =
            b"36 35 98:7 /r /srv/a\\040b\\134c ro,nosuid shared:1 master:2 propagate_from:3 \
            - erofs /x/i.erofs ro";
        let mounted = parse_line(line).unwrap();
        assert_eq!(mounted.target, Path::new("/srv/a b\\c"));
        assert_eq!((mounted.kind.as_str(), mounted.source), ("erofs", "/x/i.erofs".into()));
        assert_eq!((mounted.id, mounted.parent, mounted.root), (36, 35, "/r".into()));
        assert_eq!(mounted.device, makedev(98, 7));
        assert_eq!((mounted.shared, mounted.master), (Some(1), Some(2)));
        let private = parse_line(b"36 35 98:7 / /srv ro - erofs none ro").unwrap();
        assert_eq!((private.shared, private.master), (None, None));
        assert_eq!(parse_line(b"36 35 98:0 / /srv"), None);
        assert_eq!(parse_line(b""), None);
    }
}
