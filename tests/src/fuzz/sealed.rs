//! Both sides of a sealed session, and who has none of their keys between them.
//!
//! The datagrams are real ones, closed by one side; what the fuzzer gives is what they say, and
//! what is done to them on the way: bits changed, ends cut, repeated, or other bytes in their
//! place.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use common::id::{BootNonce, HostName, SessionId};
use common::keys::{KEY_BYTES, KeyId, Keyring, Role, SecretKey, SymmetricKey};
use common::seal::{HostKeys, HostSeal, MemberSeal, SenderKeys, SenderSeal, Stream, TAG_BYTES};
use common::time::Timestamp;
use common::wire::{Announce, Kind, Message, SymbolHeader};

use super::datagram::shaped;
use super::input::Input;
use crate::sim;

const SESSION: SessionId = SessionId(0xfa4e);
const NONCE: BootNonce = BootNonce(7);
const WALL: u64 = 1_800_000_000;
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
const STREAMS: [Stream; 3] = [Stream::Data, Stream::CatchUp, Stream::Alone];
/// Datagrams of an input: each costs up to two signatures.
const STEPS_MAX: usize = 40;

/// What stands on both machines.
struct Site {
    sender: Arc<SenderKeys>,
    host: Arc<HostKeys>,
    name: HostName,
}

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let key =
        |role, number| SymmetricKey::new(role, KeyId([number; 8]), [number; KEY_BYTES].into());
    let operator = || SecretKey::from_seed(KeyId([3; 8]), &[3; 32]);
    let ring = || Keyring::new([*operator().public()]).expect("one key");
    let name: HostName = "web1".parse().expect("a name");
    let sender = SenderKeys {
        group: key(Role::Group, 1),
        master: key(Role::Master, 2),
        operator: operator(),
        operators: ring(),
    };
    let host = HostKeys {
        groups: vec![key(Role::Group, 9), key(Role::Group, 1)],
        operators: ring(),
        host: key(Role::Master, 2).host_key(&name),
    };
    Site { sender: Arc::new(sender), host: Arc::new(host), name }
});

/// What one side closed, the other opens, as it was, and once where it must be; what was touched on
/// the way, or made by somebody else, is opened by nobody.
pub fn sealed(data: &[u8]) {
    let mut input = Input::new(data);
    let mut both = Both::new();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            return;
        }
        both.step(&mut input);
    }
}

struct Both {
    announce: Announce,
    sender: SenderSeal,
    host: HostSeal,
    member: MemberSeal,
    seqs: [u32; 3],
    now: Timestamp,
    /// Announces that the host has looked at.
    looked_at: HashSet<Vec<u8>>,
}

impl Both {
    fn new() -> Self {
        let announce = Announce { insecure: false, ..sim::announce(&sim::Setup::new(0)) };
        let sender = SenderSeal::new(Arc::clone(&SITE.sender), SESSION, &announce);
        let mut host = HostSeal::new(Arc::clone(&SITE.host));
        let mut datagram = Vec::new();
        let message = Message::Announce(Box::new(announce.clone()));
        sender.close_announce(WALL, &message, &mut datagram);
        let opened = host.open_announce(Timestamp::ZERO, WALL, FROM, &datagram);
        let (header, heard) = opened.expect("a sender with the right keys");
        assert_eq!(*heard, announce);
        let member = host.member(&header, &heard, NONCE, Timestamp::ZERO).expect("of our group");
        let looked_at = HashSet::from([datagram]);
        Self { announce, sender, host, member, seqs: [0; 3], now: Timestamp::ZERO, looked_at }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        // So that no bound on checks is met (PROTOCOL 10.8).
        self.now += Duration::from_secs(1);
        match input.below(6) {
            0 => self.forge(input),
            1 => self.send_symbol(input),
            2 => self.send_message(input),
            3 => self.answer(input),
            4 => self.report(input),
            _ => self.announce(input),
        }
    }

    /// Bytes of somebody without keys, at every door.
    fn forge(&mut self, input: &mut Input<'_>) {
        let (kind, is_shaped) = (input.pick(Kind::ALL), input.flag());
        let bytes = if is_shaped {
            let mut bytes = shaped(kind, SESSION, input.u8().into(), &[input.part()]);
            bytes.resize(bytes.len() + TAG_BYTES, 0);
            bytes
        } else {
            input.part().to_vec()
        };
        for stream in STREAMS {
            assert!(self.member.open(stream, self.now, WALL, &mut bytes.clone()).is_err());
        }
        let now = Timestamp::from_micros(1_000_000 * u64::from(input.u8()));
        assert!(self.host.open_announce(now, WALL, FROM, &bytes).is_err());
        assert!(self.sender.open_feedback(&bytes, |_| Some(&SITE.name)).is_err());
        assert!(self.sender.open_foreign(now, WALL, FROM, &bytes).is_err());
    }

    fn next_seq(&mut self, stream: Stream) -> u32 {
        let seq = &mut self.seqs[stream as usize];
        *seq += 1;
        *seq
    }

    fn send_symbol(&mut self, input: &mut Input<'_>) {
        let stream = input.pick(&STREAMS);
        let seq = self.next_seq(stream);
        let header = SymbolHeader {
            session: SESSION,
            seq,
            key_epoch: 0,
            flags: input.u16(),
            block: common::id::BlockIndex(input.u32()),
            transmission: input.u32(),
            announced: input.u32(),
        };
        let mut head = [0; SymbolHeader::WIRE_BYTES];
        header.emit(input.pick(&[Kind::Source, Kind::Repair]), &mut head);
        let mut datagram = [&head[..], input.part(), &[0; TAG_BYTES]].concat();
        let symbol = datagram[head.len()..datagram.len() - TAG_BYTES].to_vec();
        self.sender.close_symbol(stream, seq, &mut datagram).expect("numbers are left");
        let is_touched = touch(input, &mut datagram);
        match self.member.open(stream, self.now, WALL, &mut datagram) {
            Ok(inner) => {
                assert!(!is_touched, "what was touched is opened");
                let (read, bytes) = SymbolHeader::parse(inner).expect("our own datagram");
                assert_eq!((read.seq, read.block, bytes), (seq, header.block, &symbol[..]));
            }
            Err(error) => assert!(is_touched, "{error}"),
        }
    }

