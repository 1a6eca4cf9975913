//! The loop between session, sockets and workers; it decides nothing.
//!
//! One thread owns the sockets and the session, touches no disk and takes no lock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::bundle::{BundleError, BundleFile};
use common::clock::{Clock, unix_seconds};
use common::digest::SymbolDigest;
use common::geometry::Geometry;
use common::id::{BlockIndex, SessionId};
use common::limits::TRAIN_SYMBOLS_MAX;
use common::net::{Buffers, Family, Link, LinkOptions, Network, RecvBatch, StopFlag, Waker, wait};
use common::seal::{SenderSeal, Stream};
use common::time::Timestamp;
use common::wire::{Hashes, Kind, Message, SymbolHeader};
use std::os::fd::AsFd;

use super::meter::RateMeter;
use super::prepare::{Prepared, Preparers, Symbols};
use super::refusals::Refusals;
use super::{Observer, Plan, SendError, SendOptions};
use crate::session::{
    Config, Destination, HostReport, Outcome, Output, Phase, Session, WireReport,
};

/// How often the observer is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Outputs handled before the sockets are looked at again.
const DRAIN_BUDGET: usize = 64;
/// To receive, 10,000 answers of a sweep; to send, 8 ms at 1 Gbit/s: more would only hide from the
/// pacer that the interface is slower.
const BUFFERS: Buffers = Buffers { receive_bytes: 8 << 20, send_bytes: 1 << 20 };

/// The sender's sockets: the control group, and one of its own for all that it sends and gets.
pub struct Links {
    control: Box<dyn Link>,
    own: Box<dyn Link>,
    group: SocketAddr,
}

impl Links {
    /// Opens both on the plan's interface.
    ///
    /// # Errors
    /// Names the group or address and the interface.
    pub fn open(
        options: &SendOptions,
        plan: &Plan,
        network: &dyn Network,
    ) -> Result<Self, SendError> {
        let family = Family::of(options.group.ip());
        let name = if family == Family::V4 { "IPv4" } else { "IPv6" };
        let bind = match options.source {
            Some(source) => SocketAddr::new(source, options.feedback_port),
            None => {
                plan.interface.bind_address(family, options.feedback_port).ok_or_else(|| {
                    SendError::Address { interface: plan.interface.name.clone(), family: name }
                })?
            }
        };
        let link = LinkOptions {
            ttl: options.ttl,
            dscp: options.dscp,
            buffers: BUFFERS,
            ..LinkOptions::default()
        };
        let own = network.unicast(bind, &plan.interface, &link).map_err(SendError::Network)?;
        let control = network
            .join_group(options.group, &plan.interface, &link)
            .map_err(SendError::Network)?;
        Ok(Self { control, own, group: options.group })
    }

    /// The line about buffers that the kernel keeps too small.
    pub fn complaint(&self) -> Option<String> {
        self.own.buffers().complaint(&BUFFERS)
    }

    /// Where hosts send their feedback.
    pub fn feedback_addr(&self) -> SocketAddr {
        self.own.local_addr()
    }
}

struct Driver<'a> {
    clock: Clock,
    session: Session,
    id: SessionId,
    geometry: Geometry,
    seal: SenderSeal,
    data_group: SocketAddr,
    catch_up_group: SocketAddr,
    links: Links,
    preparers: Preparers,
    blocks: BTreeMap<BlockIndex, Symbols>,
    outbound: Vec<u8>,
    batch: RecvBatch,
    waker: Waker,
    interrupt: &'a StopFlag,
    is_interrupted: bool,
    has_complained: bool,
    observer: &'a mut dyn Observer,
    next_progress: Timestamp,
    meter: RateMeter,
    damage: Option<BundleError>,
    refused: Refusals,
}

/// Runs the session to its end.
///
/// # Errors
/// When the bundle turns out damaged, or the sockets do not work at the start.
pub fn run(
    clock: Clock,
    config: Config,
    seal: SenderSeal,
    links: Links,
    bundle: Arc<BundleFile>,
    interrupt: &StopFlag,
    observer: &mut dyn Observer,
) -> Result<(Outcome, Vec<HostReport>, WireReport, Refusals), SendError> {
    let geometry = config.announce.geometry;
    let waker = Waker::new().map_err(SendError::Resources)?;
    let preparers = Preparers::start(bundle, geometry, &waker)?;
    let mut driver = Driver {
        clock,
        id: config.session,
        geometry,
        seal,
        data_group: config.announce.data_group,
        catch_up_group: config.catch_up_group,
        session: Session::new(clock.now(), config),
        links,
        preparers,
        blocks: BTreeMap::new(),
        outbound: Vec::new(),
        batch: RecvBatch::new(),
        waker,
        interrupt,
        is_interrupted: false,
        has_complained: false,
        observer,
        next_progress: Timestamp::ZERO,
        meter: RateMeter::default(),
        damage: None,
        refused: Refusals::default(),
    };
    driver.run()?;
    let session = &driver.session;
    let outcome = session.outcome().cloned().expect("an ended session has an outcome");
    Ok((outcome, session.host_reports(), session.wire_report(), driver.refused))
}

