//! `fanfare send`: one bundle, one session, real sockets.
//!
//! Decides nothing about the protocol; that is [`crate::session`]. Here the bundle is opened and
//! checked, the interface and the symbol size are chosen, and the driver runs.
#![expect(clippy::disallowed_methods, reason = "the sender's facts come from its environment")]

mod driver;
mod meter;
mod prepare;
mod refusals;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::bundle::{BundleError, BundleFile};
use common::geometry::{Geometry, GeometryError, PreambleLengths};
use common::id::{AppName, FrameIndex, Label, ReleaseId, SessionId};
use common::limits;
use common::net::{
    Family, Interface, InterfaceError, Network, StopFlag, default_interface, find_interface,
};
use common::seal::{SenderKeys, SenderSeal, StreamSpent};
use common::units::Bitrate;
use common::wire::{Activation, Announce, SenderFacts, SenderStage, SessionTimers, VERSION};

use crate::session::{
    Config, Expect, HostReport, Outcome, Progress, Quorum, RateRequest, WireReport,
};

pub use refusals::Refusals;

/// How fast, as asked on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateOption {
    /// Half of the slower of the sender's link and the hosts' 5th percentile.
    Auto,
    /// At most this.
    Ceiling(Bitrate),
    /// Exactly this, without brake.
    Fixed(Bitrate),
}

/// What the operator asked for.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// The bundle to send.
    pub bundle: PathBuf,
    /// Whom to expect.
    pub expect: Expect,
    /// How many of them make a success.
    pub quorum: Quorum,
    /// When hosts switch.
    pub activation: Activation,
    /// Name or address of the interface; the one towards the group if not given.
    pub interface: Option<String>,
    /// The control group.
    pub group: SocketAddr,
    /// How fast.
    pub rate: RateOption,
    /// How long hosts may take to join.
    pub join_window: Duration,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// How long hosts' verdicts on the release are waited for.
    pub verdict_wait: Duration,
    /// Hosts take the release also where they found it bad.
    pub force: bool,
    /// Hops that multicast datagrams may take.
    pub ttl: u8,
    /// The address to send from, for hosts that receive from one source only.
    pub source: Option<IpAddr>,
    /// Bytes of a symbol; by the interface's MTU if not given.
    pub symbol_bytes: Option<u16>,
    /// Differentiated services code point.
    pub dscp: u8,
    /// Port for feedback, 0 for any.
    pub feedback_port: u16,
    /// What seals it; none sends in the clear.
    pub keys: Option<Arc<SenderKeys>>,
}

/// What a transfer would do, known before it begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The release.
    pub release: ReleaseId,
    /// Its app.
    pub app: AppName,
    /// Its label.
    pub label: Label,
    /// Where datagrams leave.
    pub interface: Interface,
    /// How the session is cut.
    pub geometry: Geometry,
}

/// How a transfer went.
#[derive(Debug, Clone)]
pub struct Report {
    /// The release.
    pub release: ReleaseId,
    /// Its app.
    pub app: AppName,
    /// Its label.
    pub label: Label,
    /// When hosts were to switch.
    pub activation: Activation,
    /// How it ended.
    pub outcome: Outcome,
    /// Every host that joined or was expected.
    pub hosts: Vec<HostReport>,
    /// What went over the wire.
    pub wire: WireReport,
    /// What came and was not believed.
    pub refused: Refusals,
    /// From the command's start to the outcome.
    pub seconds: f64,
}

