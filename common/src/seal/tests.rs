//! Both sides against each other, and against whoever is neither.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::signature::{EXPIRES, SIGNATURE};
use super::*;
use crate::id::{BootNonce, HostName, SessionId, Slot};
use crate::keys::{KeyId, Keyring, Role, SecretKey, SymmetricKey};
use crate::time::Timestamp;
use crate::wire::tests::messages;
use crate::wire::{
    Announce, COMMON_HEADER_BYTES, Kind, Message, SIGNATURE_BYTES, SymbolHeader, WireError,
};

const SESSION: SessionId = SessionId(0x0102_0304);
const NONCE: BootNonce = BootNonce(0x1122_3344_5566_7788);
const WALL: u64 = 1_800_000_000;
const NOW: Timestamp = Timestamp::from_micros(7_000_000);
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

fn symmetric(role: Role, number: u8) -> SymmetricKey {
    SymmetricKey::new(role, KeyId([number; 8]), zeroize::Zeroizing::new([number; 32]))
}

fn operator(number: u8) -> SecretKey {
    SecretKey::from_seed(KeyId([number; 8]), &[number; 32])
}

fn ring(numbers: &[u8]) -> Keyring {
    Keyring::new(numbers.iter().map(|number| *operator(*number).public())).unwrap()
}

fn announce() -> Announce {
    let is_announce = |message| match message {
        Message::Announce(announce) => Some(*announce),
        _ => None,
    };
    Announce { insecure: false, ..messages().into_iter().find_map(is_announce).unwrap() }
}

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

/// A sender with the keys of these numbers: group, master, operator.
fn sender(group: u8, master: u8, signer: u8) -> SenderSeal {
    let keys = SenderKeys {
        group: symmetric(Role::Group, group),
        master: symmetric(Role::Master, master),
        operator: operator(signer),
        operators: ring(&[signer]),
    };
    SenderSeal::new(Arc::new(keys), SESSION, &announce())
}

/// A host of the sender (1, 2, 3).
fn host(host: &str) -> HostSeal {
    HostSeal::new(Arc::new(HostKeys {
        groups: vec![symmetric(Role::Group, 9), symmetric(Role::Group, 1)],
        operators: ring(&[3, 4]),
        host: symmetric(Role::Master, 2).host_key(&name(host)),
    }))
}

fn member_of(host: &mut HostSeal, sender: &SenderSeal) -> MemberSeal {
    let datagram = announced(sender);
    let (header, announce) = host.open_announce(Timestamp::ZERO, WALL, FROM, &datagram).unwrap();
    host.member(&header, &announce, NONCE, Timestamp::ZERO).unwrap()
}

fn announced(sender: &SenderSeal) -> Vec<u8> {
    announced_at(sender, WALL)
}

fn announced_at(sender: &SenderSeal, wall: u64) -> Vec<u8> {
    let mut datagram = Vec::new();
    sender.close_announce(wall, &Message::Announce(Box::new(announce())), &mut datagram);
    datagram
}

fn in_stream(sender: &mut SenderSeal, stream: Stream, seq: u32, message: &Message) -> Vec<u8> {
    let mut datagram = Vec::new();
    sender.close_message(stream, seq, WALL, message, &mut datagram).unwrap();
    datagram
}

/// What a host of the sender (1, 2, 3) says to an announce of another one.
fn judged(sender: &SenderSeal) -> Option<WireError> {
    host("web-1").open_announce(Timestamp::ZERO, WALL, FROM, &announced(sender)).err()
}

fn of_kind(wanted: Kind) -> Message {
    messages().into_iter().find(|message| message.kind() == wanted).unwrap()
}

// PROTOCOL 10.3
#[test]
fn an_announce_is_believed_from_a_trusted_operator_in_the_group_alone() {
    assert_eq!(judged(&sender(1, 2, 3)), None);
    assert_eq!(judged(&sender(8, 2, 3)), Some(WireError::UnknownKey), "another group");
    assert_eq!(judged(&sender(1, 2, 5)), Some(WireError::UnknownKey), "an unknown operator");
    assert_eq!(judged(&SenderSeal::plain(SESSION)), Some(WireError::Unsealed));
}

#[test]
fn every_changed_bit_of_an_announce_is_found() {
    let datagram = announced(&sender(1, 2, 3));
    let mut host = host("web-1");
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let opened = host.open_announce(Timestamp::ZERO, WALL, FROM, &changed);
        assert!(opened.is_err(), "bit {bit}");
    }
}

