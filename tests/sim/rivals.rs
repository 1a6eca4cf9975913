//! Several senders of one app: only one goes on. Method: two sessions, each given what the other
//! announces, without hosts.

use std::net::SocketAddr;
use std::time::Duration;

use common::time::Timestamp;
use common::wire::{Announce, CHECKSUM_BYTES, Message, SenderStage};
use sender::session::{
    Config, Destination, Expect, LISTEN, Outcome, Output, Phase, Quorum, RateRequest, Session,
};
use tests::sim::{Setup, announce};

use crate::main_seed;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

/// A sender that started `started` seconds after the epoch and begins to listen at `now`.
fn sender(now: Timestamp, started: u64) -> Session {
    let mut announce = announce(&Setup::new(main_seed()));
    announce.sender.started = started;
    announce.sender.instance = started;
    let config = Config {
        session: common::id::SessionId(started as u32),
        catch_up_group: SocketAddr::from(([239, 193, 70, 71], 7070)),
        frame_offsets: vec![0, announce.geometry.payload_bytes()],
        announce,
        expect: Expect::Count(1),
        quorum: Quorum::All,
        join_window: Duration::from_secs(60),
        timeout: None,
        verdict_wait: Duration::ZERO,
        rate: RateRequest::Auto { link: None },
        trailer_bytes: CHECKSUM_BYTES,
    };
    Session::new(now, config)
}

/// Lets `session` do what is due at `now`; what it announces.
fn announces(session: &mut Session, now: Timestamp) -> Vec<Announce> {
    session.handle_timeout(now);
    let mut all = Vec::new();
    loop {
        match session.poll_output(now) {
            Output::Message(Destination::Control, _, Message::Announce(announce)) => {
                all.push(*announce);
            }
            Output::Ended | Output::Idle(_) => return all,
            _ => {}
        }
    }
}

fn is_busy(session: &Session) -> bool {
    matches!(session.outcome(), Some(Outcome::Busy { .. }))
}

// PROTOCOL 5.5.
#[test]
fn a_sender_that_asks_is_answered_at_once_and_yields() {
    let mut first = sender(at(0), 100);
    (0..=300).for_each(|now| _ = announces(&mut first, at(now)));
    assert_eq!(first.phase(), Phase::Joining);
    let mut second = sender(at(310), 200);
    let question = announces(&mut second, at(310)).remove(0);
    assert_eq!(question.stage, SenderStage::Listening);
    first.handle_foreign(at(311), &question);
    let answered = (311..332).find_map(|now| announces(&mut first, at(now)).pop());
    let answer = answered.expect("an answer within 20 ms of the last announce");
    second.handle_foreign(at(332), &answer);
    assert!(is_busy(&second) && !is_busy(&first));
    assert_eq!(second.phase(), Phase::Ended);
}

#[test]
fn of_two_that_listen_the_one_that_started_first_goes_on() {
    let (mut early, mut late) = (sender(at(5), 100), sender(at(0), 200));
    for now in 0..=LISTEN.as_millis() as u64 + 5 {
        let (from_late, from_early) = (announces(&mut late, at(now)), Vec::new());
        let from_early = if now < 5 { from_early } else { announces(&mut early, at(now)) };
        from_late.iter().for_each(|announce| early.handle_foreign(at(now), announce));
        from_early.iter().for_each(|announce| late.handle_foreign(at(now), announce));
    }
    assert!(is_busy(&late) && !is_busy(&early));
    assert_eq!(early.phase(), Phase::Joining);
}

#[test]
fn a_flood_of_questions_makes_no_flood_of_answers() {
    let mut first = sender(at(0), 100);
    (0..=300).for_each(|now| _ = announces(&mut first, at(now)));
    let question = announces(&mut sender(at(300), 200), at(300)).remove(0);
    let mut answers = 0;
    for micros in 300_000..400_000 {
        let now = Timestamp::from_micros(micros);
        first.handle_foreign(now, &question);
        answers += announces(&mut first, now).len();
    }
    assert_eq!(answers, 4, "one every 20 ms, the first 20 ms after the last announce");
}

#[test]
fn nobody_there_means_that_hosts_are_gathered_after_the_time_to_listen() {
    let mut only = sender(at(0), 100);
    let questions: usize = (0..200).map(|now| announces(&mut only, at(now)).len()).sum();
    assert_eq!((questions, only.phase()), (4, Phase::Listening));
    let first = announces(&mut only, at(200));
    assert_eq!(first.last().map(|announce| announce.stage), Some(SenderStage::Joining));
}
