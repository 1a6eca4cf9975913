//! The keys of this host: a directory of files, and what the configuration says of them.
//!
//! Not here: what a release is believed for (`store`), nor how datagrams are opened. Invariant: a
//! key that cannot be read stops the daemon; it is never left out in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use common::id::AppName;
use common::keys::file::list;
use common::keys::{KeyFault, KeyId, Keyring, PublicKey, Role, SymmetricKey, read_remedy};
use common::seal::HostKeys;

use crate::config::Config;
use crate::store::Trust;

/// Where keys lie unless somebody says otherwise.
pub const DEFAULT_DIRECTORY: &str = "/etc/fanfare/keys";

/// The keys that this host has, and what holds for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownKeys {
    /// Where the files lie; none, where there is no such directory.
    pub directory: Option<PathBuf>,
    /// The keys that sign what a sender orders; none, where nobody names any.
    pub operators: Keyring,
    /// The keys that sign releases, where anybody names some.
    releases: Option<Keyring>,
    /// And of apps that have keys of their own.
    of_apps: BTreeMap<AppName, Keyring>,
    revoked: BTreeSet<KeyId>,
    expires: BTreeMap<KeyId, u64>,
    /// By setting, the ids in it that name none of the keys.
    strangers: [(&'static str, Vec<KeyId>); 2],
}

/// Why datagrams cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealingFault {
    /// There is no such key.
    #[error("{0}")]
    Missing(String),
    /// There is one that cannot be used.
    #[error("{0}")]
    Unusable(String),
}

impl KnownKeys {
    /// Reads what the configuration names, or what lies in the directory: `release*.pub` and
    /// `operator*.pub`. `flag` is the directory that the command line names.
    ///
    /// # Errors
    /// The first key that cannot be used, and why.
    pub fn load(flag: Option<&Path>, config: &Config) -> Result<Self, String> {
        let trust = config.trust.clone().unwrap_or_default();
        let named = flag.or(trust.keys.as_deref());
        let directory = match named {
            Some(path) => Some(path.to_path_buf()),
            None => default_directory()?,
        };
        let place = directory.as_deref();
        let named_or_found = |key: &str, keys: &Option<Vec<String>>, stem: &str| match keys {
            Some(keys) => ring(key, keys.iter().map(|entry| read(entry, place))).map(Some),
            None => {
                let find = |place| find(place, stem, ".pub");
                let found = place.map(find).transpose()?.unwrap_or_default();
                let ring = ring(key, found.iter().map(|path| load(path)))?;
                Ok(Some(ring).filter(|ring| !ring.is_empty()))
            }
        };
        let releases = named_or_found("[trust] release_keys", &trust.release_keys, "release")?;
        let operators = named_or_found("[trust] operator_keys", &trust.operator_keys, "operator")?;
        let mut of_apps = BTreeMap::new();
        for (app, settings) in &config.app {
            if let Some(keys) = &settings.release_keys {
                let key = format!("[app.{app}] release_keys");
                of_apps.insert(app.clone(), ring(&key, keys.iter().map(|it| read(it, place)))?);
            }
        }
        let rings = releases.iter().chain(&operators).chain(of_apps.values());
        let known: BTreeSet<KeyId> = rings.flat_map(Keyring::iter).map(PublicKey::id).collect();
        let (revoked, expires) = (trust.revoked, trust.expires);
        let strange = |ids: BTreeSet<KeyId>| ids.difference(&known).copied().collect();
        let strangers = [
            ("revoked", strange(revoked.clone())),
            ("expires", strange(expires.keys().copied().collect())),
        ];
        let expires = expires.into_iter().map(|(id, date)| (id, date.0)).collect();
        let mut operators = operators.unwrap_or_default();
        operators.remove(&revoked);
        Ok(Self { directory, operators, releases, of_apps, revoked, expires, strangers })
    }

    /// Lines about ids that name no key which is here, for the log of a start: those of keys whose
    /// files are gone, or wrong ones.
    pub fn notices(&self) -> Vec<String> {
        let named = self.strangers.iter().filter(|(_, ids)| !ids.is_empty());
        let lines = named.map(|(setting, ids)| {
            let ids: Vec<String> = ids.iter().map(KeyId::to_string).collect();
            format!(
                "[trust] {setting}: no key here has the id {}: right where its file was taken \
                 away, or a release announced it; else look at the digits",
                ids.join(", ")
            )
        });
        lines.collect()
    }

    /// Whose releases of `app` are taken; anybody's, where no key is named.
    pub fn trust(&self, app: &AppName) -> Option<Trust> {
        let keys = self.of_apps.get(app).or(self.releases.as_ref())?.clone();
        Some(Trust { keys, revoked: self.revoked.clone(), expires: self.expires.clone() })
    }