// PROTOCOL 10.3: whoever has the group's key can make the MAC, and must not be believed.
#[test]
fn every_changed_bit_that_a_member_of_the_group_closes_anew_is_found() {
    let datagram = announced(&sender(1, 2, 3));
    let key = context::announce_key(&symmetric(Role::Group, 1));
    let mut host = host("web-1");
    for bit in 0..(datagram.len() - TAG_BYTES) * 8 {
        let mut changed = datagram[..datagram.len() - TAG_BYTES].to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        mac::close(&key, 0, &mut changed);
        let now = Timestamp::from_micros(bit as u64 * 100_000);
        assert!(host.open_announce(now, WALL, FROM, &changed).is_err(), "bit {bit}");
    }
}

// PROTOCOL 10.4
#[test]
fn an_announce_of_days_ago_has_expired_and_one_of_hours_ago_has_not() {
    let datagram = announced(&sender(1, 2, 3));
    let at = |wall| host("web-1").open_announce(Timestamp::ZERO, wall, FROM, &datagram).err();
    assert_eq!(at(0), None, "a clock at 1970 keeps nobody out");
    assert_eq!(at(WALL + 600 + 24 * 3600), None);
    assert_eq!(at(WALL + 601 + 24 * 3600), Some(WireError::Expired));
}

#[test]
fn a_flood_of_signed_rubbish_costs_a_bounded_number_of_checks_and_shuts_nobody_out() {
    let forger = sender(1, 2, 5);
    let right = announced(&sender(1, 2, 3));
    let mut host = host("web-1");
    let mut at = |from: u8, datagram: &[u8]| {
        let from = IpAddr::V4(Ipv4Addr::new(198, 18, 1, from));
        host.open_announce(Timestamp::from_micros(7), WALL, from, datagram).err()
    };
    let forged = |nth| announced_at(&forger, WALL + nth);
    let refusals: Vec<_> = (0..1000).map(|nth| at(1, &forged(nth))).collect();
    let checked = refusals.iter().filter(|it| **it == Some(WireError::UnknownKey)).count();
    assert_eq!(checked, 100, "then {:?}", refusals.last());
    assert_eq!(at(2, &right), None);
}

// PROTOCOL 10.3: more addresses than are told apart.
#[test]
fn a_flood_from_many_addresses_is_bounded_as_a_whole_and_leaves_room_once_it_rests() {
    let forger = sender(1, 2, 5);
    let mut host = host("web-1");
    let mut at = |micros: u64, from: u8, datagram: &[u8]| {
        let from = IpAddr::V4(Ipv4Addr::new(198, 18, 1, from));
        host.open_announce(Timestamp::from_micros(micros), WALL, from, datagram).err()
    };
    let rubbish: Vec<_> = (0..1000).map(|nth| announced_at(&forger, WALL + nth)).collect();
    let each = rubbish.iter().zip((0..50).cycle());
    let refusals: Vec<_> = each.map(|(datagram, from)| at(7, from, datagram)).collect();
    let checked = refusals.iter().filter(|it| **it == Some(WireError::UnknownKey)).count();
    assert_eq!(checked, 500, "then {:?}", refusals.last());
    assert_eq!(at(7, 60, &announced(&sender(1, 2, 3))), Some(WireError::TooManySigned));
    assert_eq!(at(2_000_000, 60, &announced_at(&sender(1, 2, 3), WALL + 1)), None);
}

// PROTOCOL 10.3: what is played again does not use up the checks of whom it names as its source.
#[test]
fn a_recording_is_looked_at_once_and_shuts_nobody_out() {
    let sender = sender(1, 2, 3);
    let recording: Vec<_> = (0..50).map(|nth| announced_at(&sender, WALL - 999 + nth)).collect();
    let mut host = host("web-1");
    let mut hear =
        |datagram: &[u8]| host.open_announce(Timestamp::from_micros(7), WALL, FROM, datagram).err();
    recording.iter().for_each(|datagram| assert_eq!(hear(datagram), None));
    for datagram in recording.iter().cycle().take(5000) {
        assert_eq!(hear(datagram), Some(WireError::Replayed));
    }
    assert_eq!(hear(&announced(&sender)), None);
}

