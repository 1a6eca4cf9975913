//! A sender's session that hosts, and who claims to be one, tell anything, in any order.
//!
//! The model beside it keeps what the driver would keep: the blocks that are asked for and those
//! that are at hand.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use common::geometry::Geometry;
use common::id::{BlockIndex, BootNonce, HostName, SessionId};
use common::limits::ROSTER_HOSTS_MAX;
use common::time::Timestamp;
use common::units::Bitrate;
use common::wire::{CHECKSUM_BYTES, Join, Kind, KindSet, Message, VERSION};
use sender::session::{
    Config, Expect, Output, PREPARED_BLOCKS_MAX, Phase, Quorum, RateRequest, Session,
};

use super::datagram::{assert_speakable, shaped};
use super::host::small_announce;
use super::input::Input;

const SESSION: SessionId = SessionId(0xfa4e);
/// Things that a session may want in a row, without time passing.
const OUTPUTS_MAX: usize = 100_000;
/// Times that a session may wake until it has given up everybody.
const WAKES_MAX: usize = 200_000;
/// When it has, at the latest: whoever is silent is lost after seconds, and verdicts are waited for
/// no longer than was asked.
const END_AFTER: Duration = Duration::from_secs(600);
/// What hosts alone say, and what begins with slot and nonce of the host.
const FROM_SLOT: [Kind; 6] =
    [Kind::Have, Kind::Need, Kind::Status, Kind::Rate, Kind::Activated, Kind::Doubt];

/// Nothing panics, what is sent is a datagram of a block that is at hand, memory is bounded, what
/// the operator reads is text, and a session whose hosts fall silent ends.
pub fn sender(data: &[u8]) {
    let mut input = Input::new(data);
    let mut sender = Sender::new(&mut input);
    while !input.is_empty() && !sender.has_ended {
        sender.step(&mut input);
        sender.drain();
    }
    sender.end();
    sender.report();
}

struct Sender {
    now: Timestamp,
    session: Session,
    geometry: Geometry,
    asked: VecDeque<BlockIndex>,
    at_hand: BTreeSet<BlockIndex>,
    deadline: Option<Timestamp>,
    has_ended: bool,
}

impl Sender {
    fn new(input: &mut Input<'_>) -> Self {
        let now = Timestamp::from_micros(1_000_000);
        let announce = small_announce(input);
        let geometry = announce.geometry;
        let payload = geometry.payload_bytes();
        let config = Config {
            session: SESSION,
            frame_offsets: (0..=payload / 64).map(|frame| 64 * frame).collect(),
            catch_up_group: SocketAddr::from(([239, 193, 70, 71], 7071)),
            announce,
            expect: expect(input),
            quorum: input.pick(&[Quorum::All, Quorum::Count(1), Quorum::Percent(50)]),
            join_window: Duration::from_millis(10 * u64::from(input.u8())),
            timeout: input.flag().then_some(Duration::from_secs(30)),
            verdict_wait: Duration::from_secs(input.below(60).into()),
            rate: input.pick(&[
                RateRequest::Auto { link: None },
                RateRequest::Fixed(Bitrate::from_megabits(10)),
                RateRequest::Ceiling(Bitrate::from_megabits(100)),
            ]),
            trailer_bytes: CHECKSUM_BYTES,
        };
        let session = Session::new(now, config);
        let (asked, at_hand) = (VecDeque::new(), BTreeSet::new());
        let (deadline, has_ended) = (None, false);
        let mut sender = Self { now, session, geometry, asked, at_hand, deadline, has_ended };
        sender.drain();
        sender
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(12) {
            0 => self.pass(u64::from(input.u8())),
            1 => self.pass(u64::from(input.u16())),
            2 => self.pass(10_000 * u64::from(input.u8())),
            3 => {
                let from = address(input);
                self.take(from, input.part());
            }
            4 | 5 => {
                let (from, name) = (address(input), input.below(6));
                let join = Message::Join(self.join(name, u64::from(input.below(4)), input));
                self.session.handle_feedback(self.now, from, &join);
            }
            6..=8 => {
                let (from, kind) = (address(input), input.pick(&FROM_SLOT));
                let (slot, nonce) = (u32::from(input.below(6)), u64::from(input.below(4)));
                let body = [&slot.to_be_bytes()[..], &nonce.to_be_bytes(), input.part()];
                self.take(from, &shaped(kind, SESSION, 0, &body));
            }
            9 => {
                let (from, kind) = (address(input), input.pick(Kind::ALL));
                self.take(from, &shaped(kind, SESSION, 0, &[input.part()]));
            }
            10 => self.prepare(),
            _ if input.below(16) == 0 => self.session.handle_interrupt(self.now),
            _ => self.prepare_all(),
        }
    }

    fn pass(&mut self, micros: u64) {
        self.now += Duration::from_micros(micros);
        if self.deadline.is_some_and(|at| at <= self.now) {
            self.session.handle_timeout(self.now);
        }
    }

