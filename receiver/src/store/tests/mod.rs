//! The store as a whole.

pub(crate) mod fixture;

mod adopt;
mod disk;
mod install;
mod live;
mod lost;
mod mounts;
mod partials;
mod pruning;
mod recorder;
mod removal;
mod sweep;
mod switching;
mod trust;
