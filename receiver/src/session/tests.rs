//! A host's session on its own: what it sends and when, told by hand.

use std::net::SocketAddr;

use common::digest::Digest;
use common::geometry::{PartSet, PreambleLengths};
use common::id::{BootNonce, ImageKind, SymbolId};
use common::wire::{BlockCount, KindSet, Order, SenderFacts, SessionTimers, SolicitReason};

use super::*;

const NONCE: BootNonce = BootNonce(77);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

/// Twenty payload blocks of ten source symbols, one of preamble.
fn announce(activation: Activation, slot: Duration) -> Announce {
    Announce {
        version_min: 1,
        version_max: 1,
        release: ReleaseId(Digest::of(b"release")),
        image: Digest::of(b"image"),
        app: "shop".parse().unwrap(),
        label: "v1".parse().unwrap(),
        kind: ImageKind::Raw,
        image_bytes: 64 * 200,
        geometry: Geometry::new(64, 10, 4, 4, 64, 64 * 200).unwrap(),
        preamble: PreambleLengths { manifest: 64, ..PreambleLengths::default() },
        data_group: SocketAddr::from(([239, 192, 70, 71], 7071)),
        feedback: SocketAddr::from(([198, 18, 0, 1], 7072)),
        timers: SessionTimers {
            join_window: Duration::from_secs(1),
            announce_interval: Duration::from_millis(100),
            grtt: Duration::from_millis(1),
            backoff: Duration::from_millis(20),
            slot,
        },
        group_size: 8,
        activation,
        stage: SenderStage::Joining,
        sender: SenderFacts { host: "d".into(), user: "u".into(), started: 1, instance: 1 },
        salt: [0; 16],
        sent_at_us: 0,
        insecure: true,
        force: false,
    }
}

fn facts() -> Facts {
    Facts {
        host: "web1".parse().unwrap(),
        machine: 1,
        nonce: NONCE,
        link: None,
        free_bytes: 0,
        clock_us: 0,
        kinds: KindSet::default(),
        holds_release: false,
        holds_image: false,
        holds_partial: false,
        block_slots: 8,
    }
}

fn session(activation: Activation) -> Session {
    let announce = announce(activation, Duration::from_micros(50));
    let mut session = Session::new(at(0), SessionId(5), &announce, facts(), 1);
    session.handle_join_ack(at(1), &accepted());
    session
}

fn accepted() -> JoinAck {
    JoinAck { nonce: NONCE, slot: Slot(0), verdict: JoinVerdict::Accepted, have_seen: false }
}

/// Everything that the session wants done until `now`, its timers included.
fn drain(session: &mut Session, now: Timestamp) -> Vec<Output> {
    let mut outputs = Vec::new();
    loop {
        match session.poll_output() {
            Output::Idle(Some(deadline)) if deadline.at <= now => {
                session.handle_timeout(deadline.at);
            }
            Output::Idle(_) => return outputs,
            output => outputs.push(output),
        }
    }
}

fn needs(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Send(Message::Need(_)))).count()
}

fn poll(id: u32) -> Poll {
    let blocks = vec![BlockCount { block: BlockIndex(1), sent: 14, announced: 14 }];
    let (grtt, backoff) = (Duration::from_millis(1), Duration::from_millis(20));
    Poll { id, sent_at_us: 9, grtt, backoff, group_size: 8, blocks, sweep: None }
}

// PROTOCOL 6.5: one NEED for one poll, and silence when somebody else's was enough.
#[test]
fn a_host_asks_once_after_a_poll_and_not_when_the_announced_count_rises_first() {
    let mut session = session(Activation::Together);
    complete_preamble(&mut session);
    session.handle_poll(at(10), Via::Data, 0, &poll(1));
    assert_eq!(needs(&drain(&mut session, at(500))), 1);
    session.handle_poll(at(600), Via::Data, 1, &poll(2));
    let raised = Advertise { blocks: vec![(BlockIndex(1), 24)] };
    session.handle_advertise(at(600), Via::Data, 2, &raised);
    assert_eq!(needs(&drain(&mut session, at(1000))), 0);
}

// PROTOCOL 7.1: no sender makes a host wait for longer than five seconds.
#[test]
fn a_sender_cannot_put_off_a_join_for_ever() {
    let announce = announce(Activation::Together, Duration::from_secs(4000));
    let mut session = Session::new(at(0), SessionId(5), &announce, facts(), 1);
    let outputs = drain(&mut session, at(5001));
    assert!(matches!(outputs.first(), Some(Output::Send(Message::Join(_)))), "{outputs:?}");
}

