//! Whose releases are taken, and when: each refusal with its own fault and words.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::bundle::Manifest;
use common::id::ImageKind;
use common::keys::{KeyId, Keyring, Signatures};
use common::wire::Fault;

use super::fixture::{Place, Release, content, secret_key, shop, signed};
use super::recorder::Recorder;
use crate::store::app::read_state;
use crate::store::layout::Layout;
use crate::store::{
    AppConfig, Offer, Step, StepError, Store, StoreError, SystemWorld, Trust, With, World,
};

/// When the releases of these tests are made, and their hosts look: 2023-11-14T22:13:20Z.
const NOW: u64 = 1_700_000_000;
const DAY: u64 = 24 * 3600;

/// The machine, but for its clock.
#[derive(Debug)]
struct Clock(AtomicU64);

impl Clock {
    fn at(now: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now)))
    }
}

impl World for Clock {
    fn apply(&self, step: &Step, with: With<'_>) -> Result<(), StepError> {
        SystemWorld.apply(step, with)
    }

    fn unix_seconds(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn users(&self, places: &[PathBuf]) -> io::Result<Vec<Option<String>>> {
        SystemWorld.users(places)
    }
}

/// A release of few bytes, with another word in its manifest.
fn release(sequence: u64, change: impl FnOnce(&mut Manifest)) -> Release {
    let change = |manifest: &mut Manifest| {
        manifest.next_key = None;
        change(manifest);
    };
    Release::changed(ImageKind::Raw, sequence, content(sequence, 300), change)
}

fn by(key: u8, release: Release) -> Release {
    let signatures = signed(&secret_key(key), &release.preamble.manifest_bytes);
    release.signed_with(signatures)
}

fn trust(keys: &[u8]) -> Trust {
    let keys = Keyring::new(keys.iter().map(|key| *secret_key(*key).public())).unwrap();
    Trust { keys, ..Trust::default() }
}

fn id(key: u8) -> KeyId {
    secret_key(key).id()
}

fn open(place: &Place, trust: Trust, now: u64) -> Store {
    open_with(place, AppConfig { trust: Some(trust), ..place.config() }, now)
}

fn open_with(place: &Place, config: AppConfig, now: u64) -> Store {
    Store::open_in(Clock::at(now), &place.store, vec![config]).unwrap()
}

fn place() -> (tempfile::TempDir, Place) {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path());
    (directory, place)
}

fn check(store: &Store, release: &Release) -> Result<(), StoreError> {
    store.check(&shop(), &release.offer())
}

/// What a row of the table of refusals changes, beside a host that trusts key 1 and has accepted
/// sequence 5 of epoch 1.
struct Case {
    what: &'static str,
    trust: Trust,
    offered: Release,
    now: u64,
    fault: Fault,
    says: &'static str,
}

impl Case {
    fn new(what: &'static str, offered: Release, fault: Fault, says: &'static str) -> Self {
        Self { what, trust: trust(&[1]), offered, now: NOW, fault, says }
    }
}

fn rank(epoch: u32, sequence: u64) -> Release {
    release(sequence, |manifest| manifest.epoch = epoch)
}

/// For the signatures.
fn unbelieved() -> Vec<Case> {
    let good = || rank(1, 6);
    let case = Case::new;
    let wrong = {
        // By key 1, of something else.
        let other = good().preamble.manifest_bytes.to_ascii_uppercase();
        good().signed_with(signed(&secret_key(1), &other))
    };
    let (revoked, expired) = (BTreeSet::from([id(1)]), BTreeMap::from([(id(1), NOW - DAY)]));
    vec![
        case("unsigned", good().signed_with(Vec::new()), Fault::Unsigned, "it is not signed: "),
        case(
            "no signature at all",
            good().signed_with(b"signed, sealed, delivered\n".to_vec()),
            Fault::SignatureWrong,
            "its signatures are refused: they are not as minisign writes them",
        ),
        case(
            "a stranger's",
            by(2, good()),
            Fault::KeyUnknown,
            "it is signed by 0202020202020202, and no such key is trusted here",
        ),
        Case {
            trust: Trust { revoked, ..trust(&[1]) },
            ..case(
                "a revoked key's",
                good(),
                Fault::KeyRevoked,
                "it is signed by 0101010101010101, and that key is revoked here",
            )
        },
        Case {
            trust: Trust { expires: expired, ..trust(&[1]) },
            ..case(
                "an expired key's",
                good(),
                Fault::KeyExpired,
                "it is signed by 0101010101010101, a key that expired at 2023-11-13T22:13:20Z here",
            )
        },
        case(
            "another document's",
            wrong,
            Fault::SignatureWrong,
            "its signature by 0101010101010101 is wrong: it is not what that key has signed",
        ),
    ]
}

