use super::*;
use temporalio_common::data_converters::{PayloadCodec as _, SerializationContextData, WorkflowSerializationContext};
use temporalio_common::protos::temporal::api::common::v1::Payload;

fn context() -> SerializationContextData {
    SerializationContextData::Workflow(WorkflowSerializationContext::new())
}

fn store(folder: &std::path::Path) -> PayloadStore {
    let url = folder.join("not/there/yet").display().to_string();
    PayloadStore::open(&PayloadSettings {
        url,
        threshold_bytes: 1024,
        keys: None,
    })
    .unwrap()
}

fn payload(size: usize) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: vec![7; size],
        ..Payload::default()
    }
}

fn stored_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_large_payload_comes_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let codec = store(folder.path()).codec();
    for size in [0, 1024, 1025, 5 << 20] {
        let encoded = codec.encode(&context(), vec![payload(size), payload(3)]).await.unwrap();
        assert_eq!(
            encoded[0].metadata["encoding"] == ENCODING.as_bytes(),
            size > 1024,
            "{size}"
        );
        assert!(encoded[0].data.len() <= 1024);
        assert_eq!(encoded[1], payload(3));
        let decoded = codec.decode(&context(), encoded).await.unwrap();
        assert_eq!(decoded, vec![payload(size), payload(3)]);
    }
}

#[tokio::test]
async fn equal_payloads_are_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let codec = store(folder.path()).codec();
    let twice = codec
        .encode(&context(), vec![payload(4000), payload(4000)])
        .await
        .unwrap();
    assert_eq!(twice[0], twice[1]);
    assert_eq!(stored_files(folder.path()).len(), 1);
    // Encoding what is encoded already changes nothing.
    assert_eq!(codec.encode(&context(), twice.clone()).await.unwrap(), twice);
}

#[tokio::test]
async fn a_missing_payload_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let codec = store(folder.path()).codec();
    let encoded = codec.encode(&context(), vec![payload(4000)]).await.unwrap();
    for file in stored_files(folder.path()) {
        std::fs::remove_file(file).unwrap();
    }
    let error = Error::from(codec.decode(&context(), encoded).await.unwrap_err());
    assert_eq!(error.reason(), Reason::PayloadMissing);
    let error = error.to_string();
    assert!(
        error.contains("PAYLOAD_MISSING") && error.contains("retrying cannot help"),
        "{error}"
    );
}

/// A file where the folder should be stands for any store that does not answer: it may pass, and nothing is called missing.
#[tokio::test]
async fn a_store_that_is_gone_is_no_missing_payload() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let encoded = store.codec().encode(&context(), vec![payload(4000)]).await.unwrap();
    let place = folder.path().join("not/there/yet");
    std::fs::rename(&place, folder.path().join("away")).unwrap();
    std::fs::write(&place, "no folder").unwrap();
    let codec = store.codec();
    let reading = codec.decode(&context(), encoded.clone()).await.unwrap_err();
    let writing = codec.encode(&context(), vec![payload(5000)]).await.unwrap_err();
    let listing = store.list("payloads").await.unwrap_err();
    for error in [reading.into(), writing.into(), listing] {
        assert_eq!(error.reason(), Reason::PayloadStoreUnavailable, "{error}");
        assert!(error.is_retryable());
    }
    std::fs::remove_file(&place).unwrap();
    std::fs::rename(folder.path().join("away"), &place).unwrap();
    assert_eq!(codec.decode(&context(), encoded).await.unwrap(), [payload(4000)]);
}

#[tokio::test]
async fn a_changed_payload_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let codec = store(folder.path()).codec();
    let encoded = codec.encode(&context(), vec![payload(4000)]).await.unwrap();
    let file = stored_files(folder.path()).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[2000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = Error::from(codec.decode(&context(), encoded).await.unwrap_err());
    assert_eq!(error.reason(), Reason::PayloadCorrupt);
    let error = error.to_string();
    assert!(
        error.contains("PAYLOAD_CORRUPT") && error.contains("checksum"),
        "{error}"
    );
}

