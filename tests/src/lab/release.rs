//! A release of the lab, what it was packed from, and whether a host has it.
#![expect(clippy::disallowed_methods, reason = "it reads the store as it lies on the disk")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Host, Lab};
use crate::fixture;
use crate::keyring::SiteKeys;
use crate::product::{Bundle, Image, Pack};
use crate::tree::{Owners, Tree, digest_of_file};

/// Files of the generated trees that most tests pack.
const SMALL_FILES: usize = 300;

/// A bundle, and the source that a host's copy must equal.
#[derive(Debug)]
pub struct Release {
    /// The bundle.
    pub bundle: Bundle,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Tree(Tree),
    File(PathBuf),
}

impl Lab {
    /// A generated tree of a few hundred files and 5 MB, packed for the app called shop.
    pub fn small_release(&self, label: &str, image: Image) -> Release {
        self.release_of(&self.small_tree(label), "shop", label, image)
    }

    /// A generated tree, the same for the same `label`.
    pub fn small_tree(&self, label: &str) -> PathBuf {
        let tree = self.directory().join("trees").join(label);
        if !tree.exists() {
            fixture::make_tree(&tree, label, SMALL_FILES);
        }
        tree
    }

    /// Packs the tree `source` as release `label` of `app`.
    pub fn release_of(&self, source: &Path, app: &str, label: &str, image: Image) -> Release {
        Release::of_tree(Pack::of(source, label, image).app(app).run(self.directory()), source)
    }

    /// `bytes` incompressible bytes as a raw release of the app called shop.
    pub fn raw_release(&self, label: &str, bytes: u64) -> Release {
        self.raw_release_for("shop", label, bytes)
    }

    /// `bytes` incompressible bytes as a raw release of `app`.
    pub fn raw_release_for(&self, app: &str, label: &str, bytes: u64) -> Release {
        self.raw_release_by(app, label, bytes, |pack| pack)
    }

    /// `bytes` incompressible bytes as a raw release of the app called shop, signed.
    pub fn signed_release(&self, keys: &SiteKeys, label: &str, bytes: u64) -> Release {
        let key = keys.release_key();
        let sign = |pack: Pack| pack.arg("--key").arg(&key.to_string_lossy());
        self.raw_release_by("shop", label, bytes, sign)
    }

    fn raw_release_by(
        &self,
        app: &str,
        label: &str,
        bytes: u64,
        complete: impl FnOnce(Pack) -> Pack,
    ) -> Release {
        let source = self.directory().join(format!("{app}-{label}.noise"));
        fixture::make_noise(&source, label, bytes);
        let pack = complete(Pack::of(&source, label, Image::Raw).app(app));
        Release { bundle: pack.run(self.directory()), content: Content::File(source) }
    }
}

impl Release {
    /// What was packed to `bundle` from the tree `source`.
    pub fn of_tree(bundle: Bundle, source: &Path) -> Self {
        Self { bundle, content: Content::Tree(Tree::read(source)) }
    }

    /// The same image as release `label` of the same app, newer than this.
    ///
    /// # Panics
    /// When this was not packed from a file.
    pub fn under_another_label(&self, lab: &Lab, label: &str) -> Self {
        let Content::File(source) = &self.content else { panic!("it was packed from a file") };
        let sequence = format!("--sequence={}", u32::MAX);
        let pack = Pack::of(source, label, Image::Raw).app(&self.bundle.app).arg(&sequence);
        Self { bundle: pack.run(lab.directory()), content: Content::File(source.clone()) }
    }
}

impl Host {
    /// What `current` of `app` says, as text; `None` while there is none.
    pub fn current_link(&self, app: &str) -> Option<String> {
        let link = fs::read_link(self.view(&self.current(app))).ok()?;
        Some(link.to_string_lossy().into_owned())
    }

    /// Checks that `current` leads to `release`, and that it is what was packed: content, modes,
    /// owners, links and times, and the image's digest while the image is kept.
    ///
    /// # Panics
    /// When anything is otherwise.
    #[track_caller]
    pub fn expect_current(&self, release: &Release) {
        let bundle = &release.bundle;
        let link = self.current_link(&bundle.app);
        let link = link.unwrap_or_else(|| panic!("{} has no current", self.name()));
        let is_named = link.strip_prefix(&format!("releases/{}-", bundle.label));
        let is_named = is_named.is_some_and(|id| id.len() == 12);
        assert!(is_named, "{}: current leads to {link:?}", self.name());
        self.expect_content(release, &self.current(&bundle.app));
        self.expect_verified_images(bundle);
    }

