//! Large payloads and lasting records, kept in an object store that all services share.
//!
//! [`PayloadStore`] is a thin face of `object_store`: a folder on one machine, S3, GCS or Azure on many. It has two users:
//! the oversize codec ([`OversizeCodec`]), which moves payloads above a threshold out of Temporal's way, and the canceler's
//! journal of outcomes. What is written is never changed, so a put of the same key twice is harmless.
//!
//! Cloud stores bring an HTTP client and a second cryptography library, several minutes of compilation: they are behind
//! the cargo feature `cloud`, and a URL that needs it says so when it is missing.

mod codec;
mod keys;

pub(crate) use codec::CodecError;
pub use codec::{ENCODING, OversizeCodec};
pub use keys::{ENCRYPTED, PayloadKeys};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::config::PayloadSettings;
use crate::error::{Error, Reason};

/// Longest time of one put or get. A store that hangs must not hang the worker's drain.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A store could not be opened with these settings.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder could not be made or used.
    #[error("the payload folder {path} cannot be used: {source}")]
    Folder {
        /// The folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The URL is not understood, or its kind of store is not compiled in.
    #[error("the payload store {url} cannot be used (s3, gs and az need a build with the feature `cloud`): {message}")]
    Url {
        /// The URL, without credentials.
        url: String,
        /// Why.
        message: String,
    },
}

/// The shared store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PayloadStore {
    store: Arc<dyn ObjectStore>,
    url: Arc<str>,
    threshold: usize,
    keys: Option<PayloadKeys>,
}

impl PayloadStore {
    /// Opens the store of these settings. A local folder is made if missing; a remote store is not contacted yet.
    pub fn open(settings: &PayloadSettings) -> Result<Self, OpenError> {
        let url = settings.url.as_str();
        let folder = if url.starts_with('/') {
            Some(url.to_owned())
        } else {
            local_folder(url)
        };
        let store: Arc<dyn ObjectStore> = if let Some(folder) = folder {
            let unusable = |source| OpenError::Folder {
                path: folder.clone(),
                source,
            };
            std::fs::create_dir_all(&folder).map_err(unusable)?;
            let local = object_store::local::LocalFileSystem::new_with_prefix(&folder)
                .map_err(|error| unusable(std::io::Error::other(error)))?
                // Temporal is told of a payload only when it would survive a power cut, as with the remote stores.
                .with_fsync(true);
            Arc::new(local)
        } else {
            let unusable = |message: String| OpenError::Url {
                url: without_credentials(url),
                message,
            };
            let parsed = url::Url::parse(url).map_err(|error| unusable(error.to_string()))?;
            // Credentials come from the usual variables of each cloud (AWS_*, GOOGLE_*, AZURE_*).
            let options = std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?.to_ascii_lowercase(), v.into_string().ok()?)));
            let (store, prefix) =
                object_store::parse_url_opts(&parsed, options).map_err(|error| unusable(error.to_string()))?;
            Arc::new(PrefixStore::new(store, prefix))
        };
        Ok(Self {
            store,
            url: without_credentials(url).into(),
            threshold: settings.threshold_bytes,
            keys: settings.keys.clone(),
        })
    }

    /// Where it is, without credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Writes an object. Keys are slash-separated paths; an existing object is replaced.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with [`Reason::PayloadStoreUnavailable`] when it cannot be written.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        let path = parse_key(key)?;
        match tokio::time::timeout(TIMEOUT, self.store.put(&path, bytes.into())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(unavailable("write", key, &error)),
            Err(_) => Err(unavailable("write", key, &"timed out")),
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`Error::NotFound`] of kind `object`, or [`Error::Unavailable`] as for [`PayloadStore::put`].
    pub async fn get(&self, key: &str) -> Result<Bytes, Error> {
        let path = parse_key(key)?;
        let read = async { self.store.get(&path).await?.bytes().await };
        match tokio::time::timeout(TIMEOUT, read).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(object_store::Error::NotFound { .. })) => Err(Error::not_found("object", key)),
            Ok(Err(error)) => Err(unavailable("read", key, &error)),
            Err(_) => Err(unavailable("read", key, &"timed out")),
        }
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// As for [`PayloadStore::get`], except that a missing object is an answer.
    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        let path = parse_key(key)?;
        match tokio::time::timeout(TIMEOUT, self.store.head(&path)).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(object_store::Error::NotFound { .. })) => Ok(false),
            Ok(Err(error)) => Err(unavailable("look up", key, &error)),
            Err(_) => Err(unavailable("look up", key, &"timed out")),
        }
    }

    /// The keys of all objects in a folder, in no particular order. `folder` is a whole path segment or more: `journal/a` does not
    /// list `journal/ab`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] as for [`PayloadStore::put`].
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let path = parse_key(folder)?;
        let keys = self
            .store
            .list(Some(&path))
            .map_ok(|object| object.location.to_string());
        match tokio::time::timeout(TIMEOUT, keys.try_collect()).await {
            Ok(Ok(keys)) => Ok(keys),
            Ok(Err(error)) => Err(unavailable("list", folder, &error)),
            Err(_) => Err(unavailable("list", folder, &"timed out")),
        }
    }

    /// The codec that encrypts payloads, where there are keys, and keeps those above the configured threshold here.
    #[must_use]
    pub fn codec(&self) -> OversizeCodec {
        OversizeCodec::new(self.clone(), self.threshold, self.keys.clone())
    }
}

fn local_folder(url: &str) -> Option<String> {
    let parsed = url::Url::parse(url).ok().filter(|u| u.scheme() == "file")?;
    Some(parsed.to_file_path().ok()?.display().to_string())
}

fn without_credentials(url: &str) -> String {
    url::Url::parse(url).map_or_else(
        |_| url.to_owned(),
        |mut parsed| {
            // Both only fail for URLs that cannot have credentials.
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            parsed.set_query(None);
            parsed.to_string()
        },
    )
}

fn parse_key(key: &str) -> Result<Path, Error> {
    Path::parse(key).map_err(|error| Error::Internal(anyhow::Error::new(error).context("payload key")))
}

fn unavailable(what: &str, key: &str, error: &dyn std::fmt::Display) -> Error {
    tracing::warn!(key, error = %error, "payload store: cannot {what}");
    Error::unavailable(
        Reason::PayloadStoreUnavailable,
        format!("the payload store cannot {what} an object"),
    )
}

#[cfg(test)]
mod tests;
