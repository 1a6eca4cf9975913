//! `fanfare`: packs releases, checks them and sends them to a fleet.

use std::process::ExitCode;

fn main() -> ExitCode {
    common::guard::run("fanfare", || sender::cli::run().code()).into()
}
