//! The directories in which a user without privileges receives images.
//!
//! Not here: what becomes of an image that is complete, which is the store's business
//! ([`super::Store::adopt`]). Invariant: nothing outside these directories is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::bundle::Preamble;
use common::digest::Digest;
use common::id::AppName;
use common::wire::Fault;

use super::error::StoreError;
use super::layout::Layout;
use super::partial::Partial;
use super::world::World;
use super::{default_root, free_bytes};

/// The incoming directories of a store that belongs to somebody else.
#[derive(Debug)]
pub struct Incoming {
    world: Arc<dyn World>,
    apps: BTreeMap<AppName, Layout>,
}

impl Incoming {
    /// Those of `apps` in the store at `root`.
    pub fn new(world: Arc<dyn World>, root: &Path, apps: &[AppName]) -> Self {
        // Where services see an app is of no interest to who only receives.
        let layout = |app: &AppName| Layout::new(root, app, &default_root(root, app));
        let apps = apps.iter().map(|app| (app.clone(), layout(app))).collect();
        Self { world, apps }
    }

    /// The directories.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.apps.values().map(Layout::incoming).collect()
    }

    /// Begins to receive an image, or goes on where an earlier attempt ended; an archive is
    /// unpacked later, by somebody else.
    ///
    /// # Errors
    /// As [`super::Store::begin`].
    pub fn begin(&self, app: &AppName, preamble: Arc<Preamble>) -> Result<Partial, StoreError> {
        Partial::begin(Arc::clone(&self.world), self.layout(app)?.clone(), preamble, false)
    }

    /// Whether an unfinished image is here.
    pub fn holds_partial(&self, app: &AppName, image: &Digest) -> bool {
        self.layout(app).is_ok_and(|layout| layout.part(image).is_file())
    }

    /// Bytes that an image of this app may take.
    pub fn free_bytes(&self, app: &AppName) -> u64 {
        self.layout(app).and_then(|layout| free_bytes(&layout.incoming())).unwrap_or(0)
    }

    fn layout(&self, app: &AppName) -> Result<&Layout, StoreError> {
        self.apps.get(app).ok_or_else(|| {
            StoreError::new(Fault::Internal, format!("{app} is no app of this host"))
        })
    }
}
