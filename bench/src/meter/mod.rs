//! What a run costs, as the kernel counts it: processor time, memory, bytes on the wire.
//!
//! * [`cpu`]: user and system time of a process;
//! * [`watch`]: memory and threads of many processes, looked at while they run;
//! * [`wire`]: what left through the sender's interface, and how fast.

pub mod cpu;
pub mod watch;
pub mod wire;
