//! What a cancellation reaches beyond the executions that match, and what it leaves alone: descendants without the tag, suspects.

use std::time::Duration;

use crate::{
    cancel::{check_clean, query, run_to_end, spec, workload},
    harness::{Shared, batch_slot, mesh, unique},
    poll::{SOON, eventually, when},
    tree::node,
};
use quell_api::canceler::v1::{CancellationSpec, Engine, Receipt, Verdict};

impl Shared {
    /// Waits until it has been closed for so long.
    async fn closed_for(&self, workflow_id: &str, age: Duration) {
        eventually(SOON, "it was closed long enough ago", async || {
            let before = jiff::Timestamp::now() - jiff::SignedDuration::try_from(age).expect("a short time");
            let closed = self
                .count(&format!("WorkflowId=\"{workflow_id}\" AND CloseTime < \"{before}\""))
                .await;
            when(closed == 1, || format!("{closed} closed before {before}"))
        })
        .await;
    }
}

/// Two trees whose executions outlive their parents:
///
/// ```text
/// root (tagged) -> child -> grandchild             neighbour -> tagged -> deep
///                                                            -> sibling
/// ```
/// and beside them one that has a tagged one's type, and no tag; a child whose tagged parent had ended before; and a child of a run
/// that continued as new, whose chain goes on:
///
/// ```text
/// over (tagged, closed) -> left            chain (tagged, old run) -> kept
///                                          chain (tagged, new run)
/// ```
#[tokio::test]
async fn what_descends_is_stopped_and_what_only_looks_like_it_is_named() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let plain = mesh.plain_client().await;
    let id = unique("descent");
    let name = |part: &str| format!("{id}-{part}");
    let of_type = name("Type");
    let root = node(&name("root"), &of_type, Some(&id));
    let child = node(&name("child"), "Untagged", None);
    let grandchild = node(&name("grandchild"), "Untagged", None);
    let neighbour = node(&name("neighbour"), "Neighbour", None);
    let tagged = node(&name("tagged"), &of_type, Some(&id));
    let deep = node(&name("deep"), "Untagged", None);
    let sibling = node(&name("sibling"), "Neighbour", None);
    let suspect = node(&name("suspect"), &of_type, None);
    root.start(&plain).await;
    root.spawn(&plain, &[&child]).await;
    child.spawn(&plain, &[&grandchild]).await;
    neighbour.start(&plain).await;
    neighbour.spawn(&plain, &[&tagged, &sibling]).await;
    tagged.spawn(&plain, &[&deep]).await;
    suspect.start(&plain).await;
    let over = node(&name("over"), &of_type, Some(&id));
    let left = node(&name("left"), "Untagged", None);
    over.start(&plain).await;
    over.spawn(&plain, &[&left]).await;
    mesh.wait_open(&[&left.id]).await;
    mesh.tidy(&[&over]).await;
    let chain = node(&name("chain"), &of_type, Some(&id));
    let kept = node(&name("kept"), "Untagged", None);
    chain.start(&plain).await;
    chain.spawn(&plain, &[&kept]).await;
    chain.continue_as_new(&plain).await;
    let all = [
        &root,
        &child,
        &grandchild,
        &neighbour,
        &tagged,
        &deep,
        &sibling,
        &suspect,
        &chain,
        &kept,
    ];
    mesh.wait_open(&all.map(|node| node.id.as_str())).await;

    // Not asked for: they are left alone, and not missed either.
    let only_matches = CancellationSpec {
        include_descendants: Some(false),
        max_affected: 1,
        ..spec(workload(&name("nobody")))
    };
    assert_eq!(run_to_end(&mut client, only_matches).await.receipt.stopped, 0);

    // What ended longer ago than clocks may differ was not there when the cancellation began.
    mesh.closed_for(&over.id, Duration::from_secs(11)).await;
    let ended = run_to_end(&mut client, spec(workload(&id))).await;
    check_clean(&ended);
    for (node, status) in [
        (&root, "TERMINATED"),
        (&child, "TERMINATED"),
        (&grandchild, "TERMINATED"),
        (&tagged, "TERMINATED"),
        (&deep, "TERMINATED"),
        (&neighbour, "RUNNING"),
        (&sibling, "RUNNING"),
        (&left, "RUNNING"),
        (&chain, "TERMINATED"),
        (&kept, "TERMINATED"),
        (&suspect, "RUNNING"),
    ] {
        assert_eq!(
            mesh.status("main", &node.id).await.as_deref(),
            Some(status),
            "{}",
            node.id
        );
    }
    let Receipt {
        stopped,
        descendants,
        suspects,
        suspect_count,
        ..
    } = &ended.receipt;
    assert_eq!(
        (*stopped, *descendants, *suspect_count),
        (7, 4, 1),
        "{:#?}",
        ended.receipt
    );
    assert_eq!(suspects[0].workflow_id, suspect.id);
    mesh.tidy(&[&neighbour, &suspect, &sibling, &left]).await;
}

