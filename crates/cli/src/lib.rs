//! The `quell` command, and the library under it.
//!
//! The library half is a whole mesh on one machine: [`tools`] finds or fetches the programs, [`process`] keeps child
//! processes, [`dev`] puts Temporal, Jaeger and the three services together. The end-to-end tests stand on the same code.
//! The command half ([`commands`]) speaks to the three services over gRPC, as anyone could: it knows nothing that is not
//! in `proto/`.

pub mod clients;
pub mod commands;
pub mod dev;
pub mod error;
pub mod exit;
pub mod ports;
pub mod process;
pub mod receipt;
pub mod tools;
pub mod ui;
pub mod view;

pub use dev::{DevMesh, DevMeshBuilder, JaegerWish, Part, Ports};
pub use error::Error;
pub use process::Process;
