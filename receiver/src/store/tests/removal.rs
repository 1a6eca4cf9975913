//! Trees that are removed later.

#![expect(clippy::disallowed_methods, reason = "tests make files")]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use common::net::StopFlag;

use super::fixture::{Place, Release, shop};
use super::recorder::Recorder;
use crate::store::trash::remove_tree;
use crate::store::{AppConfig, Policy, Step, World};

#[test]
fn a_removal_that_is_stopped_goes_on_later_and_follows_no_link() {
    let directory = tempfile::tempdir().unwrap();
    let (tree, victim) = (directory.path().join("tree"), directory.path().join("victim"));
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), "untouched").unwrap();
    for number in 0..100 {
        fs::write(tree.join(format!("deep/er/{number}")), "x").unwrap();
    }
    symlink(&victim, tree.join("deep/link")).unwrap();
    let stop = StopFlag::new().unwrap();
    stop.raise();
    let error = remove_tree(&tree, Some(&stop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(fs::read_dir(tree.join("deep/er")).unwrap().count(), 100);
    // As a removal leaves it that was killed in the middle.
    fs::remove_file(tree.join("deep/er/7")).unwrap();
    remove_tree(&tree, Some(&StopFlag::new().unwrap())).unwrap();
    assert!(!tree.exists());
    assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "untouched");
    remove_tree(&tree, None).unwrap();
}

#[test]
fn neither_a_deploy_nor_a_start_waits_for_a_tree_that_goes() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let recorder = Arc::new(Recorder::default());
    let policy = Policy { keep: 1, ..place.config().policy };
    let open = || {
        let config = AppConfig { policy, ..place.config() };
        let world = Arc::clone(&recorder) as Arc<dyn World>;
        crate::store::Store::open_in(world, &place.store, vec![config]).unwrap()
    };
    let store = open();
    recorder.start(None);
    for sequence in 1..=3 {
        let release = Release::tar(sequence);
        let image = release.receive(&store).unwrap();
        store.stage(&shop(), &release.offer(), image).unwrap();
        store.activate(&shop(), release.id()).unwrap();
        store.prune(&shop()).unwrap();
    }
    let trash = |place: &Place| {
        let mut names = place.names("srv/.incoming");
        names.retain(|name| name.ends_with(".trash"));
        names.len()
    };
    assert_eq!(place.names("srv/releases").len(), 2, "the current and the previous");
    assert_eq!(trash(&place), 1);
    drop(store);
    // And an archive that was being unpacked when the process died.
    fs::create_dir_all(place.root.join(".incoming/half.tree/some")).unwrap();
    recorder.start(None);
    let store = open();
    let cleaned = store.take_cleaned().join("\n");
    assert!(cleaned.contains("a half tree") && cleaned.contains("by and by"), "{cleaned}");
    let removes =
        |it: &Step| matches!(it, Step::RemoveTree { path } if path.starts_with(&place.root));
    assert_eq!(recorder.trace().iter().filter(|it| removes(it)).count(), 0);
    assert_eq!(trash(&place), 2);
    store.empty_trash(None);
    assert_eq!(recorder.trace().iter().filter(|it| removes(it)).count(), 2);
    assert_eq!(place.names("srv/.incoming"), [""; 0]);
    assert_eq!(store.take_complaints(), [""; 0]);
}