// PROTOCOL 10.3: a recording would keep every sender from sending.
#[test]
fn a_sender_takes_a_rival_for_one_only_as_long_as_it_speaks() {
    let (mut one, rival) = (sender(1, 2, 3), sender(1, 2, 3));
    let mut hears = |signed: u64| {
        let datagram = announced_at(&rival, signed);
        one.open_foreign(Timestamp::ZERO, WALL, FROM, &datagram).err()
    };
    assert_eq!(hears(WALL), None);
    assert_eq!(hears(WALL + 30), None, "its clock is ahead");
    assert_eq!(hears(WALL - 10), None);
    assert_eq!(hears(WALL - 11), Some(WireError::Expired));
}

// PROTOCOL 10.2
#[test]
fn a_stream_is_read_by_the_group_and_nobody_else() {
    let mut sender_seal = sender(1, 2, 3);
    let mut member = member_of(&mut host("web-1"), &sender_seal);
    for (seq, message) in (1..).zip(messages().iter().filter(|it| !it.kind().is_feedback())) {
        if matches!(message.kind(), Kind::Announce | Kind::JoinAck | Kind::CatchUp) {
            continue;
        }
        let mut datagram = in_stream(&mut sender_seal, Stream::Data, seq, message);
        let clear = datagram.clone();
        let inner = member.open(Stream::Data, NOW, WALL, &mut datagram).unwrap();
        let (header, parsed) = Message::parse(inner).unwrap();
        assert_eq!((header.seq, &parsed), (seq, message));
        let body = &inner[COMMON_HEADER_BYTES..][..8];
        assert!(!clear.windows(8).any(|bytes| bytes == body), "it is encrypted");
    }
    // A session of the same number and other salt, as a sender that was started again has.
    let other = Announce { salt: [1; 16], ..announce() };
    let keys = SenderKeys {
        group: symmetric(Role::Group, 1),
        master: symmetric(Role::Master, 2),
        operator: operator(3),
        operators: ring(&[3]),
    };
    let mut again = SenderSeal::new(Arc::new(keys), SESSION, &other);
    let mut datagram = in_stream(&mut again, Stream::Data, 1, &of_kind(Kind::Advertise));
    assert_eq!(member.open(Stream::Data, NOW, WALL, &mut datagram), Err(WireError::Tag));
    // The right datagram by the wrong way.
    let mut datagram = in_stream(&mut sender_seal, Stream::Data, 90, &of_kind(Kind::Advertise));
    assert_eq!(member.open(Stream::CatchUp, NOW, WALL, &mut datagram), Err(WireError::Tag));
}

fn symbol(seq: u32) -> Vec<u8> {
    let header = SymbolHeader {
        session: SESSION,
        seq,
        key_epoch: 0,
        flags: 0,
        block: crate::id::BlockIndex(4),
        transmission: 5,
        announced: 6,
    };
    let mut datagram = vec![0x5a; SymbolHeader::WIRE_BYTES + 64 + TAG_BYTES];
    header.emit(Kind::Source, datagram.first_chunk_mut().unwrap());
    datagram
}

#[test]
fn every_changed_bit_of_a_symbol_is_found_its_header_included() {
    let mut sender = sender(1, 2, 3);
    let mut member = member_of(&mut host("web-1"), &sender);
    let mut datagram = symbol(7);
    sender.close_symbol(Stream::Data, 7, &mut datagram).unwrap();
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(member.open(Stream::Data, NOW, WALL, &mut changed).is_err(), "bit {bit}");
    }
    let inner = member.open(Stream::Data, NOW, WALL, &mut datagram).unwrap();
    let (header, payload) = SymbolHeader::parse(inner).unwrap();
    assert_eq!((header.seq, payload), (7, &[0x5a; 64][..]));
}

/// A message of a stream as somebody makes it who has the group's key.
fn forged(stream: Stream, kind: Kind, seq: u32, signer: Option<&SecretKey>) -> Vec<u8> {
    let context = context::Context::new(SESSION, &announce());
    let key = stream::StreamKey::new(&symmetric(Role::Group, 1), &context, stream);
    let mut datagram = Vec::new();
    of_kind(kind).emit(SESSION, seq, 0x0101, &mut datagram);
    if let Some(signer) = signer {
        let purpose = signature::Purpose::Control(context);
        signature::sign(signer, purpose, Some(WALL), 0, &mut datagram);
    }
    datagram.resize(datagram.len() + TAG_BYTES, 0);
    key.close(&mut datagram);
    datagram
}

/// Says that it is the operator whom hosts trust, and has not the key.
fn pretender() -> SecretKey {
    SecretKey::from_seed(KeyId([3; 8]), &[99; 32])
}

