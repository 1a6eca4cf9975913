//! Releases, worlds and places for the store's tests.

#![expect(clippy::disallowed_methods, reason = "tests ask the environment and read files")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::bundle::{
    CODEC, Chunk, ChunkTable, FORMAT_VERSION, Frame, FrameKind, FrameTable, ImageFacts, Manifest,
    Preamble, TableFacts, UnpackLimits,
};
use common::digest::Digest;
use common::id::{AppName, ChunkIndex, FrameIndex, ImageKind, ReleaseId};
use common::keys::{KeyId, Keyring, SecretKey, Signatures};
use common::sys::processes::{self, Namespace};
use rustix::mount::MountPropagationFlags;

use crate::store::unpack::archive::{Entry, archive};
use crate::store::{
    AppConfig, Incoming, Inventory, Offer, Owner, Partial, Policy, ReleaseFacts, Staged, Store,
    StoreError, SystemWorld, Trust, VerifiedImage, World,
};

/// Who receives where a test has a store for somebody else; nobody is.
pub(crate) const TENANT: Owner = Owner { user: 64_321, group: 64_321 };

/// Length of a chunk here.
pub(in crate::store) const CHUNK_BYTES: usize = 16 << 10;
/// Chunks of a frame here.
const FRAME_CHUNKS: usize = 4;

/// Calls `test` with an empty directory, in a mount namespace that ends with it: whatever it
/// mounts is gone afterwards, also when it fails. Needs root.
pub(in crate::store) fn in_private_mounts(name: &str, test: impl FnOnce(&Path) + Send) {
    if !is_root(name) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // Loop devices and mount tables name real paths.
    let path = directory.path().canonicalize().unwrap();
    let result = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            leave_mount_namespace(MountPropagationFlags::PRIVATE);
            test(&path);
        });
        thread.unwrap().join()
    });
    // The namespace goes with the thread's last reference; the directory only after it.
    drop(directory);
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Gives this thread mounts of its own, which follow or leave alone those that they were.
pub(in crate::store) fn leave_mount_namespace(propagation: MountPropagationFlags) {
    processes::leave(Namespace::Mounts).unwrap();
    rustix::mount::mount_change("/", propagation | MountPropagationFlags::REC).unwrap();
}

/// Unmounts everything below a directory, as a reboot would.
pub(in crate::store) fn unmount_below(directory: &Path) {
    for mounted in crate::store::table::mount_table().unwrap().iter().rev() {
        if mounted.target.starts_with(directory) && mounted.target != directory {
            rustix::mount::unmount(&mounted.target, rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    }
}

/// Makes an empty tmpfs.
pub(in crate::store) fn mount_tmpfs(target: &Path, options: &str) {
    std::fs::create_dir_all(target).unwrap();
    let data = std::ffi::CString::new(options).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("none", target, "tmpfs", flags, data.as_c_str()).unwrap();
}

/// Runs a command, which must succeed.
pub(in crate::store) fn run(command: &str, arguments: &[&str]) {
    let output = std::process::Command::new(command).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command} {arguments:?}: {said}");
}

/// The image of a small tree that says `sequence`, made by the standard tool in `directory`.
pub(in crate::store) fn image(kind: ImageKind, sequence: u64, directory: &Path) -> Vec<u8> {
    use std::fs;
    let tree = directory.join("tree");
    let out = directory.join("image");
    let _ = (fs::remove_dir_all(&tree), fs::remove_file(&out));
    fs::create_dir_all(tree.join("directory")).unwrap();
    fs::write(tree.join("version"), sequence.to_string()).unwrap();
    for number in 0..20 {
        let data = content(sequence * 100 + number, 9000);
        fs::write(tree.join(format!("directory/file{number}")), data).unwrap();
    }
    let (tree, out) = (tree.to_str().unwrap(), out.to_str().unwrap());
    match kind {
        ImageKind::Ext2 => run("mke2fs", &["-q", "-t", "ext2", "-d", tree, out, "2M"]),
        ImageKind::Ext4 => run("mke2fs", &["-q", "-t", "ext4", "-d", tree, out, "8M"]),
        ImageKind::Erofs => run("mkfs.erofs", &["--quiet", out, tree]),
        ImageKind::Squashfs => run("mksquashfs", &[tree, out, "-noappend", "-quiet"]),
        other => panic!("{other} is no filesystem"),
    }
    fs::read(out).unwrap()
}

/// Whether this test runs as root; without it, it is skipped with a line, or fails in CI.
pub(crate) fn is_root(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    skip(test, "needs root");
    false
}

/// Says that a test is skipped; a CI that skips tests lies, so there it fails.
pub(in crate::store) fn skip(test: &str, why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} {why}, and CI skips nothing");
    eprintln!("SKIPPED: {test} {why}");
}

