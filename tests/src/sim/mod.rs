//! The whole system in one process and in virtual time, from one seed.
//!
//! Real sessions, simulated network, disk and clock; usually headers only, without a payload byte.
//!
//! * [`World`]: the clock and the sender, and what happens when; `host`: a host and its session;
//! * `fabric`, `feedback`: what the network does on the way there and back; `stream`: what is on
//!   its way; `store`: what a host's disk does; `payload`: real bytes, where they are wanted;
//! * [`Setup`]: what a run is made of; [`Account`]: what it cost.

mod account;
mod fabric;
mod feedback;
mod forger;
mod host;
mod payload;
mod setup;
mod sifting;
mod store;
mod stream;
mod trace;
mod world;

pub use account::Account;
pub use fabric::{Faults, Loss, RACK_HOSTS};
pub use feedback::Bottleneck;
pub use forger::Forgery;
pub use setup::{HostSetup, Setup, announce};
pub use world::World;
