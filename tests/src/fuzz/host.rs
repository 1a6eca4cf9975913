//! A host's session that is told anything by its sender, in any order.
//!
//! The model beside it keeps what the driver would keep: symbols under assembly, blocks handed on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use common::digest::SymbolDigest;
use common::geometry::{Geometry, Space};
use common::id::{BlockIndex, BootNonce, FrameIndex, ImageKind, SessionId, SymbolId};
use common::time::Timestamp;
use common::units::Bitrate;
use common::wire::{
    Announce, Fault, Hashes, HostPhase, Kind, KindSet, Message, SymbolHeader, Trial, TrialVerdict,
    peek_kind,
};
use receiver::session::{
    Ending, Facts, Kept, OrderKind, Output, Session, StoreEvent, Verdict, Via,
};

use super::datagram::{assert_speakable, shaped};
use super::input::Input;
use crate::sim;

const SESSION: SessionId = SessionId(0xfa4e);
const NONCE: BootNonce = BootNonce(7);
/// Blocks of sessions that are tried: more only take longer.
const BLOCKS_MAX: u32 = 2000;
/// Things that a session may want in a row.
const OUTPUTS_MAX: usize = 10_000;
/// Times that a session may wake before it notices that nobody is there.
const WAKES_MAX: usize = 2000;

/// Nothing panics, what is sent is a datagram, memory is accounted for to the last symbol, and a
/// session that hears nothing any more ends.
pub fn host(data: &[u8]) {
    let mut input = Input::new(data);
    let Some(mut host) = Host::meet(&mut input) else { return };
    while !input.is_empty() && host.ending.is_none() {
        host.step(&mut input);
        host.drain();
        host.check();
    }
    host.end();
}

/// What the store's side has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    Preparing,
    Prepared,
    Durable,
    Staged,
}

struct Host {
    now: Timestamp,
    session: Session,
    geometry: Geometry,
    facts: Facts,
    slots: usize,
    assemblies: BTreeMap<BlockIndex, BTreeSet<SymbolId>>,
    handed_on: VecDeque<(BlockIndex, BTreeSet<SymbolId>)>,
    store: Store,
    has_spoiled: bool,
    is_switching: bool,
    deadline: Option<Timestamp>,
    ending: Option<Ending>,
    seen: HostPhase,
}

impl Host {
    fn meet(input: &mut Input<'_>) -> Option<Self> {
        let now = Timestamp::from_micros(1_000_000);
        let announce = announce(input)?;
        let holds = input.u8();
        let holds_release = holds & 3 == 3;
        let slots = 1 + usize::from(input.below(8));
        let facts = Facts {
            host: "web1".parse().expect("a name"),
            machine: 1,
            nonce: NONCE,
            link: Some(Bitrate::from_megabits(1000)),
            free_bytes: 1 << 40,
            clock_us: 0,
            kinds: ImageKind::ALL.into_iter().collect::<KindSet>(),
            holds_release,
            holds_image: holds & 3 == 2,
            holds_partial: holds & 3 == 1,
            block_slots: slots,
        };
        let seed = u64::from(input.u8());
        let session = Session::new(now, SESSION, &announce, facts.clone(), seed);
        let store = if holds_release { Store::Durable } else { Store::Preparing };
        let seen = session.phase();
        let mut host = Self {
            now,
            geometry: announce.geometry,
            session,
            facts,
            slots,
            assemblies: BTreeMap::new(),
            handed_on: VecDeque::new(),
            store,
            has_spoiled: false,
            is_switching: false,
            deadline: None,
            ending: None,
            seen,
        };
        host.drain();
        Some(host)
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(10) {
            0 => self.pass(u64::from(input.u16())),
            1 => self.pass(1000 * u64::from(input.u16())),
            2 => {
                let via = via(input);
                let datagram = input.part();
                self.take(via, datagram);
            }
            3 => self.take_symbols(input),
            4 | 5 => {
                let (kind, via, seq) = (input.pick(Kind::ALL), via(input), input.u8());
                let datagram = shaped(kind, SESSION, seq.into(), &[input.part()]);
                self.take(via, &datagram);
            }
            6 => self.take_to_own(input),
            7 => self.finish_block(input),
            8 => self.advance_store(input),
            _ => match input.below(4) {
                0 => {
                    self.slots = 1 + usize::from(input.below(8));
                    self.session.set_block_slots(self.slots);
                }
                1 => self.session.handle_shutdown(self.now),
                2 => self.session.handle_conflict(self.now),
                _ => {
                    let fault = Fault::DiskFull;
                    let event = StoreEvent::Failed { fault, detail: "disk full".to_owned() };
                    self.session.handle_store(self.now, event);
                }
            },
        }
    }