/// For what the manifest says.
fn unwanted() -> Vec<Case> {
    let case = Case::new;
    vec![
        case(
            "another app's",
            release(6, |manifest| manifest.app = "blog".parse().unwrap()),
            Fault::OtherApp,
            "a release of blog is no release of shop",
        ),
        case(
            "an epoch that is over",
            rank(0, 99),
            Fault::EpochOld,
            "epoch 0 is over, epoch 1 was accepted",
        ),
        case(
            "an old sequence",
            rank(1, 4),
            Fault::SequenceOld,
            "sequence 4 is older than 5, accepted before",
        ),
        case(
            "another release of the same sequence",
            release(5, |manifest| {
                manifest.epoch = 1;
                manifest.label = "other".parse().unwrap();
            }),
            Fault::SequenceOld,
            "sequence 5 was accepted before, for release ",
        ),
        case(
            "an expired release",
            release(6, |manifest| {
                manifest.epoch = 1;
                manifest.expires = Some(NOW - DAY);
            }),
            Fault::Expired,
            "it has expired at 2023-11-13T22:13:20Z (this host's clock says 2023-11-14T22:13:20Z)",
        ),
        case(
            "a release from the future",
            release(6, |manifest| {
                manifest.epoch = 1;
                manifest.created = NOW + DAY + 1;
            }),
            Fault::FromFuture,
            "it is from the future, made at 2023-11-15T22:13:21Z (this host's clock says \
             2023-11-14T22:13:20Z)",
        ),
    ]
}

// PROTOCOL 8.7.
#[test]
fn each_refusal_has_a_fault_and_words_of_its_own() {
    for case in unbelieved().into_iter().chain(unwanted()) {
        let (_directory, place) = place();
        let store = open(&place, trust(&[1]), NOW);
        rank(1, 5).install(&store).unwrap();
        drop(store);
        let store = open(&place, case.trust, case.now);
        let error = check(&store, &case.offered).expect_err(case.what);
        assert_eq!(error.fault(), case.fault, "{}: {error}", case.what);
        let line = error.to_string();
        assert!(line.contains(case.says), "{}: {line}", case.what);
        assert_eq!(line.lines().count(), 1, "{line}");
        // Nothing that was refused is received, staged or switched to.
        assert!(!store.holds_release(&shop(), &case.offered.id()), "{}", case.what);
        let current = fs::read_link(place.current()).unwrap();
        assert!(current.ends_with(rank(1, 5).directory_name()), "{}", case.what);
    }
}

#[test]
fn what_is_right_is_taken_whoever_else_has_signed() {
    let (_directory, place) = place();
    let store = open(&place, trust(&[1, 3]), NOW);
    let good = release(1, |_| {});
    check(&store, &good).unwrap();
    check(&store, &by(3, good.clone())).unwrap();
    let document = &good.preamble.manifest_bytes;
    let mut many = Signatures::default();
    for key in [2, 3, 4] {
        many.put(secret_key(key).sign(document, "")).unwrap();
    }
    many.put(secret_key(1).sign(b"something else", "")).unwrap();
    check(&store, &good.signed_with(many.emit())).unwrap();
}

