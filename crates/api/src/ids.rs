//! Ids of our own. Everything that Quell starts for itself is named so that no cancellation can ever stop it.

/// Prefixes of Quell's own workflow ids. Every query of a cancellation excludes them and every row is checked again.
pub const OWN_PREFIXES: [&str; 2] = ["quell/", "quell-"];

/// Whether a workflow id is one of Quell's own.
pub fn is_own(workflow_id: &str) -> bool {
    OWN_PREFIXES.iter().any(|prefix| workflow_id.starts_with(prefix))
}

/// Workflow id of a cancellation, in the canceler namespace.
pub fn cancellation_workflow(cancellation_id: &str) -> String {
    format!("quell/cancellation/{cancellation_id}")
}

/// Workflow id of a cancellation's restoration, in the canceler namespace.
pub fn restoration_workflow(cancellation_id: &str) -> String {
    format!("quell/restore/{cancellation_id}")
}

/// Workflow id of a workload's gate, in the main namespace.
pub fn gate_workflow(workload_id: &str) -> String {
    format!("quell/gate/{workload_id}")
}

/// Workflow id of the n-th canary of a cancellation, in the main namespace.
pub fn canary_workflow(cancellation_id: &str, n: u32) -> String {
    format!("quell-canary/{cancellation_id}/{n}")
}

/// Workflow id of a batch operation's record, in the canceler namespace.
pub fn batch_operation_workflow(job_id: &str) -> String {
    format!("quell/batch/{job_id}")
}

/// Workflow id of the queue for the one slot of a main namespace, in the canceler namespace.
pub fn batch_queue_workflow(main_namespace: &str) -> String {
    format!("quell/batch-queue/{main_namespace}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_ours_are_recognised_and_nothing_else() {
        for id in [
            cancellation_workflow("a"),
            restoration_workflow("a"),
            gate_workflow("1"),
            canary_workflow("a", 0),
            batch_operation_workflow("a"),
            batch_queue_workflow("main"),
            "quell-batch-x".to_owned(),
        ] {
            assert!(is_own(&id), "{id}");
        }
        for id in ["snowball-1", "order-quell/1", "Quell/x", "quel", ""] {
            assert!(!is_own(id), "{id}");
        }
    }
}
