//! Which release is current, and what it costs to change that.

#![expect(clippy::disallowed_methods, reason = "tests read files and links")]

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::digest::Digest;
use common::id::ImageKind;
use common::wire::Fault;
use rustix::fs::{Mode, OFlags};

use super::fixture::{Place, Release, image, in_private_mounts, mount_tmpfs, shop, stage_held};
use crate::store::{AppConfig, Keep, Record, Store, Verdict};
use crate::utc::utc;

#[test]
fn current_is_a_relative_link_to_a_whole_release() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let (store, release) = (place.open(), Release::tar(7));
    release.install(&store).unwrap();
    let link = fs::read_link(place.current()).unwrap();
    assert_eq!(link, Path::new("releases").join(release.directory_name()));
    assert_eq!(fs::read_to_string(place.current().join("link")).unwrap(), "7");
    assert!(store.holds_release(&shop(), &release.id()));
    assert!(!store.holds_image(&shop(), &release.preamble.manifest.image.digest), "a tar goes");
    assert_eq!(store.take_complaints(), [""; 0]);
}

#[test]
fn current_resolves_to_a_whole_release_at_every_instant_of_200_switches() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let releases = [Release::tar(1), Release::tar(2)];
    releases.iter().for_each(|release| release.install(&store).unwrap());
    let is_over = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                // Through one resolution of the link: both files are of one release.
                let release = fs::canonicalize(place.current()).unwrap();
                let version = fs::read_to_string(release.join("version")).unwrap();
                let file = fs::read(release.join("directory/file19")).unwrap();
                let expected = version.parse::<u64>().unwrap() * 100 + 19;
                assert_eq!(file, super::fixture::content(expected, 9000));
                assert!(fs::read_to_string(place.current().join("version")).is_ok());
                reads += 1;
            }
            reads
        });
        for number in 0..200 {
            store.choose(&shop(), releases[number % 2].id(), false).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(reads >= 200, "only {reads} reads");
}

#[test]
fn an_older_release_is_refused_everywhere_but_by_the_administrator() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let (old, new) = (Release::raw(3), Release::raw(4));
    old.install(&store).unwrap();
    new.install(&store).unwrap();
    let error = store.check(&shop(), &old.offer()).unwrap_err();
    assert_eq!(error.fault(), Fault::SequenceOld);
    let line = "shop v3: sequence 3 is older than 4, accepted before; \
        fanfare sign --sequence next makes a newer release of it";
    assert_eq!(error.to_string(), line);
    assert_eq!(stage_held(&store, &old.preamble).unwrap_err().fault(), Fault::SequenceOld);
    assert_eq!(store.activate(&shop(), old.id()).unwrap_err().fault(), Fault::SequenceOld);
    store.choose(&shop(), old.id(), false).unwrap();
    assert_eq!(current(&store), ["v3"]);
    // Going back locally does not open the door for others.
    assert_eq!(
        store.check(&shop(), &Release::raw(2).offer()).unwrap_err().fault(),
        Fault::SequenceOld
    );
    store.check(&shop(), &new.offer()).unwrap();
    store.activate(&shop(), new.id()).unwrap();
    drop(store);
    let store = place.open();
    assert_eq!(store.check(&shop(), &old.offer()).unwrap_err().fault(), Fault::SequenceOld);
}

fn current(store: &Store) -> Vec<String> {
    let all = store.releases().unwrap();
    all.iter().filter(|facts| facts.is_current).map(|facts| facts.label.to_string()).collect()
}

#[test]
fn another_release_under_a_used_sequence_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let release = Release::raw(3);
    release.install(&store).unwrap();
    store.check(&shop(), &release.offer()).unwrap();
    let twin = Release::tar(3);
    let line = store.check(&shop(), &twin.offer()).unwrap_err().to_string();
    assert!(line.contains("sequence 3 was accepted before, for release"), "{line}");
}

