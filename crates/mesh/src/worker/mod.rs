//! The Temporal worker of a service: what it handles ([`Registry`]) and how it lives ([`manager`]).

pub(crate) mod inflight;
pub mod manager;
mod registry;

pub use registry::{Home, QueueTuning, Registry, RegistryError};
