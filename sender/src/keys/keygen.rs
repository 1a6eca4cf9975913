//! `fanfare keygen`: makes the keys of a site, or the key of one host.
//!
//! Invariant: either all of the files are made or none; one that exists is never overwritten.
#![expect(clippy::disallowed_methods, reason = "makes directories and syncs them")]

use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use common::id::{HostName, Label};
use common::keys::file::{create_public, create_secret, fresh};
use common::keys::{KeyError, KeyFault, KeyId, Protection, Role, SecretKey, SymmetricKey};
use zeroize::Zeroizing;

use super::{DEFAULT_DIRECTORY, complaint, password};
use crate::complaint::Complaint;
use crate::console::Console;

/// Make the keys of a site, or the key of one host
#[derive(Debug, Clone, clap::Args)]
pub struct KeygenArgs {
    /// Where they are made
    #[arg(value_name = "DIR", default_value = DEFAULT_DIRECTORY)]
    directory: PathBuf,
    /// Make this key alone; may be repeated [default: all four]
    #[arg(long, value_name = "KEY")]
    only: Vec<Kind>,
    /// Name of its files instead of KEY, for a key that takes another's place
    #[arg(long, value_name = "NAME", requires = "only", conflicts_with = "host")]
    name: Option<Label>,
    /// Keep release and operator key without a password
    #[arg(long, conflicts_with = "host")]
    no_password: bool,
    /// Make the key of this host of the master key in DIR
    #[arg(long, value_name = "NAME", conflicts_with = "only")]
    host: Option<HostName>,
    /// The master key, where it is not DIR/master.key
    #[arg(long, value_name = "FILE", requires = "host")]
    master: Option<PathBuf>,
}

/// A key of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Signs manifests
    Release,
    /// Signs what a sender orders
    Operator,
    /// Seals what a sender sends
    Group,
    /// Makes the keys of hosts
    Master,
}

/// A file to be made.
struct Made {
    path: PathBuf,
    text: Zeroizing<String>,
    is_secret: bool,
    /// Its id; of a host's key, which has none of its own, that of the master key.
    id: String,
    /// Where it belongs, for the person who carries it there.
    says: &'static str,
}

impl KeygenArgs {
    /// Makes the keys and prints where they are.
    ///
    /// # Errors
    /// When one of the files exists, nobody gave a password, or the disk refuses.
    pub fn run(self, console: &Console) -> Result<(), Complaint> {
        let files = match &self.host {
            Some(host) => vec![self.host_key(host)?],
            None => self.site_keys()?,
        };
        for made in &files {
            if fs::symlink_metadata(&made.path).is_ok() {
                return Err(complaint(KeyError {
                    path: made.path.clone(),
                    fault: KeyFault::Exists,
                }));
            }
        }
        write_all(&self.directory, &files).map_err(complaint)?;
        console.result(&table(&files))
    }

    fn host_key(&self, host: &HostName) -> Result<Made, Complaint> {
        let master = self.master.clone().unwrap_or_else(|| self.directory.join("master.key"));
        let master = SymmetricKey::load(&master, Role::Master).map_err(complaint)?;
        let key = master.host_key(host);
        Ok(Made {
            path: self.directory.join(format!("host-{host}.key")),
            text: key.to_text(&SymmetricKey::comment_for(host, key.id())),
            is_secret: true,
            id: format!("of master key {}", key.id()),
            says: "secret; to this host alone, as host.key",
        })
    }

    fn site_keys(&self) -> Result<Vec<Made>, Complaint> {
        let kinds = match self.only.is_empty() {
            true => Kind::value_variants(),
            false => &self.only,
        };
        if self.name.is_some() && kinds.len() > 1 {
            return Err(Complaint::usage("--name names the files of one key: give one --only"));
        }
        let is_signing = |kind: &Kind| matches!(kind, Kind::Release | Kind::Operator);
        let password = match kinds.iter().any(is_signing) && !self.no_password {
            true => Some(password::ask_new()?),
            false => None,
        };
        let files = kinds.iter().map(|kind| match kind {
            Kind::Release => self.pair(*kind, password.as_ref()),
            Kind::Operator => self.pair(*kind, password.as_ref()),
            Kind::Group => vec![self.symmetric(*kind, Role::Group)],
            Kind::Master => vec![self.symmetric(*kind, Role::Master)],
        });
        Ok(files.flatten().collect())
    }

    fn path(&self, kind: Kind, extension: &str) -> PathBuf {
        let name = self.name.as_ref().map_or_else(|| kind.name(), Label::as_str);
        self.directory.join(format!("{name}.{extension}"))
    }

    fn pair(&self, kind: Kind, password: Option<&Zeroizing<String>>) -> Vec<Made> {
        let (id, seed) = (KeyId(*fresh()), fresh());
        let protection = password.map_or(Protection::None, |password| Protection::Password {
            password: password.clone(),
            salt: *fresh(),
        });
        let name = kind.name();
        let comment = match password {
            Some(_) => format!("fanfare {name} secret key {id}, encrypted"),
            None => format!("fanfare {name} secret key {id}, NOT encrypted"),
        };
        let public = *SecretKey::from_seed(id, &seed).public();
        let secret = Made {
            path: self.path(kind, "key"),
            text: SecretKey::to_text(id, &seed, &protection, &comment),
            is_secret: true,
            id: id.to_string(),
            says: match kind {
                Kind::Release => "secret; signs releases, best on a machine without a network",
                _ => "secret; to senders alone",
            },
        };
        let public = Made {
            path: self.path(kind, "pub"),
            text: Zeroizing::new(public.to_text(&format!("fanfare {name} key {id}"))),
            is_secret: false,
            id: id.to_string(),
            says: "to every host",
        };
        vec![secret, public]
    }

    fn symmetric(&self, kind: Kind, role: Role) -> Made {
        let key = SymmetricKey::new(role, KeyId(*fresh()), fresh());
        Made {
            path: self.path(kind, "key"),
            text: key.to_text(&format!("fanfare {role} key {}", key.id())),
            is_secret: true,
            id: key.id().to_string(),
            says: match role {
                Role::Group => "secret; to every host and to senders",
                _ => "secret; to senders alone, makes the keys of hosts",
            },
        }
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Operator => "operator",
            Self::Group => "group",
            Self::Master => "master",
        }
    }
}

fn write_all(directory: &Path, files: &[Made]) -> Result<(), KeyError> {
    let failed =
        |error: io::Error| KeyError { path: directory.to_owned(), fault: KeyFault::Write(error) };
    fs::create_dir_all(directory).map_err(failed)?;
    for (nth, made) in files.iter().enumerate() {
        let create = if made.is_secret { create_secret } else { create_public };
        if let Err(error) = create(&made.path, &made.text) {
            // A part of the keys would be in the way of the next try.
            files[..nth].iter().for_each(|made| drop(fs::remove_file(&made.path)));
            return Err(error);
        }
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}

fn table(files: &[Made]) -> String {
    let wide = files.iter().map(|made| made.path.display().to_string().len()).max().unwrap_or(0);
    let mut out = String::new();
    for made in files {
        let path = made.path.display().to_string();
        let _ = writeln!(out, "{path:<wide$}  {}  {}", made.id, made.says);
    }
    out
}