    /// A message of the sender's that says what the fuzzer wants, if it is one.
    fn message(input: &mut Input<'_>, kinds: &[Kind]) -> Option<Message> {
        let kind = input.pick(kinds);
        let message = Message::parse(&shaped(kind, SESSION, 0, &[input.part()])).ok()?.1;
        // What a session never says at this length has no room for a signature.
        let has_room = match &message {
            Message::Poll(poll) => poll.blocks.len() < 40,
            _ => true,
        };
        has_room.then_some(message)
    }

    fn send_message(&mut self, input: &mut Input<'_>) {
        let stream = input.pick(&[Stream::Data, Stream::CatchUp]);
        let kinds = [Kind::Poll, Kind::Advertise, Kind::Activate, Kind::Cancel, Kind::Stop];
        let Some(message) = Self::message(input, &kinds) else { return };
        let seq = self.next_seq(stream);
        let mut datagram = Vec::new();
        let closed = self.sender.close_message(stream, seq, WALL, &message, &mut datagram);
        closed.expect("numbers are left");
        let is_touched = touch(input, &mut datagram);
        match self.member.open(stream, self.now, WALL, &mut datagram.clone()) {
            Ok(inner) => {
                assert!(!is_touched, "what was touched is opened");
                let (header, read) = Message::parse(inner).expect("our own datagram");
                assert_eq!((header.seq, &read), (seq, &message));
            }
            Err(error) => assert!(is_touched, "{error}"),
        }
        if message.kind() != Kind::Advertise {
            let again = self.member.open(stream, self.now, WALL, &mut datagram);
            assert!(again.is_err(), "what is signed is obeyed once");
        }
    }

    fn answer(&mut self, input: &mut Input<'_>) {
        let kinds = [Kind::JoinAck, Kind::CatchUp, Kind::Activate, Kind::Cancel, Kind::Stop];
        let Some(message) = Self::message(input, &kinds) else { return };
        let (nonce, is_ours) = if input.flag() { (NONCE, true) } else { (BootNonce(8), false) };
        let mut datagram = Vec::new();
        self.sender.close_answer(&SITE.name, nonce, WALL, &message, &mut datagram);
        let is_touched = touch(input, &mut datagram);
        match self.member.open(Stream::Alone, self.now, WALL, &mut datagram) {
            Ok(inner) => {
                assert!(is_ours && !is_touched, "what is for another process is opened");
                assert_eq!(Message::parse(inner).expect("our own datagram").1, message);
            }
            Err(error) => assert!(is_touched || !is_ours, "{error}"),
        }
    }

    fn report(&mut self, input: &mut Input<'_>) {
        let kind = input.pick(&[Kind::Have, Kind::Need, Kind::Status, Kind::Rate, Kind::Activated]);
        let body = [&[0; 4][..], &NONCE.0.to_be_bytes(), input.part()];
        let Ok((_, message)) = Message::parse(&shaped(kind, SESSION, 0, &body)) else { return };
        let mut datagram = Vec::new();
        self.member.close(&message, &mut datagram);
        let is_touched = touch(input, &mut datagram);
        match self.sender.open_feedback(&datagram, |_| Some(&SITE.name)) {
            Ok((_, read)) => {
                assert!(!is_touched, "what was touched is opened");
                assert_eq!(read, message);
                let again = self.sender.open_feedback(&datagram, |_| Some(&SITE.name));
                assert!(again.is_err(), "a report is heard once");
            }
            Err(error) => assert!(is_touched, "{error}"),
        }
    }

    fn announce(&mut self, input: &mut Input<'_>) {
        let mut announce = self.announce.clone();
        announce.sent_at_us = input.u64();
        announce.force = input.flag();
        let message = Message::Announce(Box::new(announce));
        let mut datagram = Vec::new();
        self.sender.close_announce(WALL, &message, &mut datagram);
        let is_touched = touch(input, &mut datagram);
        let is_first = is_touched || self.looked_at.insert(datagram.clone());
        let late = u64::from(input.u32());
        // A second for each: more in one are not looked at.
        self.seqs[2] += 1;
        let now = Timestamp::from_micros(2_000_000 * u64::from(self.seqs[2]));
        match self.host.open_announce(now, WALL + late, FROM, &datagram) {
            Ok((_, read)) => {
                assert!(!is_touched && is_first && late <= 600 + 24 * 3600, "{late} s late");
                assert_eq!(Message::Announce(read), message);
            }
            Err(error) => assert!(is_touched || !is_first || late > 0, "{error}"),
        }
    }
}

/// Does to a datagram what the fuzzer wants; whether that is anything.
fn touch(input: &mut Input<'_>, datagram: &mut Vec<u8>) -> bool {
    match input.below(4) {
        0 | 1 => false,
        2 => {
            let (at, bits) = (usize::from(input.u16()) % datagram.len(), input.u8());
            datagram[at] ^= bits;
            bits != 0
        }
        _ => {
            let left = usize::from(input.u16()) % datagram.len();
            datagram.truncate(left);
            true
        }
    }
}
