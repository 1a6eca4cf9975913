//! Any of the targets of `tests::fuzz`, by its name in `FANFARE_FUZZ`.
#![no_main]

use std::sync::LazyLock;

use tests::fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FANFARE_FUZZ").expect("tests/fuzz/run says which target");
    let target = TARGETS.into_iter().find(|target| target.name == name);
    target.unwrap_or_else(|| panic!("there is no target {name}"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