#[test]
fn every_changed_field_of_a_manifest_breaks_its_signature() {
    let (_directory, place) = place();
    let store = open(&place, trust(&[1]), NOW);
    let full = Release::changed(ImageKind::Tar, 1, content(1, 300), |manifest| {
        manifest.expires = Some(NOW + DAY);
        manifest.mount_options = vec!["noexec".into()];
        manifest.critical = vec!["image".into()];
    });
    let (bytes, signatures) = (&full.preamble.manifest_bytes, &full.preamble.signatures);
    store.vouch(&shop(), bytes, signatures).unwrap();
    let whole: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let mut fields = Vec::new();
    leaves(&whole, String::new(), &mut fields);
    assert_eq!(fields.len(), 24, "every field of the manifest is there: {fields:?}");
    for field in fields {
        let mut changed = whole.clone();
        let value = changed.pointer_mut(&field).unwrap();
        *value = match &*value {
            serde_json::Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
            serde_json::Value::String(text) => format!("{text}x").into(),
            other => panic!("{field}: {other}"),
        };
        let changed = serde_json::to_vec_pretty(&changed).unwrap();
        let error = store.vouch(&shop(), &changed, signatures).expect_err(&field);
        assert_eq!(error.fault(), Fault::SignatureWrong, "{field}: {error}");
        let offer = Offer { manifest_bytes: changed, ..full.offer() };
        assert_eq!(store.check(&shop(), &offer).unwrap_err().fault(), Fault::SignatureWrong);
    }
}

/// The paths of all values that hold no others.
fn leaves(value: &serde_json::Value, path: String, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| leaves(value, format!("{path}/{name}"), found));
        }
        serde_json::Value::Array(values) => {
            let values = values.iter().enumerate();
            values.for_each(|(nth, value)| leaves(value, format!("{path}/{nth}"), found));
        }
        _ => found.push(path),
    }
}

#[test]
fn dates_have_a_day_of_tolerance_on_either_side() {
    let (_directory, place) = place();
    let store = open(&place, trust(&[1]), NOW);
    let expires = |at| release(1, |manifest| manifest.expires = Some(at));
    let created = |at| release(1, |manifest| manifest.created = at);
    check(&store, &expires(NOW - DAY + 1)).unwrap();
    check(&store, &expires(NOW - DAY)).unwrap_err();
    check(&store, &created(NOW + DAY)).unwrap();
    check(&store, &created(NOW + DAY + 1)).unwrap_err();
    check(&store, &created(0)).unwrap();
}

#[test]
fn a_clock_at_1970_is_named_and_helped_by_what_was_accepted() {
    let (_directory, place) = place();
    let (one, two) = (release(1, |_| {}), release(2, |_| {}));
    let store = open(&place, trust(&[1]), 3600);
    let line = check(&store, &one).unwrap_err().to_string();
    let says = "it is from the future, made at 2023-11-14T22:13:20Z (this host's clock says \
                1970-01-01T01:00:00Z): set the clock that is wrong";
    assert!(line.contains(says), "{line}");
    drop(store);
    let store = open(&place, trust(&[1]), NOW);
    one.install(&store).unwrap();
    drop(store);
    // The clock is lost: what was accepted tells how late it is at least.
    let store = open(&place, trust(&[1]), 3600);
    two.install(&store).unwrap();
    store.rollback(&shop(), None).unwrap();
    let late = release(3, |manifest| manifest.created = NOW + 3 * DAY);
    let line = check(&store, &late).unwrap_err().to_string();
    let says = "(this host's clock says 1970-01-01T01:00:00Z, its last release was made at \
                2023-11-14T22:13:20Z)";
    assert!(line.contains(says), "{line}");
    // Nor does a clock that was set back bring an expired release back.
    let over = release(4, |manifest| manifest.expires = Some(NOW - 2 * DAY));
    assert_eq!(check(&store, &over).unwrap_err().fault(), Fault::Expired);
}

#[test]
fn a_clock_that_stood_wrong_for_a_while_shuts_nothing_out_for_ever() {
    let (_directory, place) = place();
    let store = open(&place, trust(&[1]), NOW + 9000 * DAY);
    release(1, |_| {}).install(&store).unwrap();
    drop(store);
    let store = open(&place, trust(&[1]), NOW);
    check(&store, &release(2, |manifest| manifest.expires = Some(NOW + DAY))).unwrap();
}