#[test]
fn staging_and_activating_twice_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let release = Release::raw(1);
    release.install(&store).unwrap();
    let before = fs::metadata(place.current().join("shop.raw")).unwrap().modified().unwrap();
    let staged = stage_held(&store, &release.preamble).unwrap();
    assert_eq!(staged.path, place.root.join("releases").join(release.directory_name()));
    store.activate(&shop(), release.id()).unwrap();
    let tar = Release::tar(2);
    tar.install(&store).unwrap();
    // The archive went after activation; the release is there all the same.
    assert!(store.holds_release(&shop(), &tar.id()));
    store.choose(&shop(), release.id(), false).unwrap();
    assert_eq!(fs::metadata(place.current().join("shop.raw")).unwrap().modified().unwrap(), before);
}

#[test]
fn a_directory_in_the_place_of_current_is_left_alone_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    fs::create_dir_all(place.current()).unwrap();
    fs::write(place.current().join("precious"), "").unwrap();
    let store = place.open();
    assert!(store.take_complaints()[0].contains("is no link but a directory"));
    let error = Release::raw(1).install(&store).unwrap_err();
    assert_eq!(error.fault(), Fault::SwitchFailed);
    let line = format!(
        "{} is no link but a directory: move it away, fanhost makes a link there",
        place.current().display()
    );
    assert_eq!(error.to_string(), line);
    assert!(place.current().join("precious").exists());
}

#[test]
fn a_release_that_is_not_staged_cannot_become_current() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let release = Release::raw(1);
    let error = store.activate(&shop(), release.id()).unwrap_err();
    assert_eq!(error.fault(), Fault::SwitchFailed);
    assert!(error.to_string().contains("is not staged here"), "{error}");
    release.receive(&store).unwrap();
    assert!(store.activate(&shop(), release.id()).is_err());
    assert!(store.verify_held(&shop(), &Release::raw(9).offer()).unwrap().is_none());
    stage_held(&store, &release.preamble).unwrap();
    store.activate(&shop(), release.id()).unwrap();
}

#[test]
fn pruning_keeps_the_current_the_previous_one_more_and_what_waits() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    for sequence in 1..=5 {
        let release =
            if sequence % 2 == 0 { Release::raw(sequence) } else { Release::tar(sequence) };
        release.install(&store).unwrap();
    }
    let labels = |store: &Store| -> Vec<String> {
        store.releases().unwrap().iter().map(|facts| facts.label.to_string()).collect()
    };
    assert_eq!(labels(&store), ["v5", "v4", "v3"]);
    assert_eq!(place.names("manifests").len(), 6, "three, each with its signatures");
    assert_eq!(place.names("images").len(), 1, "the raw image of v4");
    assert_eq!(place.names("srv/releases").len(), 3);
    let waiting = Release::raw(9);
    let image = waiting.receive(&store).unwrap();
    store.stage(&shop(), &waiting.offer(), image).unwrap();
    store.choose(&shop(), Release::tar(3).id(), false).unwrap();
    store.prune(&shop()).unwrap();
    // Current v3, previous v5; v9 and v4 are newer than the current one.
    assert_eq!(labels(&store), ["v9", "v5", "v4", "v3"]);
    place.assert_tidy(&store);
}

#[test]
fn a_release_is_refused_from_a_day_after_its_expiry_on() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let now = common::clock::unix_seconds();
    let expiring = |at| {
        let image = Release::raw(1).image;
        Release::changed(ImageKind::Raw, 1, image, |manifest| manifest.expires = Some(at))
    };
    for at in [now + 3600, now - 23 * 3600] {
        store.check(&shop(), &expiring(at).offer()).unwrap();
    }
    for at in [now - 24 * 3600, 1_700_000_000] {
        let error = store.check(&shop(), &expiring(at).offer()).unwrap_err();
        assert_eq!(error.fault(), Fault::Expired);
        let begin = format!("shop v1: it has expired at {} (this host's clock says 20", utc(at));
        assert!(error.to_string().starts_with(&begin), "{error}");
    }
}