    fn pass(&mut self, micros: u64) {
        self.now += Duration::from_micros(micros);
        if self.deadline.is_some_and(|at| at <= self.now) {
            self.session.handle_timeout(self.now);
        }
    }

    /// As the daemon takes what came by the groups.
    fn take(&mut self, via: Via, datagram: &[u8]) {
        if peek_kind(datagram).is_some_and(Kind::is_symbol) {
            if let Ok((header, symbol)) = SymbolHeader::parse(datagram)
                && header.session == SESSION
                && symbol.len() == usize::from(self.geometry.symbol_bytes())
            {
                self.judge(via, &[header]);
            }
            return;
        }
        let Ok((header, message)) = Message::parse(datagram) else { return };
        if header.session != SESSION {
            return;
        }
        let (now, seq, session) = (self.now, header.seq, &mut self.session);
        let mut obey = |kind, order| session.handle_order(now, via, seq, kind, order);
        match &message {
            Message::Announce(announce) => session.handle_announce(now, announce),
            Message::Activate(order) => obey(OrderKind::Activate, order),
            Message::Cancel(order) => obey(OrderKind::Cancel, order),
            Message::Stop(order) => obey(OrderKind::Stop, order),
            Message::JoinAck(ack) => session.handle_join_ack(now, ack),
            Message::CatchUp(catch_up) => session.handle_catch_up(now, catch_up),
            Message::Poll(poll) => session.handle_poll(now, via, seq, poll),
            Message::Advertise(advertise) => session.handle_advertise(now, via, seq, advertise),
            Message::Hashes(hashes) => self.take_hashes(via, seq, hashes),
            _ => {}
        }
    }

    /// Digests: of what is kept, the symbols with an odd one are false.
    fn take_hashes(&mut self, via: Via, seq: u32, hashes: &Hashes) {
        let (block, part) = (hashes.block, hashes.part);
        if !self.geometry.has_block(block) {
            return;
        }
        let symbols = self.geometry.part_symbols(block, part);
        if symbols.is_empty() || symbols.len() != hashes.digests.len() {
            return;
        }
        if !self.session.handle_hashes(self.now, via, seq, block, part) {
            return;
        }
        let is_odd = |digest: &SymbolDigest| digest.as_bytes()[0] & 1 == 1;
        let judged = symbols.map(SymbolId).zip(&hashes.digests);
        let mut false_symbols: Vec<_> =
            judged.filter(|(_, digest)| is_odd(digest)).map(|(symbol, _)| symbol).collect();
        match self.assemblies.get_mut(&block) {
            Some(kept) => false_symbols.retain(|symbol| kept.remove(symbol)),
            None => false_symbols.clear(),
        }
        self.session.handle_proof(self.now, block, part, &false_symbols);
    }

    /// A message that begins with this host's number and slot, as those to it alone do.
    fn take_to_own(&mut self, input: &mut Input<'_>) {
        let kind = input.pick(&[Kind::JoinAck, Kind::CatchUp]);
        let nonce = NONCE.0.to_be_bytes();
        let datagram = shaped(kind, SESSION, 0, &[&nonce, input.part()]);
        self.take(Via::Own, &datagram);
    }

    fn take_symbols(&mut self, input: &mut Input<'_>) {
        let (via, count, seq) = (via(input), 1 + input.below(20), input.u16());
        let (first, block, step) = (u32::from(input.u8()), input.u8(), input.below(3));
        let announced = u32::from(input.u16());
        let headers: Vec<_> = (0..u32::from(count))
            .map(|index| SymbolHeader {
                session: SESSION,
                seq: u32::from(seq) + index,
                key_epoch: 0,
                flags: 0,
                block: BlockIndex(u32::from(block) + index * u32::from(step) / 2),
                transmission: first + index,
                announced,
            })
            .collect();
        self.judge(via, &headers);
    }