/// Once it is stopped a parent is not running any more, and the server's batch tells nobody what it stops: its children are found
/// all the same.
#[tokio::test]
async fn what_descends_is_found_whatever_the_target_names_and_whoever_stops_the_parent() {
    let mesh = mesh().await;
    let _slot = batch_slot().await;
    let mut client = mesh.cancellations();
    let plain = mesh.plain_client().await;
    let id = unique("by-query");
    let running = |n: usize| query(format!("WorkloadId = '{id}-{n}' AND ExecutionStatus = 'Running'"));
    let by_tag = |n: usize| workload(&format!("{id}-{n}"));
    for (n, target, engine) in [
        (0, running(0), Engine::Sweep),
        (1, running(1), Engine::Both),
        (2, by_tag(2), Engine::Both),
    ] {
        let tag = format!("{id}-{n}");
        let root = node(&format!("{tag}-it's"), "Tree", Some(&tag));
        let child = node(&format!("{tag}-child"), "Untagged", None);
        let grandchild = node(&format!("{tag}-grandchild"), "Untagged", None);
        root.start(&plain).await;
        root.spawn(&plain, &[&child]).await;
        child.spawn(&plain, &[&grandchild]).await;
        mesh.wait_open(&[&child.id, &grandchild.id]).await;
        mesh.indexed(&tag, 1).await;
        let asked = CancellationSpec {
            engine: engine.into(),
            ..spec(target)
        };
        let ended = run_to_end(&mut client, asked).await;
        assert_eq!(ended.receipt.verdict(), Verdict::Clean, "{n}: {:#?}", ended.receipt);
        assert_eq!(ended.receipt.descendants, 2, "{n}");
        for node in [&root, &child, &grandchild] {
            assert_eq!(
                mesh.status("main", &node.id).await.as_deref(),
                Some("TERMINATED"),
                "{}",
                node.id
            );
        }
    }
}

#[tokio::test]
async fn descendants_are_left_alone_on_request() {
    let mesh = mesh().await;
    let mut client = mesh.cancellations();
    let plain = mesh.plain_client().await;
    let id = unique("no-descent");
    let root = node(&format!("{id}-root"), "Tree", Some(&id));
    let child = node(&format!("{id}-child"), "Untagged", None);
    root.start(&plain).await;
    root.spawn(&plain, &[&child]).await;
    mesh.wait_open(&[&root.id, &child.id]).await;
    let only_matches = CancellationSpec {
        include_descendants: Some(false),
        ..spec(workload(&id))
    };
    let ended = run_to_end(&mut client, only_matches).await;
    check_clean(&ended);
    assert_eq!((ended.receipt.stopped, ended.receipt.descendants), (1, 0));
    assert_eq!(mesh.status("main", &child.id).await.as_deref(), Some("RUNNING"));
    mesh.tidy(&[&child]).await;
}
