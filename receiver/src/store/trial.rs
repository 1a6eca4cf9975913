//! How releases did: what the activator asks of the store, and has it remember.
//!
//! Not here: how a verdict is come to (`activation`).

use common::id::{AppName, ReleaseId};

use super::record::{Record, Verdict};
use super::{Store, StoreError};

impl Store {
    /// The release whose health is still being asked: it is current, or about to be.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn on_trial(&self, app: &AppName) -> Result<Option<ReleaseId>, StoreError> {
        Ok(self.app(app)?.lock().trial)
    }

    /// What is remembered of a release; nothing of it where nothing is.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn record(&self, app: &AppName, release: &ReleaseId) -> Result<Record, StoreError> {
        Ok(self.app(app)?.lock().record(release))
    }

    /// Remembers how a release did, durably. One that is judged bad stays current: see
    /// [`Store::fall_back`].
    ///
    /// # Errors
    /// When there is no such app, or the disk refuses.
    pub fn judge(
        &self,
        app: &AppName,
        release: ReleaseId,
        verdict: Verdict,
    ) -> Result<(), StoreError> {
        self.app(app)?.judge(release, verdict)
    }

    /// The good release that was active last before the current one and is still staged.
    ///
    /// # Errors
    /// When there is no such app, or the store cannot be read.
    pub fn previous_good(&self, app: &AppName) -> Result<Option<ReleaseId>, StoreError> {
        let app = self.app(app)?;
        app.previous_good(&app.lock())
    }

    /// Judges the release bad and, where it is current, switches to the previous good one, which is
    /// the answer; nothing when there is none, and the bad release stays.
    ///
    /// # Errors
    /// As [`Store::judge`] and [`Store::activate`].
    pub fn fall_back(
        &self,
        app: &AppName,
        release: ReleaseId,
        reason: &str,
    ) -> Result<Option<ReleaseId>, StoreError> {
        let (good, lines) = self.app(app)?.fall_back(release, reason)?;
        self.complain(lines);
        Ok(good)
    }
}
