//! Receipts outside the service: as a file, and held against everything that they say of the world.

mod file;
mod verify;

pub use file::ReceiptFile;
pub use verify::{Check, Found, Recount, against_result, verify};