// PROTOCOL 10.4: the group's key is not enough to order anything, nor to ask everybody.
#[test]
fn a_member_of_the_group_cannot_forge_orders_and_polls() {
    let mut real = sender(1, 2, 3);
    let mut member = member_of(&mut host("web-1"), &real);
    for kind in [Kind::Poll, Kind::Hashes, Kind::Activate, Kind::Cancel, Kind::Stop] {
        let mut forge = |signer: Option<&SecretKey>| {
            let mut datagram = forged(Stream::Data, kind, 40, signer);
            member.open(Stream::Data, NOW, WALL, &mut datagram).map(|_| ())
        };
        assert_eq!(forge(None), Err(WireError::Signature), "{kind:?}");
        assert_eq!(forge(Some(&operator(5))), Err(WireError::UnknownKey), "{kind:?}");
        assert_eq!(forge(Some(&pretender())), Err(WireError::Signature), "{kind:?}");
    }
    // Nor does a signature for one purpose serve another: that of an announce, around an order.
    let mut datagram = in_stream(&mut real, Stream::Data, 50, &of_kind(Kind::Stop));
    assert!(member.open(Stream::Data, NOW, WALL, &mut datagram).is_ok());
}

// PROTOCOL 10.5
#[test]
fn what_was_heard_is_not_heard_again() {
    let mut sender = sender(1, 2, 3);
    let mut member = member_of(&mut host("web-1"), &sender);
    let poll = in_stream(&mut sender, Stream::Data, 5, &of_kind(Kind::Poll));
    let stop = in_stream(&mut sender, Stream::Data, 6, &of_kind(Kind::Stop));
    for datagram in [poll, stop] {
        assert!(member.open(Stream::Data, NOW, WALL, &mut datagram.clone()).is_ok());
        let mut again = datagram.clone();
        assert_eq!(member.open(Stream::Data, NOW, WALL, &mut again), Err(WireError::Replayed));
    }
    // What does not open does not move the window.
    let mut damaged = in_stream(&mut sender, Stream::Data, 900, &of_kind(Kind::Poll));
    damaged[40] ^= 1;
    assert!(member.open(Stream::Data, NOW, WALL, &mut damaged).is_err());
    let mut next = in_stream(&mut sender, Stream::Data, 901, &of_kind(Kind::Poll));
    assert!(member.open(Stream::Data, NOW, WALL, &mut next).is_ok());
}

// PROTOCOL 10.8
#[test]
fn forged_signatures_are_looked_at_in_bounded_number_and_keep_no_other_kind_of_message_out() {
    for kind in [Kind::Poll, Kind::Hashes, Kind::Stop] {
        let mut sender = sender(1, 2, 3);
        let mut member = member_of(&mut host("web-1"), &sender);
        let mut open =
            |now, mut datagram: Vec<u8>| member.open(Stream::Data, now, WALL, &mut datagram).err();
        let known = in_stream(&mut sender, Stream::Data, 5, &of_kind(kind));
        assert_eq!(open(NOW, known.clone()), None);
        let mut looked_at = 0;
        for seq in 10..200 {
            match open(NOW, forged(Stream::Data, kind, seq, Some(&pretender()))) {
                Some(WireError::Signature) => looked_at += 1,
                other => assert_eq!(other, Some(WireError::TooManySigned), "{kind:?} {seq}"),
            }
        }
        assert_eq!(looked_at, 50, "{kind:?}");
        assert_eq!(open(NOW, known), Some(WireError::Replayed), "known without a look");
        for other in [Kind::Poll, Kind::Hashes, Kind::Stop] {
            let right = in_stream(&mut sender, Stream::Data, 1000 + other as u32, &of_kind(other));
            let expected = (other == kind).then_some(WireError::TooManySigned);
            assert_eq!(open(NOW, right), expected, "{other:?} beside forged {kind:?}");
        }
        let right = in_stream(&mut sender, Stream::Data, 2000, &of_kind(kind));
        let later = Timestamp::from_micros(NOW.as_micros() + 2000);
        assert_eq!(open(later, right), None, "one gets through after a moment");
    }
}

// PROTOCOL 10.8
#[test]
fn what_the_sender_says_itself_is_not_bounded() {
    let mut sender = sender(1, 2, 3);
    let mut member = member_of(&mut host("web-1"), &sender);
    for seq in 1..2000 {
        let kind = [Kind::Poll, Kind::Hashes, Kind::Stop][seq as usize % 3];
        let mut datagram = in_stream(&mut sender, Stream::Data, seq, &of_kind(kind));
        assert!(member.open(Stream::Data, NOW, WALL, &mut datagram).is_ok(), "{kind:?} {seq}");
    }
}

