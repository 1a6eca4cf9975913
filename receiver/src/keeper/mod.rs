//! The seam between the sessions, which speak to the network, and what may change this host.
//!
//! A [`Keeper`] looks things up, opens the unfinished image, and has the privileged verbs done:
//! stage, activate, prune. [`Activator`] does them itself, in one process with the sessions;
//! [`Remote`] asks the helper ([`crate::helper`]) for them, in [`message`]s through a [`socket`].
//!
//! Not here: how anything is done, and when. Invariant: whoever asks is not believed: what he says
//! is checked against the release's id and the image's digest.

pub mod message;
pub mod remote;
pub mod socket;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use common::bundle::Preamble;
use common::digest::Digest;
use common::id::{AppName, ReleaseId};
use tracing::info;

pub use self::remote::Remote;
use crate::activation::{Activator, Progress};
use crate::hooks::Cause;
use crate::store::{Capabilities, Holdings, Offer, Partial, StoreError};

/// What was set aside for a release: dropping it gives back what was not used.
pub type Claim = Box<dyn Any + Send + Sync>;

/// What sessions ask of the store. Every verb may be called from several threads, may be repeated,
/// and may take as long as a disk does, except those two that say they do not.
pub trait Keeper: Send + Sync + fmt::Debug {
    /// What this host can stage, and why not the rest. Waits for nothing.
    fn capabilities(&self) -> Capabilities;

    /// Takes the lines about what went wrong without failing anything: for the log. Waits for
    /// nothing.
    fn take_complaints(&self) -> Vec<String>;

    /// What is held of a release and its image.
    ///
    /// # Errors
    /// When nobody can be asked.
    fn holdings(
        &self,
        app: &AppName,
        release: &ReleaseId,
        image: &Digest,
    ) -> Result<Holdings, StoreError>;

    /// Refuses a manifest that no key has signed which the app trusts: before it is parsed.
    ///
    /// # Errors
    /// As [`crate::store::Store::vouch`].
    fn vouch(&self, app: &AppName, manifest: &[u8], signatures: &[u8]) -> Result<(), StoreError>;

    /// Refuses what could not be staged here, before a byte of it is received.
    ///
    /// # Errors
    /// As [`crate::store::Store::check`], and last of all as [`crate::store::Store::check_held`].
    fn check(&self, app: &AppName, offer: &Offer) -> Result<(), StoreError>;

    /// Sets aside what a release will take, and keeps what it builds on, until the claim is
    /// dropped.
    ///
    /// # Errors
    /// As [`crate::store::Store::reserve`].
    fn reserve(&self, app: &AppName, offer: &Offer) -> Result<Claim, StoreError>;

    /// Begins to receive an image, or goes on where an earlier attempt ended.
    ///
    /// # Errors
    /// As [`crate::store::Store::begin`].
    fn begin(&self, app: &AppName, preamble: Arc<Preamble>) -> Result<Partial, StoreError>;

    /// Makes a release of an image that is held from before, beside the active one. False when the
    /// image is not there or no longer right: then it must be received. Calls `is_durable` once the
    /// image was found to be right.
    ///
    /// # Errors
    /// As [`crate::store::Store::verify_held`] and [`crate::store::Store::stage`].
    fn stage_held(
        &self,
        app: &AppName,
        offer: &Offer,
        is_durable: &dyn Fn(),
    ) -> Result<bool, StoreError>;

    /// Makes an image all of whose chunks are held durable under its final name, calls
    /// `is_durable`, and makes a release of it.
    ///
    /// # Errors
    /// As [`Partial::finish`] and [`crate::store::Store::stage`].
    fn stage_received(
        &self,
        app: &AppName,
        offer: &Offer,
        partial: Partial,
        is_durable: &dyn Fn(),
    ) -> Result<(), StoreError>;

    /// Asks the pre-activate hooks, and switches `current` to a staged release. What follows goes
    /// on after this has returned.
    ///
    /// # Errors
    /// As [`Activator::activate`].
    fn activate(&self, app: &AppName, release: ReleaseId) -> Result<(), StoreError>;

    /// How far the app's last activation has come, also while [`Keeper::activate`] is at it.
    ///
    /// # Errors
    /// When there is no such app, or nobody can be asked.
    fn progress(&self, app: &AppName) -> Result<Option<Progress>, StoreError>;

    /// Removes what is no longer needed, once an activation was told.
    ///
    /// # Errors
    /// As [`crate::store::Store::prune`].
    fn prune(&self, app: &AppName) -> Result<(), StoreError>;
}

/// One process: the sessions change the host themselves.
impl Keeper for Activator {
    fn capabilities(&self) -> Capabilities {
        self.store().capabilities()
    }

    fn take_complaints(&self) -> Vec<String> {
        self.store().take_complaints()
    }

    fn holdings(
        &self,
        app: &AppName,
        release: &ReleaseId,
        image: &Digest,
    ) -> Result<Holdings, StoreError> {
        Ok(self.store().holdings(app, release, image))
    }

    fn vouch(&self, app: &AppName, manifest: &[u8], signatures: &[u8]) -> Result<(), StoreError> {
        self.store().vouch(app, manifest, signatures)
    }

    fn check(&self, app: &AppName, offer: &Offer) -> Result<(), StoreError> {
        self.store().check(app, offer)?;
        self.store().check_held(app, offer)
    }

    fn reserve(&self, app: &AppName, offer: &Offer) -> Result<Claim, StoreError> {
        let reservation = self.store().reserve(app, offer)?;
        Ok(Box::new(reservation))
    }

    fn begin(&self, app: &AppName, preamble: Arc<Preamble>) -> Result<Partial, StoreError> {
        self.store().begin(app, preamble)
    }

    fn stage_held(
        &self,
        app: &AppName,
        offer: &Offer,
        is_durable: &dyn Fn(),
    ) -> Result<bool, StoreError> {
        let Some(image) = self.store().verify_held(app, offer)? else { return Ok(false) };
        is_durable();
        self.store().stage(app, offer, image).map(|_| true)
    }

    fn stage_received(
        &self,
        app: &AppName,
        offer: &Offer,
        partial: Partial,
        is_durable: &dyn Fn(),
    ) -> Result<(), StoreError> {
        let image = partial.finish()?;
        is_durable();
        self.store().stage(app, offer, image).map(drop)
    }

    fn activate(&self, app: &AppName, release: ReleaseId) -> Result<(), StoreError> {
        self.activate(app, release, Cause::Send)
    }

    fn progress(&self, app: &AppName) -> Result<Option<Progress>, StoreError> {
        self.progress(app)
    }

    fn prune(&self, app: &AppName) -> Result<(), StoreError> {
        let pruned = self.store().prune(app)?;
        pruned.lines().iter().chain(&pruned.in_use()).for_each(|line| info!("{line}"));
        Ok(())
    }
}