// PROTOCOL 8.8.
#[test]
fn what_was_accepted_is_judged_by_no_date_and_no_key_again() {
    // Goal: a host serves what it serves, and goes back to it, whatever became of keys and dates.
    let (_directory, place) = place();
    let store = open(&place, trust(&[1]), NOW);
    let expiring = |sequence| release(sequence, |manifest| manifest.expires = Some(NOW + DAY));
    let (one, two) = (expiring(1), expiring(2));
    one.install(&store).unwrap();
    two.install(&store).unwrap();
    drop(store);
    let gone = Trust {
        revoked: BTreeSet::from([id(1)]),
        expires: BTreeMap::from([(id(1), NOW)]),
        ..trust(&[1])
    };
    for now in [0, NOW + 900 * DAY] {
        let store = open(&place, gone.clone(), now);
        assert_eq!(store.take_complaints(), [""; 0]);
        assert_eq!(store.current(&shop()).unwrap().unwrap().0, two.id());
        assert_eq!(store.rollback(&shop(), None).unwrap(), one.id());
        store.choose(&shop(), two.id(), false).unwrap();
        // The network is another matter.
        assert!(!store.holds_release(&shop(), &one.id()));
        let warned = store.distrust(&shop(), &one.id()).unwrap().unwrap();
        assert!(warned.ends_with("by 0101010101010101, and that key is revoked here"), "{warned}");
        store.choose(&shop(), one.id(), false).unwrap();
        let error = store.activate(&shop(), two.id()).unwrap_err();
        assert_eq!(error.fault(), Fault::KeyRevoked, "{error}");
        store.choose(&shop(), two.id(), false).unwrap();
    }
}

#[test]
fn a_key_that_has_expired_is_said_to_have_and_not_to_be_believed_until_then() {
    let (_directory, place) = place();
    let expires = BTreeMap::from([(id(1), NOW)]);
    let said = |now| {
        let store = open(&place, Trust { expires: expires.clone(), ..trust(&[1]) }, now);
        let [line] = &store.trusted()[..] else { panic!("one app") };
        line.strip_prefix("shop: releases are believed by 0101010101010101").unwrap().to_owned()
    };
    assert_eq!(said(NOW - 1), " until 2023-11-14T22:13:20Z");
    assert_eq!(said(NOW), ", which expired on 2023-11-14T22:13:20Z, for a day after that");
    let over = ", which expired on 2023-11-14T22:13:20Z and signs nothing new";
    assert_eq!(said(NOW + DAY), over);
}

#[test]
fn the_release_that_was_accepted_may_come_again_after_its_dates() {
    let (_directory, place) = place();
    let one = release(1, |manifest| manifest.expires = Some(NOW + DAY));
    let store = open(&place, trust(&[1]), NOW);
    one.install(&store).unwrap();
    drop(store);
    let expires = BTreeMap::from([(id(1), NOW)]);
    let store = open(&place, Trust { expires, ..trust(&[1]) }, NOW + 900 * DAY);
    check(&store, &one).unwrap();
    assert!(store.holds_release(&shop(), &one.id()));
}

#[test]
fn the_administrator_alone_lets_older_releases_in() {
    let (_directory, place) = place();
    let store = open(&place, trust(&[1]), NOW);
    rank(1, 5).install(&store).unwrap();
    check(&store, &rank(1, 4)).unwrap_err();
    drop(store);
    let config = AppConfig { allow: Some((1, 4)), ..place.config() };
    let store = open_with(&place, config, NOW);
    for refused in [rank(1, 3), rank(0, 9)] {
        check(&store, &refused).unwrap_err();
    }
    rank(1, 4).install(&store).unwrap();
    drop(store);
    // The door is shut again, and what was let in stays.
    let store = open(&place, trust(&[1]), NOW);
    assert_eq!(store.current(&shop()).unwrap().unwrap().0, rank(1, 4).id());
    check(&store, &rank(1, 4)).unwrap_err();
}

