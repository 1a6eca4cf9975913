//! What shows fanfare and what measures it: never linked into the product, never a test.
//!
//! * [`demo`]: one release to a handful of hosts on this machine, with loss;
//! * [`compare`]: fanfare beside its peers, cell by cell of hosts and loss (root);
//! * [`arena`], [`cell`], [`contestant`], [`fanfare`], [`race`]: where, under what circumstances
//!   and who runs, and one run;
//! * [`crowd`]: hundreds of real hosts at once;
//! * [`profile`]: where sender and host spend their time;
//! * [`meter`], [`statistics`]: what a run costs; [`machine`], [`conditions`]: on what;
//! * [`interrupt`], [`program`]: what Ctrl-C means to all: everything begun is ended and removed.
//!
//! Rules of measuring are in `README.md` beside this crate.

pub mod arena;
pub mod cell;
mod columns;
pub mod compare;
pub mod conditions;
pub mod contestant;
pub mod crowd;
pub mod demo;
pub mod fanfare;
pub mod interrupt;
pub mod machine;
pub mod meter;
pub mod profile;
pub mod program;
pub mod race;
pub mod statistics;
