//! What the protocol achieves from one host to ten thousand: a table that is written on demand and
//! refused when it is older than the sessions.
#![expect(clippy::disallowed_methods, reason = "it reads sources and writes a golden file")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::digest::Digest;
use common::units::Bitrate;
use sender::session::{Expect, Outcome, RateRequest};
use tests::sim::{Bottleneck, Faults, Loss, Setup, World};

/// Bytes of the payload in every row.
const PAYLOAD_BYTES: u64 = 200_000_000;
/// As with `--rate 1Gbit`: a ceiling, with the brake in force.
const RATE: RateRequest = RateRequest::Ceiling(Bitrate::from_megabits(1000));
const HOSTS: [usize; 5] = [1, 8, 100, 1_000, 10_000];
const LOSSES_PERMILLE: [u32; 5] = [0, 1, 10, 50, 100];
/// Mean length of a burst in datagrams.
const MEAN_BURST: f64 = 64.0;
/// Share of the loss that happens on the links of racks in rows called `rack`.
const RACK_SHARE: f64 = 0.9;
const SEED: u64 = 1;
const FILE: &str = "scale.txt";
const RENEW: &str = "tests/run --full sim scale";
/// Sources that decide what the table says, besides those of both sessions.
const MECHANISMS: [&str; 6] = ["backoff", "geometry", "grtt", "limits", "pacer", "timers"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Independent,
    Bursty,
    Rack,
}

impl Pattern {
    const ALL: [(Self, &str); 3] =
        [(Self::Independent, "independent"), (Self::Bursty, "bursty"), (Self::Rack, "rack")];

    fn faults(self, p: f64) -> Faults {
        let independent = |p| if p > 0.0 { Loss::Independent(p) } else { Loss::None };
        let base = Faults {
            feedback_loss: independent(p),
            bottleneck: Bottleneck::ETHERNET,
            ..Faults::default()
        };
        match self {
            Self::Independent => Faults { host_loss: independent(p), ..base },
            Self::Bursty => {
                Faults { host_loss: Loss::Bursty { p, mean_burst: MEAN_BURST }, ..base }
            }
            Self::Rack => Faults {
                rack_loss: independent(p * RACK_SHARE),
                host_loss: independent(p * (1.0 - RACK_SHARE)),
                ..base
            },
        }
    }
}

/// What a row is of.
#[derive(Debug, Clone, Copy)]
struct Cell {
    hosts: usize,
    loss_permille: u32,
    pattern: (Pattern, &'static str),
}

/// Every row, headline rows and all others: one size of payload serves them all.
fn cells() -> impl Iterator<Item = Cell> {
    let patterns = |loss| Pattern::ALL.into_iter().take(if loss > 0 { 3 } else { 1 });
    HOSTS.into_iter().flat_map(move |hosts| {
        LOSSES_PERMILLE.into_iter().flat_map(move |loss_permille| {
            patterns(loss_permille).map(move |pattern| Cell { hosts, loss_permille, pattern })
        })
    })
}

impl Cell {
    /// The row's beginning, by which it is found again.
    fn name(&self) -> String {
        let percent = f64::from(self.loss_permille) / 10.0;
        format!("{:6} {percent:5.1} {:11}", self.hosts, self.pattern.1)
    }

    /// What the project promises of this row, if anything.
    fn promise(&self) -> Option<Promise> {
        let (ratio, seconds) = match (self.hosts, self.loss_permille) {
            (10_000, 1) => (1.03, 3.5),
            (10_000, 10) => (1.06, f64::INFINITY),
            (10_000, 50) => (1.12, f64::INFINITY),
            _ => return None,
        };
        Some(match self.pattern.0 {
            Pattern::Independent => Promise { ratio, seconds },
            // "Within 10 % of that ratio."
            Pattern::Bursty | Pattern::Rack => {
                Promise { ratio: 1.1 * ratio, seconds: f64::INFINITY }
            }
        })
    }

