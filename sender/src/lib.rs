//! The operator's side: packs releases and sends them to the fleet.

pub mod session;
pub mod transfer;
