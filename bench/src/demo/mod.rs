//! The demo: one release of three thousand files to five hosts on this machine, over loopback
//! multicast, while three datagrams in a hundred are lost each way.
//!
//! Real processes, real sockets, the product's own libraries; only the loss is staged, in the
//! sockets of the harness. No root, no arguments, about ten seconds.
//! Invariant: whatever happens, no process and no file of it is left, and nothing leaves loopback.
#![expect(clippy::disallowed_methods, reason = "it plays the operator on a real machine")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

mod check;
mod fleet;
pub mod host;
pub mod place;
mod release;
pub mod table;

use std::io::{IsTerminal, stderr};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ::tests::keyring::SiteKeys;
use ::tests::lossy::LossyNetwork;
use ::tests::tree::Tree;
use anyhow::Context;
use common::clock::{Clock, unix_seconds};
use common::digest::Digest;
use common::id::{AppName, ImageKind, Label};
use common::net::{StopFlag, SystemNetwork};
use common::time::Timestamp;
use common::units::{Bitrate, ByteSize};
use common::wire::Activation;
use indicatif::MultiProgress;
use sender::pack::cancel::Cancel;
use sender::pack::ext_patch::Owner;
use sender::pack::progress::Progress;
use sender::pack::{Packed, Request, pack};
use sender::progress::{Surroundings, display};
use sender::session::{Expect, HostReport, HostState, Outcome, Quorum};
use sender::transfer::{RateOption, Report, SendOptions, send};

use crate::interrupt::{INTERRUPTED, Interrupted, Leftovers, on_signals};
use fleet::HostProcess;
use host::HostArgs;
use table::Row;

/// Hosts that the release goes to.
const HOSTS: usize = 5;
/// Datagrams lost at the sender and at every host, in thousandths.
const LOSS_PER_MILLE: u32 = 30;
/// What the losses are drawn from: the same at every run, as far as timing lets it be.
const SEED: u64 = 1;
/// A tenth of what loopback carries: the transfer takes a few seconds, so that it can be watched.
const RATE: Bitrate = Bitrate::from_megabits(40);
/// Level of zstd: the bundle's usual one costs the demo two more seconds.
const ZSTD_LEVEL: i32 = 3;
/// Hosts start within a tenth of a second; the pass begins as soon as all have joined.
const JOIN_WINDOW: Duration = Duration::from_secs(5);
/// When something is badly wrong.
const TIMEOUT: Duration = Duration::from_secs(60);
const APP: &str = "shop";
const LABEL: &str = "demo";

/// Everything that one demo works with.
struct Demo {
    directory: PathBuf,
    leftovers: Leftovers,
    interrupted: Interrupted,
    interrupt: StopFlag,
    cancel: Cancel,
    clock: Clock,
    app: AppName,
    label: Label,
    group: SocketAddr,
    interface: String,
    keys: SiteKeys,
}

/// Plays the demo; what is wrong goes to standard error.
pub fn main() -> ExitCode {
    let (clock, leftovers) = (Clock::start(), Leftovers::default());
    let played = Demo::prepare(clock, &leftovers).and_then(|demo| {
        let played = demo.play();
        // An interrupted part fails in its own words; what counts is why.
        if demo.interrupted.is_raised() { Ok(None) } else { played.map(Some) }
    });
    let removed = leftovers.remove();
    let (mut faults, code) = match played {
        Ok(Some(faults)) => (faults, 1),
        Ok(None) => (vec!["interrupted".to_owned()], INTERRUPTED),
        Err(error) => (vec![format!("{error:#}")], 1),
    };
    faults.extend(removed.err().map(|error| error.to_string()));
    if faults.is_empty() {
        let seconds = clock.now().since(Timestamp::ZERO).as_secs_f64();
        println!("{seconds:.1} s in all; nothing is left of it on this machine");
        return ExitCode::SUCCESS;
    }
    faults.iter().for_each(|fault| eprintln!("demo: {fault}"));
    ExitCode::from(code)
}

impl Demo {
    fn prepare(clock: Clock, leftovers: &Leftovers) -> anyhow::Result<Self> {
        let (interrupt, cancel) = (StopFlag::new()?, Cancel::default());
        let (raised, cancelled) = (interrupt.clone(), cancel.clone());
        let interrupted = on_signals(leftovers, move || {
            raised.raise();
            cancelled.cancel();
        })?;
        let group = place::group(std::process::id());
        let interface = place::loopback(group)?.name;
        let directory = tempfile::Builder::new()
            .prefix("fanfare-demo-")
            .tempdir_in(place::parent_directory())
            .context("cannot make a temporary directory (TMPDIR chooses another place)")?
            .keep();
        leftovers.enter_directory(&directory);
        Ok(Self {
            keys: SiteKeys::make(&directory, "demo"),
            directory,
            leftovers: leftovers.clone(),
            interrupted,
            interrupt,
            cancel,
            clock,
            app: APP.parse()?,
            label: LABEL.parse()?,
            group,
            interface,
        })
    }

    /// The whole of it; what comes back is why it failed.
    fn play(&self) -> anyhow::Result<Vec<String>> {
        println!(
            "one release to {HOSTS} hosts on this machine, over multicast on {}, losing {} % of \
             all datagrams each way\n",
            self.interface,
            LOSS_PER_MILLE / 10
        );
        let source = self.make_release()?;
        let (bundle, packed) = self.pack(&source)?;
        let mut hosts = self.start_hosts()?;
        let report = self.send(&bundle)?;
        let image = packed.preamble.manifest.image.digest;
        let rows = self.rows(&mut hosts, &report, &source, &image)?;
        println!("{}\n{}", table::table(&rows), table::cost_line(&report.wire));
        let mut faults: Vec<String> = rows.iter().flat_map(Row::faults).collect();
        if report.outcome != Outcome::Reached {
            faults.insert(0, format!("the send ended otherwise: {:?}", report.outcome));
        }
        if !faults.is_empty() {
            hosts.iter().for_each(|host| eprint!("{}", host.log_tail()));
        }
        Ok(faults)
    }