/// A release with its image, as a session would bring it.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    pub(crate) preamble: Arc<Preamble>,
    pub(crate) image: Vec<u8>,
}

/// A key of these tests: number 1 signs the releases, and is trusted.
pub(crate) fn secret_key(number: u8) -> SecretKey {
    SecretKey::from_seed(KeyId([number; 8]), &[number; 32])
}

/// The signature of a document by a key.
pub(crate) fn signed(key: &SecretKey, document: &[u8]) -> Vec<u8> {
    let mut signatures = Signatures::default();
    signatures.put(key.sign(document, "a test")).unwrap();
    signatures.emit()
}

pub(crate) fn shop() -> AppName {
    "shop".parse().unwrap()
}

impl Release {
    /// The release `v<sequence>` of the shop.
    pub(in crate::store) fn new(kind: ImageKind, sequence: u64, image: Vec<u8>) -> Self {
        Self::changed(kind, sequence, image, |_| {})
    }

    /// The same with another word in its manifest.
    pub(crate) fn changed(
        kind: ImageKind,
        sequence: u64,
        image: Vec<u8>,
        change: impl FnOnce(&mut Manifest),
    ) -> Self {
        let chunks = cut(&image);
        let plan = plan(&chunks);
        let table = |bytes: &[u8], count| TableFacts {
            digest: Digest::of(bytes),
            bytes: bytes.len() as u64,
            count,
        };
        let bytes = image.len() as u64;
        let limits = UnpackLimits { entries: 10_000, bytes, depth: 8, name: 100 };
        let mut manifest = Manifest {
            format: FORMAT_VERSION,
            app: shop(),
            label: format!("v{sequence}").parse().unwrap(),
            epoch: 0,
            sequence,
            created: 1_700_000_000,
            expires: None,
            image: ImageFacts { kind, bytes: image.len() as u64, digest: Digest::of(&image) },
            chunk_table: table(&chunks.emit(), chunks.len()),
            frame_table: table(&plan.emit(), plan.len()),
            codec: CODEC.into(),
            mount_options: Vec::new(),
            unpack: (kind == ImageKind::Tar).then_some(limits),
            next_key: Some(*secret_key(100 + (sequence % 100) as u8).public()),
            critical: Vec::new(),
        };
        change(&mut manifest);
        let manifest_bytes = manifest.to_json();
        let signatures = signed(&secret_key(1), &manifest_bytes);
        let preamble = Preamble { manifest, manifest_bytes, signatures, chunks, plan };
        Self { preamble: Arc::new(preamble), image }
    }

    /// The same with other signatures.
    pub(in crate::store) fn signed_with(self, signatures: Vec<u8>) -> Self {
        let preamble = Preamble { signatures, ..(*self.preamble).clone() };
        Self { preamble: Arc::new(preamble), ..self }
    }

    /// A raw release whose content is told by its sequence: data, a gap, data.
    pub(crate) fn raw(sequence: u64) -> Self {
        let mut image = content(sequence, 10 * CHUNK_BYTES);
        image.extend(vec![0; 6 * CHUNK_BYTES]);
        image.extend(content(sequence + 1000, 3 * CHUNK_BYTES + 5));
        Self::new(ImageKind::Raw, sequence, image)
    }

    /// A tar release: a file that says its sequence, and some more.
    pub(in crate::store) fn tar(sequence: u64) -> Self {
        let mut entries = vec![
            Entry::directory("./"),
            Entry::file("version", format!("{sequence}").as_bytes()),
            Entry::symlink("link", "version"),
        ];
        for number in 0..20 {
            let data = content(sequence * 100 + number, 9000);
            entries.push(Entry::file(&format!("directory/file{number}"), &data));
        }
        Self::new(ImageKind::Tar, sequence, archive(&entries))
    }

    pub(crate) fn id(&self) -> ReleaseId {
        self.preamble.release()
    }

    pub(crate) fn offer(&self) -> Offer {
        Offer::of(&self.preamble)
    }