// PROTOCOL 10.8: an order to one host has no number, and is repeated until it is obeyed.
#[test]
fn an_order_to_one_host_is_taken_again_and_a_recording_of_many_is_looked_at_in_bounded_number() {
    let sender = sender(1, 2, 3);
    let mut member = member_of(&mut host("web-1"), &sender);
    let order = |wall| {
        let mut datagram = Vec::new();
        sender.close_answer(&name("web-1"), NONCE, wall, &of_kind(Kind::Activate), &mut datagram);
        datagram
    };
    let mut open =
        |mut datagram: Vec<u8>| member.open(Stream::Alone, NOW, WALL, &mut datagram).err();
    (0..1000).for_each(|nth| assert_eq!(open(order(WALL)), None, "time {nth}"));
    let taken = (1..500).filter(|nth| open(order(WALL + nth)).is_none()).count();
    assert_eq!(taken, 49, "and the first one");
    assert_eq!(open(order(WALL + 400)), Some(WireError::TooManySigned));
    assert_eq!(open(order(WALL + 49)), None, "which was looked at");
}

// PROTOCOL 2.11 and 10.8
#[test]
fn no_signature_is_looked_at_of_what_comes_from_elsewhere() {
    let mut sender = sender(1, 2, 3);
    let mut member = member_of(&mut host("web-1"), &sender);
    for seq in 1..1000 {
        let mut datagram = forged(Stream::Data, Kind::Poll, seq, Some(&pretender()));
        assert!(member.open_foreign(Stream::Data, &mut datagram).is_ok(), "he is in the group");
    }
    let mut noise = forged(Stream::CatchUp, Kind::Poll, 7, None);
    assert_eq!(member.open_foreign(Stream::Data, &mut noise), Err(WireError::Tag));
    let mut right = in_stream(&mut sender, Stream::Data, 1, &of_kind(Kind::Poll));
    assert!(member.open(Stream::Data, NOW, WALL, &mut right).is_ok());
}

#[test]
fn the_numbers_of_a_stream_are_used_once_and_end() {
    let mut sender = sender(1, 2, 3);
    assert_eq!(sender.close_symbol(Stream::Data, u32::MAX, &mut symbol(u32::MAX)), Ok(()));
    assert_eq!(sender.close_symbol(Stream::Data, 0, &mut symbol(0)), Err(StreamSpent));
    assert_eq!(sender.close_symbol(Stream::Data, 9, &mut symbol(9)), Err(StreamSpent));
    assert_eq!(sender.close_symbol(Stream::Alone, 0, &mut symbol(0)), Ok(()), "another key");
}

fn fed_back(sender: &mut SenderSeal, datagram: &[u8]) -> Result<Message, WireError> {
    let name = name("web-1");
    let name_in = |slot| (slot == Slot(3)).then_some(&name);
    sender.open_feedback(datagram, name_in).map(|(_, message)| message)
}

/// A message of web-1 in slot 3.
fn reports() -> Vec<Message> {
    let mut reports: Vec<_> =
        messages().into_iter().filter(|message| message.kind().is_feedback()).collect();
    for report in &mut reports {
        match report {
            Message::Join(it) => (it.host, it.nonce) = (name("web-1"), NONCE),
            Message::Solicit(it) => (it.host, it.nonce) = (name("web-1"), NONCE),
            Message::Have(it) => (it.slot, it.nonce) = (Slot(3), NONCE),
            Message::Need(it) => (it.slot, it.nonce) = (Slot(3), NONCE),
            Message::Status(it) => (it.slot, it.nonce) = (Slot(3), NONCE),
            Message::Rate(it) => (it.slot, it.nonce) = (Slot(3), NONCE),
            Message::Activated(it) => (it.slot, it.nonce) = (Slot(3), NONCE),
            Message::Doubt(it) => (it.slot, it.nonce) = (Slot(3), NONCE),
            _ => unreachable!("only hosts' messages were kept"),
        }
    }
    reports
}