    /// Has symbols judged, and does with them what the driver would.
    fn judge(&mut self, via: Via, headers: &[SymbolHeader]) {
        let mut verdicts = Vec::new();
        self.session.handle_symbols(self.now, via, headers, &mut verdicts);
        assert_eq!(verdicts.len(), headers.len(), "one verdict for each symbol");
        for (verdict, header) in verdicts.into_iter().zip(headers) {
            match verdict {
                Verdict::Drop(_) => {}
                Verdict::Keep { block, symbol } => self.keep(header, block, symbol),
                Verdict::KeepInsteadOf { block, symbol, evicted } => {
                    assert!(self.assemblies.remove(&evicted).is_some(), "{evicted} held something");
                    self.keep(header, block, symbol);
                }
                Verdict::KeepAndDecode { block, symbol, evicted } => {
                    if let Some(evicted) = evicted {
                        let held = self.assemblies.remove(&evicted);
                        assert!(held.is_some(), "{evicted} held something");
                    }
                    self.keep(header, block, symbol);
                    self.hand_on(block);
                }
            }
        }
    }

    fn keep(&mut self, header: &SymbolHeader, block: BlockIndex, symbol: SymbolId) {
        let k = self.geometry.source_symbols_of(block);
        assert_eq!(
            (block, symbol),
            (header.block, self.geometry.symbol_of(k, header.transmission))
        );
        let is_new = self.assemblies.entry(block).or_default().insert(symbol);
        assert!(is_new, "symbol {symbol:?} of {block} is kept once");
    }

    fn hand_on(&mut self, block: BlockIndex) {
        let symbols = self.assemblies.remove(&block).expect("what is handed on was kept");
        let k = usize::from(self.geometry.source_symbols_of(block));
        let is_enough =
            if self.session.needs_proof() { symbols.len() >= k } else { symbols.len() == k };
        assert!(is_enough, "{block} is handed on with {} of {k} symbols", symbols.len());
        self.handed_on.push_back((block, symbols));
    }

    /// The worker is done with a block: it was right, its bytes went elsewhere, or they were wrong.
    fn finish_block(&mut self, input: &mut Input<'_>) {
        let Some((block, symbols)) = self.handed_on.pop_front() else { return };
        let event = match input.below(3) {
            0 => StoreEvent::Spoiled(block),
            1 => StoreEvent::Consumed(block),
            _ => {
                let kept = symbols.iter().copied().collect();
                self.assemblies.insert(block, symbols);
                StoreEvent::Suspect { block, symbols: kept }
            }
        };
        self.session.handle_store(self.now, event);
    }

    /// The installer has come one step further, where it can have.
    fn advance_store(&mut self, input: &mut Input<'_>) {
        let is_whole = |space| {
            let mut blocks = self.geometry.space_blocks(space).map(BlockIndex);
            blocks.all(|block| self.session.blocks().is_done(block))
        };
        let event = match self.store {
            Store::Preparing if is_whole(Space::Preamble) => {
                self.store = Store::Prepared;
                self.prepared(input)
            }
            Store::Prepared if self.facts.holds_image && !self.has_spoiled && input.flag() => {
                self.has_spoiled = true;
                self.store = Store::Preparing;
                StoreEvent::ImageSpoiled
            }
            Store::Prepared if self.session.blocks().are_all_done() => {
                self.store = Store::Durable;
                StoreEvent::ImageDurable
            }
            Store::Durable => {
                self.store = Store::Staged;
                StoreEvent::Staged
            }
            Store::Staged if self.is_switching => {
                self.is_switching = false;
                StoreEvent::Switched
            }
            Store::Staged if self.seen == HostPhase::Active => {
                let verdict = input.pick(TrialVerdict::ALL);
                let trial = Trial { verdict, left: Duration::ZERO, results: Vec::new() };
                StoreEvent::Trial { trial, detail: "asked".to_owned() }
            }
            _ => return,
        };
        self.session.handle_store(self.now, event);
    }

