//! What the store remembers of an app beside its files: `state.json`.
//!
//! Not here: what is on disk or mounted, which is read from there; where the two disagree after
//! a crash, the link `current` is right. Invariant: an accepted sequence never goes back, not
//! even when the host itself is switched back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::id::ReleaseId;
use serde::{Deserialize, Serialize};

/// Version of the file.
const FORMAT: u32 = 1;

/// The newest release that was activated in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted {
    /// Its sequence.
    pub(super) sequence: u64,
    /// Its id: another release may not use the same sequence.
    pub(super) release: ReleaseId,
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
    /// What `current` points at.
    #[serde(default)]
    pub(super) current: Option<ReleaseId>,
    /// What it pointed at before.
    #[serde(default)]
    pub(super) previous: Option<ReleaseId>,
}

impl AppState {
    /// The state of an app that never had a release.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { format: FORMAT, root, accepted: BTreeMap::new(), current: None, previous: None }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match state.format {
            FORMAT => Ok(state),
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
    pub(super) fn admits(&self, epoch: u32, sequence: u64, id: &ReleaseId) -> Result<(), String> {
        let Some((&newest, accepted)) = self.accepted.last_key_value() else { return Ok(()) };
        if epoch < newest {
            return Err(format!("epoch {epoch} is over, epoch {newest} was accepted"));
        }
        if epoch > newest || sequence > accepted.sequence {
            return Ok(());
        }
        if sequence < accepted.sequence {
            let newer = accepted.sequence;
            return Err(format!("sequence {sequence} is older than {newer}, accepted before"));
        }
        if accepted.release == *id {
            return Ok(());
        }
        let other = accepted.release.0.short();
        Err(format!("sequence {sequence} was accepted before, for release {other}"))
    }

    /// Notes that a release is accepted.
    pub(super) fn accept(&mut self, epoch: u32, sequence: u64, release: ReleaseId) {
        let accepted = self.accepted.entry(epoch).or_insert(Accepted { sequence, release });
        if sequence >= accepted.sequence {
            *accepted = Accepted { sequence, release };
        }
    }

    /// Notes what `current` points at now.
    pub(super) fn switch_to(&mut self, release: ReleaseId) {
        if self.current != Some(release) {
            self.previous = self.current.replace(release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::digest::Digest;

    fn id(text: &str) -> ReleaseId {
        ReleaseId(Digest::of(text.as_bytes()))
    }

    #[test]
    fn an_older_sequence_is_refused_and_the_same_release_is_not() {
        let mut state = AppState::new("/srv/shop".into());
        assert_eq!(state.admits(0, 1, &id("a")), Ok(()));
        state.accept(0, 17, id("a"));
        assert_eq!(state.admits(0, 17, &id("a")), Ok(()));
        assert_eq!(state.admits(0, 18, &id("b")), Ok(()));
        let line = state.admits(0, 16, &id("b")).unwrap_err();
        assert_eq!(line, "sequence 16 is older than 17, accepted before");
        assert!(state.admits(0, 17, &id("b")).unwrap_err().contains("accepted before, for"));
    }

    #[test]
    fn a_new_epoch_starts_sequences_anew_and_ends_the_old_one() {
        let mut state = AppState::new("/srv/shop".into());
        state.accept(0, 1 << 60, id("stolen"));
        assert_eq!(state.admits(1, 1, &id("a")), Ok(()));
        state.accept(1, 1, id("a"));
        assert!(state.admits(0, u64::MAX, &id("b")).unwrap_err().contains("epoch 0 is over"));
        state.accept(1, 0, id("b"));
        assert_eq!(state.accepted[&1].sequence, 1, "never back");
    }

    #[test]
    fn the_file_survives_a_round_trip_and_other_formats_are_refused() {
        let mut state = AppState::new("/srv/shop".into());
        state.accept(0, 7, id("a"));
        state.switch_to(id("a"));
        state.switch_to(id("b"));
        state.switch_to(id("b"));
        assert_eq!((state.current, state.previous), (Some(id("b")), Some(id("a"))));
        assert_eq!(AppState::parse(&state.to_json()), Ok(state.clone()));
        let newer = String::from_utf8(state.to_json()).unwrap().replace(": 1,", ": 2,");
        assert!(AppState::parse(newer.as_bytes()).unwrap_err().contains("format 2"));
        assert!(AppState::parse(b"{").is_err());
    }
}
