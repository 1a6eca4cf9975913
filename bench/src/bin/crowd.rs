//! `crowd`: see [`bench::crowd`].

use std::process::ExitCode;

fn main() -> ExitCode {
    bench::crowd::main()
}
