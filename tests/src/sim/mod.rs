//! The whole system in one thread and in virtual time, from one seed.
//!
//! Real sessions, simulated network, disk and clock. Headers only: no payload byte exists here.

mod fabric;
mod setup;
mod world;

pub use fabric::{Faults, Loss};
pub use setup::{HostSetup, Setup};
pub use world::World;
