//! `compare`: see [`bench::compare`].

use std::process::ExitCode;

fn main() -> ExitCode {
    bench::compare::main()
}
