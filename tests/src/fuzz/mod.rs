//! Every way that bytes of strangers come in, as one function of bytes each.
//!
//! Whatever the bytes are: nothing panics, memory stays within its bounds, and what the function
//! says of them holds (what was read can be written and read again, accounts agree, a session
//! ends). Ordinary tests replay the corpus (`tests/corpus`); `tests/fuzz/run` looks for more with
//! `cargo fuzz`, for which `tests/fuzz` has the shim.
//!
//! Not here: damage on real networks ([`crate::lossy`], [`crate::lab`]). Invariant: a function
//! depends on its bytes alone, so that an input that failed once fails again.

mod archive;
mod bundle;
mod config;
mod datagram;
mod helper;
mod host;
mod input;
mod keys;
mod sealed;
mod sender;
mod store;

pub use self::archive::archive;
pub use self::bundle::{bundle, frame, manifest, preamble, tables};
pub use self::config::{fanfare_toml, fanhost_toml};
pub use self::datagram::datagram;
pub use self::helper::helper;
pub use self::host::host;
pub use self::keys::keys;
pub use self::sealed::sealed;
pub use self::sender::sender;
pub use self::store::{journal, state};

/// One way in.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, which its corpus has as well.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 16] = [
    Target { name: "archive", run: archive },
    Target { name: "bundle", run: bundle },
    Target { name: "datagram", run: datagram },
    Target { name: "fanfare_toml", run: fanfare_toml },
    Target { name: "fanhost_toml", run: fanhost_toml },
    Target { name: "frame", run: frame },
    Target { name: "helper", run: helper },
    Target { name: "host", run: host },
    Target { name: "journal", run: journal },
    Target { name: "keys", run: keys },
    Target { name: "manifest", run: manifest },
    Target { name: "preamble", run: preamble },
    Target { name: "sealed", run: sealed },
    Target { name: "sender", run: sender },
    Target { name: "state", run: state },
    Target { name: "tables", run: tables },
];

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "reads the corpus")]

    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// All inputs together; a clone pays for them.
    const CORPUS_BYTES_MAX: u64 = 1_000_000;

    fn place(below: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory);
        let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn every_input_of_the_corpus_passes() {
        for target in TARGETS {
            let inputs = files(&place("corpus").join(target.name));
            assert!(!inputs.is_empty(), "{}: there is something to replay", target.name);
            for input in inputs {
                let bytes = fs::read(&input).unwrap();
                let passed = std::panic::catch_unwind(|| (target.run)(&bytes));
                assert!(passed.is_ok(), "{} fails with {}", target.name, input.display());
            }
        }
    }

    #[test]
    fn every_target_has_a_corpus_and_its_figures_and_nothing_else_has() {
        let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
        assert_eq!(targets.len(), TARGETS.len(), "each has a name of its own");
        let directories = files(&place("corpus"));
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(directories.iter().map(name).collect::<BTreeSet<_>>(), targets);
        let document = fs::read_to_string(place("../docs/RELIABILITY.md")).unwrap();
        let rows = document.lines().skip_while(|line| !line.starts_with("| target ")).skip(2);
        let rows = rows.take_while(|line| line.starts_with('|'));
        let told =
            rows.map(|row| row.split('|').nth(1).unwrap().trim().trim_matches('`').to_owned());
        assert_eq!(told.collect::<BTreeSet<_>>(), targets, "docs/RELIABILITY.md");
    }

    #[test]
    fn the_corpus_is_small() {
        let bytes = |target: Target| -> u64 {
            let inputs = files(&place("corpus").join(target.name));
            inputs.iter().map(|path| fs::metadata(path).unwrap().len()).sum()
        };
        let total: u64 = TARGETS.into_iter().map(bytes).sum();
        assert!(total <= CORPUS_BYTES_MAX, "{total} bytes: minimise it (tests/fuzz/run)");
    }
}
