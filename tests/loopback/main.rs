//! The real binaries on one machine, over its loopback: what needs no network of its own, no root.
//!
//! [`site`] runs a sender and hosts side by side; every test has a group and port of its own, so
//! that they run beside each other and beside a fanfare that serves this machine.

mod boot;
mod bundles;
mod console;
mod delivery;
mod hooks;
mod keys;
mod manners;
mod operations;
mod operations_stages;
mod packing;
mod refusals;
mod site;
mod switching;
mod transfer;
mod units;
mod verbs;