// PROTOCOL 10.2: no host can speak for another.
#[test]
fn feedback_is_believed_from_the_host_that_it_names_alone() {
    let mut sender = sender(1, 2, 3);
    let mut right = member_of(&mut host("web-1"), &sender);
    let mut other = member_of(&mut host("web-2"), &sender);
    let reports = reports();
    assert!(reports.len() >= 7);
    for report in &reports {
        let mut datagram = Vec::new();
        other.close(report, &mut datagram);
        assert_eq!(fed_back(&mut sender, &datagram), Err(WireError::Tag), "{report:?}");
        datagram.clear();
        right.close(report, &mut datagram);
        assert_eq!(fed_back(&mut sender, &datagram).as_ref(), Ok(report));
        assert_eq!(fed_back(&mut sender, &datagram), Err(WireError::Replayed));
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(fed_back(&mut sender, &changed).is_err(), "{report:?}, bit {bit}");
        }
    }
}

#[test]
fn a_restarted_host_is_heard_and_its_former_process_is_not_replayed() {
    let mut sender = sender(1, 2, 3);
    let mut seal = host("web-1");
    let join = |nonce: u64, seal: &mut HostSeal, sender: &SenderSeal| {
        let (header, announce) = seal
            .open_announce(Timestamp::ZERO, WALL, FROM, &announced_at(sender, WALL + nonce))
            .unwrap();
        let mut member =
            seal.member(&header, &announce, BootNonce(nonce), Timestamp::ZERO).unwrap();
        let mut join = reports().remove(0);
        if let Message::Join(join) = &mut join {
            join.nonce = BootNonce(nonce);
        }
        let mut datagram = Vec::new();
        member.close(&join, &mut datagram);
        datagram
    };
    let former = join(1, &mut seal, &sender);
    let now = join(2, &mut seal, &sender);
    assert!(fed_back(&mut sender, &former).is_ok() && fed_back(&mut sender, &now).is_ok());
    assert_eq!(fed_back(&mut sender, &former), Err(WireError::Replayed));
}

#[test]
fn a_process_that_joins_the_same_session_again_is_still_heard() {
    let mut sender = sender(1, 2, 3);
    let mut host = host("web-1");
    for millis in [10, 50] {
        let at = Timestamp::from_micros(millis * 1000);
        let (header, announce) = host
            .open_announce(Timestamp::ZERO, WALL, FROM, &announced_at(&sender, WALL + millis))
            .unwrap();
        let mut member = host.member(&header, &announce, NONCE, at).unwrap();
        for report in reports() {
            let mut datagram = Vec::new();
            member.close(&report, &mut datagram);
            assert_eq!(fed_back(&mut sender, &datagram), Ok(report), "joined at {millis} ms");
        }
    }
}

// PROTOCOL 10.6
#[test]
fn an_answer_is_for_one_process_of_one_host() {
    let sender = sender(1, 2, 3);
    let mut seal = host("web-1");
    let mut member = member_of(&mut seal, &sender);
    assert!(member.needs_proof());
    for kind in [Kind::JoinAck, Kind::CatchUp, Kind::Activate] {
        let mut closed = |host: &str, nonce| {
            let mut datagram = Vec::new();
            sender.close_answer(&name(host), nonce, WALL, &of_kind(kind), &mut datagram);
            member.open(Stream::Alone, NOW, WALL, &mut datagram).map(<[u8]>::to_vec)
        };
        let inner = closed("web-1", NONCE).unwrap();
        assert_eq!(Message::parse(&inner).unwrap().1, of_kind(kind));
        assert_eq!(closed("web-2", NONCE), Err(WireError::Tag), "{kind:?}");
        assert_eq!(closed("web-1", BootNonce(1)), Err(WireError::Tag), "a recording");
    }
}

#[test]
fn signed_messages_fit_and_are_golden_in_their_form() {
    let mut sender = sender(1, 2, 3);
    let mut member = member_of(&mut host("web-1"), &sender);
    let mut datagram = in_stream(&mut sender, Stream::Data, 1, &of_kind(Kind::Stop));
    let inner = member.open(Stream::Data, NOW, WALL, &mut datagram).unwrap();
    let extensions = &inner[inner.len() - SIGNATURE_BYTES - 11..];
    assert_eq!(extensions[..3], [EXPIRES, 0, 8]);
    assert_eq!(extensions[3..11], (WALL + 600).to_be_bytes());
    assert_eq!(extensions[11..22], [SIGNATURE, 0, 72, 3, 3, 3, 3, 3, 3, 3, 3]);
}

#[test]
fn secrets_are_not_printed() {
    let shown = format!("{:?} {:?}", sender(0x5a, 0x5a, 0x5a), host("web-1"));
    assert!(!shown.contains("90, 90") && !shown.contains("5a5a5a5a5a5a5a5a5a"), "{shown}");
}
