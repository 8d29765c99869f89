//! The audit's gRPC face. All services write it (`quell_mesh::audit`) to the payload store that they share; this one reads it.

mod api;

pub use api::AuditApi;
