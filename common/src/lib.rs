//! What sender and receiver share, in layers; each may use only those above it.
//!
//! * words: [`id`], [`units`], [`count`], [`limits`], [`time`], [`digest`], [`complaint`],
//!   [`hook`]: what things are called, how big they may be, and what is said when they are not;
//! * bytes: [`keys`] (who may say what), [`bundle`] (the file), [`wire`] (the datagrams), [`fec`]
//!   (the code);
//! * mechanisms, told `now` and their random numbers: [`geometry`], [`timers`], [`pacer`],
//!   [`backoff`], [`grtt`], [`seal`];
//! * the world, impure and opted out of the purity line by name: [`clock`], [`net`]; below them
//!   [`sys`], where everything unsafe is.
//!
//! Everything above the last line is pure: no clock, socket, thread, file or unseeded randomness.

pub mod backoff;
pub mod bundle;
pub mod clock;
pub mod complaint;
pub mod count;
pub mod digest;
pub mod drops;
pub mod fec;
pub mod geometry;
pub mod grtt;
pub mod guard;
pub mod hook;
pub mod id;
pub mod keys;
pub mod limits;
pub mod net;
pub mod pacer;
pub mod seal;
mod serde_text;
pub mod sys;
pub mod time;
pub mod timers;
pub mod units;
pub mod wire;
