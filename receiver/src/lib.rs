//! The receiving host: takes a release from the network to its place on disk.
//!
//! * [`session`]: a host's side of one distribution, pure;
//! * [`pipeline`]: from symbols to a verified image, on worker threads;
//! * [`keeper`]: what sessions ask of the store, in this process or of the [`helper`];
//! * [`verbs`]: what an administrator asks of the store, by whom it is carried out;
//! * [`confine`]: what the process on the network takes away from itself;
//! * [`store`]: images, releases and `current` on disk;
//! * [`activation`]: the switch with what belongs to it; [`hooks`]: the administrator's commands;
//! * [`daemon`]: sockets and sessions of `fanhost run`; [`control`]: its signals and status socket;
//! * [`housekeeping`]: what a host does for itself from time to time;
//! * [`cli`], [`config`], [`keys`]: what an administrator gives; [`status`], [`releases`],
//!   [`holders`], [`exit`]: what one sees.

pub mod activation;
pub mod cli;
mod columns;
pub mod config;
pub mod confine;
pub mod control;
pub mod daemon;
pub mod exit;
mod handover;
pub mod helper;
pub mod holders;
pub mod hooks;
pub mod housekeeping;
pub mod keeper;
pub mod keys;
pub mod pipeline;
mod place;
pub mod releases;
pub mod session;
pub mod status;
pub mod store;
mod utc;
pub mod verbs;