    fn make_release(&self) -> anyhow::Result<PathBuf> {
        let (source, began) = (self.directory.join("source"), self.clock.now());
        let made = release::make(&source, release::FILES, || self.interrupted.check())?;
        println!(
            "made     {} files and {} symbolic links, {} ({})",
            release::FILES,
            made.links,
            ByteSize(made.bytes),
            self.since(began)
        );
        Ok(source)
    }

    fn pack(&self, source: &Path) -> anyhow::Result<(PathBuf, Packed)> {
        let (bundle, began) = (self.directory.join("release.fan"), self.clock.now());
        let created = unix_seconds();
        let request = Request {
            source: source.to_owned(),
            output: bundle.clone(),
            app: self.app.clone(),
            label: self.label.clone(),
            kind: Some(ImageKind::Tar),
            created,
            sequence: created,
            epoch: 0,
            expires: None,
            owner: Owner::Root,
            excludes: Vec::new(),
            key: Some(Arc::new(self.keys.release())),
            next_key: None,
            level: ZSTD_LEVEL,
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            temporary: None,
        };
        let packed = pack(&request, &self.cancel, &mut Progress::auto())?;
        println!(
            "packed   a tar of {} into a bundle of {} ({})",
            ByteSize(packed.preamble.manifest.image.bytes),
            ByteSize(packed.file_bytes),
            self.since(began)
        );
        Ok((bundle, packed))
    }

    fn start_hosts(&self) -> anyhow::Result<Vec<HostProcess>> {
        let start = |nth: usize| {
            let args = HostArgs {
                host: format!("host-{nth}").parse()?,
                store: self.directory.join(format!("host-{nth}")),
                group: self.group,
                interface: self.interface.clone(),
                app: self.app.clone(),
                keys: self.keys.host(&format!("host-{nth}"), None),
                loss_per_mille: LOSS_PER_MILLE,
                seed: SEED + nth as u64,
            };
            HostProcess::start(args, &self.directory, &self.leftovers)
        };
        (1..=HOSTS).map(start).collect()
    }

    fn send(&self, bundle: &Path) -> anyhow::Result<Report> {
        let options = SendOptions {
            bundle: bundle.to_owned(),
            expect: Expect::Count(HOSTS),
            quorum: Quorum::All,
            activation: Activation::Together,
            interface: Some(self.interface.clone()),
            group: self.group,
            rate: RateOption::Ceiling(RATE),
            join_window: JOIN_WINDOW,
            timeout: Some(TIMEOUT),
            verdict_wait: Duration::ZERO,
            force: false,
            ttl: 1,
            source: None,
            symbol_bytes: None,
            dscp: 0,
            feedback_port: 0,
            keys: Some(self.keys.sender_keys()),
        };
        let probability = f64::from(LOSS_PER_MILLE) / 1000.0;
        let network = LossyNetwork::new(SystemNetwork, probability, SEED);
        let mut bars = display(surroundings().automatic(), &MultiProgress::new());
        let report = send(&options, &network, &self.interrupt, &mut *bars);
        bars.finish();
        let report = report?;
        self.interrupted.check()?;
        println!(
            "sent     {} ({:.1} s; held to {RATE}, to be watched); \
             {} of {} answers lost on the way\n",
            ByteSize(report.wire.bytes),
            report.seconds,
            network.counts().lost,
            network.counts().arrived
        );
        Ok(report)
    }

    /// Ends the hosts and looks at what they have.
    fn rows(
        &self,
        hosts: &mut [HostProcess],
        report: &Report,
        source: &Path,
        image: &Digest,
    ) -> anyhow::Result<Vec<Row>> {
        hosts.iter_mut().for_each(HostProcess::ask_to_end);
        let source = Tree::read(source);
        let row = |host: &mut HostProcess| {
            let counts = host.counts().with_context(|| host.log_tail())?;
            let findings = check::look(&host.args.store, &self.app, image, &source);
            let name = host.args.host.as_str();
            let reported = report.hosts.iter().find(|report| report.host == name);
            let report = reported.cloned().unwrap_or_else(|| never_seen(name));
            Ok(Row { report, counts, findings })
        };
        hosts.iter_mut().map(row).collect()
    }

    fn since(&self, began: Timestamp) -> String {
        format!("{:.1} s", self.clock.now().since(began).as_secs_f64())
    }
}

/// The report of a host that the sender never heard of.
fn never_seen(name: &str) -> HostReport {
    HostReport {
        host: name.to_owned(),
        address: None,
        state: HostState::Absent,
        fault: common::wire::Fault::None,
        reason: "never joined".to_owned(),
        seconds: 0.0,
        received: 0,
        lost: 0,
        kernel_drops: 0,
        dropped_blocks: 0,
        straggler: String::new(),
        trial: None,
        alarm: None,
    }
}

fn surroundings() -> Surroundings {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let terminal = std::env::var("TERM").unwrap_or_default();
    Surroundings {
        is_terminal: stderr().is_terminal(),
        is_dumb: terminal.is_empty() || terminal == "dumb",
        is_ci: is_set("CI"),
        is_colourless: is_set("NO_COLOR"),
    }
}
