//! Everything that is unsafe: calls and instructions that neither std nor a crate offers safely.
//!
//! Nothing is decided here: each function is one call with its arguments laid out, says what the
//! kernel answered, and hands owned values back. Not here: anything that has a safe wrapper.
//! Invariants: no pointer outlives the call that it was made for; no function can be called in a
//! way that breaks memory; `unsafe` is nowhere else, which the compiler and a tidy test see to.
//!
//! Of these only [`gfni`] and [`memory`] are open to pure modules.

#![expect(unsafe_code, reason = "the one place for it")]

pub mod files;
pub mod gfni;
pub mod landlock;
pub mod memory;
pub mod processes;
pub mod sockets;

use std::io;

/// The answer of a call that says by a negative number that it failed.
fn checked<T: PartialOrd + Default>(answer: T) -> io::Result<T> {
    if answer < T::default() { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