/// Why a transfer could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The bundle cannot be read or is damaged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// No such interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The interface has no address of the group's family.
    #[error("interface {interface} has no {family} address; give another with --interface")]
    Address {
        /// Its name.
        interface: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// A socket could not be opened or used.
    #[error("{0}")]
    Network(io::Error),
    /// The symbol size does not fit.
    #[error("{0}; choose --symbol-bytes as a multiple of 64 that fits the interface's MTU")]
    Geometry(#[from] GeometryError),
    /// Hosts would refuse it.
    #[error("{0} has expired, hosts refuse it: pack it again with a later --expires")]
    Expired(PathBuf),
    /// The session went on for too long.
    #[error(transparent)]
    Spent(#[from] StreamSpent),
    /// A thread or an event could not be made.
    #[error("cannot start: {0}")]
    Resources(io::Error),
}

/// Who is told how it goes.
pub trait Observer {
    /// One line that the operator should see.
    fn notice(&mut self, line: &str);

    /// How it goes, about ten times a second.
    fn progress(&mut self, elapsed: Duration, progress: &Progress);
}

/// Opens the bundle and works out what would be sent and how.
///
/// # Errors
/// When the bundle is damaged, or the interface or symbol size will not do.
pub fn plan(options: &SendOptions) -> Result<(BundleFile, Plan), SendError> {
    let bundle = BundleFile::open(&options.bundle)?;
    let expires = bundle.preamble().manifest.expires;
    if expires.is_some_and(|expires| expires <= common::clock::unix_seconds()) {
        return Err(SendError::Expired(options.bundle.clone()));
    }
    let interface = choose_interface(options)?;
    let symbol_bytes = options.symbol_bytes.unwrap_or_else(|| symbol_bytes(interface.mtu));
    let (preamble_bytes, _) = bundle.preamble_bytes();
    let geometry = Geometry::new(
        symbol_bytes,
        limits::BLOCK_SYMBOLS_DEFAULT,
        limits::REPAIR_SYMBOLS_DEFAULT,
        limits::WINDOW_BLOCKS_DEFAULT,
        u32::try_from(preamble_bytes.len()).unwrap_or(u32::MAX),
        bundle.payload_bytes(),
    )?;
    let manifest = &bundle.preamble().manifest;
    let (app, label) = (manifest.app.clone(), manifest.label.clone());
    let plan = Plan { release: bundle.release(), app, label, interface, geometry };
    Ok((bundle, plan))
}

fn choose_interface(options: &SendOptions) -> Result<Interface, SendError> {
    Ok(match (&options.interface, options.source) {
        (Some(name), _) => find_interface(name)?,
        (None, Some(source)) => find_interface(&source.to_string())?,
        (None, None) => default_interface(Family::of(options.group.ip()))?,
    })
}

/// The largest symbol that fits the MTU with all framing, at most the default.
fn symbol_bytes(mtu: u32) -> u16 {
    let room = mtu.saturating_sub(limits::SYMBOL_FRAMING_BYTES as u32);
    let step = u32::from(limits::SYMBOL_BYTES_STEP);
    (room / step * step).clamp(step, limits::SYMBOL_BYTES_DEFAULT.into()) as u16
}

/// Sends the bundle and waits for what becomes of it.
///
/// # Errors
/// When nothing could be begun; everything that happens in the session is in the report.
pub fn send(
    options: &SendOptions,
    network: &dyn Network,
    interrupt: &StopFlag,
    observer: &mut dyn Observer,
) -> Result<Report, SendError> {
    let clock = common::clock::Clock::start();
    let (bundle, plan) = plan(options)?;
    let links = driver::Links::open(options, &plan, network)?;
    if let Some(line) = links.complaint() {
        observer.notice(&line);
    }
    let mut config = config(options, &bundle, &plan, links.feedback_addr());
    let seal = match &options.keys {
        Some(keys) => SenderSeal::new(Arc::clone(keys), config.session, &config.announce),
        None => SenderSeal::plain(config.session),
    };
    config.trailer_bytes = seal.trailer_bytes();
    let bundle = Arc::new(bundle);
    let (outcome, hosts, wire, refused) =
        driver::run(clock, config, seal, links, Arc::clone(&bundle), interrupt, observer)?;
    Ok(Report {
        release: plan.release,
        app: plan.app,
        label: plan.label,
        activation: options.activation,
        outcome,
        hosts,
        wire,
        refused,
        seconds: clock.now().since(common::time::Timestamp::ZERO).as_secs_f64(),
    })
}

fn config(options: &SendOptions, bundle: &BundleFile, plan: &Plan, feedback: SocketAddr) -> Config {
    // PROTOCOL 1.2: never zero.
    let session = SessionId(rand::random::<u32>().max(1));
    let table = &bundle.preamble().plan;
    let offsets = (0..table.len()).map(|frame| table.payload_offset(FrameIndex(frame)));
    let frame_offsets = offsets.chain([table.payload_bytes()]).collect();
    let (_, preamble) = bundle.preamble_bytes();
    let announce = announce(options, bundle, plan, preamble, session, feedback);
    Config {
        session,
        catch_up_group: catch_up_group(announce.data_group),
        announce,
        frame_offsets,
        expect: options.expect.clone(),
        quorum: options.quorum,
        join_window: options.join_window,
        timeout: options.timeout,
        verdict_wait: options.verdict_wait,
        rate: match options.rate {
            RateOption::Auto => RateRequest::Auto { link: plan.interface.speed },
            RateOption::Ceiling(rate) => RateRequest::Ceiling(rate),
            RateOption::Fixed(rate) => RateRequest::Fixed(rate),
        },
        trailer_bytes: 0,
    }
}

fn announce(
    options: &SendOptions,
    bundle: &BundleFile,
    plan: &Plan,
    preamble: PreambleLengths,
    session: SessionId,
    feedback: SocketAddr,
) -> Announce {
    let manifest = &bundle.preamble().manifest;
    Announce {
        version_min: VERSION,
        version_max: VERSION,
        release: plan.release,
        image: manifest.image.digest,
        app: plan.app.clone(),
        label: plan.label.clone(),
        kind: manifest.image.kind,
        image_bytes: manifest.image.bytes,
        geometry: plan.geometry,
        preamble,
        data_group: data_group(options.group, session),
        feedback,
        timers: SessionTimers {
            join_window: options.join_window,
            announce_interval: crate::session::ANNOUNCE_INTERVAL,
            grtt: limits::GRTT_MAX,
            backoff: limits::GRTT_MAX * 10,
            slot: crate::session::SLOT,
        },
        group_size: 1,
        activation: options.activation,
        stage: SenderStage::Joining,
        sender: sender_facts(),
        salt: rand::random(),
        sent_at_us: 0,
        insecure: options.keys.is_none(),
        force: options.force,
    }
}

/// A group of the session's own, on the port above the control group's.
///
/// IPv4: 239.192.128.0/17 by the session's number. IPv6: the control group's scope with the number
/// as group identifier. Two sessions on one group would still be told apart by their numbers.
fn data_group(control: SocketAddr, session: SessionId) -> SocketAddr {
    let port = control.port().checked_add(1).unwrap_or_else(|| control.port() - 1);
    let [a, b, c, d] = session.0.to_be_bytes();
    match control {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::new(239, 192, 128 | (c & 127), d), port)),
        SocketAddr::V6(control) => {
            let scope = control.ip().segments()[0];
            let low = [u16::from_be_bytes([a, b]) | 1, u16::from_be_bytes([c, d])];
            let group = Ipv6Addr::new(scope, 0, 0, 0, 0, 0x7070, low[0], low[1]);
            SocketAddr::from((group, port))
        }
    }
}

