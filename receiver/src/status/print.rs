//! `fanhost status`, for people and for scripts.

use std::fmt::Write;
use std::path::Path;

use common::count::counted;
use common::wire::escaped;
use serde::Serialize;

use super::{DropCount, EndedSession, SCHEMA, SessionStatus, Snapshot};
use crate::activation::Progress;
use crate::releases;
use crate::store::Inventory;
use crate::utc::utc;

#[derive(Serialize)]
struct Status<'a> {
    schema: u32,
    running: bool,
    #[serde(flatten)]
    live: Option<Live<'a>>,
    #[serde(flatten)]
    held: &'a Inventory,
}

#[derive(Serialize)]
struct Live<'a> {
    daemon: &'a super::DaemonFacts,
    sessions: &'a [SessionStatus],
    ended: &'a [EndedSession],
    drops: &'a [DropCount],
    activations: &'a [Progress],
}

/// The state of the daemon, if there is one, and of the store as one JSON object.
pub fn to_json(snapshot: Option<&Snapshot>, held: &Inventory) -> String {
    let live = snapshot.map(|it| Live {
        daemon: &it.daemon,
        sessions: &it.sessions,
        ended: &it.ended,
        drops: &it.drops,
        activations: &it.activations,
    });
    let status = Status { schema: SCHEMA, running: live.is_some(), live, held };
    let mut text = serde_json::to_string_pretty(&status).expect("words and numbers serialise");
    text.push('\n');
    text
}

/// The same for people.
pub fn to_table(store: &Path, snapshot: Option<&Snapshot>, held: &Inventory) -> String {
    let mut text = match snapshot {
        Some(snapshot) => live_text(snapshot),
        None => format!("no fanhost is running on {}\n", store.display()),
    };
    text.push('\n');
    text.push_str(&releases::to_table(held));
    text
}

fn live_text(snapshot: &Snapshot) -> String {
    let daemon = &snapshot.daemon;
    let mut text = format!(
        "{}: fanhost {}, process {}, since {}\nlistens to {} on {} for {}, kinds {}\n",
        daemon.host,
        daemon.version,
        daemon.process,
        utc(daemon.started),
        daemon.group,
        daemon.interface,
        daemon.apps.join(", "),
        daemon.kinds.join(" ")
    );
    for complaint in &daemon.complaints {
        let _ = writeln!(text, "{complaint}");
    }
    let _ = writeln!(text, "{}", drops_line(&snapshot.drops));
    if snapshot.sessions.is_empty() {
        text.push_str("no session\n");
    }
    for session in &snapshot.sessions {
        let _ = writeln!(text, "now: {}", session_line(session));
    }
    for ended in &snapshot.ended {
        let _ = writeln!(text, "{}: {}", utc(ended.ended), session_line(&ended.session));
    }
    for activation in &snapshot.activations {
        text.push_str(&activation_text(activation));
    }
    text
}

/// One line for where an activation stands, and one for each hook; of one that failed, all that is
/// kept of its output.
fn activation_text(activation: &Progress) -> String {
    let (app, label, release) = (&activation.app, &activation.label, activation.release.0.short());
    let since = utc(activation.since);
    let mut text = format!("{since}: {app} {label} ({release}) {}\n", activation.standing());
    for ran in &activation.results {
        let _ = writeln!(text, "  {}", escaped(&ran.to_string()));
        for line in ran.output.lines().filter(|_| !ran.is_success()) {
            let _ = writeln!(text, "    {}", escaped(line));
        }
    }
    text
}

fn session_line(session: &SessionStatus) -> String {
    let sent = u64::from(session.received) + u64::from(session.lost);
    let mut line = format!(
        "{} {} ({:.12}) {}, {} of {}, {}, {:.2} % lost, {} dropped by the kernel",
        session.app,
        session.label,
        session.release,
        session.phase,
        session.blocks_done,
        counted(session.blocks_total, "block"),
        counted(session.received, "datagram"),
        f64::from(session.lost) * 100.0 / sent.max(1) as f64,
        session.kernel_drops
    );
    if session.fault != "none" {
        let _ = write!(line, "; {}: {}", session.fault, session.detail);
    }
    if !session.forged.is_empty() {
        let _ = write!(line, "; {}", session.forged);
    }
    line
}

