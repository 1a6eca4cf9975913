//! The release that the demo sends: some three thousand small files of text, as web shops have.
//!
//! Every machine makes the same one. Not here: noise and oddities, which the tests' trees have.
#![expect(clippy::disallowed_methods, reason = "it makes real files")]

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Files, links and directories aside.
pub const FILES: usize = 3000;
/// Every so many files one has a symbolic link beside it.
const LINK_EVERY: usize = 75;
/// Lengths lie between these, mostly nearer to the first.
const FILE_BYTES: (f64, f64) = (400.0, 40_000.0);
/// Words that all text is made of; few enough that text compresses as source code does.
const WORDS: usize = 3000;
/// Times of the files: one an hour from the first second of 2024 on.
const FIRST_TIME: u64 = 1_704_067_200;

const AREAS: [&str; 8] =
    ["catalog", "checkout", "customer", "locale", "payment", "search", "shipping", "theme"];
const LAYERS: [(&str, &str); 5] = [
    ("controller", "php"),
    ("model", "php"),
    ("view", "html"),
    ("asset", "js"),
    ("setting", "json"),
];

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Symbolic links.
    pub links: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Makes `files` files below `root`, which must not exist; `keep_going` is asked between files.
///
/// # Errors
/// The disk's, with the path, or that of `keep_going`.
pub fn make(
    root: &Path,
    files: usize,
    keep_going: impl Fn() -> io::Result<()>,
) -> io::Result<Made> {
    let mut maker = Maker::new();
    for nth in 0..files {
        keep_going()?;
        let path = root.join(place(nth));
        maker.make_file(&path, nth).map_err(|error| named(&path, error))?;
    }
    fs::create_dir_all(root.join("var/empty"))?;
    settle_directories(root).map_err(|error| named(root, error))?;
    Ok(maker.made)
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Where file number `nth` lies, relative to the root.
fn place(nth: usize) -> PathBuf {
    let area = AREAS[nth % AREAS.len()];
    let (layer, ending) = LAYERS[nth / AREAS.len() % LAYERS.len()];
    let group = nth / (AREAS.len() * LAYERS.len()) % 6;
    PathBuf::from(format!("app/{area}/{layer}/part-{group}/{layer}-{nth}.{ending}"))
}

fn time_of(nth: usize) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(FIRST_TIME + nth as u64 * 3600)
}

struct Maker {
    draw: StdRng,
    words: Vec<String>,
    text: String,
    made: Made,
}

impl Maker {
    fn new() -> Self {
        let mut draw = StdRng::seed_from_u64(70);
        let words = (0..WORDS).map(|_| word(&mut draw)).collect();
        Self { draw, words, text: String::new(), made: Made { links: 0, bytes: 0 } }
    }

    fn make_file(&mut self, path: &Path, nth: usize) -> io::Result<()> {
        let directory = path.parent().expect("places lie in directories");
        fs::create_dir_all(directory)?;
        self.write_text(nth);
        fs::write(path, &self.text)?;
        let mode = if nth.is_multiple_of(40) { 0o755 } else { 0o644 };
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        File::options().write(true).open(path)?.set_modified(time_of(nth))?;
        self.made.bytes += self.text.len() as u64;
        if nth.is_multiple_of(LINK_EVERY) {
            let name = path.file_name().expect("places have names");
            symlink(name, directory.join(format!("latest-{nth}")))?;
            self.made.links += 1;
        }
        Ok(())
    }

    /// Fills `self.text` with lines that look like code.
    fn write_text(&mut self, nth: usize) {
        let (least, most) = FILE_BYTES;
        let share: f64 = self.draw.random();
        let bytes = (least + (most - least) * share.powi(3)) as usize;
        self.text.clear();
        let _ = writeln!(self.text, "// part {nth} of the shop");
        while self.text.len() < bytes {
            let depth = self.draw.random_range(1..5) * 2;
            let number = self.draw.random_range(0..100_000);
            let [name, verb, object, other] = [(); 4].map(|()| self.pick());
            let words = &self.words;
            let _ = writeln!(
                self.text,
                "{:depth$}{} = {}({}, {number}, \"{}\");",
                "", words[name], words[verb], words[object], words[other]
            );
        }
    }

    /// A word's position; the first ones come up more often, as in every language.
    fn pick(&mut self) -> usize {
        let share: f64 = self.draw.random();
        (share * share * self.words.len() as f64) as usize
    }
}

fn word(draw: &mut StdRng) -> String {
    const STARTS: &[u8] = b"bcdfghjklmnprstvwz";
    const VOWELS: &[u8] = b"aeiou";
    let syllables = draw.random_range(2..5);
    let mut word = String::new();
    for _ in 0..syllables {
        word.push(char::from(STARTS[draw.random_range(0..STARTS.len())]));
        word.push(char::from(VOWELS[draw.random_range(0..VOWELS.len())]));
    }
    word
}

/// Gives directories a time that does not depend on when they were filled.
fn settle_directories(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            settle_directories(&entry.path())?;
        }
    }
    File::open(directory)?.set_modified(time_of(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::tree::{Owners, Tree};

    #[test]
    fn two_releases_are_the_same_but_for_the_times_of_links() {
        let directory = tempfile::tempdir().unwrap();
        let tree = |name: &str| {
            let root = directory.path().join(name);
            let made = make(&root, 160, || Ok(())).unwrap();
            (Tree::read(&root), made)
        };
        let ((first, made), (second, again)) = (tree("first"), tree("second"));
        assert_eq!((made, made.links), (again, 3));
        let differences = first.differences(&second, Owners::Any);
        assert!(differences.iter().all(|line| line.starts_with("/app") && line.contains("latest")));
    }

    #[test]
    fn making_stops_when_it_is_told_to() {
        let directory = tempfile::tempdir().unwrap();
        let stop = || Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
        let error = make(&directory.path().join("root"), 10, stop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