/// What a store remembers of a release of the shop.
fn verdict(store: &Store, release: &Release) -> Verdict {
    store.record(&shop(), &release.id()).unwrap().verdict
}

fn stage(store: &Store, release: &Release) {
    let image = release.receive(store).unwrap();
    store.stage(&shop(), &release.offer(), image).unwrap();
}

#[test]
fn a_release_whose_health_is_asked_is_on_trial_until_it_is_judged_and_a_restart_does_not_end_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let releases: Vec<Release> = (1..=3).map(Release::raw).collect();
    releases[0].install(&store).unwrap();
    assert_eq!(verdict(&store, &releases[0]), Verdict::Good, "nobody asked");
    stage(&store, &releases[1]);
    assert_eq!(verdict(&store, &releases[1]), Verdict::Unjudged);
    store.activate_on_trial(&shop(), releases[1].id()).unwrap();
    drop(store);
    let store = place.open();
    assert_eq!(store.on_trial(&shop()).unwrap(), Some(releases[1].id()));
    assert_eq!(verdict(&store, &releases[1]), Verdict::Unjudged);
    assert_eq!(store.previous_good(&shop()).unwrap(), Some(releases[0].id()));
    store.judge(&shop(), releases[1].id(), Verdict::Good).unwrap();
    assert_eq!(store.on_trial(&shop()).unwrap(), None);
    stage(&store, &releases[2]);
    store.activate_on_trial(&shop(), releases[2].id()).unwrap();
    let good = store.fall_back(&shop(), releases[2].id(), "it says 503").unwrap();
    assert_eq!(good, Some(releases[1].id()));
    drop(store);
    let store = place.open();
    assert_eq!(current(&store), ["v2"]);
    assert_eq!(verdict(&store, &releases[2]), Verdict::Bad("it says 503".into()));
    assert_eq!(store.on_trial(&shop()).unwrap(), None);
    assert_eq!(store.previous_good(&shop()).unwrap(), Some(releases[0].id()));
    assert_eq!(store.take_complaints(), [""; 0]);
}

#[test]
fn the_only_release_stays_current_though_it_is_bad() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let release = Release::raw(1);
    stage(&store, &release);
    store.activate_on_trial(&shop(), release.id()).unwrap();
    assert_eq!(store.fall_back(&shop(), release.id(), "it says 503").unwrap(), None);
    assert_eq!(current(&store), ["v1"]);
    assert_eq!(verdict(&store, &release), Verdict::Bad("it says 503".into()));
}

#[test]
fn a_state_file_of_the_former_version_is_taken_over_with_what_it_did_not_know() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let releases: Vec<Release> = (1..=4).map(Release::raw).collect();
    releases[..3].iter().for_each(|release| release.install(&store).unwrap());
    stage(&store, &releases[3]);
    drop(store);
    let [first, second, third] = [0, 1, 2].map(|at| releases[at].id());
    let text = format!(
        r#"{{"format": 1, "root": "{}", "current": "{third}", "previous": "{second}",
            "accepted": {{"0": {{"sequence": 3, "release": "{third}"}}}}}}"#,
        place.root.display()
    );
    fs::write(place.store.join("shop/state.json"), text).unwrap();
    assert!(place.list()[2].is_previous, "also for who only looks");
    let store = place.open();
    assert_eq!(store.take_complaints(), [""; 0]);
    let verdicts: Vec<_> = releases.iter().map(|release| verdict(&store, release)).collect();
    let good = Verdict::Good;
    assert_eq!(verdicts, [good.clone(), good.clone(), good, Verdict::Unjudged]);
    assert_eq!(store.fall_back(&shop(), third, "slow").unwrap(), Some(second));
    assert_eq!(store.fall_back(&shop(), second, "slow").unwrap(), Some(first));
}

