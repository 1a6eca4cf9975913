//! What a host of the demo ended with, judged from outside: its image, its tree, its `current`.
//!
//! Nothing that the host says of itself is believed here.

use std::fs;
use std::path::{Path, PathBuf};

use ::tests::tree::{Owners, Tree, digest_of_file};
use common::digest::Digest;
use common::id::AppName;

use super::host::app_root;

/// What there is to find at a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Why its image is not the one that was packed; nothing when it is.
    pub image_fault: Option<String>,
    /// Where its tree differs from the source; nothing when it does not.
    pub tree_faults: Vec<String>,
    /// Where `current` points.
    pub current: Option<PathBuf>,
}

impl Findings {
    /// Whether everything is as it was packed.
    pub fn is_good(&self) -> bool {
        self.image_fault.is_none() && self.tree_faults.is_empty() && self.current.is_some()
    }
}

/// Looks at the store of a host that should hold `image` and a tree like `source`.
pub fn look(store: &Path, app: &AppName, image: &Digest, source: &Tree) -> Findings {
    let link = app_root(store, app).join("current");
    let current = fs::read_link(&link).ok();
    let tree_faults = match link.canonicalize() {
        Ok(tree) => source.differences(&Tree::read(&tree), Owners::Any),
        Err(error) => vec![format!("{} leads nowhere: {error}", link.display())],
    };
    let image_fault = image_fault(&store.join(app.as_str()).join("images"), image);
    Findings { image_fault, tree_faults, current }
}

fn image_fault(images: &Path, wanted: &Digest) -> Option<String> {
    let files = fs::read_dir(images).into_iter().flatten().flatten();
    let files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    let [file] = &files[..] else {
        return Some(format!("{} files in {}, not one", files.len(), images.display()));
    };
    match digest_of_file(file) {
        Ok(digest) if digest == *wanted => None,
        Ok(digest) => Some(format!("{} has digest {digest}, not {wanted}", file.display())),
        Err(error) => Some(format!("cannot read {}: {error}", file.display())),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "it makes files to look at")]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::time::UNIX_EPOCH;

    /// A source and a store as a host leaves it; `spoil` changes the store.
    fn look_after(spoil: impl FnOnce(&Path)) -> Findings {
        let directory = tempfile::tempdir().unwrap();
        let (source, store) = (directory.path().join("source"), directory.path().join("store"));
        let release = store.join("shop/root/releases/r1");
        for tree in [&source, &release] {
            fs::create_dir_all(tree).unwrap();
            fs::write(tree.join("file"), "content").unwrap();
            for path in [tree.join("file"), tree.clone()] {
                File::open(path).unwrap().set_modified(UNIX_EPOCH).unwrap();
            }
        }
        symlink("releases/r1", store.join("shop/root/current")).unwrap();
        fs::create_dir_all(store.join("shop/images")).unwrap();
        fs::write(store.join("shop/images/x.tar"), "image").unwrap();
        let source = Tree::read(&source);
        spoil(&store);
        let image = Digest::of(b"image");
        look(&store, &"shop".parse().unwrap(), &image, &source)
    }

    #[test]
    fn a_good_host_is_good_and_every_fault_is_seen() {
        let good = look_after(|_| ());
        assert!(good.is_good(), "{good:?}");
        assert_eq!(good.current, Some("releases/r1".into()));
        let current = look_after(|store| fs::remove_file(store.join("shop/root/current")).unwrap());
        assert!(!current.is_good() && current.current.is_none());
        let tree = look_after(|store| {
            fs::write(store.join("shop/root/releases/r1/file"), "Content").unwrap();
        });
        assert!(!tree.is_good() && tree.image_fault.is_none());
        let image = look_after(|store| fs::write(store.join("shop/images/x.tar"), "").unwrap());
        assert!(!image.is_good() && image.tree_faults.is_empty());
        let gone = look_after(|store| fs::remove_dir_all(store.join("shop/images")).unwrap());
        assert!(!gone.is_good());
    }
}