    /// What opens and closes datagrams: `group*.key`, `host.key` and the operators' keys.
    ///
    /// # Errors
    /// What is missing, or cannot be used.
    pub fn sealing(&self) -> Result<HostKeys, SealingFault> {
        use SealingFault::{Missing, Unusable};
        let directory = self.directory.as_deref();
        let directory =
            directory.ok_or_else(|| Missing(format!("there is no {DEFAULT_DIRECTORY}")))?;
        let load = |path: &Path, role| {
            SymmetricKey::load(path, role).map_err(|error| Unusable(error.to_string()))
        };
        let groups: Vec<SymmetricKey> = find(directory, "group", ".key")
            .map_err(Unusable)?
            .iter()
            .map(|path| load(path, Role::Group))
            .collect::<Result<_, _>>()?;
        let place = directory.display();
        if groups.is_empty() {
            return Err(Missing(format!("there is no group.key in {place}")));
        }
        if self.operators.is_empty() {
            return Err(Missing(format!("there is no operator.pub in {place}, or it is revoked")));
        }
        let host = directory.join("host.key");
        match host.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Missing(format!("there is no host.key in {place}")))
            }
            _ => {
                let host = load(&host, Role::Host)?;
                Ok(HostKeys { groups, operators: self.operators.clone(), host })
            }
        }
    }
}