#[test]
fn an_acknowledgement_for_a_former_process_is_not_ours() {
    let announce = announce(Activation::Together, Duration::from_micros(50));
    let mut session = Session::new(at(0), SessionId(5), &announce, facts(), 1);
    session.handle_join_ack(at(1), &JoinAck { nonce: BootNonce(1), ..accepted() });
    let outputs = drain(&mut session, at(1000));
    assert!(outputs.len() > 2, "it goes on to ask: {outputs:?}");
    assert_eq!(session.drops().get(DropReason::NotForUs), 1);
}

// PROTOCOL 8.3 and 8.1: only a staged host switches, and under hold none does.
#[test]
fn only_a_staged_host_switches_and_none_under_hold() {
    let order = |release| Order { release, issue: 1, at_us: 0, reason: String::new() };
    for (activation, stages, switches) in [
        (Activation::Together, false, false),
        (Activation::Together, true, true),
        (Activation::Hold, true, false),
    ] {
        let mut session = session(activation);
        if stages {
            session.handle_store(at(2), StoreEvent::ImageDurable);
            session.handle_store(at(2), StoreEvent::Staged);
        }
        let order = order(session.release());
        session.handle_order(at(3), Via::Data, 0, OrderKind::Activate, &order);
        let outputs = drain(&mut session, at(10));
        assert_eq!(outputs.contains(&Output::Switch), switches, "{activation:?} {stages}");
    }
}

/// Hands on the one block of the preamble.
fn complete_preamble(session: &mut Session) {
    let k = session.geometry.source_symbols_of(BlockIndex(0));
    let headers: Vec<_> = (0..u32::from(k)).map(|n| header(BlockIndex(0), n)).collect();
    session.handle_symbols(at(2), Via::Data, &headers, &mut Vec::new());
    session.handle_store(at(3), StoreEvent::Consumed(BlockIndex(0)));
}

fn header(block: BlockIndex, transmission: u32) -> SymbolHeader {
    let (session, seq) = (SessionId(5), transmission);
    SymbolHeader { session, seq, key_epoch: 0, flags: 0, block, transmission, announced: 14 }
}

// PROTOCOL 7.6.
#[test]
fn a_held_image_that_turns_out_wrong_is_asked_for() {
    let announce = announce(Activation::Together, Duration::from_micros(50));
    let facts = Facts { holds_image: true, ..facts() };
    let mut session = Session::new(at(0), SessionId(5), &announce, facts, 1);
    session.handle_join_ack(at(1), &accepted());
    complete_preamble(&mut session);
    assert_eq!(session.phase(), HostPhase::Verifying);
    session.handle_store(at(4), StoreEvent::ImageSpoiled);
    let prepared = StoreEvent::Prepared { held: Vec::new(), held_blocks: vec![BlockIndex(3)] };
    session.handle_store(at(5), prepared);
    assert_eq!(session.phase(), HostPhase::Receiving);
    assert_eq!(session.blocks().done(), 2, "the preamble, and a block of frames of zeros");
    session.handle_poll(at(10), Via::Data, 20, &poll(1));
    assert_eq!(needs(&drain(&mut session, at(500))), 1);
}

/// What a session says that it misses, and how often it renews its memberships.
fn missed(outputs: &[Output]) -> (Vec<SolicitReason>, usize) {
    let reason = |output: &Output| match output {
        Output::Send(Message::Solicit(solicit)) => Some(solicit.reason),
        _ => None,
    };
    let rejoins = outputs.iter().filter(|output| **output == Output::Rejoin).count();
    (outputs.iter().filter_map(reason).collect(), rejoins)
}

// PROTOCOL 7.9 and 7.7.
#[test]
fn a_host_that_hears_nothing_says_so_each_second_until_it_is_idle() {
    let mut session = session(Activation::Together);
    assert_eq!(missed(&drain(&mut session, at(1000))), (Vec::new(), 0));
    let outputs = drain(&mut session, at(7900));
    assert_eq!(missed(&outputs), (vec![SolicitReason::SenderLost; 7], 7));
    let end = drain(&mut session, at(8100));
    assert_eq!(end.last(), Some(&Output::Ended(Ending::SenderLost)));
    assert_eq!(statuses(&outputs), [(HostPhase::Joined, Fault::NoData); 7]);
}

