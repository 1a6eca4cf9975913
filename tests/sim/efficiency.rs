//! What the protocol achieves, exact in virtual time: a golden table that a person approves.

use std::fmt::Write;
use std::path::Path;

use sender::session::Outcome;
use tests::sim::{Faults, Loss, Setup, World};

/// Bytes of the payload in every cell.
const PAYLOAD_BYTES: u64 = 64_000_000;

/// Cells with the ratio that the project promises for them.
const CELLS: [(usize, f64, f64); 6] = [
    (1, 0.01, 1.04),
    (8, 0.00, 1.015),
    (8, 0.01, 1.04),
    (8, 0.05, 1.10),
    (100, 0.01, 1.05),
    (1000, 0.01, 1.05),
];

#[test]
fn symbols_sent_per_source_symbol_are_as_in_the_golden_table() {
    let mut table = String::from(
        "# 64 MB payload, 1 Gbit/s, independent loss both ways, seed 1; preamble apart\n\
         # hosts loss% sent/source limit needs statuses virtual-seconds\n",
    );
    for (hosts, loss, limit) in CELLS {
        let loss_model = if loss > 0.0 { Loss::Independent(loss) } else { Loss::None };
        let faults =
            Faults { host_loss: loss_model, feedback_loss: loss_model, ..Faults::default() };
        let setup = Setup { hosts, payload_bytes: PAYLOAD_BYTES, faults, ..Setup::new(1) };
        let mut world = World::new(setup);
        assert_eq!(world.run(), Outcome::Reached);
        let (ratio, (needs, statuses)) = (world.efficiency(), world.feedback());
        let seconds = world.elapsed().as_secs_f64();
        writeln!(
            table,
            "{hosts:5} {:4.1} {ratio:.4} {limit:.3} {needs:5} {statuses:6} {seconds:.3}",
            loss * 100.0
        )
        .unwrap();
        assert!(ratio <= limit, "{hosts} hosts, {loss}: {ratio}\n{table}");
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