    fn run(&self) -> String {
        let setup = Setup {
            hosts: self.hosts,
            payload_bytes: PAYLOAD_BYTES,
            rate: RATE,
            faults: self.pattern.0.faults(f64::from(self.loss_permille) / 1000.0),
            ..Setup::new(SEED)
        };
        let mut world = World::new(setup);
        let outcome = world.run();
        let account = world.account();
        let limit = self.promise().map_or_else(|| "-".to_owned(), |p| format!("{:.3}", p.ratio));
        format!(
            "{} {:.4} {limit:>5} {:6} {:5} {:6} {:7.3} {:7.3} {:6} {:8} {:.3e} {outcome:?}",
            self.name(),
            world.efficiency(),
            account.needs,
            account.needs_peak,
            account.rounds,
            account.staged.as_secs_f64(),
            world.elapsed().as_secs_f64(),
            account.staged_hosts,
            account.overflows,
            world.deliveries() as f64,
        )
    }
}

/// What a row must keep, beside that every host stages.
#[derive(Debug, Clone, Copy)]
struct Promise {
    /// Symbols sent per source symbol.
    ratio: f64,
    /// Seconds to the last host staged; where they are promised, so is quiet: at most 2,000 NEEDs,
    /// 100 of them in a millisecond.
    seconds: f64,
}

impl Promise {
    /// Judges the row behind its name.
    fn assert_kept(self, row: &str) {
        let number = |index: usize| -> f64 {
            let field = row.split_whitespace().nth(index);
            field.and_then(|field| field.parse().ok()).unwrap_or_else(|| panic!("{row}"))
        };
        let (ratio, needs, peak, seconds) = (number(0), number(2), number(3), number(5));
        assert!(ratio <= self.ratio, "{ratio} symbols sent per source symbol: {row}");
        assert!(seconds <= self.seconds, "{seconds} s: {row}");
        let is_quiet = needs <= 2000.0 && peak <= 100.0;
        assert!(is_quiet || self.seconds.is_infinite(), "{needs} NEEDs, {peak} in 1 ms: {row}");
    }
}

fn header() -> String {
    let commit = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "# Renew with: {RENEW}\n\
         # commit {}, seed {SEED}\n\
         # sessions {}\n\
         # 200 MB payload (142,046 source symbols) in every row, --rate 1Gbit, preamble apart;\n\
         # the same loss on feedback, independent; feedback over one 1 Gbit/s port into a 208 KB\n\
         # socket buffer, 5 us a message. bursty: Gilbert, mean 64 datagrams. rack: 9/10 of\n\
         # the loss on the links of racks of 40, the rest at hosts. limit: of sent/source, as\n\
         # promised. peak: NEEDs in the fullest millisecond. rounds: polls in which one block was\n\
         # asked for, at most. staged-s: from the command to the last host staged, ended-s:\n\
         # to the end. lost: feedback that a queue or buffer had no room for. headers: handled by\n\
         # all hosts' sessions.\n\
         # hosts loss% pattern sent/source limit needs peak rounds staged-s ended-s staged lost \
         headers outcome\n",
        commit.unwrap_or_else(|_| "unknown".to_owned()),
        sessions_digest(),
    )
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace")
}

/// Digest of the code of both sessions and of the mechanisms in them: without comments and tests,
/// since those decide nothing.
fn sessions_digest() -> Digest {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut directories =
        ["sender/src/session", "receiver/src/session"].map(|it| root().join(it)).to_vec();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("the sessions' sources") {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() { directories.push(path) } else { paths.push(path) }
        }
    }
    paths.retain(|path| path.file_name().is_some_and(|name| name != "tests.rs"));
    paths.extend(MECHANISMS.map(|name| root().join(format!("common/src/{name}.rs"))));
    paths.sort();
    let mut code = String::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a source");
        let (text, _tests) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.for_each(|line| code.extend([line, "\n"]));
    }
    Digest::of(code.as_bytes())
}

#[expect(clippy::print_stderr, reason = "it takes long, and each row is worth seeing")]
fn write_table(path: &Path) {
    let mut table = header();
    for cell in cells() {
        let row = cell.run();
        eprintln!("{row}");
        writeln!(table, "{row}").expect("a string takes lines");
    }
    std::fs::write(path, table).expect("the golden directory takes files");
}

/// Goal: nobody reads figures of sessions that are no more, and the promises are kept. Method: the
/// table names the digest of the code that it was measured with; `--full` measures again.
#[test]
fn the_table_of_scale_is_as_new_as_the_sessions_and_keeps_the_promises() {
    let path = root().join("tests/golden").join(FILE);
    if std::env::var("FANFARE_TESTS_FULL").is_ok() {
        write_table(&path);
    }
    let table = std::fs::read_to_string(&path).unwrap_or_default();
    let digest = format!("# sessions {}", sessions_digest());
    assert!(
        table.lines().any(|line| line == digest),
        "tests/golden/{FILE} is of other sessions; renew it with: {RENEW} (ten minutes)"
    );
    for cell in cells() {
        let name = cell.name();
        let mut rows = table.lines().filter_map(|line| line.strip_prefix(&name));
        let row = rows.next().unwrap_or_else(|| panic!("no row of {name}"));
        let fields: Vec<&str> = row.split_whitespace().collect();
        let (staged, outcome) = (fields.get(7), fields.get(10..));
        let is_everywhere = staged == Some(&cell.hosts.to_string().as_str());
        assert!(is_everywhere && outcome == Some(&["Reached"]), "not everywhere: {name}{row}");
        if let Some(promise) = cell.promise() {
            promise.assert_kept(row);
        }
    }
}

#[test]
fn ten_thousand_joins_at_once_go_through_a_default_socket_buffer() {
    let faults = Faults { bottleneck: Bottleneck::ETHERNET, ..Faults::default() };
    let setup = Setup {
        hosts: 10_000,
        payload_bytes: 1_000_000,
        expect: Some(Expect::Any),
        faults,
        ..Setup::new(SEED)
    };
    let mut world = World::new(setup);
    assert_eq!(world.run(), Outcome::Unstated);
    assert_eq!(world.sender().progress().active, 10_000);
    assert!(world.account().overflows > 5_000, "they do collide: {:?}", world.account());
}

// PROTOCOL 5.1.
#[test]
fn ten_thousand_hosts_at_a_tenth_of_loss_are_all_heard_in_the_end() {
    let loss = Pattern::Independent.faults(0.1);
    let setup = Setup { hosts: 10_000, payload_bytes: 1_000_000, faults: loss, ..Setup::new(SEED) };
    let mut world = World::new(setup);
    assert_eq!(world.run(), Outcome::Reached);
    assert!(world.elapsed() < Duration::from_secs(10), "{:?}", world.elapsed());
}
