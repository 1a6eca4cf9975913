//! `fanfare send`: from the command line to the exit code.
pub mod args;
pub mod expect;
pub mod settings;