/// A group for the stragglers of the session whose data group is `data`: the same number in the
/// next range, 239.193.128.0/17 or group identifier 0x7071.
fn catch_up_group(data: SocketAddr) -> SocketAddr {
    let group = match data.ip() {
        IpAddr::V4(group) => Ipv4Addr::from_bits(group.to_bits() + (1 << 16)).into(),
        IpAddr::V6(group) => Ipv6Addr::from_bits(group.to_bits() + (1 << 32)).into(),
    };
    SocketAddr::new(group, data.port())
}

fn sender_facts() -> SenderFacts {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    let user = user.unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()));
    SenderFacts {
        host: cut(host, usize::from(common::wire::SENDER_HOST_BYTES_MAX)),
        user: cut(user, usize::from(common::wire::SENDER_USER_BYTES_MAX)),
        started: common::clock::unix_seconds(),
        instance: rand::random(),
    }
}

/// At most `max` bytes of `text`, cut between characters.
fn cut(mut text: String, max: usize) -> String {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_fit_the_mtu_and_are_whole_lanes() {
        for (mtu, bytes) in [(1500, 1408), (1450, 1344), (9000, 1408), (65536, 1408), (576, 448)] {
            assert_eq!(symbol_bytes(mtu), bytes, "MTU {mtu}");
        }
    }

    #[test]
    fn data_groups_are_multicast_and_never_the_control_group() {
        for control in ["239.192.70.70:7070", "[ff15::7070]:7070", "239.1.1.1:65535"] {
            let control: SocketAddr = control.parse().unwrap();
            for number in [0, 1, 0xffff_ffff, 0x4646_4646] {
                let group = data_group(control, SessionId(number));
                assert!(group.ip().is_multicast() && group.port() != control.port());
                let other = catch_up_group(group);
                assert!(other.ip().is_multicast() && other.ip() != group.ip(), "{other}");
            }
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(cut("müller".to_owned(), 2), "m");
        assert_eq!(cut("ab".to_owned(), 32), "ab");
    }
}