// PROTOCOL 7.9.
#[test]
fn a_host_that_hears_announces_alone_says_so_until_data_comes() {
    let mut announce = announce(Activation::Together, Duration::from_micros(50));
    let mut session = session(Activation::Together);
    for (stage, expected) in [(SenderStage::Joining, 0), (SenderStage::Pass, 1)] {
        announce.stage = stage;
        // The second begins where symbols should flow: nothing came by the group before, either.
        let from = if stage == SenderStage::Joining { 0 } else { 1600 };
        let mut outputs = Vec::new();
        for tenth in 1..=16 {
            session.handle_announce(at(from + tenth * 100), &announce);
            outputs.extend(drain(&mut session, at(from + tenth * 100)));
        }
        let reasons = vec![SolicitReason::NoData; expected];
        assert_eq!(missed(&outputs), (reasons, expected), "{stage:?}");
    }
    // Polls get through, symbols do not: a matter of MTU.
    session.handle_poll(at(3205), Via::Data, 0, &poll(1));
    assert_eq!(session.fault().0, Fault::NoData);
    session.handle_symbols(at(3210), Via::Data, &[header(BlockIndex(1), 0)], &mut Vec::new());
    assert_eq!(session.fault(), (Fault::None, ""));
    // And then the group alone falls silent, which the next word ends.
    let mut outputs = Vec::new();
    for tenth in 33..=52 {
        session.handle_announce(at(tenth * 100), &announce);
        outputs.extend(drain(&mut session, at(tenth * 100)));
    }
    assert_eq!(missed(&outputs), (vec![SolicitReason::NoData; 1], 1));
    session.handle_poll(at(5300), Via::Data, 1, &poll(2));
    assert_eq!(session.fault(), (Fault::None, ""));
}

/// The STATUSes among outputs.
fn statuses(outputs: &[Output]) -> Vec<(HostPhase, Fault)> {
    let status = |output: &Output| match output {
        Output::Send(Message::Status(status)) => Some((status.phase, status.fault)),
        _ => None,
    };
    outputs.iter().filter_map(status).collect()
}

// PROTOCOL 7.8: at once, three times, and then no more of the session.
#[test]
fn a_host_that_is_told_to_stop_says_so_unless_it_has_switched() {
    let mut session = session(Activation::Each);
    session.handle_shutdown(at(5));
    assert_eq!(statuses(&drain(&mut session, at(5))), [(HostPhase::Failed, Fault::Stopped)]);
    let outputs = drain(&mut session, at(500));
    assert_eq!(statuses(&outputs), [(HostPhase::Failed, Fault::Stopped); 2]);
    assert_eq!(outputs.last(), Some(&Output::Ended(Ending::Left)));

    let mut session = self::session(Activation::Each);
    for event in [StoreEvent::ImageDurable, StoreEvent::Staged] {
        session.handle_store(at(2), event);
    }
    drain(&mut session, at(3));
    session.handle_shutdown(at(4));
    session.handle_store(at(5), StoreEvent::Switched);
    let phases: Vec<_> = statuses(&drain(&mut session, at(500)));
    assert_eq!(phases.last(), Some(&(HostPhase::Active, Fault::None)), "its switch was under way");
}

#[test]
fn a_host_without_a_slot_has_nobody_to_say_goodbye_to() {
    let announce = announce(Activation::Each, Duration::from_micros(50));
    let mut session = Session::new(at(0), SessionId(5), &announce, facts(), 1);
    session.handle_shutdown(at(1));
    assert_eq!(drain(&mut session, at(1)).last(), Some(&Output::Ended(Ending::Left)));
}

// PROTOCOL 6.8.
#[test]
fn a_host_that_does_not_get_the_preamble_asks_for_nothing_of_the_payload() {
    let mut session = session(Activation::Together);
    session.handle_poll(at(10), Via::Data, 0, &poll(1));
    assert_eq!(needs(&drain(&mut session, at(500))), 0);
    complete_preamble(&mut session);
    session.handle_poll(at(600), Via::Data, 1, &poll(2));
    assert_eq!(needs(&drain(&mut session, at(1000))), 1);
}