    /// As the driver takes what came to it and by the control group.
    fn take(&mut self, from: SocketAddr, datagram: &[u8]) {
        match Message::parse(datagram) {
            Ok((_, Message::Announce(announce))) => {
                self.session.handle_foreign(self.now, &announce);
            }
            Ok((header, message)) if header.session == SESSION => {
                self.session.handle_feedback(self.now, from, &message);
            }
            _ => {}
        }
    }

    fn join(&self, name: u8, nonce: u64, input: &mut Input<'_>) -> Join {
        let holds = input.u8();
        Join {
            host: host_name(name),
            version_min: VERSION,
            version_max: VERSION,
            machine: (holds >> 4).into(),
            nonce: BootNonce(nonce),
            link: Some(Bitrate::from_megabits(1 + u64::from(input.u8()))),
            free_bytes: 1 << 40,
            clock_us: 0,
            kinds: KindSet::default(),
            holds_release: holds & 3 == 3,
            holds_image: holds & 3 == 2,
            holds_partial: holds & 3 == 1,
            echo_us: 0,
            held: Duration::ZERO,
        }
    }

    fn prepare(&mut self) {
        if let Some(block) = self.asked.pop_front() {
            assert!(self.at_hand.insert(block), "{block} is asked for once");
            self.session.handle_prepared(block);
        }
    }

    fn prepare_all(&mut self) {
        while !self.asked.is_empty() {
            self.prepare();
        }
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            match self.session.poll_output(self.now) {
                Output::Train(_) => self.check_train(),
                Output::Message(_, _, message) | Output::Answer(_, _, _, message) => {
                    assert!(!message.kind().is_feedback() && !message.kind().is_symbol());
                    assert_speakable(&message);
                }
                Output::Hashes(_, _, block, part) => {
                    assert!(self.at_hand.contains(&block), "{block} is proven and not at hand");
                    let symbols = self.geometry.part_symbols(block, part);
                    assert!(!symbols.is_empty(), "{block} has no part {part}");
                }
                Output::Prepare(block) => {
                    let is_new = !self.at_hand.contains(&block) && !self.asked.contains(&block);
                    assert!(is_new, "{block} is asked for once");
                    self.asked.push_back(block);
                    let held = self.asked.len() + self.at_hand.len();
                    assert!(held <= PREPARED_BLOCKS_MAX, "{held} blocks in memory");
                }
                Output::Release(block) => {
                    self.at_hand.remove(&block);
                }
                Output::Notice(line) => assert_line(&line),
                Output::Ended => {
                    self.has_ended = true;
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

    fn check_train(&self) {
        assert!(!self.session.train().is_empty(), "a train has symbols");
        for header in self.session.train() {
            let block = header.block;
            assert!(self.at_hand.contains(&block), "{block} is sent and not at hand");
            let is_announced = header.transmission < header.announced;
            assert!(is_announced, "{block}: {} of {}", header.transmission, header.announced);
        }
    }

    /// Silence: whoever was there is lost, and the session comes to its end.
    fn end(&mut self) {
        let until = self.now + END_AFTER;
        for _ in 0..WAKES_MAX {
            if self.has_ended {
                return;
            }
            self.prepare_all();
            self.drain();
            if self.has_ended {
                return;
            }
            let at = self.deadline.expect("a session always waits for something");
            self.now = self.now.max(at);
            assert!(self.now < until, "in {:?} still {:?}", END_AFTER, self.session.phase());
            self.session.handle_timeout(self.now);
            self.drain();
        }
        panic!("the session wakes {WAKES_MAX} times though nobody speaks");
    }

    fn report(&self) {
        assert_eq!(self.session.phase(), Phase::Ended);
        assert!(self.session.outcome().is_some(), "it ended somehow");
        let progress = self.session.progress();
        assert!(progress.joined <= ROSTER_HOSTS_MAX);
        for share in [progress.sent, progress.slowest, progress.median] {
            assert!((0.0..=1.0).contains(&share), "{share} is no share");
        }
        for report in self.session.host_reports() {
            assert_line(&report.host);
            assert_line(&report.reason);
            assert_line(&report.straggler);
            assert!(report.seconds.is_finite());
        }
        let _ = self.session.wire_report();
    }
}

/// What is shown on a terminal has nothing that a terminal would obey.
fn assert_line(line: &str) {
    assert!(!line.chars().any(char::is_control), "{line:?}");
}

fn expect(input: &mut Input<'_>) -> Expect {
    match input.below(3) {
        0 => Expect::Any,
        1 => Expect::Count((1 + input.below(6)).into()),
        _ => Expect::Names((0..=input.below(6)).map(host_name).collect()),
    }
}

fn host_name(number: u8) -> HostName {
    format!("web{number}").parse().expect("a name")
}

fn address(input: &mut Input<'_>) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, 1 + input.below(8)], 7000))
}
