//! The wire contract of Quell: code generated from `proto/`, its validation, and the typed activities by which the
//! services meet. `proto/` is the only source; nothing here adds to what goes over the wire.

pub mod batch_activities;
pub mod ids;
pub mod target;
pub mod validate;
pub mod verdict;

/// `quell.type.v1`: what more than one service speaks.
pub mod r#type {
    /// Version 1.
    #[allow(warnings, clippy::all, clippy::pedantic, reason = "generated from commented protos")]
    pub mod v1 {
        tonic::include_proto!("quell.r#type.v1");
    }
}

/// `quell.work.v1`: snowballs, sources and probes.
pub mod work {
    /// Version 1.
    #[allow(warnings, clippy::all, clippy::pedantic, reason = "generated from commented protos")]
    pub mod v1 {
        tonic::include_proto!("quell.work.v1");
    }
}

/// `quell.canceler.v1`: cancellations.
pub mod canceler {
    /// Version 1.
    #[allow(warnings, clippy::all, clippy::pedantic, reason = "generated from commented protos")]
    pub mod v1 {
        tonic::include_proto!("quell.canceler.v1");
    }
}

/// `quell.batch.v1`: server-side batch operations.
pub mod batch {
    /// Version 1.
    #[allow(warnings, clippy::all, clippy::pedantic, reason = "generated from commented protos")]
    pub mod v1 {
        tonic::include_proto!("quell.batch.v1");
    }
}

/// `quell.audit.v1`: the audit.
pub mod audit {
    /// Version 1.
    #[allow(warnings, clippy::all, clippy::pedantic, reason = "generated from commented protos")]
    pub mod v1 {
        tonic::include_proto!("quell.audit.v1");
    }
}

/// The descriptors of all of `proto/`, for gRPC reflection and for tests that walk the contract.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quell.bin"));
