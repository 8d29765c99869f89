//! The gRPC server.
mod services;
pub use services::GrpcServices;
