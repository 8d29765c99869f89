use super::*;
use crate::cancellation::{
    journal::{Journal, chunks},
    receipt::JournalChunk,
};
use quell_mesh::config::PayloadSettings;

fn outcome(n: usize, fails: bool) -> TargetOutcome {
    let result = if fails {
        TargetResult::Failed {
            reason: format!("no {n}"),
        }
    } else {
        TargetResult::Stopped
    };
    TargetOutcome {
        workflow_id: format!("w{n}"),
        first_run_id: "f".into(),
        run_id: format!("r{n}"),
        workflow_type: "T".into(),
        root_workflow_id: "root".into(),
        parent_workflow_id: None,
        result,
    }
}

fn store(folder: &tempfile::TempDir) -> PayloadStore {
    PayloadStore::open(&PayloadSettings {
        url: folder.path().display().to_string(),
        threshold_bytes: 1 << 20,
        keys: None,
    })
    .unwrap()
}

/// Two passes of 45,000 targets; every twentieth of the first fails, the first 30 of the second.
async fn written(store: &PayloadStore) -> Vec<JournalChunk> {
    let mut all = Vec::new();
    for pass in [9, 10] {
        let name = ChunkName {
            pass,
            attempt: 1,
            ..ChunkName::default()
        };
        let mut journal = Journal::new(store.clone(), "c".into(), name);
        let fails = |n| if pass == 9 { n % 20 == 0 } else { n < 30 };
        let outcomes: Vec<_> = (0..45_000).map(|n| outcome(n, fails(n))).collect();
        journal.add(&outcomes);
        all.extend(journal.finish().await.0);
    }
    all
}

fn promised(chunks: Vec<JournalChunk>) -> Vec<Chunk> {
    let chunk = |promised: JournalChunk| Chunk {
        name: ChunkName::of_key("c", &promised.key).unwrap(),
        key: promised.key.clone(),
        promised: Some(promised),
    };
    chunks.into_iter().map(chunk).collect()
}

async fn all_pages(store: &PayloadStore, chunks: &[Chunk], pass: u32, size: usize) -> Vec<pb::Failure> {
    let (mut token, mut all) = (String::new(), Vec::new());
    loop {
        let wanted = Wanted::new("c", pass, &token, size).unwrap();
        let page = page(store, chunks, &wanted).await.unwrap();
        assert!(page.failures.len() <= size);
        all.extend(page.failures);
        token = page.next_page_token;
        if token.is_empty() {
            return all;
        }
    }
}

#[tokio::test]
async fn every_failure_is_listed_once_in_order_with_a_receipt_and_without() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let written = promised(written(&store).await);
    let listed = chunks(&store, "c", None).await.unwrap();
    assert_eq!(listed.len(), 6);
    for chunks in [&written, &listed] {
        for size in [1_000, 7 * 50, 2_280] {
            let all = all_pages(&store, chunks, 0, size).await;
            let ids: Vec<_> = all
                .iter()
                .map(|f| (f.pass, f.execution.as_ref().unwrap().workflow_id.clone()))
                .collect();
            let first = (0..45_000).step_by(20).map(|n| (9, format!("w{n}")));
            let expected: Vec<_> = first.chain((0..30).map(|n| (10, format!("w{n}")))).collect();
            assert_eq!(ids, expected, "pages of {size}");
        }
        let last = all_pages(&store, chunks, 10, 1_000).await;
        assert_eq!((last.len(), last[3].error.as_str(), last[3].attempt), (30, "no 3", 1));
        assert_eq!(last[3].execution.as_ref().unwrap().run_id, "r3");
    }
}

#[tokio::test]
async fn chunks_without_failures_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let written = promised(written(&store).await);
    // The second and third chunk of the second pass have none: they may as well be gone.
    for key in ["journal/c/p10-w0-a1-00001.jsonl", "journal/c/p10-w0-a1-00002.jsonl"] {
        std::fs::remove_file(folder.path().join(key)).unwrap();
    }
    assert_eq!(all_pages(&store, &written, 10, 50).await.len(), 30);
    // One that has some may not.
    std::fs::remove_file(folder.path().join("journal/c/p9-w0-a1-00001.jsonl")).unwrap();
    let wanted = Wanted::new("c", 0, "", 5_000).unwrap();
    let error = page(&store, &written, &wanted).await.unwrap_err();
    assert_eq!(error.reason(), Reason::PayloadMissing);
}

#[tokio::test]
async fn a_changed_chunk_is_told_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let written = promised(written(&store).await);
    let file = folder.path().join("journal/c/p10-w0-a1-00000.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("no 7", "no 8", 1)).unwrap();
    let wanted = Wanted::new("c", 10, "", 50).unwrap();
    let error = page(&store, &written, &wanted).await.unwrap_err();
    assert_eq!(error.reason(), Reason::PayloadCorrupt);
    assert!(error.to_string().contains("p10-w0-a1-00000"), "{error}");
}

#[tokio::test]
async fn a_token_is_good_for_its_cancellation_and_pass_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let written = promised(written(&store).await);
    let wanted = Wanted::new("c", 9, "", 10).unwrap();
    let token = page(&store, &written, &wanted).await.unwrap().next_page_token;
    assert!(Wanted::new("c", 9, &token, 10).is_some());
    assert!(Wanted::new("d", 9, &token, 10).is_none() && Wanted::new("c", 0, &token, 10).is_none());
    assert!(Wanted::new("c", 9, &page_token::write(b"{\"t\":1}"), 10).is_none());
}
