//! What the store remembers of an app beside its files: `state.json`.
//!
//! Not here: what is on disk or mounted, which is read from there; where the two disagree after
//! a crash, the link `current` is right. Invariants: an accepted sequence never goes back, not
//! even when the host itself is switched back; the file is replaced whole, by a rename.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use common::bundle::Manifest;
use common::id::ReleaseId;
use common::keys::KeyId;
use common::wire::Fault;
use serde::{Deserialize, Serialize};

use super::limits::{ANNOUNCED_MAX, PRUNED_REMEMBERED_MAX};
use super::record::{About, Held, Pin, Record, Verdict};
use super::trust::Announced;

/// Version of the file.
const FORMAT: u32 = 2;

/// The version before, which knew of two releases that were current and nothing more.
const FORMER: u32 = 1;

/// The newest release that was activated in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted {
    /// Its sequence.
    pub(super) sequence: u64,
    /// Its id: another release may not use the same sequence.
    pub(super) release: ReleaseId,
}

/// Who says whether a release is good once it is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// Nobody: it is good when it has been switched to.
    Assumed,
    /// Somebody will, with [`AppState::judge`].
    Asked,
}

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AppState {
    format: u32,
    /// Where services see the app, for who looks at the store without its configuration.
    pub(super) root: PathBuf,
    /// By epoch.
    #[serde(default)]
    pub(super) accepted: BTreeMap<u32, Accepted>,
    /// When the youngest of the signed releases that were accepted was made, in Unix seconds.
    #[serde(default)]
    pub(super) youngest: u64,
    /// The keys that signed releases which were accepted have named.
    #[serde(default)]
    pub(super) announced: Vec<Announced>,
    /// What `current` points at.
    #[serde(default)]
    pub(super) current: Option<ReleaseId>,
    /// The release that is being activated or is active while its health is asked.
    #[serde(default)]
    pub(super) trial: Option<ReleaseId>,
    /// That the administrator went back.
    #[serde(default)]
    pub(super) held: Option<Held>,
    /// What is remembered of each release.
    #[serde(default)]
    pub(super) releases: BTreeMap<ReleaseId, Record>,
}

/// The file's content in its former version.
#[derive(Deserialize)]
struct Former {
    root: PathBuf,
    #[serde(default)]
    accepted: BTreeMap<u32, Accepted>,
    #[serde(default)]
    current: Option<ReleaseId>,
    #[serde(default)]
    previous: Option<ReleaseId>,
}

impl From<Former> for AppState {
    fn from(former: Former) -> Self {
        let Former { root, accepted, current, previous } = former;
        let mut state = Self { accepted, current, ..Self::new(root) };
        let turns = [previous, current].into_iter().flatten().zip(1..);
        state.releases = turns
            .map(|(id, turn)| (id, Record { turn, verdict: Verdict::Good, ..Record::default() }))
            .collect();
        state
    }
}

