//! `cargo run --release -p bench --bin demo`: see [`bench::demo`].
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for people")]

use std::process::ExitCode;

use bench::demo::{self, host};
use receiver::store::UNPACKER;

const HELP: &str = "\
Sends one release of 3,000 files to five hosts on this machine, over loopback multicast, while
3 % of all datagrams are lost each way, and shows what came of it. Takes no arguments, needs no
root, leaves nothing behind.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        None => demo::main(),
        Some(host::ROLE) => host::main(&arguments),
        Some(UNPACKER) => host::unpack(),
        Some("-h" | "--help") => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Some(other) => {
            eprintln!("demo: {other:?}: the demo takes no arguments");
            ExitCode::from(2)
        }
    }
}
