//! The receiving host: takes a release from the network to its place on disk.
//!
//! * [`config`]: what the host's administrator decides, read from one file;
//! * [`session`]: the host's side of a session, pure;
//! * [`store`]: everything that touches disk, mounts and links, behind one seam of plain-data
//!   steps;
//! * [`releases`]: what the store holds, printed for people and for scripts.

pub mod config;
pub mod releases;
pub mod session;
pub mod store;