// PROTOCOL 4.13: an order issued before one that was obeyed is late news.
#[test]
fn a_stale_order_is_dropped() {
    let mut session = session(Activation::Together);
    session.handle_store(at(2), StoreEvent::ImageDurable);
    session.handle_store(at(2), StoreEvent::Staged);
    let order =
        |issue| Order { release: session.release(), issue, at_us: 0, reason: String::new() };
    let (new, old) = (order(2), order(1));
    session.handle_order(at(3), Via::Data, 0, OrderKind::Activate, &new);
    session.handle_order(at(4), Via::Data, 1, OrderKind::Cancel, &old);
    assert_eq!(session.drops().get(DropReason::Stale), 1);
    assert!(!drain(&mut session, at(5)).contains(&Output::Ended(Ending::Cancelled)));
}

fn rates(outputs: &[Output]) -> Vec<(u32, u32)> {
    let rate = |output: &Output| match output {
        Output::Send(Message::Rate(rate)) => Some((rate.loss_ppm, rate.overrun_ppm)),
        _ => None,
    };
    outputs.iter().filter_map(rate).collect()
}

/// Transmissions of `blocks`, ten of each, as one train whose numbers begin at `seq`.
fn symbols(session: &mut Session, now: Timestamp, seq: u32, blocks: std::ops::Range<u32>) {
    let header = |block: u32, transmission: u32| SymbolHeader {
        session: SessionId(5),
        seq: seq + (block - blocks.start) * 10 + transmission,
        key_epoch: 0,
        flags: 0,
        block: BlockIndex(block),
        transmission,
        announced: 12,
    };
    let headers: Vec<_> = blocks.clone().flat_map(|b| (0..10).map(move |n| header(b, n))).collect();
    session.handle_symbols(now, Via::Data, &headers, &mut Vec::new());
}

// PROTOCOL 4.11: figures of a recent interval, whatever was before it.
#[test]
fn a_rate_report_is_about_the_time_since_a_recent_poll() {
    let mut session = session(Activation::Together);
    let silent = Poll { blocks: Vec::new(), ..poll(1) };
    symbols(&mut session, at(1), 0, 1..3);
    session.handle_poll(at(10), Via::Data, 40, &silent);
    assert_eq!(rates(&drain(&mut session, at(50))), [], "there is nothing to compare with");
    symbols(&mut session, at(51), 41, 3..4);
    session.handle_poll(at(70), Via::Data, 60, &silent);
    let lost = 9 * 1_000_000 / 20;
    assert_eq!(rates(&drain(&mut session, at(100))), [(lost, 0)], "since the poll at 10 ms");
}

#[test]
fn a_host_that_falls_behind_says_so_from_half_of_its_memory_on() {
    let mut session = session(Activation::Together);
    complete_preamble(&mut session);
    let silent = Poll { blocks: Vec::new(), ..poll(1) };
    let mut seq = 10;
    // A poll, blocks that come, blocks that are written, another poll, and what RATE says then.
    let mut overrun = |millis: u64, came: std::ops::Range<u32>, written: std::ops::Range<u32>| {
        session.handle_poll(at(millis), Via::Data, seq, &silent);
        symbols(&mut session, at(millis + 1), seq + 1, came.clone());
        drain(&mut session, at(millis + 40));
        let written = written.map(|block| StoreEvent::Consumed(BlockIndex(block)));
        written.for_each(|event| session.handle_store(at(millis + 41), event));
        seq += 10 * came.len() as u32 + 1;
        session.handle_poll(at(millis + 60), Via::Data, seq, &silent);
        seq += 1;
        rates(&drain(&mut session, at(millis + 90)))[0].1
    };
    assert_eq!(overrun(10, 1..4, 0..0), 0, "three of eight blocks wait");
    let behind = overrun(110, 4..7, 0..0);
    assert!(behind > 900_000, "three more came and none was written: {behind}");
    assert_eq!(overrun(210, 7..9, 1..3), 0, "two came and two were written");
    let dropped = overrun(310, 9..13, 0..0);
    assert!(dropped > 900_000, "two more wait, and there is no room for two: {dropped}");
}

// PROTOCOL 7.10 and 4.16: a straggler asks for the payload when it is served, not before.
#[test]
fn a_straggler_listens_to_its_group_and_asks_when_its_turn_has_come() {
    let mut session = session(Activation::Together);
    complete_preamble(&mut session);
    drain(&mut session, at(3));
    let group: SocketAddr = "239.193.70.71:7071".parse().unwrap();
    session.handle_catch_up(at(4), &CatchUp { nonce: BootNonce(1), group });
    assert_eq!(drain(&mut session, at(4)), [], "told to another process");
    let told = CatchUp { nonce: NONCE, group };
    session.handle_catch_up(at(5), &told);
    session.handle_catch_up(at(5), &told);
    assert_eq!(drain(&mut session, at(6)), [Output::Listen(group)]);
    session.handle_poll(at(10), Via::Data, 0, &poll(1));
    assert_eq!(needs(&drain(&mut session, at(50))), 0, "the fleet is asked");
    for (millis, via) in [(100, Via::CatchUp), (200, Via::Own), (300, Via::Data)] {
        session.handle_poll(at(millis), via, 0, &poll(2));
        assert_eq!(needs(&drain(&mut session, at(millis + 50))), 1, "{via:?}");
    }
}