    fn prepared(&self, input: &mut Input<'_>) -> StoreEvent {
        if !self.facts.holds_partial {
            return StoreEvent::Prepared { held: Vec::new(), held_blocks: Vec::new() };
        }
        let bits = input.u32();
        let payload = self.geometry.space_blocks(Space::Payload).map(BlockIndex);
        let is_held = |block: &BlockIndex| bits >> (block.0 % 32) & 1 == 1;
        // Of what is on its way to the disk already, nothing is held from before.
        let is_idle = |block: &BlockIndex| self.handed_on.iter().all(|(other, _)| other != block);
        let held_blocks = payload.filter(is_held).filter(is_idle).collect();
        let runs = u32::from(input.u8());
        let held = (0..runs).map(|run| (FrameIndex(3 * run), 2)).collect();
        StoreEvent::Prepared { held, held_blocks }
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            match self.session.poll_output() {
                Output::Send(message) => {
                    assert!(message.kind().is_feedback());
                    assert_speakable(&message);
                }
                Output::Listen(group) => assert!(group.ip().is_multicast(), "{group}"),
                Output::Kept(Kept::Discard(block)) => drop(self.assemblies.remove(&block)),
                Output::Kept(Kept::HandOn(block)) => self.hand_on(block),
                Output::Kept(Kept::ForgetDigests(_)) => {}
                Output::Switch => {
                    assert_eq!(self.store, Store::Staged, "what is not staged is not switched to");
                    self.is_switching = true;
                }
                Output::Rejoin => {}
                Output::Ended(ending) => {
                    self.ending = Some(ending);
                    return;
                }
                Output::Idle(deadline) => {
                    self.deadline = deadline.map(|deadline| deadline.at);
                    return;
                }
            }
        }
        panic!("the session wants {OUTPUTS_MAX} things in a row");
    }

    fn check(&mut self) {
        let blocks = self.session.blocks();
        blocks.assert_consistent();
        let phase = self.session.phase();
        if phase < HostPhase::Verifying {
            assert_eq!(self.handed_on.len(), blocks.handed_on(), "handed-on blocks");
            let kept = self.assemblies.len();
            assert!(
                kept == 0 || kept + self.handed_on.len() <= self.slots,
                "{kept} assemblies and {} blocks on their way in {} slots",
                self.handed_on.len(),
                self.slots
            );
        }
        let is_again = (self.seen, phase) == (HostPhase::Verifying, HostPhase::Receiving);
        assert!(phase >= self.seen || is_again, "{:?} after {:?}", phase, self.seen);
        let is_complete = blocks.are_all_done();
        assert!(is_complete || !(HostPhase::Staging..HostPhase::Failed).contains(&phase));
        self.seen = phase;
    }

    /// Silence: the session gives up by itself.
    fn end(&mut self) {
        for _ in 0..WAKES_MAX {
            if self.ending.is_some() {
                return;
            }
            let at = self.deadline.expect("a session waits for its sender only so long");
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        panic!("the session wakes {WAKES_MAX} times though nobody speaks");
    }
}

/// The announce that the host meets: as a stranger may make it, or one of a small session.
fn announce(input: &mut Input<'_>) -> Option<Announce> {
    if input.flag() {
        let datagram = shaped(Kind::Announce, SESSION, 0, &[input.part()]);
        let Ok((_, Message::Announce(announce))) = Message::parse(&datagram) else { return None };
        return (announce.geometry.block_count() <= BLOCKS_MAX).then_some(*announce);
    }
    Some(small_announce(input))
}

/// The announce of a session of a few blocks of a few symbols.
pub(super) fn small_announce(input: &mut Input<'_>) -> Announce {
    let mut announce = sim::announce(&sim::Setup::new(0));
    let (k, r, width) = (1 + input.below(8), 1 + input.below(8), 1 + input.below(4));
    let (preamble, payload) = (1 + u32::from(input.u8()), 64 * u64::from(input.u8()));
    let geometry = Geometry::new(64, k.into(), r.into(), width.into(), preamble, payload);
    announce.geometry = geometry.expect("a geometry within the limits");
    announce.preamble.manifest = preamble;
    announce.image_bytes = payload;
    announce.activation = input.pick(common::wire::Activation::ALL);
    announce
}

fn via(input: &mut Input<'_>) -> Via {
    input.pick(&[Via::Data, Via::CatchUp, Via::Own])
}
