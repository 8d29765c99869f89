//! Files that are read again when they change: certificates and tokens are renewed while the process runs.
//!
//! They are looked at once a second and compared by content. Notifications of the file system would be quicker, but they
//! do not come through the links by which Kubernetes swaps secrets, nor over network file systems; a few small files a second
//! cost nothing. What cannot be read or understood changes nothing: what was valid last holds on, and the log says why.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::metrics::FILES_UNUSABLE;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads the files, makes a value of their contents, and goes on making one whenever they change, until all receivers are gone.
/// Call it inside a Tokio runtime.
///
/// # Errors
/// Why the first value could not be made, for people.
pub(crate) fn watch_files<T, F>(
    what: &'static str,
    paths: Vec<PathBuf>,
    make: F,
) -> Result<watch::Receiver<Arc<T>>, String>
where
    T: Send + Sync + 'static,
    F: Fn(&[Vec<u8>]) -> Result<T, String> + Send + 'static,
{
    let mut seen = read(&paths)?;
    let (sender, receiver) = watch::channel(Arc::new(make(&seen)?));
    let unusable = FILES_UNUSABLE.with([what]);
    unusable.set(0);
    if paths.is_empty() {
        return Ok(receiver);
    }
    tokio::spawn(async move {
        let mut problem = String::new();
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            let looked = paths.clone();
            // The reading is short, but a network file system may hang.
            let Ok(now) = tokio::task::spawn_blocking(move || read(&looked)).await else {
                return;
            };
            let outcome = match now {
                Ok(contents) if contents == seen => {
                    problem.clear();
                    unusable.set(0);
                    continue;
                }
                Ok(contents) => make(&contents).map(|value| (contents, value)),
                Err(message) => Err(message),
            };
            match outcome {
                Ok((contents, value)) => {
                    problem.clear();
                    unusable.set(0);
                    seen = contents;
                    sender.send_replace(Arc::new(value));
                    tracing::info!(what, "read again after a change");
                }
                // Said once, not once a second.
                Err(message) if message != problem => {
                    tracing::error!(
                        what,
                        detail = message,
                        "cannot be read after a change; what was valid before holds on"
                    );
                    problem = message;
                    unusable.set(1);
                }
                Err(_) => {}
            }
        }
    });
    Ok(receiver)
}

fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    paths
        .iter()
        .map(|path| std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_and_a_broken_one_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let write = |text: &str| {
            // As editors and Kubernetes do it: another file takes the name.
            std::fs::write(folder.path().join("new"), text).unwrap();
            std::fs::rename(folder.path().join("new"), &path).unwrap();
        };
        let parse = |contents: &[Vec<u8>]| {
            String::from_utf8_lossy(&contents[0])
                .parse::<u32>()
                .map_err(|error| error.to_string())
        };
        write("x");
        assert!(
            watch_files("number", vec![path.clone()], parse).is_err(),
            "a bad file at the start"
        );
        write("1");
        let mut number = watch_files("number", vec![path.clone()], parse).unwrap();
        assert_eq!(**number.borrow_and_update(), 1);
        let unusable = FILES_UNUSABLE.with(["number"]);
        write("broken");
        while unusable.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(**number.borrow(), 1, "what was valid holds on");
        write("2");
        number.changed().await.unwrap();
        assert_eq!((**number.borrow_and_update(), unusable.get()), (2, 0));
        std::fs::remove_file(&path).unwrap();
        write("3");
        number.changed().await.unwrap();
        assert_eq!(**number.borrow(), 3);
    }
}
