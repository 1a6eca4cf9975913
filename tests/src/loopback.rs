//! The real libraries and real sockets in one process, on the loopback interface.
#![expect(clippy::disallowed_methods, reason = "a harness of threads and files")]

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::bundle::{
    BundleWriter, CODEC, Chunk, ChunkTable, FORMAT_VERSION, Frame, FrameKind, ImageFacts, Manifest,
};
use common::digest::Digest;
use common::id::{ChunkIndex, ImageKind};
use common::net::{Network, StopFlag};
use common::units::Bitrate;
use common::wire::Activation;
use receiver::daemon::{self, DaemonError};
use receiver::pipeline::Manners;
use receiver::status::StatusBoard;
use receiver::store::AppConfig;
use sender::session::{Expect, Progress, Quorum};
use sender::transfer::{Observer, RateOption, Report, SendError, SendOptions, send};

/// Bytes of a chunk in bundles made here; every other megabyte of the image is one frame.
const CHUNK_BYTES: usize = 64 << 10;

/// Writes a bundle of one raw image without any compression.
pub fn raw_bundle(path: &Path, app: &str, label: &str, image: &[u8]) {
    let file = File::create(path).expect("a test directory takes files");
    let mut writer = BundleWriter::new(file).expect("the disk takes a header");
    let mut chunks = Vec::new();
    for frame in image.chunks(16 * CHUNK_BYTES) {
        let first_chunk = ChunkIndex(chunks.len() as u32);
        let of = |chunk: &[u8]| Chunk { bytes: chunk.len() as u32, digest: Digest::of(chunk) };
        chunks.extend(frame.chunks(CHUNK_BYTES).map(of));
        let chunk_count = chunks.len() as u32 - first_chunk.0;
        let (bytes, digest) = (frame.len() as u32, Digest::of(frame));
        let entry = Frame { kind: FrameKind::Stored, bytes, digest, first_chunk, chunk_count };
        writer.push_frame(entry, frame).expect("the disk takes a frame");
    }
    let chunks = ChunkTable::from_chunks(chunks).expect("chunks within the limits");
    let (app, label) = (app.parse().expect("a name"), label.parse().expect("a name"));
    let image =
        ImageFacts { kind: ImageKind::Raw, bytes: image.len() as u64, digest: Digest::of(image) };
    let describe = |chunk_table, frame_table| Manifest {
        format: FORMAT_VERSION,
        app,
        label,
        epoch: 0,
        sequence: 1,
        created: 1_790_000_000,
        expires: None,
        image,
        chunk_table,
        frame_table,
        codec: CODEC.to_owned(),
        mount_options: Vec::new(),
        unpack: None,
        next_key: None,
        critical: Vec::new(),
    };
    writer.finish(chunks, describe).expect("a bundle within the limits");
}

/// A host in a thread of its own.
pub struct Host {
    /// Its store.
    pub store: PathBuf,
    stop: StopFlag,
    thread: Option<JoinHandle<Result<(), DaemonError>>>,
}

impl Host {
    /// Starts a host called `name` with its store below `directory`.
    pub fn start(
        name: &str,
        app: &str,
        directory: &Path,
        group: SocketAddr,
        network: impl Network + 'static,
    ) -> Self {
        let store = directory.join(name);
        let app: common::id::AppName = app.parse().expect("a name");
        let root = store.join(app.as_str()).join("root");
        let options = daemon::Options {
            interface: Some("lo".to_owned()),
            group,
            store: store.clone(),
            apps: vec![AppConfig::new(app, root)],
            policies: BTreeMap::new(),
            host: name.parse().expect("a name"),
            once: false,
            keys: None,
            source: None,
            manners: Manners::default(),
        };
        let stop = StopFlag::new().expect("an event descriptor");
        let raised = stop.clone();
        let board = StatusBoard::default();
        let thread = thread::spawn(move || daemon::run(&options, &network, &raised, &board));
        Self { store, stop, thread: Some(thread) }
    }

    /// Ends the host and returns what it came to.
    pub fn stop(mut self) -> Result<(), DaemonError> {
        self.stop.raise();
        self.thread.take().expect("it ends once").join().expect("a host does not panic")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An observer that remembers the lines.
#[derive(Debug, Default)]
pub struct Lines(pub Vec<String>);

impl Observer for Lines {
    fn notice(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }

    fn progress(&mut self, _: Duration, _: &Progress) {}
}

/// What `fanfare send` on loopback would be told, for `hosts` hosts.
pub fn options(bundle: &Path, group: SocketAddr, hosts: usize) -> SendOptions {
    SendOptions {
        bundle: bundle.to_owned(),
        expect: Expect::Count(hosts),
        quorum: Quorum::All,
        activation: Activation::Together,
        interface: Some("lo".to_owned()),
        group,
        rate: RateOption::Ceiling(Bitrate::from_megabits(400)),
        join_window: Duration::from_secs(5),
        timeout: Some(Duration::from_secs(60)),
        verdict_wait: Duration::from_secs(60),
        force: false,
        ttl: 1,
        source: None,
        symbol_bytes: None,
        dscp: 0,
        feedback_port: 0,
        keys: None,
    }
}

/// Sends and waits.
///
/// # Errors
/// As [`send`].
pub fn run(options: &SendOptions, network: &dyn Network) -> Result<Report, SendError> {
    let interrupt = StopFlag::new().expect("an event descriptor");
    send(options, network, &interrupt, &mut Lines::default())
}
