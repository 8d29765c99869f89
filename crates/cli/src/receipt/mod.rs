//! Receipts outside the service: as a file, and held against everything that they say of the world.

mod file;
mod parts;
mod verify;

pub use file::ReceiptFile;
pub use parts::against_parts;
pub use verify::{Check, Found, Recount, against_result, verify};
