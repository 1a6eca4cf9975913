//! The sender library.