    pub(in crate::store) fn directory_name(&self) -> String {
        self.id().directory_name(&self.preamble.manifest.label)
    }

    /// The decoded bytes of a frame; nothing for a gap.
    pub(in crate::store) fn frame(&self, index: FrameIndex) -> &[u8] {
        let frame = self.preamble.plan.frame(index).unwrap();
        if frame.kind == FrameKind::Zero {
            return &[];
        }
        let chunks = &self.preamble.chunks;
        let at = |chunk| usize::try_from(chunks.offset(chunk)).unwrap();
        &self.image[at(frame.first_chunk)..at(frame.end_chunk())]
    }

    pub(in crate::store) fn frames(&self) -> impl Iterator<Item = FrameIndex> + use<> {
        (0..self.preamble.plan.len()).map(FrameIndex)
    }

    /// Writes the chunks of a frame; a gap needs no writing.
    pub(in crate::store) fn write(
        &self,
        partial: &Partial,
        index: FrameIndex,
    ) -> Result<(), StoreError> {
        let frame = self.preamble.plan.frame(index).unwrap();
        match frame.kind {
            FrameKind::Zero => Ok(()),
            _ => partial.write(frame.first_chunk, frame.chunk_count, self.frame(index)),
        }
    }

    /// Writes every frame that is not held.
    pub(in crate::store) fn fill(&self, partial: &Partial) -> Result<(), StoreError> {
        let held = partial.held();
        let missing = self.frames().filter(|frame| !held.contains(frame));
        missing.into_iter().try_for_each(|frame| self.write(partial, frame))
    }

    pub(in crate::store) fn receive(&self, store: &Store) -> Result<VerifiedImage, StoreError> {
        store.check(&shop(), &self.offer())?;
        let _reservation = store.reserve(&shop(), &self.offer())?;
        let partial = patiently(|| store.begin(&shop(), Arc::clone(&self.preamble)))?;
        self.fill(&partial)?;
        partial.finish()
    }

    /// Receives as the tenant does.
    pub(in crate::store) fn receive_for(&self, incoming: &Incoming) -> Result<(), StoreError> {
        let partial = patiently(|| incoming.begin(&shop(), Arc::clone(&self.preamble)))?;
        self.fill(&partial)?;
        partial.hand_over()?;
        // He is another user, which this process is not.
        for entry in std::fs::read_dir(&incoming.directories()[0]).unwrap() {
            let path = entry.unwrap().path();
            std::os::unix::fs::lchown(path, Some(TENANT.user), Some(TENANT.group)).unwrap();
        }
        Ok(())
    }

    /// Receives, stages, activates and prunes.
    pub(in crate::store) fn install(&self, store: &Store) -> Result<(), StoreError> {
        let image = self.receive(store)?;
        store.stage(&shop(), &self.offer(), image)?;
        store.activate(&shop(), self.id())?;
        store.prune(&shop())?;
        store.empty_trash(None);
        Ok(())
    }
}

/// Bytes without zero runs, the same for the same seed.
pub(in crate::store) fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_be_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

fn cut(image: &[u8]) -> ChunkTable {
    let chunk = |bytes: &[u8]| Chunk {
        bytes: u32::try_from(bytes.len()).unwrap(),
        digest: if bytes.iter().all(|byte| *byte == 0) {
            Chunk::ZERO_DIGEST
        } else {
            Digest::of(bytes)
        },
    };
    ChunkTable::from_chunks(image.chunks(CHUNK_BYTES).map(chunk).collect()).unwrap()
}

fn plan(chunks: &ChunkTable) -> FrameTable {
    let all: Vec<Chunk> = chunks.iter().copied().collect();
    let mut frames = Vec::new();
    let mut first = 0;
    for run in all.chunk_by(|one, next| one.is_zero() == next.is_zero()) {
        for part in run.chunks(FRAME_CHUNKS) {
            let count = u32::try_from(part.len()).unwrap();
            let bytes = part.iter().map(|chunk| chunk.bytes).sum();
            frames.push(if part[0].is_zero() {
                Frame::zero(ChunkIndex(first), count)
            } else {
                let digest = Digest::of(&first.to_be_bytes());
                let kind = FrameKind::Stored;
                Frame { kind, bytes, digest, first_chunk: ChunkIndex(first), chunk_count: count }
            });
            first += count;
        }
    }
    let plan = FrameTable::from_frames(frames).unwrap();
    plan.check_tiles(chunks).unwrap();
    plan
}