impl Driver<'_> {
    fn run(&mut self) -> Result<(), SendError> {
        loop {
            // 1. What the session wants, a bounded number of times.
            let deadline = self.drain()?;
            if self.session.phase() == Phase::Ended {
                return self.finish();
            }
            // 2. What came in: feedback, other senders, prepared blocks, the operator.
            let has_input = self.take_feedback()? | self.take_control()? | self.take_prepared();
            self.take_interrupt();
            // 3. Time.
            let now = self.clock.now();
            self.tell(now);
            match deadline {
                Some(at) if at <= now => self.session.handle_timeout(now),
                Some(at) if !has_input => self.sleep(at.min(self.next_progress).since(now))?,
                _ => {}
            }
        }
    }

    /// `None` when the budget was spent before the session was idle.
    fn drain(&mut self) -> Result<Option<Timestamp>, SendError> {
        for _ in 0..DRAIN_BUDGET {
            let now = self.clock.now();
            match self.session.poll_output(now) {
                Output::Train(to) => self.send_train(to)?,
                Output::Message(to, seq, message) => self.send_message(to, seq, &message)?,
                Output::Answer(to, host, nonce, message) => {
                    self.outbound.clear();
                    let (wall, out) = (unix_seconds(), &mut self.outbound);
                    self.seal.close_answer(&host, nonce, wall, &message, out);
                    self.send_outbound(to)?;
                }
                Output::Hashes(to, seq, block, part) => {
                    let hashes = Message::Hashes(self.hashes(block, part));
                    self.send_message(to, seq, &hashes)?;
                }
                Output::Prepare(block) => self.preparers.ask(block),
                Output::Release(block) => {
                    if let Some(symbols) = self.blocks.remove(&block) {
                        self.preparers.recycle(symbols);
                    }
                }
                Output::Notice(line) => self.observer.notice(&line),
                Output::Ended => return Ok(Some(now)),
                Output::Idle(deadline) => {
                    return Ok(Some(deadline.map_or(Timestamp::NEVER, |deadline| deadline.at)));
                }
            }
        }
        Ok(None)
    }

    fn address(&self, destination: Destination) -> SocketAddr {
        match destination {
            Destination::Control => self.links.group,
            Destination::Data => self.data_group,
            Destination::CatchUp => self.catch_up_group,
            Destination::Host(address) => address,
        }
    }

    /// Puts the bytes behind the headers of the session's train and sends it in one call.
    fn send_train(&mut self, to: Destination) -> Result<(), SendError> {
        let symbol_bytes = usize::from(self.geometry.symbol_bytes());
        let datagram_bytes = SymbolHeader::WIRE_BYTES + symbol_bytes + self.seal.trailer_bytes();
        let (to, stream) = (self.address(to), stream(to));
        let mut out = std::mem::take(&mut self.outbound);
        out.resize(TRAIN_SYMBOLS_MAX.max(self.session.train().len()) * datagram_bytes, 0);
        let mut used = 0;
        for header in self.session.train() {
            let Some(symbols) = self.blocks.get(&header.block) else {
                unreachable!("the session sends prepared blocks only, and {} is not", header.block)
            };
            let k = self.geometry.source_symbols_of(header.block);
            let symbol = self.geometry.symbol_of(k, header.transmission);
            let kind = if symbol.0 < k { Kind::Source } else { Kind::Repair };
            let datagram = &mut out[used..used + datagram_bytes];
            let (head, rest) = datagram
                .split_first_chunk_mut::<{ SymbolHeader::WIRE_BYTES }>()
                .expect("a datagram begins with its header");
            header.emit(kind, head);
            let from = usize::from(symbol.0) * symbol_bytes;
            rest[..symbol_bytes].copy_from_slice(&symbols[from..][..symbol_bytes]);
            self.seal.close_symbol(stream, header.seq, datagram)?;
            used += datagram_bytes;
        }
        let sent = self.links.own.send(to, &out[..used], datagram_bytes);
        self.outbound = out;
        self.session.note_sent(used as u64);
        self.judge_send(sent)
    }

    /// One part of the digests of a prepared block: 0.08 ms for 64 symbols.
    fn hashes(&self, block: BlockIndex, part: u16) -> Hashes {
        let symbol_bytes = usize::from(self.geometry.symbol_bytes());
        let Some(symbols) = self.blocks.get(&block) else {
            unreachable!("the session proves prepared blocks only, and {block} is not")
        };
        let place = self.geometry.part_symbols(block, part);
        let bytes = usize::from(place.start) * symbol_bytes..usize::from(place.end) * symbol_bytes;
        let digests = symbols[bytes].chunks_exact(symbol_bytes).map(SymbolDigest::of).collect();
        Hashes { block, part, digests }
    }

    fn send_message(
        &mut self,
        to: Destination,
        seq: u32,
        message: &Message,
    ) -> Result<(), SendError> {
        self.outbound.clear();
        let (wall, out) = (unix_seconds(), &mut self.outbound);
        if to == Destination::Control {
            self.seal.close_announce(wall, message, out);
        } else {
            self.seal.close_message(stream(to), seq, wall, message, out)?;
        }
        self.send_outbound(self.address(to))
    }

    fn send_outbound(&mut self, to: SocketAddr) -> Result<(), SendError> {
        let sent = self.links.own.send(to, &self.outbound, self.outbound.len());
        self.session.note_sent(self.outbound.len() as u64);
        self.judge_send(sent)
    }

    /// A network that refuses at the start ends the command; later the session's own patience does.
    fn judge_send(&mut self, sent: std::io::Result<()>) -> Result<(), SendError> {
        let Err(error) = sent else { return Ok(()) };
        if self.session.phase() <= Phase::Joining {
            return Err(SendError::Network(error));
        }
        if !self.has_complained {
            self.has_complained = true;
            self.observer.notice(&format!("sending fails: {error}"));
        }
        Ok(())
    }

    fn take_feedback(&mut self) -> Result<bool, SendError> {
        let count = self.links.own.recv(&mut self.batch).map_err(SendError::Network)?;
        let now = self.clock.now();
        for (from, datagram) in self.batch.iter() {
            // What does not open or belongs to another session is noise.
            let session = &self.session;
            match self.seal.open_feedback(datagram, |slot| session.name_in(slot)) {
                Ok((header, message)) if header.session == self.id => {
                    self.session.handle_feedback(now, from, &message);
                }
                // A host that has not noticed yet that another session has begun.
                Ok(_) => {}
                Err(error) => {
                    let told = self.refused.note(from.ip(), error.into());
                    told.iter().for_each(|line| self.observer.notice(line));
                }
            }
        }
        Ok(count > 0)
    }

    fn take_control(&mut self) -> Result<bool, SendError> {
        let count = self.links.control.recv(&mut self.batch).map_err(SendError::Network)?;
        let now = self.clock.now();
        for (from, datagram) in self.batch.iter() {
            match self.seal.open_foreign(now, unix_seconds(), from.ip(), datagram) {
                Ok(announce) => self.session.handle_foreign(now, &announce),
                Err(error) => {
                    let told = self.refused.note(from.ip(), error.into());
                    told.iter().for_each(|line| self.observer.notice(line));
                }
            }
        }
        Ok(count > 0)
    }

    fn take_prepared(&mut self) -> bool {
        let mut has_any = false;
        while let Some(prepared) = self.preparers.take() {
            has_any = true;
            match prepared {
                Prepared::Block(block, symbols) => {
                    self.blocks.insert(block, symbols);
                    self.session.handle_prepared(block);
                }
                Prepared::Failed(error) => {
                    self.damage.get_or_insert(error);
                    self.session.handle_interrupt(self.clock.now());
                }
            }
        }
        has_any
    }

    fn take_interrupt(&mut self) {
        if self.interrupt.is_raised() && !self.is_interrupted {
            self.is_interrupted = true;
            self.session.handle_interrupt(self.clock.now());
        }
    }

    fn tell(&mut self, now: Timestamp) {
        if now >= self.next_progress {
            self.next_progress = now + PROGRESS_INTERVAL;
            self.report_progress(now);
        }
    }

    fn report_progress(&mut self, now: Timestamp) {
        let mut progress = self.session.progress();
        progress.rate = self.meter.look(now, progress.bytes);
        self.observer.progress(self.session.elapsed(now), &progress);
    }

    fn sleep(&mut self, time: Duration) -> Result<(), SendError> {
        let fds = [
            self.links.own.as_fd(),
            self.links.control.as_fd(),
            self.waker.as_fd(),
            self.interrupt.as_fd(),
        ];
        wait(&fds, Some(time)).map_err(SendError::Network)?;
        self.waker.drain();
        self.interrupt.drain();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SendError> {
        let now = self.clock.now();
        self.report_progress(now);
        self.damage.take().map_or(Ok(()), |damage| Err(SendError::Bundle(damage)))
    }
}

/// The stream that serves a destination in the session.
fn stream(to: Destination) -> Stream {
    match to {
        Destination::Control | Destination::Data => Stream::Data,
        Destination::CatchUp => Stream::CatchUp,
        Destination::Host(_) => Stream::Alone,
    }
}