impl AppState {
    /// The state of an app that never had a release.
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            format: FORMAT,
            root,
            accepted: BTreeMap::new(),
            youngest: 0,
            announced: Vec::new(),
            current: None,
            trial: None,
            held: None,
            releases: BTreeMap::new(),
        }
    }

    /// Reads the file; one of the former version is taken over.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
        }
        fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
            serde_json::from_slice(bytes).map_err(|error| error.to_string())
        }
        match read::<Header>(bytes)?.format {
            FORMAT => read(bytes),
            FORMER => read::<Former>(bytes).map(Self::from),
            other => Err(format!("it has format {other}, this fanhost knows format {FORMAT}")),
        }
    }

    /// The file's content.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut out = serde_json::to_vec_pretty(self).expect("maps with plain keys serialise");
        out.push(b'\n');
        out
    }

    /// Whether a release may be accepted: not of an older epoch, not older within its epoch, and
    /// not another one under the same sequence.
    ///
    /// # Errors
    /// What was accepted before.
    pub(super) fn admits(
        &self,
        epoch: u32,
        sequence: u64,
        id: &ReleaseId,
    ) -> Result<(), (Fault, String)> {
        let Some((&newest, accepted)) = self.accepted.last_key_value() else { return Ok(()) };
        if epoch < newest {
            let line = format!("epoch {epoch} is over, epoch {newest} was accepted");
            return Err((Fault::EpochOld, line));
        }
        let old = |line| Err((Fault::SequenceOld, line));
        if epoch > newest || sequence > accepted.sequence {
            return Ok(());
        }
        if sequence < accepted.sequence {
            let newer = accepted.sequence;
            return old(format!("sequence {sequence} is older than {newer}, accepted before"));
        }
        if accepted.release == *id {
            return Ok(());
        }
        let other = accepted.release.0.short();
        old(format!("sequence {sequence} was accepted before, for release {other}"))
    }

    /// Whether this very release was the newest of its epoch when it was accepted, or is still.
    pub(super) fn has_accepted(&self, id: &ReleaseId) -> bool {
        self.accepted.values().any(|accepted| accepted.release == *id)
    }

    /// Notes what a release that was accepted, and that the key `by` has signed, says for later.
    pub(super) fn believe(&mut self, manifest: &Manifest, by: KeyId) {
        self.youngest = self.youngest.max(manifest.created);
        let Some(key) = manifest.next_key else { return };
        let announced = Announced { key, by };
        if !self.announced.contains(&announced) {
            self.announced.push(announced);
            let surplus = self.announced.len().saturating_sub(ANNOUNCED_MAX);
            self.announced.drain(..surplus);
        }
    }

    /// Notes that a release is accepted.
    pub(super) fn accept(&mut self, epoch: u32, sequence: u64, release: ReleaseId) {
        let accepted = self.accepted.entry(epoch).or_insert(Accepted { sequence, release });
        if sequence >= accepted.sequence {
            *accepted = Accepted { sequence, release };
        }
    }

    /// What is remembered of a release; nothing, where nothing is.
    pub(super) fn record(&self, id: &ReleaseId) -> Record {
        self.releases.get(id).cloned().unwrap_or_default()
    }

    fn record_mut(&mut self, id: ReleaseId) -> &mut Record {
        self.releases.entry(id).or_default()
    }

    /// Notes that a release is staged at `now`, of an image that was whole at `received`.
    pub(super) fn stage(&mut self, id: ReleaseId, about: About, received: u64, now: u64) {
        let record = self.record_mut(id);
        if record.pruned.is_some() {
            // It comes again; that it was bad is not forgotten.
            let is_bad = matches!(record.verdict, Verdict::Bad(_));
            let verdict = if is_bad { record.verdict.clone() } else { Verdict::Unjudged };
            *record = Record { verdict, ..Record::default() };
        }
        record.damaged = false;
        record.received.get_or_insert(received);
        record.staged.get_or_insert(now);
        record.about.get_or_insert(about);
    }

    /// Notes that a release was removed. Of those, the last are remembered.
    pub(super) fn note_pruned(&mut self, id: ReleaseId, now: u64) {
        let Some(record) = self.releases.get_mut(&id) else { return };
        if record.about.is_none() {
            self.releases.remove(&id);
            return;
        }
        (record.pruned, record.pins) = (Some(now), Vec::new());
        let mut gone: Vec<(u64, ReleaseId)> =
            self.releases.iter().filter_map(|(id, record)| Some((record.pruned?, *id))).collect();
        gone.sort();
        let surplus = gone.len().saturating_sub(PRUNED_REMEMBERED_MAX);
        gone.drain(..surplus).for_each(|(_, id)| drop(self.releases.remove(&id)));
    }

    /// Puts right what a crash or a wrong clock left: releases that are not `held` are gone, and
    /// nothing was switched away from in the future.
    pub(super) fn mend(&mut self, held: &BTreeSet<ReleaseId>, now: u64) {
        let is_lost =
            |(id, record): &(&ReleaseId, &Record)| record.pruned.is_none() && !held.contains(*id);
        let lost: Vec<ReleaseId> = self.releases.iter().filter(is_lost).map(|it| *it.0).collect();
        lost.into_iter().for_each(|id| self.note_pruned(id, now));
        for record in self.releases.values_mut() {
            record.deactivated = record.deactivated.map(|at| at.min(now));
        }
    }

    /// Notes that `current` points at a release that it did not point at before: the history of
    /// activations goes on from where it stands, which is not its end after a rollback.
    pub(super) fn switch_to(&mut self, id: ReleaseId, health: Health, now: u64) {
        let last = self.releases.values().map(|record| record.turn).max().unwrap_or(0);
        if let Some(former) = self.current.filter(|former| *former != id) {
            let former = self.record_mut(former);
            former.turn = if former.turn == last { last } else { last + 1 };
        }
        self.record_mut(id).turn = last + 2;
        self.point_at(id, now);
        match health {
            Health::Assumed => {
                self.trial = None;
                self.record_mut(id).verdict = Verdict::Good;
            }
            Health::Asked => {
                self.trial = Some(id);
                self.record_mut(id).verdict = Verdict::Unjudged;
            }
        }
    }

    /// Notes that `current` points at a release from before: the history stays what it is.
    pub(super) fn switch_back(&mut self, id: ReleaseId, now: u64) {
        self.trial = None;
        self.point_at(id, now);
    }

    fn point_at(&mut self, id: ReleaseId, now: u64) {
        if let Some(former) = self.current.replace(id).filter(|former| *former != id) {
            self.record_mut(former).deactivated = Some(now);
        }
        let record = self.record_mut(id);
        (record.activated, record.deactivated) = (Some(now), None);
    }

    /// Notes a pin, in the place of the owner's former one; pins that are over go.
    pub(super) fn pin(&mut self, id: ReleaseId, pin: Pin) {
        let pins = &mut self.record_mut(id).pins;
        pins.retain(|other| other.owner != pin.owner && other.holds(pin.since));
        pins.push(pin);
    }

    /// Takes an owner's pin away; whether there was one.
    pub(super) fn unpin(&mut self, id: ReleaseId, owner: &str) -> bool {
        let Some(record) = self.releases.get_mut(&id) else { return false };
        let before = record.pins.len();
        record.pins.retain(|pin| pin.owner != owner);
        record.pins.len() < before
    }

    /// Notes how a release did; whoever asked has the answer.
    pub(super) fn judge(&mut self, id: ReleaseId, verdict: Verdict) {
        self.record_mut(id).verdict = verdict;
        self.trial = self.trial.filter(|trial| *trial != id);
    }

    /// Notes whether what lies on this disk of a release is not what was verified. That says
    /// nothing of how the release did: the same bytes come again, and it is what it was.
    pub(super) fn note_condition(&mut self, id: ReleaseId, damaged: bool) {
        if damaged || self.releases.contains_key(&id) {
            self.record_mut(id).damaged = damaged;
        }
    }

    /// Of `all`, given newest first, the good release that was active last before the current one.
    pub(super) fn previous_good<'a>(
        &self,
        all: impl Iterator<Item = &'a ReleaseId>,
    ) -> Option<ReleaseId> {
        let before = self.current.map(|current| self.record(&current).turn);
        let earlier = all.filter(|id| Some(**id) != self.current).filter_map(|id| {
            let record = self.releases.get(id).filter(|record| record.is_good())?;
            before.is_none_or(|before| record.turn <= before).then_some((record.turn, *id))
        });
        // Of turns that are equal the newer release counts, which comes first.
        earlier.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::digest::Digest;
    use common::id::ImageKind;

    fn id(text: &str) -> ReleaseId {
        ReleaseId(Digest::of(text.as_bytes()))
    }

    fn state() -> AppState {
        AppState::new("/srv/shop".into())
    }

    fn about() -> About {
        let label = "v1".parse().unwrap();
        About { label, kind: ImageKind::Tar, bytes: 1, epoch: 0, sequence: 1 }
    }

    /// The previous good one of releases a to d, d being the newest.
    fn previous(state: &AppState) -> Option<ReleaseId> {
        state.previous_good(["d", "c", "b", "a"].map(id).iter())
    }

    #[test]
    fn an_older_sequence_is_refused_and_the_same_release_is_not() {
        let mut state = state();
        assert_eq!(state.admits(0, 1, &id("a")), Ok(()));
        state.accept(0, 17, id("a"));
        assert_eq!(state.admits(0, 17, &id("a")), Ok(()));
        assert_eq!(state.admits(0, 18, &id("b")), Ok(()));
        let line = "sequence 16 is older than 17, accepted before".to_owned();
        assert_eq!(state.admits(0, 16, &id("b")), Err((Fault::SequenceOld, line)));
        assert!(state.admits(0, 17, &id("b")).unwrap_err().1.contains("accepted before, for"));
    }

    #[test]
    fn a_new_epoch_starts_sequences_anew_and_ends_the_old_one() {
        let mut state = state();
        state.accept(0, 1 << 60, id("stolen"));
        assert_eq!(state.admits(1, 1, &id("a")), Ok(()));
        state.accept(1, 1, id("a"));
        let line = "epoch 0 is over, epoch 1 was accepted".to_owned();
        assert_eq!(state.admits(0, u64::MAX, &id("b")), Err((Fault::EpochOld, line)));
        state.accept(1, 0, id("b"));
        assert_eq!(state.accepted[&1].sequence, 1, "never back");
    }

    #[test]
    fn damage_ends_when_the_bytes_come_again_and_a_bad_verdict_stays() {
        let mut state = state();
        for name in ["a", "b", "c"] {
            state.stage(id(name), about(), 90, 100);
            state.switch_to(id(name), Health::Assumed, 110);
        }
        state.note_condition(id("b"), true);
        assert_eq!(previous(&state), Some(id("a")), "nobody goes back to damage");
        state.stage(id("b"), about(), 90, 120);
        assert_eq!(previous(&state), Some(id("b")));
        state.judge(id("b"), Verdict::Bad("it says 500".into()));
        state.note_condition(id("b"), true);
        state.stage(id("b"), about(), 90, 130);
        let record = state.record(&id("b"));
        assert_eq!((record.damaged, record.verdict), (false, Verdict::Bad("it says 500".into())));
        state.note_condition(id("d"), false);
        assert_eq!(state.releases.get(&id("d")), None, "nothing to remember");
    }

    #[test]
    fn the_file_survives_a_round_trip_and_other_formats_are_refused() {
        let mut state = state();
        state.accept(0, 7, id("a"));
        state.stage(id("a"), about(), 90, 100);
        state.switch_to(id("a"), Health::Assumed, 110);
        state.switch_to(id("b"), Health::Asked, 120);
        state.judge(id("b"), Verdict::Bad("it says 500".into()));
        let (owner, reason) = ("cron".into(), "report".into());
        let pin = Pin { owner, reason, since: 120, until: Some(130) };
        state.record_mut(id("a")).pins.push(pin);
        assert_eq!(AppState::parse(&state.to_json()), Ok(state.clone()));
        let newer = String::from_utf8(state.to_json()).unwrap().replace(": 2,", ": 3,");
        assert!(AppState::parse(newer.as_bytes()).unwrap_err().contains("format 3"));
        assert!(AppState::parse(b"{").is_err());
    }

    #[test]
    fn a_file_of_the_former_version_is_taken_over() {
        let (a, b) = (id("a"), id("b"));
        let text = format!(
            r#"{{"format": 1, "root": "/srv/shop", "current": "{b}", "previous": "{a}",
                "accepted": {{"0": {{"sequence": 7, "release": "{b}"}}}}}}"#
        );
        let state = AppState::parse(text.as_bytes()).unwrap();
        assert_eq!((state.format, state.current, state.trial), (2, Some(b), None));
        assert_eq!(state.accepted[&0].sequence, 7);
        assert_eq!(previous(&state), Some(a));
        assert_eq!(state.record(&b).verdict, Verdict::Good);
    }

    #[test]
    fn times_and_verdicts_follow_the_switch() {
        let mut state = state();
        state.stage(id("a"), about(), 90, 100);
        state.stage(id("a"), about(), 95, 105);
        state.switch_to(id("a"), Health::Assumed, 110);
        state.switch_to(id("b"), Health::Asked, 120);
        let record = state.record(&id("a"));
        let times = (record.received, record.staged, record.activated, record.deactivated);
        assert_eq!(times, (Some(90), Some(100), Some(110), Some(120)));
        assert_eq!(state.trial, Some(id("b")));
        assert_eq!(state.record(&id("b")).verdict, Verdict::Unjudged);
        state.judge(id("b"), Verdict::Good);
        assert_eq!((state.trial, previous(&state)), (None, Some(id("a"))));
        state.switch_back(id("a"), 130);
        assert_eq!(state.record(&id("a")).deactivated, None);
        assert_eq!(state.record(&id("b")).deactivated, Some(130));
    }

    #[test]
    fn going_back_twice_goes_further_back_and_history_goes_on_from_there() {
        let mut state = state();
        for (release, now) in [("a", 1), ("b", 2), ("c", 3)] {
            state.switch_to(id(release), Health::Assumed, now);
        }
        state.switch_back(id("b"), 4);
        assert_eq!(previous(&state), Some(id("a")), "not c, which somebody went back from");
        // What was active before d is b, and before that c.
        state.switch_to(id("d"), Health::Assumed, 5);
        assert_eq!(previous(&state), Some(id("b")));
        state.switch_back(id("b"), 6);
        assert_eq!(previous(&state), Some(id("c")));
        state.judge(id("c"), Verdict::Bad("slow".into()));
        assert_eq!(previous(&state), Some(id("a")));
    }

    #[test]
    fn of_releases_that_are_gone_the_last_are_remembered_and_a_bad_one_stays_bad() {
        let mut state = state();
        for number in 0..200_u64 {
            let id = id(&number.to_string());
            state.stage(id, about(), number, number);
            state.judge(id, Verdict::Bad("slow".into()));
            state.note_pruned(id, number);
        }
        assert_eq!(state.releases.len(), PRUNED_REMEMBERED_MAX);
        state.stage(id("199"), about(), 300, 300);
        let record = state.record(&id("199"));
        assert_eq!((record.pruned, record.staged), (None, Some(300)));
        assert_eq!(record.verdict, Verdict::Bad("slow".into()));
        assert_eq!(state.record(&id("0")), Record::default());
    }

    #[test]
    fn a_crash_and_a_wrong_clock_are_mended() {
        let mut state = state();
        for release in ["a", "b", "c"] {
            state.stage(id(release), about(), 1, 1);
            state.switch_to(id(release), Health::Assumed, 5_000_000_000);
        }
        state.mend(&BTreeSet::from([id("b"), id("c")]), 100);
        assert_eq!(state.record(&id("a")).pruned, Some(100));
        assert_eq!(state.record(&id("b")).deactivated, Some(100));
        assert_eq!(state.record(&id("b")).pruned, None);
    }

    #[test]
    fn twenty_failures_leave_the_good_one_before_them() {
        let mut state = state();
        state.switch_to(id("a"), Health::Assumed, 1);
        for failed in 0..20 {
            let failed = id(&format!("failed {failed}"));
            state.switch_to(failed, Health::Asked, 2);
            assert_eq!(previous(&state), Some(id("a")));
            state.judge(failed, Verdict::Bad("503".into()));
            state.switch_back(id("a"), 3);
        }
        state.switch_to(id("b"), Health::Assumed, 4);
        assert_eq!(previous(&state), Some(id("a")));
    }
}