/// Where keys lie unless somebody says otherwise, if they do. A directory that cannot be looked for
/// is not taken for none.
fn default_directory() -> Result<Option<PathBuf>, String> {
    let path = PathBuf::from(DEFAULT_DIRECTORY);
    match path.try_exists() {
        Ok(exists) => Ok(Some(path).filter(|_| exists)),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

fn unreadable(directory: &Path, error: &io::Error) -> String {
    let (directory, remedy) = (directory.display(), read_remedy(error));
    format!("the keys in {directory} cannot be read: {error}{remedy}")
}

/// A key as the configuration names it: its line, or a file, by default in the directory.
fn read(entry: &str, directory: Option<&Path>) -> Result<PublicKey, String> {
    if let Ok(key) = entry.parse() {
        return Ok(key);
    }
    load(&directory.map_or_else(|| PathBuf::from(entry), |directory| directory.join(entry)))
}

fn load(path: &Path) -> Result<PublicKey, String> {
    PublicKey::load(path).map_err(|error| error.to_string())
}

fn ring(
    name: &str,
    keys: impl Iterator<Item = Result<PublicKey, String>>,
) -> Result<Keyring, String> {
    let keys: Vec<PublicKey> =
        keys.collect::<Result<_, _>>().map_err(|error| format!("{name}: {error}"))?;
    Keyring::new(keys).map_err(|fault| format!("{name}: {fault}"))
}

/// The files in the directory whose names begin with `stem` and end with `extension`.
fn find(directory: &Path, stem: &str, extension: &str) -> Result<Vec<PathBuf>, String> {
    list(directory, stem, extension).map_err(|error| match &error.fault {
        KeyFault::Read(cause) if cause.kind() == ErrorKind::NotFound => {
            format!("there is no directory of keys {}", directory.display())
        }
        KeyFault::Read(cause) => unreadable(directory, cause),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use common::keys::SecretKey;
    use common::keys::file::create_public;

    fn key(number: u8) -> PublicKey {
        *SecretKey::from_seed(KeyId([number; 8]), &[number; 32]).public()
    }

    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (name, number) in
            [("release.pub", 1), ("release-next.pub", 2), ("operator.pub", 3), ("other.pub", 4)]
        {
            create_public(&place.path().join(name), &key(number).to_text(name)).unwrap();
        }
        place
    }

    fn load(text: &str, flag: Option<&Path>) -> Result<KnownKeys, String> {
        KnownKeys::load(flag, &Config::parse(text, Path::new("fanhost.toml")).unwrap())
    }

    fn ids(keys: &Keyring) -> Vec<KeyId> {
        keys.iter().map(PublicKey::id).collect()
    }

    #[test]
    fn the_keys_of_a_directory_are_trusted_by_their_names() {
        let place = place();
        let keys = load("", Some(place.path())).unwrap();
        let trust = keys.trust(&"shop".parse().unwrap()).unwrap();
        assert_eq!(ids(&trust.keys), [key(2).id(), key(1).id()]);
        assert_eq!(ids(&keys.operators), [key(3).id()]);
    }

    #[test]
    fn what_the_file_names_takes_the_place_of_what_lies_there() {
        let place = place();
        let text = format!(
            "[trust]\nkeys = {:?}\nrelease_keys = [\"other.pub\", \"{}\"]\n\
             revoked = [\"0303030303030303\"]\n\
             expires = {{ \"0404040404040404\" = \"2027-01-01\" }}\n\
             [app.blog]\nrelease_keys = [\"release.pub\"]\n[app.wiki]\nrelease_keys = []\n",
            place.path(),
            key(5)
        );
        let keys = load(&text, None).unwrap();
        let trust = |app: &str| keys.trust(&app.parse().unwrap()).unwrap();
        assert_eq!(ids(&trust("shop").keys), [key(4).id(), key(5).id()]);
        assert_eq!(ids(&trust("blog").keys), [key(1).id()]);
        assert!(trust("wiki").keys.is_empty(), "nobody is believed, and not everybody");
        assert_eq!(trust("shop").expires, BTreeMap::from([(key(4).id(), 1_798_761_600)]));
        assert_eq!(ids(&keys.operators), [], "the only one is revoked");
        assert_eq!(keys.notices(), [""; 0], "all that is named is known");
    }

    #[test]
    fn an_id_that_names_no_key_is_said_and_no_error() {
        let place = place();
        let text = "[trust]\nrevoked = [\"0101010101010101\", \"0101010101010110\"]\n\
             expires = { \"0909090909090909\" = \"2027-01-01\" }\n";
        let lines = load(text, Some(place.path())).unwrap().notices();
        let [revoked, expires] = &lines[..] else { panic!("{lines:?}") };
        let begin = "[trust] revoked: no key here has the id 0101010101010110: right where";
        assert!(revoked.starts_with(begin), "{revoked}");
        assert!(expires.starts_with("[trust] expires: no key here has the id 0909090909090909: "));
    }

    #[test]
    fn a_key_that_cannot_be_used_is_named_and_not_left_out() {
        let place = place();
        let broken = place.path().join("release-broken.pub");
        create_public(&broken, "untrusted comment: x\nRWQ\n").unwrap();
        let line = load("", Some(place.path())).unwrap_err();
        let begin = format!("[trust] release_keys: {}: it is no public key", broken.display());
        assert!(line.starts_with(&begin), "{line}");
        let line = load("[trust]\nrelease_keys = [\"/nonexistent.pub\"]", None).unwrap_err();
        assert!(line.contains("/nonexistent.pub: cannot read it: No such file"), "{line}");
        let line = load("", Some(Path::new("/nonexistent/keys"))).unwrap_err();
        assert_eq!(line, "there is no directory of keys /nonexistent/keys");
    }

    #[test]
    fn what_datagrams_need_is_all_there_or_named() {
        use common::keys::file::create_secret;
        use zeroize::Zeroizing;
        let place = place();
        let sealing = || load("", Some(place.path())).unwrap().sealing();
        let name = place.path().display();
        let missing = |what: &str| SealingFault::Missing(format!("there is no {what}"));
        assert_eq!(sealing().unwrap_err(), missing(&format!("group.key in {name}")));
        let master = SymmetricKey::new(Role::Master, KeyId([7; 8]), Zeroizing::new([7; 32]));
        let group = SymmetricKey::new(Role::Group, KeyId([8; 8]), Zeroizing::new([8; 32]));
        let host = master.host_key(&"web-1".parse().unwrap());
        for file in ["group.key", "group-next.key"] {
            create_secret(&place.path().join(file), &group.to_text("group")).unwrap();
        }
        assert_eq!(sealing().unwrap_err(), missing(&format!("host.key in {name}")));
        let path = place.path().join("host.key");
        create_secret(&path, &group.to_text("group")).unwrap();
        // What is there and wrong is no reason to do without.
        let line = format!("{}: it is a group key, wanted is a host key", path.display());
        assert_eq!(sealing().unwrap_err(), SealingFault::Unusable(line));
        fs::remove_file(&path).unwrap();
        create_secret(&path, &host.to_text("host")).unwrap();
        let keys = sealing().unwrap();
        assert_eq!((keys.groups.len(), keys.host.role()), (2, Role::Host));
        fs::remove_file(place.path().join("operator.pub")).unwrap();
        let line = format!("operator.pub in {name}, or it is revoked");
        assert_eq!(sealing().unwrap_err(), missing(&line));
        let nowhere = KnownKeys::default().sealing().unwrap_err();
        assert_eq!(nowhere, missing("/etc/fanfare/keys"));
    }

    #[test]
    fn without_keys_everybody_is_believed() {
        let empty = tempfile::tempdir().unwrap();
        let keys = load("", Some(empty.path())).unwrap();
        assert_eq!(keys.trust(&"shop".parse().unwrap()), None);
    }
}
