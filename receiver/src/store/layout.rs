//! Where everything of an app lies; pure names, no file is touched.
//!
//! ```text
//! <store>/@lock                              one daemon per store
//! <store>/<app>/incoming/<image>.part        unfinished image; .journal: its verified ranges
//! <store>/<app>/checking/<image>.part        received by another user, out of his reach now
//! <store>/<app>/images/<image>.<kind>        verified image, 0400 (raw: 0444)
//! <store>/<app>/manifests/<id>.json          manifest of a staged release; .minisig: signatures
//! <store>/<app>/state.json                   accepted sequences, current, previous
//! <app root>/.incoming/<id>.tree             tree that is not complete yet
//! <app root>/.incoming/….trash               tree that is being removed
//! <app root>/releases/<label>-<id12>/        mount point, unpacked tree, or `<app>.raw`
//! <app root>/current                         relative link to one of them
//! <app root>/live/                           it mounted again, where `switch` says so
//! ```
//!
//! Half trees lie in the app root, not in the store: they are renamed into `releases`, and the
//! two are often different filesystems (/srv and /var).

use std::path::{Path, PathBuf};

use common::digest::Digest;
use common::id::{AppName, ImageKind, Label, ReleaseId};

/// Name of the link that services follow.
pub(super) const CURRENT: &str = "current";

/// Name of the path that never changes: a mount of the current release.
pub(super) const LIVE: &str = "live";

/// End of the name of a tree that is being removed.
const TRASH: &str = "trash";

/// Start of a prepared link's name, before it is renamed over `current`.
pub(super) const PREPARED_LINK: &str = ".current-";

/// The paths of one app.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    app: AppName,
    directory: PathBuf,
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(store: &Path, app: &AppName, root: &Path) -> Self {
        let directory = store.join(app.as_str());
        Self { app: app.clone(), directory, root: root.to_path_buf() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.directory.join("incoming")
    }

    pub(super) fn part(&self, image: &Digest) -> PathBuf {
        self.incoming().join(format!("{image}.part"))
    }

    pub(super) fn journal(&self, image: &Digest) -> PathBuf {
        self.incoming().join(format!("{image}.journal"))
    }

    /// Where an image is compared with its digest that another user has received.
    pub(super) fn checking(&self) -> PathBuf {
        self.directory.join("checking")
    }

    pub(super) fn images(&self) -> PathBuf {
        self.directory.join("images")
    }

    pub(super) fn image(&self, image: &Digest, kind: ImageKind) -> PathBuf {
        self.images().join(format!("{image}.{kind}"))
    }

    pub(super) fn manifests(&self) -> PathBuf {
        self.directory.join("manifests")
    }

    pub(super) fn manifest(&self, release: &ReleaseId) -> PathBuf {
        self.manifests().join(format!("{release}.json"))
    }

    pub(super) fn signatures(&self, release: &ReleaseId) -> PathBuf {
        self.manifests().join(format!("{release}.minisig"))
    }

    pub(super) fn state(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    /// Where trees grow that are not complete yet.
    pub(super) fn unpacking(&self) -> PathBuf {
        self.root.join(self.unpacking_name())
    }

    /// Its name in the app's root.
    pub(super) fn unpacking_name(&self) -> &'static str {
        ".incoming"
    }

    pub(super) fn tree(&self, release: &ReleaseId) -> PathBuf {
        self.unpacking().join(format!("{release}.tree"))
    }

    /// Where a tree goes that is to be removed: never half a tree under a final name.
    pub(super) fn trash(&self, tree: &Path, number: u32) -> PathBuf {
        let stem = tree.file_stem().unwrap_or_default().to_string_lossy();
        self.unpacking().join(format!("{stem}.{number}.{TRASH}"))
    }

    /// Whether something lies there to be removed.
    pub(super) fn is_trash(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == TRASH)
    }

    pub(super) fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    pub(super) fn release(&self, release: &ReleaseId, label: &Label) -> PathBuf {
        self.releases().join(release.directory_name(label))
    }

    /// Name of a raw image inside its release's directory.
    pub(super) fn raw_name(&self) -> String {
        format!("{}.raw", self.app)
    }

    pub(super) fn current(&self) -> PathBuf {
        self.root.join(CURRENT)
    }

    pub(super) fn live(&self) -> PathBuf {
        self.root.join(LIVE)
    }

    pub(super) fn prepared_link(&self, release: &ReleaseId) -> PathBuf {
        self.root.join(format!("{PREPARED_LINK}{release}"))
    }

    /// What `current` says when it points at a release.
    pub(super) fn link_text(release: &ReleaseId, label: &Label) -> PathBuf {
        Path::new("releases").join(release.directory_name(label))
    }
}
