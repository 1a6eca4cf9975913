//! The keys of a site, for tests: a directory for the sender, one for every host, and the keys
//! themselves for those who stole them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::id::HostName;
use common::keys::file::{create_public, create_secret, fresh};
use common::keys::{KeyId, Keyring, Protection, Role, SecretKey, SymmetricKey};
use common::seal::{HostKeys, SenderKeys};
use rustix::fs::{Gid, Uid, chown};

/// A pair of keys that sign.
#[derive(Debug)]
struct Pair {
    id: KeyId,
    seed: [u8; 32],
}

/// All keys of one site.
#[derive(Debug)]
pub struct SiteKeys {
    directory: PathBuf,
    group: SymmetricKey,
    master: SymmetricKey,
    release: Pair,
    operator: Pair,
}

impl Pair {
    fn fresh() -> Self {
        Self { id: KeyId(*fresh()), seed: *fresh() }
    }

    fn secret(&self) -> SecretKey {
        SecretKey::from_seed(self.id, &self.seed)
    }

    fn write(&self, directory: &Path, name: &str) {
        let text = SecretKey::to_text(self.id, &self.seed, &Protection::None, name);
        create_secret(&directory.join(format!("{name}.key")), &text).expect("it is a new file");
    }

    fn publish(&self, directory: &Path, name: &str) {
        let text = self.secret().public().to_text(name);
        create_public(&directory.join(format!("{name}.pub")), &text).expect("it is a new file");
    }
}

impl SiteKeys {
    /// Makes the keys of a site called `name` under `directory`.
    ///
    /// # Panics
    /// When there is such a site, or no room.
    pub fn make(directory: &Path, name: &str) -> Self {
        Self::make_in(directory, name, SymmetricKey::new(Role::Group, KeyId(*fresh()), fresh()))
    }

    /// Makes the keys of somebody who holds the group's key of this site, under `directory`, and
    /// the others himself.
    ///
    /// # Panics
    /// As [`SiteKeys::make`].
    pub fn make_by_member(&self, directory: &Path, name: &str) -> Self {
        Self::make_in(directory, name, self.group.clone())
    }

    fn make_in(directory: &Path, name: &str, group: SymmetricKey) -> Self {
        let directory = directory.join(format!("keys-of-{name}"));
        let site = Self {
            group,
            master: SymmetricKey::new(Role::Master, KeyId(*fresh()), fresh()),
            release: Pair::fresh(),
            operator: Pair::fresh(),
            directory,
        };
        let sender = site.sender();
        fs::create_dir_all(&sender).expect("the lab's directory is ours");
        site.write(&site.group, &sender, "group");
        site.write(&site.master, &sender, "master");
        for (pair, name) in [(&site.release, "release"), (&site.operator, "operator")] {
            pair.write(&sender, name);
            pair.publish(&sender, name);
        }
        site
    }

    /// The directory of the sender's keys.
    pub fn sender(&self) -> PathBuf {
        self.directory.join("sender")
    }

    /// The key that signs releases.
    pub fn release_key(&self) -> PathBuf {
        self.sender().join("release.key")
    }

    /// The directory of the keys of the host called `name`, which belong to `owner`.
    ///
    /// # Panics
    /// When there is no room.
    pub fn host(&self, name: &str, owner: Option<u32>) -> PathBuf {
        let directory = self.directory.join(name);
        if directory.exists() {
            return directory;
        }
        fs::create_dir_all(&directory).expect("the lab's directory is ours");
        self.write(&self.group, &directory, "group");
        self.write(&self.host_key(name), &directory, "host");
        self.release.publish(&directory, "release");
        self.operator.publish(&directory, "operator");
        for file in ["group.key", "host.key"] {
            let owner = owner.map(Uid::from_raw);
            chown(directory.join(file), owner, None::<Gid>).expect("tests run as root");
        }
        directory
    }

    /// The key that signs releases, itself.
    pub fn release(&self) -> SecretKey {
        self.release.secret()
    }

    /// What the sender seals with.
    ///
    /// # Panics
    /// Never: one key is not twice there.
    pub fn sender_keys(&self) -> Arc<SenderKeys> {
        let operator = self.operator.secret();
        Arc::new(SenderKeys {
            group: self.group.clone(),
            master: self.master.clone(),
            operators: Keyring::new([*operator.public()]).expect("it is one key"),
            operator,
        })
    }

    /// What a thief has who broke into the host called `name`.
    pub fn stolen_from_host(&self, name: &str) -> Arc<HostKeys> {
        Arc::new(HostKeys {
            groups: vec![self.group.clone()],
            operators: Keyring::new([*self.operator.secret().public()]).expect("it is one key"),
            host: self.host_key(name),
        })
    }

    /// What somebody has who holds the group's key, made the others himself, and calls himself by
    /// the operator's id.
    pub fn forged_by_member(&self) -> Arc<SenderKeys> {
        let operator = Pair { id: self.operator.id, ..Pair::fresh() }.secret();
        Arc::new(SenderKeys {
            group: self.group.clone(),
            master: SymmetricKey::new(Role::Master, KeyId(*fresh()), fresh()),
            operators: Keyring::new([*operator.public()]).expect("it is one key"),
            operator,
        })
    }

    fn host_key(&self, name: &str) -> SymmetricKey {
        let name: HostName = name.parse().expect("hosts of the lab have names");
        self.master.host_key(&name)
    }

    fn write(&self, key: &SymmetricKey, directory: &Path, name: &str) {
        let path = directory.join(format!("{name}.key"));
        create_secret(&path, &key.to_text(name)).expect("it is a new file");
    }
}
