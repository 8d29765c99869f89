//! Compiles proto/ with protox, so that no protoc binary is needed.
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let files: Vec<PathBuf> = [
        "quell/type/v1/type.proto",
        "quell/work/v1/probe.proto",
        "quell/work/v1/snowball.proto",
        "quell/work/v1/source.proto",
        "quell/work/v1/batch_processing.proto",
        "quell/work/v1/order.proto",
        "quell/canceler/v1/cancellation.proto",
        "quell/batch/v1/batch_operation.proto",
        "quell/audit/v1/audit.proto",
    ]
    .iter()
    .map(|file| root.join(file))
    .collect();
    println!("cargo:rerun-if-changed={}", root.display());

    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // The set is served by reflection and read by tests that walk the whole contract.
    std::fs::write(out.join("quell.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
