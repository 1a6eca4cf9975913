//! The store: everything that a host does to its disk, its mounts and its links.
//!
//! Not here: sockets, sessions, and decisions about when. Invariant: nothing unverified is
//! mounted, unpacked into place or visible under a final name, and `current` resolves at every
//! instant to one complete verified release. Every effect is a [`Step`] done by a [`World`], so
//! an install can be recorded and made to fail at any place.
//!
//! The order of an install: allocate, write verified chunks, fsync, rename
//! into `images`, fsync the directory; save the manifest; mount, or rename the unpacked tree into
//! `releases`; on activation save the accepted sequence, rename a link over `current`, fsync the
//! directory; then remove what is no longer needed.
//!
//! A store serves one process; its methods may be called from several threads. For archives that
//! process starts its own program again, with the argument [`UNPACKER`]: a program that opens a
//! store then does nothing but [`serve_unpacker`].

mod adopt;
mod app;
mod audit;
pub mod doors;
mod error;
mod holders;
mod incoming;
mod journal;
mod layout;
pub mod limits;
mod list;
mod live;
mod lock;
mod mount;
mod offer;
mod partial;
mod prefix;
mod probe;
mod prune;
mod reconcile;
mod record;
mod retention;
mod space;
mod stage;
mod state;
mod step;
mod switch;
mod table;
mod trash;
mod trial;
mod trust;
mod unpack;
mod world;

#[cfg(test)]
pub(in crate::store) mod tests;
#[cfg(test)]
pub(crate) use self::tests::fixture;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use common::bundle::Preamble;
use common::digest::Digest;
use common::id::{AppName, Label, ReleaseId};
use common::net::Waker;
use common::wire::Fault;

use self::app::App;
pub use self::app::{AppConfig, SwitchMode};
pub use self::audit::{Audit, Finding};
pub use self::error::{StepError, StoreError};
pub use self::holders::{Census, Hold, Holder, How, holders, in_use, pin};
pub use self::incoming::Incoming;
use self::layout::Layout;
pub use self::list::{HeldApp, Inventory, ReleaseFacts, SpareImage};
pub use self::offer::Offer;
pub use self::partial::{Partial, VerifiedImage};
pub use self::prefix::Prefix;
pub use self::probe::Capabilities;
use self::prune::Need;
pub use self::prune::{Leftover, Planned, Pruned};
pub use self::record::{About, Held, Pin, Record, Verdict};
pub use self::retention::{Keep, Policy};
pub use self::space::Reservation;
use self::space::{Ledger, free_bytes};
pub use self::stage::Staged;
use self::state::Health;
pub use self::step::{Bounds, Owner, Step};
use self::switch::Way;
pub use self::table::Mounted;
use self::trust::Dates;
pub use self::trust::Trust;
pub use self::unpack::{Refusal, UNPACKER, Unpacked, serve as serve_unpacker};
pub use self::world::{SystemWorld, With, World};

/// Name of the directory in which mounting is tried.
const PROBE: &str = "@probe";

/// What a host holds of a release that is offered to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holdings {
    /// The release is staged.
    pub release: bool,
    /// The release is current.
    pub is_current: bool,
    /// The image was received and verified.
    pub image: bool,
    /// Some of the image was.
    pub partial: bool,
    /// A local rollback stands against the release, which is staged.
    pub is_held: bool,
    /// Bytes that may be written.
    pub free_bytes: u64,
    /// The release was found bad here.
    pub is_bad: bool,
}

/// The store of one host.
#[derive(Debug)]
pub struct Store {
    world: Arc<dyn World>,
    root: PathBuf,
    apps: BTreeMap<AppName, App>,
    ledger: Arc<Ledger>,
    capabilities: Capabilities,
    complaints: Mutex<Vec<String>>,
    trash: Waker,
    /// Held for its lock.
    _lock: File,
}

impl Store {
    /// Opens the store at `root`: makes its directories, locks it, finds out what can be mounted,
    /// and puts right what a crash or a reboot left.
    ///
    /// # Errors
    /// When another daemon has the store, or the disk refuses.
    pub fn open(root: &Path, apps: Vec<AppConfig>) -> Result<Self, StoreError> {
        Self::open_in(Arc::new(SystemWorld), root, apps)
    }