// PROTOCOL 7.9: who waits for its turn misses nothing; who has it and gets no symbol says so.
#[test]
fn a_straggler_misses_symbols_when_its_turn_has_come_and_not_before() {
    let mut announce = announce(Activation::Together, Duration::from_micros(50));
    announce.stage = SenderStage::CatchUp;
    let mut session = session(Activation::Together);
    let group: SocketAddr = "239.193.70.71:7071".parse().unwrap();
    session.handle_catch_up(at(5), &CatchUp { nonce: NONCE, group });
    let listen = |session: &mut Session, tenths: std::ops::Range<u64>| {
        let mut outputs = Vec::new();
        for tenth in tenths {
            session.handle_announce(at(tenth * 100), &announce);
            session.handle_poll(at(tenth * 100), Via::Data, 0, &poll(1));
            outputs.extend(drain(session, at(tenth * 100 + 50)));
        }
        missed(&outputs).0
    };
    assert_eq!(listen(&mut session, 1..25), []);
    session.handle_poll(at(2500), Via::CatchUp, 0, &poll(1));
    assert_eq!(listen(&mut session, 26..38), [SolicitReason::NoData]);
    assert_eq!(session.fault().0, Fault::NoData);
}

/// Symbols of block 1, each told as kept or not.
fn arrive(session: &mut Session, transmissions: std::ops::Range<u32>) -> Vec<bool> {
    let headers: Vec<_> = transmissions.map(|n| header(BlockIndex(1), n)).collect();
    let mut verdicts = Vec::new();
    session.handle_symbols(at(20), Via::Data, &headers, &mut verdicts);
    verdicts.iter().map(|verdict| !matches!(verdict, Verdict::Drop(_))).collect()
}

fn doubts(outputs: &[Output]) -> Vec<(BlockIndex, PartSet)> {
    let blocks = outputs.iter().filter_map(|output| match output {
        Output::Send(Message::Doubt(doubt)) => Some(doubt.blocks.clone()),
        _ => None,
    });
    blocks.flatten().collect()
}

// PROTOCOL 6.10: the true symbols of a block that came out wrong are kept.
#[test]
fn a_block_that_came_out_wrong_waits_for_digests_and_asks_for_what_was_false() {
    let mut session = session(Activation::Together);
    complete_preamble(&mut session);
    let block = BlockIndex(1);
    assert_eq!(arrive(&mut session, 0..10), [true; 10]);
    drain(&mut session, at(30));
    let symbols = (0..10).map(SymbolId).collect();
    session.handle_store(at(30), StoreEvent::Suspect { block, symbols });
    let outputs = drain(&mut session, at(60));
    assert_eq!(doubts(&outputs)[0], (block, PartSet(1)), "{outputs:?}");
    assert!(session.needs_proof() && session.blocks().open().eq([block]));
    // Others may go on to come, and more than k do not make it complete.
    assert_eq!(arrive(&mut session, 10..11), [true]);
    assert!(session.handle_hashes(at(70), Via::Data, 11, block, 0));
    session.handle_proof(at(70), block, 0, &[SymbolId(3), SymbolId(4)]);
    assert!(!session.handle_hashes(at(70), Via::Data, 12, block, 0), "it is there");
    session.handle_poll(at(80), Via::Data, 13, &poll(1));
    let outputs = drain(&mut session, at(400));
    let want = outputs.iter().find_map(|output| match output {
        Output::Send(Message::Need(need)) => Some(need.wants.clone()),
        _ => None,
    });
    // Nine are there; of 14 transmissions the next that is of use is symbol 3.
    assert_eq!(want, Some(vec![(block, 18)]), "{outputs:?}");
    assert_eq!(doubts(&outputs), []);
    assert_eq!(arrive(&mut session, 11..12), [true]);
    assert!(session.blocks().has_enough(block), "ten proven symbols complete it");
    session.handle_store(at(90), StoreEvent::Consumed(block));
    assert!(drain(&mut session, at(90)).contains(&Output::Kept(Kept::ForgetDigests(block))));
}