#[test]
fn a_key_is_followed_by_the_one_that_it_announced() {
    let (_directory, place) = place();
    let store = open(&place, trust(&[1]), NOW);
    let named = |sequence, next: u8| {
        release(sequence, |manifest| manifest.next_key = Some(*secret_key(next).public()))
    };
    let two = by(2, release(2, |_| {}));
    assert_eq!(check(&store, &two).unwrap_err().fault(), Fault::KeyUnknown);
    // Staged is not accepted.
    let one = named(1, 2);
    let image = one.receive(&store).unwrap();
    store.stage(&shop(), &one.offer(), image).unwrap();
    check(&store, &two).unwrap_err();
    store.activate(&shop(), one.id()).unwrap();
    two.install(&store).unwrap();
    drop(store);
    // It is remembered, and hands on.
    let store = open(&place, trust(&[1]), NOW);
    let said = "shop: releases are believed by 0101010101010101; 0202020202020202, announced by \
                0101010101010101";
    assert_eq!(store.trusted(), [said]);
    by(2, named(3, 3)).install(&store).unwrap();
    by(3, release(4, |_| {})).install(&store).unwrap();
    drop(store);
    // A stolen key's heirs are void with it, unless the administrator names them himself.
    let revoked = BTreeSet::from([id(1)]);
    let five = by(2, release(5, |_| {}));
    let store = open(&place, Trust { revoked: revoked.clone(), ..trust(&[1]) }, NOW);
    assert_eq!(check(&store, &five).unwrap_err().fault(), Fault::KeyUnknown);
    assert_eq!(store.trusted(), ["shop: no key is trusted, so every release is refused"]);
    drop(store);
    let store = open(&place, Trust { revoked, ..trust(&[1, 2]) }, NOW);
    check(&store, &five).unwrap();
    check(&store, &by(3, release(6, |_| {}))).unwrap();
}

// PROTOCOL 8.8.
#[test]
fn what_a_host_believes_from_now_on_is_durable_before_it_switches() {
    let (_directory, place) = place();
    let recorder = Arc::new(Recorder::default());
    let store = place.open_in(Arc::clone(&recorder) as Arc<dyn World>).unwrap();
    let one = Release::raw(1);
    let image = one.receive(&store).unwrap();
    store.stage(&shop(), &one.offer(), image).unwrap();
    recorder.start(None);
    store.activate(&shop(), one.id()).unwrap();
    let trace = recorder.trace();
    let at = |is: &dyn Fn(&Step) -> bool| trace.iter().position(is).unwrap();
    let next = one.preamble.manifest.next_key.unwrap().to_string();
    let saved = at(&|step| match step {
        Step::Save { content, .. } => String::from_utf8_lossy(content).contains(&next),
        _ => false,
    });
    let named = at(&|step| matches!(step, Step::Rename { to, .. } if to.ends_with("state.json")));
    let synced = at(&|step| matches!(step, Step::Sync { path } if path.ends_with("shop")));
    let switched = at(&|step| matches!(step, Step::Switch { .. }));
    assert!(saved < named && named < synced && synced < switched, "{trace:?}");
    let state = read_state(&Layout::new(&place.store, &shop(), &place.root)).unwrap().unwrap();
    assert_eq!((state.youngest, state.announced.len()), (NOW, 1));
}

#[test]
fn a_release_from_before_there_were_keys_is_signed_and_comes_again() {
    let (_directory, place) = place();
    let plain = AppConfig { trust: None, ..place.config() };
    let store = open_with(&place, plain, NOW);
    // An unsigned manifest's next key, and the time that it says, are nobody's word.
    let unsigned = release(1, |manifest| {
        manifest.next_key = Some(*secret_key(2).public());
        manifest.created = NOW + 9000 * DAY;
    });
    let signed = unsigned.clone();
    let unsigned = unsigned.signed_with(Vec::new());
    unsigned.install(&store).unwrap();
    drop(store);
    let store = open(&place, trust(&[1]), NOW);
    assert_eq!(store.current(&shop()).unwrap().unwrap().0, unsigned.id(), "it serves on");
    assert!(!store.holds_release(&shop(), &unsigned.id()));
    check(&store, &by(2, release(2, |_| {}))).unwrap_err();
    check(&store, &release(2, |manifest| manifest.expires = Some(NOW + DAY))).unwrap();
    // The same manifest, signed: nothing but the signature is new.
    let image = store.verify_held(&shop(), &signed.offer()).unwrap().unwrap();
    store.stage(&shop(), &signed.offer(), image).unwrap();
    assert!(store.holds_release(&shop(), &signed.id()));
}
