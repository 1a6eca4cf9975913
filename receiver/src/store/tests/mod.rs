//! The store as a whole.

pub(crate) mod fixture;

mod adopt;
mod disk;
mod install;
mod mounts;
mod partials;
mod recorder;
mod switching;
