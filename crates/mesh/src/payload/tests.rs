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
    let error = codec.decode(&context(), encoded).await.unwrap_err().to_string();
    assert!(
        error.contains("PAYLOAD_MISSING") && error.contains("retrying cannot help"),
        "{error}"
    );
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
    let error = codec.decode(&context(), encoded).await.unwrap_err().to_string();
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
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("cannot be used"), "{error}");
}
