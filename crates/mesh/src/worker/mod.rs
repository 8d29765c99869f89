//! The Temporal worker of a service: what it handles ([`Registry`]) and how it lives ([`manager`]).
//!
//! A worker has a connection of its own (`transport`), so that its polls can be brought to an end before it is stopped (`polls`).

mod drain;
pub(crate) mod inflight;
pub mod manager;
pub(crate) mod polls;
mod registry;
mod threads;
pub(crate) mod transport;

pub use registry::{Home, QueueTuning, Registry, RegistryError};
