//! The operator's side: packs releases and sends them to the fleet.

pub mod complaint;
pub mod exit;
pub mod inspect;
pub mod pack;
pub mod progress;
pub mod send;
pub mod session;
pub mod summary;
pub mod transfer;
pub mod verify;