#[tokio::test]
async fn a_reference_cannot_name_another_object() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    store.put("journal/secret", Bytes::from_static(b"x")).await.unwrap();
    for data in [r#"{"sha256":"../../journal/secret","size":1}"#, "not json"] {
        let forged = Payload {
            metadata: [("encoding".to_owned(), ENCODING.as_bytes().to_vec())].into(),
            data: data.as_bytes().to_vec(),
            ..Payload::default()
        };
        let error = store
            .codec()
            .decode(&context(), vec![forged])
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("not readable"), "{error}");
    }
}

#[tokio::test]
async fn objects_are_put_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    assert!(!store.exists("journal/c1/0").await.unwrap());
    store.put("journal/c1/0", Bytes::from_static(b"abc")).await.unwrap();
    assert!(store.exists("journal/c1/0").await.unwrap());
    assert_eq!(store.get("journal/c1/0").await.unwrap(), "abc");
    assert!(matches!(
        store.get("journal/c1/1").await,
        Err(Error::NotFound { kind: "object", .. })
    ));
}

#[test]
fn a_store_that_cannot_be_opened_says_why() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let url = file.path().join("sub").display().to_string();
    let error = PayloadStore::open(&PayloadSettings {
        url,
        threshold_bytes: 1024,
        keys: None,
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("cannot be used"), "{error}");
}

fn keys(text: &str) -> PayloadKeys {
    PayloadKeys::parse(text).unwrap()
}

fn encrypting(folder: &std::path::Path, keys: PayloadKeys) -> OversizeCodec {
    PayloadStore::open(&PayloadSettings {
        url: folder.join("not/there/yet").display().to_string(),
        threshold_bytes: 1024,
        keys: Some(keys),
    })
    .unwrap()
    .codec()
}

#[tokio::test]
async fn encrypted_payloads_are_read_with_their_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (format!("old:{}", "a1".repeat(32)), format!("new:{}", "b2".repeat(32)));
    let codec = encrypting(folder.path(), keys(&old));
    for size in [3, 4000] {
        let before = payload(size);
        let encoded = codec.encode(&context(), vec![before.clone()]).await.unwrap();
        assert!(!encoded[0].data.windows(3).any(|bytes| bytes == [7; 3]));
        // After a rotation what the old key encrypted can be read, and the new one encrypts.
        let rotated = encrypting(folder.path(), keys(&format!("{new}\n{old}\n")));
        assert_eq!(rotated.decode(&context(), encoded.clone()).await.unwrap(), [before]);
        let again = rotated.encode(&context(), vec![payload(3)]).await.unwrap();
        assert_eq!(again[0].metadata["encryption-key-id"], b"new");
        for (other, expected) in [
            (encrypting(folder.path(), keys(&new)), "its key \"old\" is not among"),
            (store(folder.path()).codec(), "its key \"old\" is not among"),
            (
                encrypting(folder.path(), keys(&format!("old:{}", "c3".repeat(32)))),
                "does not open it",
            ),
        ] {
            let error = other.decode(&context(), encoded.clone()).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
    // What the store holds is encrypted too.
    for file in stored_files(folder.path()) {
        let stored = std::fs::read(file).unwrap();
        assert!(!stored.windows(8).any(|bytes| bytes == [7; 8]));
    }
    // A changed one is refused, and what was never encrypted is still read.
    let mut encoded = codec.encode(&context(), vec![payload(3)]).await.unwrap();
    encoded[0].data[20] ^= 1;
    assert!(codec.decode(&context(), encoded).await.is_err());
    assert_eq!(codec.decode(&context(), vec![payload(3)]).await.unwrap(), [payload(3)]);
}

#[test]
fn keys_are_checked_and_never_shown() {
    let key = "0f".repeat(32);
    for wrong in [
        "",
        "a",
        &key,
        "a:00",
        &format!("a b:{key}"),
        &format!("a:{key}\na:{key}"),
        &format!(":{key}"),
    ] {
        let error = PayloadKeys::parse(wrong).unwrap_err();
        assert!(!error.contains(&key), "{error}");
    }
    assert!(!format!("{:?}", keys(&format!("a:{key}"))).contains("0f0f"));
}
