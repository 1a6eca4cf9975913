//! What a host's administrator decides: `/etc/fanfare/fanhost.toml`.
//!
//! Not here: flags and environment, which the command line lays over this file. Invariant: a key
//! that this program does not know is refused, with the file, the line and the key: a misspelt
//! setting must not silently mean its default.

#![expect(clippy::disallowed_methods, reason = "reads the configuration file")]

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use common::id::{AppName, HostName};
use serde::Deserialize;

use crate::pipeline::{IoClass, WORKERS_MAX};

/// Where the file lies unless a flag says otherwise.
pub const DEFAULT_PATH: &str = "/etc/fanfare/fanhost.toml";

/// The file's content; what it does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Directory of the store.
    pub store: Option<PathBuf>,
    /// Control group, address and port; checked where flags are.
    pub group: Option<String>,
    /// Interface that the group is joined on, by name or address.
    pub interface: Option<String>,
    /// This host's name.
    pub host: Option<HostName>,
    /// Whether sessions without keys are taken.
    pub insecure: Option<bool>,
    /// Threads of the data path.
    pub workers: Option<usize>,
    /// Their rank at the disk.
    pub io_class: Option<IoClass>,
    /// Where the helper listens: then `fanhost run` is a process without privileges.
    pub helper: Option<PathBuf>,
    /// The user that it runs as, by name or number, for the helper.
    pub user: Option<String>,
    /// The apps of this host.
    #[serde(default)]
    pub app: BTreeMap<AppName, AppSettings>,
}

/// One `[app.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppSettings {
    /// Where services see the app.
    pub root: Option<PathBuf>,
    /// Releases kept.
    pub keep: Option<usize>,
    /// Whether a tar stays after its release is active.
    pub keep_image: Option<bool>,
}

/// A file that cannot be used: where, and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    path: PathBuf,
    line: Option<usize>,
    reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or says something that is not understood.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(path).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| io::Error::other("it is no UTF-8 text"))
        });
        let text = text.map_err(|error| ConfigError {
            path: path.to_path_buf(),
            line: None,
            reason: format!("cannot be read: {error}"),
        })?;
        Self::parse(&text, path)
    }

    /// Reads the file at its usual place; without one, everything is left to flags.
    ///
    /// # Errors
    /// As [`Config::load`], except that the file may be absent.
    pub fn load_default() -> Result<Self, ConfigError> {
        let path = Path::new(DEFAULT_PATH);
        if path.exists() { Self::load(path) } else { Ok(Self::default()) }
    }

    /// Reads the text of a file; `path` names it in errors.
    ///
    /// # Errors
    /// When the text says something that is not understood.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let fail = |line, reason| ConfigError { path: path.to_path_buf(), line, reason };
        let config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            fail(line, error.message().trim().replace('\n', ", "))
        })?;
        config.check().map_err(|reason| fail(None, reason))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let absolute = |key: &str, path: &Option<PathBuf>| match path {
            Some(path) if !path.is_absolute() => {
                Err(format!("{key} must be an absolute path, it is {}", path.display()))
            }
            _ => Ok(()),
        };
        absolute("store", &self.store)?;
        absolute("helper", &self.helper)?;
        if let Some(workers) = self.workers.filter(|workers| !(1..=WORKERS_MAX).contains(workers)) {
            return Err(format!("workers must be from 1 to {WORKERS_MAX}, it is {workers}"));
        }
        for (app, settings) in &self.app {
            absolute(&format!("[app.{app}] root"), &settings.root)?;
            if settings.keep.is_some_and(|keep| keep < 2) {
                return Err(format!(
                    "[app.{app}] keep must be at least 2: the current release and the one before"
                ));
            }
        }
        Ok(())
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("fanhost.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_full_file_is_read_and_an_empty_one_says_nothing() {
        let text = "store = \"/var/lib/fanfare\"\ngroup = \"239.192.70.70:7070\"\n\
            interface = \"eth0\"\nhost = \"web-1\"\ninsecure = true\n\
            workers = 3\nio_class = \"normal\"\n\
            [app.shop]\nroot = \"/srv/shop\"\nkeep = 5\nkeep_image = true\n[app.blog]\n";
        let config = parse(text).unwrap();
        assert_eq!(config.host.unwrap().as_str(), "web-1");
        assert_eq!(config.insecure, Some(true));
        assert_eq!((config.workers, config.io_class), (Some(3), Some(IoClass::Normal)));
        let shop = &config.app[&"shop".parse().unwrap()];
        assert_eq!(shop.root.as_deref(), Some(Path::new("/srv/shop")));
        assert_eq!((shop.keep, shop.keep_image), (Some(5), Some(true)));
        assert_eq!(config.app[&"blog".parse().unwrap()], AppSettings::default());
        assert_eq!(parse(""), Ok(Config::default()));
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_and_key() {
        let line = parse("store = \"/a\"\n\nintreface = \"eth0\"\n").unwrap_err();
        assert!(line.starts_with("fanhost.toml:3: unknown field `intreface`"), "{line}");
        let line = parse("[app.shop]\nroot = \"/a\"\nkeeep = 3\n").unwrap_err();
        assert!(line.starts_with("fanhost.toml:3: unknown field `keeep`"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    fn what_is_no_possible_setting_is_refused_in_one_line() {
        for (text, expected) in [
            ("store = 3", "fanhost.toml:1: invalid type"),
            ("store = \"relative\"", "store must be an absolute path"),
            ("\nhost = \"a b\"", "fanhost.toml:2: \"a b\" is not a name"),
            ("workers = 0", "workers must be from 1 to 64, it is 0"),
            ("io_class = \"best\"", "fanhost.toml:1: unknown variant `best`"),
            ("[app.shop]\nkeep = 1", "keep must be at least 2"),
            ("[app.shop]\nkeep = -1", "fanhost.toml:2:"),
            ("[app.\"a/b\"]", "is not a name"),
            ("store = ", "fanhost.toml:1:"),
            ("store = \"/a\"\nstore = \"/b\"", "fanhost.toml:2:"),
        ] {
            let line = parse(text).unwrap_err();
            assert!(line.contains(expected), "{text:?}: {line}");
            assert!(!line.contains('\n'), "{text:?}: {line}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let line = Config::load(Path::new("/nonexistent/fanhost.toml")).unwrap_err().to_string();
        assert!(line.starts_with("/nonexistent/fanhost.toml: cannot be read: No such"), "{line}");
    }
}
