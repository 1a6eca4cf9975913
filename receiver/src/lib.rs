//! The receiving host: takes a release from the network to its place on disk.

pub mod session;