fn drops_line(drops: &[DropCount]) -> String {
    let counted: Vec<_> = drops.iter().filter(|drop| drop.count > 0).collect();
    if counted.is_empty() {
        return "no datagram was dropped".to_owned();
    }
    let words = counted.iter().map(|drop| format!("{} {}", drop.count, drop.reason));
    format!("datagrams dropped: {}", words.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{daemon, session};
    use super::*;
    use crate::activation::{Stage, Verdict};
    use crate::hooks::{Ending, Point, Ran};
    use common::id::ReleaseId;
    use std::time::Duration;

    fn snapshot() -> Snapshot {
        let failed = SessionStatus {
            phase: "failed".into(),
            fault: "disk-full".into(),
            detail: "needs 3 GiB".into(),
            forged: "9 forged datagrams came from 198.18.0.9:7071".into(),
            ..session("1")
        };
        Snapshot {
            schema: SCHEMA,
            daemon: daemon("/var/lib/fanfare"),
            sessions: vec![session("2")],
            ended: vec![EndedSession { ended: 1_700_000_100, session: failed }],
            drops: vec![DropCount { reason: "bad-checksum".into(), count: 7 }],
            activations: vec![activation()],
        }
    }

    fn activation() -> Progress {
        let ran = |ending, output: &str| Ran {
            point: Point::PostActivate,
            ending,
            took: Duration::from_millis(400),
            output: output.into(),
        };
        let failed = ran(Ending::Exited(1), "no such unit\x1b[2J\nsee journalctl\n");
        Progress {
            app: "shop".into(),
            label: "1.9".into(),
            release: ReleaseId("cd".repeat(32).parse().unwrap()),
            since: 1_700_000_050,
            stage: Stage::Over,
            verdict: Verdict::Unjudged,
            left: Duration::ZERO,
            results: vec![ran(Ending::Exited(0), ""), failed],
            probes: 0,
            number: 1,
            reason: String::new(),
        }
    }

    #[test]
    fn a_person_reads_what_the_daemon_is_does_and_did() {
        let text =
            to_table(Path::new("/var/lib/fanfare"), Some(&snapshot()), &Inventory::default());
        assert_eq!(
            text,
            "web-1: fanhost 0.1.0, process 4711, since 2023-11-14T22:13:20Z\n\
             listens to 239.192.70.70:7070 on eth0 for shop, kinds tar raw\n\
             ext2: not root\n\
             datagrams dropped: 7 bad-checksum\n\
             now: shop 2.0 (abababababab) receiving, 3 of 12 blocks, 990 datagrams, 1.00 % lost, \
             2 dropped by the kernel\n\
             2023-11-14T22:15:00Z: shop 2.0 (abababababab) failed, 3 of 12 blocks, 990 datagrams, \
             1.00 % lost, 2 dropped by the kernel; disk-full: needs 3 GiB; 9 forged datagrams came \
             from 198.18.0.9:7071\n\
             2023-11-14T22:14:10Z: shop 1.9 (cdcdcdcdcdcd) its hooks have run\n\
             \x20 post-activate succeeded after 0.4 s\n\
             \x20 post-activate ended with status 1 after 0.4 s: see journalctl\n\
             \x20   no such unit\\u{1b}[2J\n\
             \x20   see journalctl\n\
             \n\
             no releases\n"
        );
    }

    #[test]
    fn of_an_activation_without_hooks_none_is_said_to_have_run() {
        let bare = Progress { results: Vec::new(), ..activation() };
        let line =
            "2023-11-14T22:14:10Z: shop 1.9 (cdcdcdcdcdcd) was switched to; it has no hooks\n";
        assert_eq!(activation_text(&bare), line);
    }

    #[test]
    fn without_a_daemon_it_says_so_and_shows_the_store() {
        let text = to_table(Path::new("/var/lib/fanfare"), None, &Inventory::default());
        assert_eq!(text, "no fanhost is running on /var/lib/fanfare\n\nno releases\n");
        let value: serde_json::Value =
            serde_json::from_str(&to_json(None, &Inventory::default())).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "schema": 1, "running": false, "releases": [], "images": [], "held": []
            })
        );
    }

    #[test]
    fn a_script_reads_one_object() {
        let value: serde_json::Value =
            serde_json::from_str(&to_json(Some(&snapshot()), &Inventory::default())).unwrap();
        assert_eq!(value["running"], true);
        assert_eq!(value["daemon"]["host"], "web-1");
        assert_eq!(value["sessions"][0]["lost"], 10);
        assert_eq!(value["ended"][0]["fault"], "disk-full");
        assert_eq!(value["drops"][0]["count"], 7);
        let result = &value["activations"][0]["results"][1];
        assert_eq!(result["ending"], serde_json::json!({"exited": 1}));
        assert_eq!((&result["point"], &result["seconds"]), (&"post-activate".into(), &0.4.into()));
    }
}
