//! What shows fanfare and what measures it: never linked into the product, never a test.
//!
//! * [`demo`]: one release to a handful of hosts on this machine, with loss;
//! * [`compare`]: the speed of fanfare beside that of its peers, in network namespaces (root);
//! * [`interrupt`]: what Ctrl-C means to both: everything begun is ended and removed.
//!
//! Rules of measuring are in `README.md` beside this crate.

mod columns;
pub mod compare;
pub mod demo;
pub mod interrupt;
