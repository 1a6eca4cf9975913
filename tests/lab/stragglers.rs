//! A host that loses far more than the others: they go first, and it completes afterwards.

use std::time::Duration;

use tests::lab::{HostOptions, Lab, Loss, Release, Shape};
use tests::outcome::{Outcome, exit};
use tests::product::Send;

const DEADLINE: Duration = Duration::from_secs(90);
const BYTES: u64 = 32 << 20;

/// Sends to five hosts, each of which switches when it has staged.
fn send(lab: &Lab, release: &Release) -> Outcome {
    let send = Send::of(&release.bundle).expect(5).activate("each").rate("100Mbit");
    let outcome = send.run(lab, DEADLINE).expect_exit(exit::DONE);
    for host in lab.hosts() {
        host.expect_current(release);
    }
    outcome
}

/// When the last of the first four hosts was done.
fn seconds(outcome: &Outcome) -> f64 {
    let done = (1..5).map(|nth| outcome.host(&format!("h{nth}")).seconds.expect("it came"));
    done.fold(0.0, f64::max)
}

/// The outcome of a release, and the bytes that came to the first host.
fn measure(lab: &mut Lab, label: &str) -> (Outcome, u64) {
    let release = lab.raw_release(label, BYTES);
    let before = lab.host(1).node().received_bytes();
    let outcome = send(lab, &release);
    (outcome, lab.host(1).node().received_bytes() - before)
}

#[test]
fn one_host_of_five_at_thirty_percent_of_loss_completes_after_the_others_and_costs_them_little() {
    // Method: one release without loss, another with a host that loses 30 %; compare when the other
    // four were done, and how much came to the first of them.
    let mut lab = Lab::new(Shape::hosts(5).alone());
    lab.start_hosts(&HostOptions::app("shop"));
    lab.sender().split_trains();
    let (usual, usual_bytes) = measure(&mut lab, "r1");
    lab.host(5).node().lose(Loss::percent(30));
    let (beside, bytes) = measure(&mut lab, "r2");

    let longer = seconds(&beside) / seconds(&usual) - 1.0;
    assert!(longer < 0.08, "{:.1} % longer: {}", longer * 100.0, beside.report());
    let more = bytes as f64 / usual_bytes as f64 - 1.0;
    assert!(more < 0.05, "{:.1} % more came to a host that lost nothing", more * 100.0);
    let late = beside.host("h5").seconds.expect("it came");
    eprintln!(
        "four hosts {:.2} s without and {:.2} s beside the fifth, which took {late:.2} s; {:.2} % \
         more came to the first",
        seconds(&usual),
        seconds(&beside),
        more * 100.0
    );
    let straggler = &beside.report()["hosts"][4];
    let cause = straggler["straggler"].as_str().unwrap_or_default();
    assert!(cause.starts_with("lost "), "{straggler}");
    assert!(beside.host("h5").seconds > beside.host("h1").seconds, "{}", beside.report());
    assert!(beside.report()["wire"]["catch_up_symbols"].as_u64() > Some(1000), "{beside:?}");
}

#[test]
fn a_straggler_to_which_no_other_group_comes_is_served_by_its_own_address() {
    let mut lab = Lab::new(Shape::hosts(5).alone());
    lab.start_hosts(&HostOptions::app("shop"));
    lab.sender().split_trains();
    // A third of everything, and all that comes by the stragglers' group, 239.193.128.0/17.
    let loss = "meta l4proto udp numgen random mod 100 < 30";
    lab.host(5).node().cut(&format!("ip daddr 239.193.0.0/16 drop; {loss}"));
    let outcome = send(&lab, &lab.raw_release("r1", BYTES));
    let straggler = outcome.host("h5");
    assert!(straggler.seconds.expect("it came") > seconds(&outcome) + 5.0, "{straggler:?}");
}
