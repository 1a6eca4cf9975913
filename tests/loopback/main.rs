//! The real binaries on one machine: what needs no network of its own, and no root.

mod transfer;
