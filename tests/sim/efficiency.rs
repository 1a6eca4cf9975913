//! What the protocol achieves, exact in virtual time: a golden table that a person approves.

use std::fmt::Write;
use std::path::Path;

use sender::session::Outcome;
use tests::sim::{Faults, Loss, Setup, World};

/// One line of the table.
struct Cell {
    hosts: usize,
    megabytes: u64,
    loss: f64,
    /// Symbols sent per source symbol that the project promises.
    limit: f64,
}

const fn cell(hosts: usize, megabytes: u64, loss: f64, limit: f64) -> Cell {
    Cell { hosts, megabytes, loss, limit }
}

const CELLS: [Cell; 7] = [
    cell(1, 64, 0.01, 1.04),
    cell(8, 64, 0.00, 1.015),
    cell(8, 64, 0.01, 1.04),
    cell(8, 64, 0.05, 1.10),
    cell(100, 64, 0.01, 1.05),
    cell(1_000, 64, 0.01, 1.05),
    cell(10_000, 20, 0.01, 1.06),
];

#[test]
fn symbols_sent_per_source_symbol_are_as_in_the_golden_table() {
    let mut table = String::from(
        "# 1 Gbit/s, independent loss both ways, seed 1; preamble apart; peak: NEEDs in the\n\
         # fullest ms\n\
         # hosts MB loss% sent/source limit needs peak statuses virtual-seconds\n",
    );
    for Cell { hosts, megabytes, loss, limit } in CELLS {
        let loss_model = if loss > 0.0 { Loss::Independent(loss) } else { Loss::None };
        let faults =
            Faults { host_loss: loss_model, feedback_loss: loss_model, ..Faults::default() };
        let payload_bytes = megabytes * 1_000_000;
        let mut world = World::new(Setup { hosts, payload_bytes, faults, ..Setup::new(1) });
        assert_eq!(world.run(), Outcome::Reached);
        let (ratio, account) = (world.efficiency(), world.account());
        writeln!(
            table,
            "{hosts:5} {megabytes:3} {:4.1} {ratio:.4} {limit:.3} {:5} {:4} {:6} {:.3}",
            loss * 100.0,
            account.needs,
            account.needs_peak,
            account.statuses,
            world.elapsed().as_secs_f64(),
        )
        .unwrap();
        assert!(ratio <= limit, "{hosts} hosts, {loss}: {ratio}\n{table}");
        assert!(account.needs_peak <= 100, "{hosts} hosts, {loss}\n{table}");
    }
    compare_with_golden("efficiency.txt", &table);
}

/// Compares with a reviewed file; `FANFARE_BLESS=1` writes it.
fn compare_with_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    #[expect(clippy::disallowed_methods, reason = "a golden file is a file")]
    if std::env::var("FANFARE_BLESS").is_ok() {
        std::fs::write(&path, text).expect("the golden directory takes files");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{name} differs; if the change is meant, FANFARE_BLESS=1 writes it");
}