/// Waits until `is_there`, ten seconds at most; whether it is. What this process gave up may take
/// that moment: a command that another test starts has a copy of every descriptor, and of its lock,
/// from fork to exec, and the kernel lets go of a file after its loop device or mount.
pub(in crate::store) fn comes_true(mut is_there: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_there() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Tries again while somebody has what was just given up ([`comes_true`]).
pub(in crate::store) fn patiently<T>(
    attempt: impl Fn() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut result = attempt();
    comes_true(|| {
        let is_free = !result.as_ref().is_err_and(StoreError::is_busy);
        if !is_free {
            result = attempt();
        }
        is_free
    });
    result
}

/// Makes a release of an image that is held from before, as an installer does.
pub(in crate::store) fn stage_held(
    store: &Store,
    preamble: &Preamble,
) -> Result<Staged, StoreError> {
    let offer = Offer::of(preamble);
    let image = store.verify_held(&shop(), &offer)?.expect("the image is held");
    store.stage(&shop(), &offer, image)
}

/// Begins an image, as [`Store::begin`].
pub(in crate::store) fn begin(store: &Store, preamble: &Arc<Preamble>) -> Partial {
    patiently(|| store.begin(&shop(), Arc::clone(preamble))).unwrap()
}

/// A store below a directory, with the shop's root beside it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) store: PathBuf,
    pub(crate) root: PathBuf,
}

impl Place {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { store: directory.join("store"), root: directory.join("srv") }
    }

    pub(crate) fn config(&self) -> AppConfig {
        let policy = Policy { keep: 3, drain_after: Duration::ZERO };
        let keys = Keyring::new([*secret_key(1).public()]).unwrap();
        let trust = Some(Trust { keys, ..Trust::default() });
        AppConfig { policy, trust, ..AppConfig::new(shop(), self.root.clone()) }
    }

    pub(in crate::store) fn open(&self) -> Store {
        self.open_as(&self.config())
    }

    pub(in crate::store) fn open_as(&self, config: &AppConfig) -> Store {
        Store::open(&self.store, vec![config.clone()]).unwrap()
    }

    pub(in crate::store) fn open_in(&self, world: Arc<dyn World>) -> Result<Store, StoreError> {
        Store::open_in(world, &self.store, vec![self.config()])
    }

    /// The store of a helper: [`TENANT`] receives.
    pub(in crate::store) fn open_for_tenant(
        &self,
        world: Arc<dyn World>,
    ) -> Result<Store, StoreError> {
        Store::open_for(world, &self.store, vec![self.config()], Some(TENANT))
    }

    /// What the tenant receives into.
    pub(in crate::store) fn incoming(&self) -> Incoming {
        self.incoming_in(Arc::new(SystemWorld))
    }

    /// The same in another world.
    pub(in crate::store) fn incoming_in(&self, world: Arc<dyn World>) -> Incoming {
        Incoming::new(world, &self.store, &[shop()])
    }

    /// What `fanhost releases` finds, told that the shop's root is beside the store.
    pub(in crate::store) fn inspect(&self) -> Inventory {
        Store::inspect(&self.store, |_, _| self.config()).unwrap()
    }

    /// The releases of that.
    pub(in crate::store) fn list(&self) -> Vec<ReleaseFacts> {
        self.inspect().releases
    }

    pub(in crate::store) fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    /// Names below a directory of the shop's store or root.
    pub(in crate::store) fn names(&self, directory: &str) -> Vec<String> {
        let path = match directory.strip_prefix("srv/") {
            Some(rest) => self.root.join(rest),
            None => self.store.join("shop").join(directory),
        };
        let entries = std::fs::read_dir(path).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Asserts that nothing half lies anywhere, once what was put aside is gone.
    pub(in crate::store) fn assert_tidy(&self, store: &Store) {
        store.empty_trash(None);
        assert_eq!(self.names("srv/.incoming"), [""; 0], "half trees");
        let prepared = self.names("srv/.").into_iter().filter(|name| name.starts_with(".current"));
        assert_eq!(prepared.count(), 0, "prepared links");
        for name in self.names(".").into_iter().chain(self.names("manifests")) {
            assert!(!name.ends_with(".new"), "{name}");
        }
    }
}
