//! The product in a small data centre: real binaries, real mounts, real loss. Needs root.
//!
//! One file for each thing that must hold; `harness` shows that the lab itself does what the
//! others rely on.

mod harness;