    /// Opens a store whose steps are done by `world`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_in(
        world: Arc<dyn World>,
        root: &Path,
        apps: Vec<AppConfig>,
    ) -> Result<Self, StoreError> {
        Self::open_for(world, root, apps, None)
    }

    /// Opens a store whose images are received by `tenant`, another user, who is not believed:
    /// [`Store::adopt`] takes what he has received.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_for(
        world: Arc<dyn World>,
        root: &Path,
        apps: Vec<AppConfig>,
        tenant: Option<Owner>,
    ) -> Result<Self, StoreError> {
        let is_inside = |app: &AppConfig| app.root.starts_with(root);
        let is_passed = tenant.is_some() || apps.iter().any(is_inside);
        let mode = if is_passed { 0o711 } else { 0o700 };
        let make = Step::MakeDirectory { path: root.to_path_buf(), mode };
        world.apply(&make, With::Nothing).map_err(|error| StoreError::of_step(&make, error))?;
        // Mount tables and loop devices name things by their real path.
        let real =
            root.canonicalize().map_err(|error| StoreError::of_read(root.display(), &error))?;
        let lock = lock::take(&real)?;
        let allowed = apps.iter().map(|app| (app.app.clone(), app.kinds)).collect();
        let capabilities = probe::probe(&*world, &real.join(PROBE), allowed)?;
        let mut complaints = Vec::new();
        let ledger = Arc::new(Ledger::default());
        let mut by_name = BTreeMap::new();
        for config in apps {
            let is_inside = is_inside(&config);
            let app = App::load(&real, config, Arc::clone(&world), Arc::clone(&ledger), tenant)?;
            complaints.extend(app.reconcile(is_inside)?);
            by_name.insert(app.config.app.clone(), app);
        }
        let complaints = Mutex::new(complaints);
        let trash = Waker::new().map_err(|error| StoreError::of_read("an event", &error))?;
        trash.wake();
        Ok(Self {
            world,
            root: real,
            apps: by_name,
            ledger,
            capabilities,
            complaints,
            trash,
            _lock: lock,
        })
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The apps that it keeps.
    pub fn apps(&self) -> Vec<AppName> {
        self.apps.keys().cloned().collect()
    }

    /// What this host can stage, and why not the rest.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    /// Takes the lines about what the start found half done and put right: for the log.
    pub fn take_cleaned(&self) -> Vec<String> {
        let lines = self.apps.values().flat_map(|app| {
            std::mem::take(&mut *app.cleaned.lock().unwrap_or_else(PoisonError::into_inner))
        });
        lines.collect()
    }

    /// A line for each app: whose releases are believed.
    pub fn trusted(&self) -> Vec<String> {
        let lines = self.apps.iter().map(|(name, app)| {
            let Some(trust) = &app.config.trust else {
                return format!("{name}: there is no release key: anybody's releases are believed");
            };
            let keys = {
                let state = app.lock();
                trust.lines(&state.announced, self.world.unix_seconds().max(state.youngest))
            };
            match keys.is_empty() {
                true => format!("{name}: no key is trusted, so every release is refused"),
                false => format!("{name}: releases are believed by {}", keys.join("; ")),
            }
        });
        lines.collect()
    }

    /// Takes the lines about what went wrong without failing anything: for the log.
    pub fn take_complaints(&self) -> Vec<String> {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut complaints)
    }

    /// What is held of a release and its image, by looking at the disk.
    pub fn holdings(&self, app: &AppName, release: &ReleaseId, image: &Digest) -> Holdings {
        let holds_image = self.holds_image(app, image);
        Holdings {
            release: self.holds_release(app, release),
            is_current: self.is_current(app, release),
            image: holds_image,
            partial: !holds_image && self.holds_partial(app, image),
            is_held: self.is_held(app, release),
            free_bytes: self.free_bytes(app),
            is_bad: self.is_bad(app, release),
        }
    }

    /// Whether the release was found bad here.
    pub fn is_bad(&self, app: &AppName, release: &ReleaseId) -> bool {
        self.record(app, release).is_ok_and(|it| matches!(it.verdict, Verdict::Bad(_)))
    }

    /// Bytes that an image of this app may take on the store's filesystem.
    pub fn free_bytes(&self, app: &AppName) -> u64 {
        let free = self.app(app).and_then(|app| free_bytes(app.layout.directory()));
        free.unwrap_or(0)
    }

    /// Whether the verified image is here.
    pub fn holds_image(&self, app: &AppName, image: &Digest) -> bool {
        self.app(app).is_ok_and(|app| app.holds_image(image).is_some())
    }

    /// Whether an unfinished image is here, whose verified frames need not come again.
    pub fn holds_partial(&self, app: &AppName, image: &Digest) -> bool {
        self.app(app).is_ok_and(|app| app.layout.part(image).is_file())
    }

    /// Whether the release is staged here, and believed.
    pub fn holds_release(&self, app: &AppName, release: &ReleaseId) -> bool {
        let is_staged = || {
            let app = self.app(app)?;
            let Some(known) = app.known(release)? else { return Ok(false) };
            // What came before there were keys, or by one that is revoked now, comes again.
            let state = app.lock();
            app.vouch_known(&state, release)?;
            // And so does what is damaged here.
            Ok::<_, StoreError>(!state.record(release).damaged && app.is_staged(&known)?)
        };
        is_staged().unwrap_or(false)
    }

    fn is_held(&self, app: &AppName, release: &ReleaseId) -> bool {
        let is_held = || {
            let app = self.app(app)?;
            let known = app.known(release)?;
            Ok::<_, StoreError>(
                known.is_some_and(|known| app.held_against(&app.lock(), known.rank()).is_err()),
            )
        };
        is_held().unwrap_or(false)
    }

    /// Whether `current` is the release.
    pub fn is_current(&self, app: &AppName, release: &ReleaseId) -> bool {
        let is_current = || {
            let app = self.app(app)?;
            let link = app::read_current(&app.layout)?;
            let known = app.known(release)?;
            Ok::<_, StoreError>(known.is_some_and(|known| {
                link == Some(Layout::link_text(release, &known.manifest.label))
            }))
        };
        is_current().unwrap_or(false)
    }

    /// Refuses a manifest that no key has signed which the app trusts: before it is parsed.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn vouch(
        &self,
        app: &AppName,
        manifest_bytes: &[u8],
        signatures: &[u8],
    ) -> Result<(), StoreError> {
        let app = self.app(app)?;
        app.vouch(&app.lock(), manifest_bytes, signatures, Dates::Unasked).map(drop)
    }

    /// Why the network would not have a release switched to that is here; nothing where it would.
    /// The host's own administrator may all the same.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn distrust(
        &self,
        app: &AppName,
        release: &ReleaseId,
    ) -> Result<Option<String>, StoreError> {
        let app = self.app(app)?;
        let vouched = app.vouch_known(&app.lock(), release);
        Ok(vouched.err().map(|error| error.to_string()))
    }

    /// Refuses what could not be staged here, before a byte of it is received.
    ///
    /// # Errors
    /// When the release is of another app, not signed by a trusted key, older than one accepted,
    /// expired or from the future, its kind cannot be staged, `current` cannot be switched.
    pub fn check(&self, app: &AppName, offer: &Offer) -> Result<(), StoreError> {
        let app = self.app(app)?;
        let manifest = &offer.manifest;
        if manifest.app != app.config.app {
            let line = format!("a release of {} is no release of {}", manifest.app, app.config.app);
            return Err(StoreError::new(Fault::OtherApp, line));
        }
        app.accept_anew(&app.lock(), offer)?;
        // A switch that cannot be made is said before anybody switches.
        app::read_current(&app.layout)?;
        let may_be = self.capabilities.check(&app.config.app, manifest.image.kind);
        may_be.map_err(|line| StoreError::new(Fault::KindUnsupported, line))?;
        Ok(())
    }

    /// Refuses what a local rollback stands against; it may be staged all the same.
    ///
    /// # Errors
    /// That it does, in words for the sender.
    pub fn check_held(&self, app: &AppName, offer: &Offer) -> Result<(), StoreError> {
        let app = self.app(app)?;
        app.held_against(&app.lock(), (offer.manifest.epoch, offer.manifest.sequence))
    }

    /// Sets aside what a release will take, before a byte of it is received; prunes first if that
    /// is what it takes. To be kept until the release is staged: what it builds on stays, too.
    ///
    /// # Errors
    /// When space is short, with figures.
    pub fn reserve(&self, app: &AppName, offer: &Offer) -> Result<Reservation, StoreError> {
        let own = self.app(app)?;
        let transfer = own.transfer_of(offer)?;
        if let Ok(reservation) = self.ledger.reserve(transfer.clone())? {
            return Ok(reservation);
        }
        // What was pruned already may not be gone yet.
        self.empty_trash(None);
        let shortage = match self.ledger.reserve(transfer.clone())? {
            Ok(reservation) => return Ok(reservation),
            Err(shortage) => shortage,
        };
        let need = Need::SpaceFor(offer.manifest.image.digest);
        let mut prunable = 0;
        for app in self.apps.values() {
            prunable += app.plan(need)?.bytes();
        }
        if !shortage.is_met_by(prunable) {
            return Err(shortage.error(app, prunable));
        }
        for app in self.apps.values() {
            let pruned = app.prune(need)?;
            self.complain(pruned.lines().into_iter().chain(pruned.complaints).collect());
        }
        // The space is wanted now.
        self.empty_trash(None);
        // Somebody else may have taken what was given.
        self.ledger.reserve(transfer)?.map_err(|shortage| shortage.error(app, 0))
    }

    /// Begins to receive an image, or goes on where an earlier attempt ended.
    ///
    /// # Errors
    /// When the disk refuses, or the image is being received already.
    pub fn begin(&self, app: &AppName, preamble: Arc<Preamble>) -> Result<Partial, StoreError> {
        Partial::begin(Arc::clone(&self.world), self.app(app)?.layout.clone(), preamble, true)
    }

    /// Takes the image that the store's tenant has received: out of his reach, then compared with
    /// its digest, then under its final name.
    ///
    /// # Errors
    /// When it is not there, is not what the manifest says, is still open for writing, or the disk
    /// refuses.
    ///
    /// # Panics
    /// When the store has no tenant.
    pub fn adopt(&self, app: &AppName, offer: &Offer) -> Result<VerifiedImage, StoreError> {
        self.app(app)?.adopt(&offer.manifest.image)
    }

    /// Makes a release of a verified image, beside the active one. Does nothing when it is staged.
    ///
    /// # Errors
    /// When the image is not of its kind, cannot be mounted, or the disk refuses.
    pub fn stage(
        &self,
        app: &AppName,
        offer: &Offer,
        image: VerifiedImage,
    ) -> Result<Staged, StoreError> {
        self.app(app)?.stage(offer, &image)
    }

    /// Hashes an image that is held from before. `None` when it is not there, or is not what its
    /// name says: then it is removed and complained of, and must be received again.
    ///
    /// # Errors
    /// When it cannot be read or removed.
    pub fn verify_held(
        &self,
        app: &AppName,
        offer: &Offer,
    ) -> Result<Option<VerifiedImage>, StoreError> {
        let (image, complaint) = self.app(app)?.verify_held(&offer.manifest.image)?;
        self.complain(complaint.into_iter().collect());
        Ok(image)
    }

    /// Switches `current` to a staged release, which is good then. Does nothing when it is current.
    ///
    /// # Errors
    /// When it is not staged, is older than one accepted before, or the switch failed; `current`
    /// is then what it was. Whatever goes wrong after the switch is a complaint.
    pub fn activate(&self, app: &AppName, release: ReleaseId) -> Result<(), StoreError> {
        self.switch(app, release, Way::Deployed(Health::Assumed))
    }

    /// As [`Store::activate`], but the release is on trial until [`Store::judge`] or
    /// [`Store::fall_back`] says how it did; a restart in between does not end that.
    ///
    /// # Errors
    /// As [`Store::activate`].
    pub fn activate_on_trial(&self, app: &AppName, release: ReleaseId) -> Result<(), StoreError> {
        self.switch(app, release, Way::Deployed(Health::Asked))
    }

    /// Switches `current` to any staged release, as the host's own administrator wants it; with
    /// `even_bad` also to one that did not do well. Ends what a rollback holds.
    ///
    /// # Errors
    /// As [`Store::activate`], except that an older release is taken; and when it is bad.
    pub fn choose(
        &self,
        app: &AppName,
        release: ReleaseId,
        even_bad: bool,
    ) -> Result<(), StoreError> {
        self.switch(app, release, Way::Chosen { even_bad })
    }

    /// Switches `current` back to `to`, or to the previous good release, which is the answer, and
    /// holds the app there until a newer release than was gone back from is activated, or any by
    /// [`Store::choose`].
    ///
    /// # Errors
    /// As [`Store::choose`]; also when there is none, or it is newer than what is current.
    pub fn rollback(&self, app: &AppName, to: Option<ReleaseId>) -> Result<ReleaseId, StoreError> {
        let (release, lines) = self.app(app)?.go_back(to)?;
        self.complain(lines);
        Ok(release)
    }

    /// The release that a person means by its label, its id, or the beginning of that.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn find(&self, app: &AppName, text: &str) -> Result<(ReleaseId, Label), StoreError> {
        list::find(app, &self.app(app)?.all_known()?.0, text)
    }

    /// What `current` points at, as far as the store knows it.
    ///
    /// # Errors
    /// When there is no such app, or its manifest cannot be read.
    pub fn current(&self, app: &AppName) -> Result<Option<(ReleaseId, Label)>, StoreError> {
        let app = self.app(app)?;
        let Some(current) = app.lock().current else { return Ok(None) };
        Ok(app.known(&current)?.map(|known| (known.id, known.manifest.label)))
    }

    /// Hashes the release that services are on, and notes whether it is what it was; reads all of
    /// its image. One that is not mounted is not looked at.
    ///
    /// # Errors
    /// When there is no such app, or the disk refuses.
    pub fn audit_current(&self, app: &AppName) -> Result<Option<Audit>, StoreError> {
        self.app(app)?.audit_current()
    }

    /// Remembers, durably, whether what lies here of a release is not what was verified.
    ///
    /// # Errors
    /// When there is no such app, or the disk refuses.
    pub fn note_condition(
        &self,
        app: &AppName,
        release: ReleaseId,
        damaged: bool,
    ) -> Result<(), StoreError> {
        self.app(app)?.note_condition(release, damaged)
    }

    /// What holds an app.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn held(&self, app: &AppName) -> Result<Option<Held>, StoreError> {
        Ok(self.app(app)?.lock().held.clone())
    }

    /// Has a release kept until the pin is over or taken away; an owner has one pin on a release.
    ///
    /// # Errors
    /// When there is no such release, or the disk refuses.
    pub fn pin(&self, app: &AppName, release: ReleaseId, pin: Pin) -> Result<(), StoreError> {
        let app = self.app(app)?;
        let mut state = app.lock();
        if app.known(&release)?.is_none() {
            let line = format!("release {} is not in this store", release.0.short());
            return Err(StoreError::asked(line));
        }
        let mut next = state.clone();
        next.pin(release, pin);
        app.remember(&mut state, next)
    }

    /// Takes an owner's pin away.
    ///
    /// # Errors
    /// When the owner has none there, or the disk refuses.
    pub fn unpin(&self, app: &AppName, release: ReleaseId, owner: &str) -> Result<(), StoreError> {
        let app = self.app(app)?;
        let mut state = app.lock();
        let mut next = state.clone();
        if !next.unpin(release, owner) {
            let owners: Vec<String> =
                next.record(&release).pins.into_iter().map(|pin| pin.owner).collect();
            let (name, short) = (&app.config.app, release.0.short());
            let line = match owners.is_empty() {
                true => format!("{name}: {short} is not pinned"),
                false => format!(
                    "{name}: {short} is not pinned by {owner}, but by {}: give --owner",
                    owners.join(", ")
                ),
            };
            return Err(StoreError::asked(line));
        }
        app.remember(&mut state, next)
    }

    fn switch(&self, app: &AppName, release: ReleaseId, way: Way) -> Result<(), StoreError> {
        let lines = self.app(app)?.activate(&release, way)?;
        self.complain(lines);
        Ok(())
    }

    /// Removes releases that there is no reason to keep, what was given up, and archives of tar
    /// releases that are active; called after an activation was told. Trees only get out of sight:
    /// see [`Store::empty_trash`]. What could not be removed is a complaint.
    ///
    /// # Errors
    /// When there is no such app, or the store cannot be read.
    pub fn prune(&self, app: &AppName) -> Result<Pruned, StoreError> {
        let pruned = self.app(app)?.prune(Need::Tidiness)?;
        self.complain(pruned.complaints.clone());
        self.trash.wake();
        Ok(pruned)
    }

    /// What [`Store::prune`] would do.
    ///
    /// # Errors
    /// As [`Store::prune`].
    pub fn plan_prune(&self, app: &AppName) -> Result<Pruned, StoreError> {
        self.app(app)?.plan(Need::Tidiness)
    }

    /// Every release in the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn releases(&self) -> Result<Vec<ReleaseFacts>, StoreError> {
        let mut all = Vec::new();
        for app in self.apps.values() {
            let mounted = self.world.mounted();
            let users = list::Users::Asked;
            all.extend(list::releases(&app.layout, &app.config, &mounted, users)?);
        }
        Ok(all)
    }

    /// The releases of one app, newest first.
    ///
    /// # Errors
    /// When there is no such app, or the store cannot be read.
    pub fn releases_of(&self, app: &AppName) -> Result<Vec<ReleaseFacts>, StoreError> {
        let app = self.app(app)?;
        list::releases(&app.layout, &app.config, &self.world.mounted(), list::Users::Unasked)
    }

    /// What lies in the store at `root`, without opening it: also beside a running daemon.
    /// `config_of` says what holds for an app, by the store's real path and the app's name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn inspect(
        root: &Path,
        config_of: impl Fn(&Path, &AppName) -> AppConfig,
    ) -> Result<Inventory, StoreError> {
        list::inspect(root, config_of)
    }

    /// Hashes what lies in the store at `root`, release by release, and shows what was found: of
    /// `app` if it is given, of the release that `text` means if that is. Beside a running daemon
    /// as well.
    ///
    /// # Errors
    /// When the store cannot be read, or there is no such app or release.
    pub fn audit(
        root: &Path,
        config_of: impl Fn(&Path, &AppName) -> AppConfig,
        app: Option<&AppName>,
        text: Option<&str>,
        show: &mut dyn FnMut(Audit),
    ) -> Result<(), StoreError> {
        list::audit(root, config_of, app, text, show)
    }

    /// The apps that the store at `root` holds something of, with what `config_of` says of each;
    /// services see them where the state file says.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn apps_at(
        root: &Path,
        config_of: impl Fn(&Path, &AppName) -> AppConfig,
    ) -> Result<Vec<AppConfig>, StoreError> {
        Ok(list::apps(root, config_of)?.1)
    }

    fn complain(&self, lines: Vec<String>) {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).extend(lines);
    }

    fn app(&self, app: &AppName) -> Result<&App, StoreError> {
        self.apps.get(app).ok_or_else(|| {
            let apps = self.apps.keys().map(AppName::as_str).collect::<Vec<_>>().join(", ");
            StoreError::asked(format!("{app} is no app of this host (there are: {apps})"))
        })
    }
}

/// Where services see an app whose configuration names no root.
pub fn default_root(store: &Path, app: &AppName) -> PathBuf {
    store.join(app.as_str()).join("root")
}