#[test]
fn a_tar_stays_where_the_configuration_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let config = AppConfig { keep_image: true, ..place.config() };
    let store = Store::open(&place.store, vec![config]).unwrap();
    let release = Release::tar(1);
    release.install(&store).unwrap();
    assert!(store.holds_image(&shop(), &release.preamble.manifest.image.digest));
}

#[test]
fn the_store_is_listed_beside_a_running_daemon_and_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    Release::tar(1).install(&store).unwrap();
    Release::raw(2).install(&store).unwrap();
    assert_eq!(place.list(), store.releases().unwrap());
    let listed = place.list();
    assert!(listed[0].is_current && listed[0].has_image && !listed[0].is_mounted);
    assert!(listed[1].is_previous && listed[1].is_staged && !listed[1].has_image);
    drop(store);
    assert_eq!(place.list(), listed);
    assert!(Store::inspect(Path::new("/nonexistent"), |_, _| place.config()).is_err());
}

#[test]
fn a_store_that_lost_its_state_file_is_listed_by_its_manifests_and_images() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    Release::tar(1).install(&store).unwrap();
    Release::raw(2).install(&store).unwrap();
    let spare = Release::raw(3).receive(&store).unwrap();
    drop(store);
    let with_state = place.inspect();
    assert_eq!(with_state.images.len(), 1);
    assert_eq!((with_state.images[0].image, with_state.images[0].bytes), (spare.digest, 311_301));
    fs::remove_file(place.store.join("shop/state.json")).unwrap();
    let without = place.inspect();
    assert_eq!(without.images, with_state.images);
    let mut expected = with_state.releases;
    assert!(expected[0].is_current && expected[1].is_previous && expected[1].is_staged);
    // Only the state file knows which release was current before, and when.
    expected[1].is_previous = false;
    for facts in &mut expected {
        (facts.record, facts.kept) = (Record::default(), Vec::new());
    }
    expected[0].kept = vec![Keep::Active];
    assert_eq!(without.releases, expected);
}

#[test]
fn signatures_lie_beside_the_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let release = Release::raw(1);
    release.install(&store).unwrap();
    let id = release.id();
    assert_eq!(place.names("manifests"), [format!("{id}.json"), format!("{id}.minisig")]);
}

#[test]
fn a_rollback_holds_the_app_against_what_was_gone_back_from_until_something_newer_comes() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let releases: Vec<Release> = (1..=4).map(Release::raw).collect();
    releases[..3].iter().for_each(|release| release.install(&store).unwrap());
    assert_eq!(store.rollback(&shop(), None).unwrap(), releases[1].id());
    assert_eq!(current(&store), ["v2"]);
    let check = |store: &Store, release: &Release| store.check_held(&shop(), &release.offer());
    // PROTOCOL 8.6. A restart does not end it, nor does going further back.
    drop(store);
    let store = place.open();
    assert_eq!(store.rollback(&shop(), None).unwrap(), releases[0].id());
    let hold = store.held(&shop()).unwrap().unwrap();
    assert_eq!((hold.from, hold.label.as_str()), (releases[2].id(), "v3"));
    for error in [
        check(&store, &releases[2]).unwrap_err(),
        store.activate(&shop(), releases[2].id()).unwrap_err(),
    ] {
        assert_eq!(error.fault(), Fault::Held);
        let line = error.to_string();
        assert!(line.starts_with("shop is held by a local rollback from v3 since 20"), "{line}");
        assert!(line.ends_with(": send a newer release, or fanhost activate there"), "{line}");
    }
    let holdings = |release: &Release| {
        store.holdings(&shop(), &release.id(), &release.preamble.manifest.image.digest)
    };
    assert!(holdings(&releases[2]).is_held && !holdings(&releases[3]).is_held);
    assert_eq!(current(&store), ["v1"]);
    check(&store, &releases[3]).unwrap();
    releases[3].install(&store).unwrap();
    assert_eq!((current(&store), store.held(&shop()).unwrap()), (vec!["v4".to_owned()], None));
    // The administrator may end it, too.
    store.rollback(&shop(), Some(releases[0].id())).unwrap();
    assert!(store.held(&shop()).unwrap().is_some());
    store.choose(&shop(), releases[3].id(), false).unwrap();
    assert_eq!((current(&store), store.held(&shop()).unwrap()), (vec!["v4".to_owned()], None));
}

