//! The operator's tool, as a library: packs releases and sends them to the fleet.
//!
//! * [`cli`]: the verbs; [`send`]: the arguments of `fanfare send` and its course;
//! * [`keys`]: the operator's keys, and what is signed with them;
//! * [`transfer`]: one bundle over real sockets; [`session`]: the protocol, pure;
//! * [`progress`]: how it goes; [`summary`]: how it ended; [`console`]: where both are shown;
//! * [`complaint`], [`exit`]: what stands in the last line, and the code with it.
//!
//! Invariant: nothing here imports the receiver; what both need lies in `common`.

pub mod cli;
pub mod complaint;
pub mod console;
pub mod exit;
pub mod inspect;
pub mod keys;
pub mod pack;
pub mod progress;
pub mod send;
pub mod session;
pub mod summary;
pub mod transfer;
pub mod verify;