// PROTOCOL 6.10: where nothing was false after all, the block is handed on as it is.
#[test]
fn a_block_whose_symbols_were_true_is_handed_on_again() {
    let mut session = session(Activation::Together);
    complete_preamble(&mut session);
    let block = BlockIndex(1);
    arrive(&mut session, 0..10);
    let symbols = (0..10).map(SymbolId).collect();
    session.handle_store(at(30), StoreEvent::Suspect { block, symbols });
    assert!(session.handle_hashes(at(40), Via::Data, 11, block, 0));
    session.handle_proof(at(40), block, 0, &[]);
    let outputs = drain(&mut session, at(40));
    assert!(outputs.contains(&Output::Kept(Kept::HandOn(block))), "{outputs:?}");
    session.blocks().assert_consistent();
}

// PROTOCOL 6.10: what is forged of blocks to come takes no memory.
#[test]
fn once_digests_go_before_symbols_a_block_without_any_takes_none() {
    let mut session = session(Activation::Together);
    complete_preamble(&mut session);
    session.handle_conflict(at(10));
    assert_eq!(arrive(&mut session, 0..2), [true; 2], "digests are asked for");
    assert!(session.handle_hashes(at(20), Via::Data, 3, BlockIndex(2), 0));
    session.handle_proof(at(20), BlockIndex(2), 0, &[]);
    assert!(session.handle_hashes(at(20), Via::Data, 4, BlockIndex(1), 0));
    session.handle_proof(at(20), BlockIndex(1), 0, &[SymbolId(0), SymbolId(1)]);
    let outputs = drain(&mut session, at(20));
    assert!(outputs.contains(&Output::Kept(Kept::Discard(BlockIndex(1)))), "{outputs:?}");
    assert_eq!(arrive(&mut session, 2..3), [true], "its digests are here");
    session.handle_store(at(30), StoreEvent::Suspect { block: BlockIndex(0), symbols: vec![] });
    assert!(!session.blocks().is_done(BlockIndex(0)), "a preamble that was forged comes again");
    let mut verdicts = Vec::new();
    session.handle_symbols(at(40), Via::Data, &[header(BlockIndex(3), 0)], &mut verdicts);
    assert_eq!(verdicts, [Verdict::Drop(DropReason::NoDigest)]);
    session.blocks().assert_consistent();
}

// PROTOCOL 6.9: counts that a poll contradicts by more than a round were made up by somebody.
#[test]
fn counts_that_cannot_be_are_a_reason_to_doubt() {
    let mut session = session(Activation::Together);
    complete_preamble(&mut session);
    let raised = Advertise { blocks: vec![(BlockIndex(1), 14 + 28)] };
    session.handle_advertise(at(5), Via::Data, 0, &raised);
    session.handle_poll(at(10), Via::Data, 1, &poll(1));
    assert!(!session.needs_proof(), "a raise may overtake a poll");
    let raised = Advertise { blocks: vec![(BlockIndex(1), 14 + 29)] };
    session.handle_advertise(at(15), Via::Data, 2, &raised);
    session.handle_poll(at(20), Via::Data, 3, &poll(2));
    assert!(session.needs_proof());
}

// PROTOCOL 6.10: whoever lacks the preamble asks for nothing else, and the next poll is far.
#[test]
fn a_forged_preamble_is_asked_for_as_soon_as_digests_have_shown_what_is_false() {
    let mut session = session(Activation::Together);
    let block = BlockIndex(0);
    let blocks = vec![BlockCount { block, sent: 3, announced: 3 }];
    session.handle_symbols(at(2), Via::Data, &[header(block, 0)], &mut Vec::new());
    session.handle_poll(at(3), Via::Data, 1, &Poll { blocks, ..poll(1) });
    assert_eq!(needs(&drain(&mut session, at(40))), 0, "it has enough");
    session.handle_store(at(40), StoreEvent::Suspect { block, symbols: vec![SymbolId(0)] });
    assert!(session.handle_hashes(at(41), Via::Data, 2, block, 0));
    session.handle_proof(at(41), block, 0, &[SymbolId(0)]);
    let outputs = drain(&mut session, at(70));
    assert_eq!(needs(&outputs), 1, "{outputs:?}");
}
