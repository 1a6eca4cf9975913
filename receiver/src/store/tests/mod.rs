//! The store as a whole.

pub(super) mod fixture;

mod disk;
mod install;
mod mounts;
mod partials;
mod recorder;
mod switching;