#[test]
fn a_rollback_goes_to_good_releases_alone_and_says_when_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    let store = place.open();
    let releases: Vec<Release> = (1..=3).map(Release::raw).collect();
    releases[0].install(&store).unwrap();
    let error = store.rollback(&shop(), None).unwrap_err();
    assert!(error.is_lacking(), "{error}");
    assert_eq!(error.to_string(), "shop: no good release was active before the current one");
    assert_eq!(store.held(&shop()).unwrap(), None, "nothing was gone back from");
    releases[1].install(&store).unwrap();
    stage(&store, &releases[2]);
    let error = store.rollback(&shop(), Some(releases[2].id())).unwrap_err();
    assert!(error.is_asked());
    assert_eq!(error.to_string(), "shop v3 was not found good yet: fanhost activate");
    store.judge(&shop(), releases[0].id(), Verdict::Bad("slow".into())).unwrap();
    for error in [
        store.rollback(&shop(), Some(releases[0].id())).unwrap_err(),
        store.choose(&shop(), releases[0].id(), false).unwrap_err(),
    ] {
        assert!(error.is_asked());
        assert_eq!(error.to_string(), "shop v1 is bad (slow): fanhost activate --force");
    }
    store.choose(&shop(), releases[0].id(), true).unwrap();
    assert_eq!(verdict(&store, &releases[0]), Verdict::Good);
    assert_eq!(current(&store), ["v1"]);
}

/// What a request sees that resolves `current` once and opens two files through that.
fn seen_through(current: &Path) -> [String; 2] {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let release = rustix::fs::open(current, flags, Mode::empty()).unwrap();
    ["version", "directory/file19"].map(|name| {
        let file = rustix::fs::openat(&release, name, OFlags::RDONLY, Mode::empty());
        let mut bytes = Vec::new();
        File::from(file.unwrap()).read_to_end(&mut bytes).unwrap();
        Digest::of(&bytes).to_string()
    })
}

#[test]
fn a_thousand_switches_show_a_reader_no_mixed_pair_and_no_gap() {
    const SWITCHES: usize = 1000;
    in_private_mounts("a_thousand_switches_show_a_reader", |directory| {
        let base = directory.join("base");
        mount_tmpfs(&base, "size=64M");
        let place = Place::new(&base);
        let store = place.open();
        let erofs = image(ImageKind::Erofs, 1, directory);
        let releases = [Release::new(ImageKind::Erofs, 1, erofs), Release::tar(2)];
        let pairs = [0, 1].map(|at: usize| {
            releases[at].install(&store).unwrap();
            seen_through(&place.current())
        });
        let (is_over, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        let seen = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut seen, mut last) = (0, 1);
                while !is_over.load(Ordering::Relaxed) {
                    let pair = seen_through(&place.current());
                    let at = pairs.iter().position(|it| *it == pair).expect("of one release");
                    seen += usize::from(at != last);
                    last = at;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                seen
            });
            for switch in 0..SWITCHES {
                store.choose(&shop(), releases[switch % 2].id(), false).unwrap();
                // The second read from here on began after the switch.
                let before = reads.load(Ordering::Relaxed);
                while reads.load(Ordering::Relaxed) < before + 2 && !reader.is_finished() {
                    std::thread::yield_now();
                }
            }
            is_over.store(true, Ordering::Relaxed);
            reader.join().unwrap()
        });
        eprintln!("{SWITCHES} switches, {} reads", reads.into_inner());
        assert_eq!(seen, SWITCHES, "the reader saw every one");
        assert_eq!(store.take_complaints(), [""; 0]);
    });
}
