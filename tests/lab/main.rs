//! The product in a small data centre: real binaries, real mounts, real loss. Needs root.
//!
//! One file for each thing that must hold; `harness` shows that the lab itself does what the
//! others rely on. A lab that measures time or fills both cores runs alone.

mod bench;
mod bulk;
mod delivery;
mod forgery;
mod harness;
mod interruption;
mod memory;
mod network;
mod parted;
mod policy;
mod refusal;
mod resume;
mod sealed;
mod stragglers;
mod switching;