    /// Checks that `release` is readable under its own name, whether it is current or not.
    ///
    /// # Panics
    /// When it is not there, or differs.
    #[track_caller]
    pub fn expect_beside(&self, release: &Release) {
        let names = self.release_names(&release.bundle.app);
        let prefix = format!("{}-", release.bundle.label);
        let name = names.iter().find(|name| name.starts_with(&prefix));
        let name = name.unwrap_or_else(|| panic!("{}: no {prefix}… in {names:?}", self.name()));
        let releases = self.root(&release.bundle.app).join("releases");
        self.expect_content(release, &releases.join(name));
    }

    /// Checks that nothing of `app` stands under a final name: no `current`, release or image.
    ///
    /// # Panics
    /// When something does.
    #[track_caller]
    pub fn expect_nothing_final(&self, app: &str) {
        assert_eq!(self.current_link(app), None, "{}", self.name());
        assert_eq!(self.release_names(app), Vec::<String>::new(), "{}", self.name());
        assert_eq!(self.image_names(app), Vec::<String>::new(), "{}", self.name());
    }

    /// Names below the directory `releases` of `app`.
    pub fn release_names(&self, app: &str) -> Vec<String> {
        names(&self.view(&self.root(app).join("releases")))
    }

    /// Names of the verified images of `app`.
    pub fn image_names(&self, app: &str) -> Vec<String> {
        names(&self.view(&self.store().join(app).join("images")))
    }

    /// Names of what is not verified yet.
    pub fn incoming_names(&self, app: &str) -> Vec<String> {
        names(&self.view(&self.store().join(app).join("incoming")))
    }

    /// Bytes of unfinished images of `app` that the journals beside them claim.
    ///
    /// # Panics
    /// When a journal cannot be read.
    pub fn claimed_bytes(&self, app: &str) -> u64 {
        let incoming = self.view(&self.store().join(app).join("incoming"));
        let journals = self.incoming_names(app).into_iter().filter(|it| it.ends_with(".journal"));
        let claims = journals.flat_map(|name| {
            let journal = fs::read(incoming.join(name)).expect("it was just listed");
            claims(&journal).collect::<BTreeMap<u64, u64>>()
        });
        claims.map(|(_, bytes)| bytes).sum()
    }

    fn root(&self, app: &str) -> PathBuf {
        self.store().join(app).join("root")
    }

    #[track_caller]
    fn expect_content(&self, release: &Release, path: &Path) {
        let place = self.view(path);
        match &release.content {
            Content::Tree(tree) => {
                // The root is given with a slash: current itself is a link.
                let copy = Tree::read(&place.join(""));
                let differences = tree.differences(&copy, Owners::Root);
                assert!(differences.is_empty(), "{}: {differences:#?}", self.name());
            }
            Content::File(source) => {
                let copy = place.join(format!("{}.raw", release.bundle.app));
                let digest = |path: &Path| {
                    digest_of_file(path)
                        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
                };
                assert_eq!(digest(&copy), digest(source), "{}", self.name());
            }
        }
    }

    /// Every image in the store has the digest that it is named by; at least one is there, except
    /// that a tar may go after activation.
    #[track_caller]
    fn expect_verified_images(&self, bundle: &Bundle) {
        let images = self.image_names(&bundle.app);
        let must_be_there = bundle.image != Image::Tar;
        assert!(!images.is_empty() || !must_be_there, "{} keeps no image", self.name());
        for name in images {
            let path = self.view(&self.store().join(&bundle.app).join("images").join(&name));
            let digest = digest_of_file(&path).map(|digest| digest.to_string());
            let stem = name.split('.').next().map(str::to_owned);
            assert_eq!(digest.ok(), stem, "{}: {}", self.name(), path.display());
        }
    }
}

/// Offset and length of each record of a journal, whose form `receiver::store` describes.
fn claims(journal: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    const HEADER_BYTES: usize = 56;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let records = journal.get(HEADER_BYTES..).unwrap_or_default().chunks_exact(20);
    records.map(move |record| (number(&record[..8]), number(&record[8..16])))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
