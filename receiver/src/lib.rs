//! The receiving host: takes a release from the network to its place on disk.
//!
//! * [`session`]: a host's side of one distribution, pure;
//! * [`pipeline`]: from symbols to a verified image, on worker threads;
//! * [`store`]: images, releases and `current` on disk;
//! * [`daemon`]: sockets and sessions of `fanhost run`; [`status`], [`config`], [`releases`]:
//!   what an administrator gives and sees.

pub mod config;
pub mod daemon;
pub mod pipeline;
pub mod releases;
pub mod session;
pub mod status;
pub mod store;
