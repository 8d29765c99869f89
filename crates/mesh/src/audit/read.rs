//! The reading end of the audit.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

use super::{Event, FOLDER};
use crate::PayloadStore;
use crate::error::Error;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Not before this.
    pub since: Timestamp,
    /// Before this.
    pub until: Timestamp,
    /// Only of this principal; empty for all.
    pub principal: String,
    /// Only refusals.
    pub refused_only: bool,
    /// Events on a page.
    pub size: usize,
    /// Where to go on; empty for the beginning.
    pub after: String,
}

/// Part of the answer.
#[derive(Debug, Default)]
pub struct Page {
    /// Newest first, but for events that were written by different processes at the same time.
    pub events: Vec<Event>,
    /// Where the next page begins; empty at the end.
    pub next: String,
}

/// Lists what is wanted. Objects are read from the newest on, until the page is full: a page may hold more than was asked for, by what
/// one object holds.
///
/// # Errors
/// [`Error::Unavailable`] when the store cannot be read.
pub async fn list(store: &PayloadStore, wanted: &Wanted) -> Result<Page, Error> {
    let mut page = Page::default();
    let day_of = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let first = day_of(wanted.since);
    // An object has the time of its last event, and lies a moment later than its first.
    let last = wanted.until.checked_add(1.minute()).unwrap_or(wanted.until);
    let mut day = Some(day_of(last));
    if let Some(after) = after_day(&wanted.after) {
        day = day.map(|day| day.min(after));
    }
    while let Some(date) = day.filter(|day| *day >= first) {
        let mut keys = store.list(&format!("{FOLDER}/{date}")).await?;
        keys.sort_unstable_by(|a, b| b.cmp(a));
        for key in keys
            .into_iter()
            .filter(|key| wanted.after.is_empty() || *key < wanted.after)
        {
            let mut events = read(store, &key).await?;
            events.retain(|event| matches(event, wanted));
            events.sort_by_key(|event| std::cmp::Reverse(event.at));
            page.events.extend(events);
            if page.events.len() >= wanted.size {
                page.next = key;
                return Ok(page);
            }
        }
        day = date.yesterday().ok();
    }
    Ok(page)
}

fn matches(event: &Event, wanted: &Wanted) -> bool {
    event.at >= wanted.since
        && event.at < wanted.until
        && (wanted.principal.is_empty() || event.principal == wanted.principal)
        && (!wanted.refused_only || event.outcome != "Ok")
}

async fn read(store: &PayloadStore, key: &str) -> Result<Vec<Event>, Error> {
    let bytes = store.get(key).await?;
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            serde_json::from_slice(line)
                .map_err(|error| Error::internal(anyhow::Error::new(error).context(format!("audit object {key}"))))
        })
        .collect()
}

/// The day of an object's key.
fn after_day(key: &str) -> Option<Date> {
    key.strip_prefix(FOLDER)?
        .strip_prefix('/')?
        .split('/')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::super::{AuditLog, PER_ACCOUNT};
    use super::*;
    use crate::auth::Account;
    use crate::config::PayloadSettings;

    fn wanted(size: usize) -> Wanted {
        let now = Timestamp::now();
        Wanted {
            since: now.checked_sub(1.hour()).unwrap(),
            until: now.checked_add(1.minute()).unwrap(),
            principal: String::new(),
            refused_only: false,
            size,
            after: String::new(),
        }
    }

    fn store(folder: &tempfile::TempDir) -> PayloadStore {
        PayloadStore::open(&PayloadSettings {
            url: folder.path().display().to_string(),
            threshold_bytes: 1_024,
            keys: None,
        })
        .unwrap()
    }

    #[tokio::test]
    async fn what_was_written_is_read_in_pages_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        assert!(
            list(&store, &wanted(10)).await.unwrap().events.is_empty(),
            "nothing yet"
        );
        let log = AuditLog::open("work", store.clone());
        for n in 0..3 {
            let mut event = log.event(format!("rpc-{n}"));
            event.principal = format!("p{n}");
            log.record(event);
            log.flush().await;
        }
        let mut seen = Vec::new();
        let mut asked = wanted(1);
        loop {
            let page = list(&store, &asked).await.unwrap();
            seen.extend(page.events.into_iter().map(|event| event.rpc));
            if page.next.is_empty() {
                break;
            }
            asked.after = page.next;
        }
        assert_eq!(seen, ["rpc-2", "rpc-1", "rpc-0"]);
        let of_one = Wanted {
            principal: "p1".into(),
            ..wanted(10)
        };
        assert_eq!(list(&store, &of_one).await.unwrap().events.len(), 1);
        let later = Wanted {
            since: wanted(1).until,
            ..wanted(10)
        };
        assert!(list(&store, &later).await.unwrap().events.is_empty());
    }

    #[tokio::test]
    async fn a_flood_of_refusals_is_counted_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let log = AuditLog::open("work", store.clone());
        const FLOOD: u64 = 100_000;
        for _ in 0..FLOOD {
            let mut event = log.event("x".to_owned());
            event.outcome = "Unauthenticated".to_owned();
            log.refused(Account::of_address([10, 0, 0, 1].into()), event);
        }
        log.flush().await;
        let kept = list(&store, &wanted(100_000)).await.unwrap().events;
        // Seconds may pass meanwhile on a slow machine, and each has its own share.
        assert!(
            kept.len() >= PER_ACCOUNT as usize && (kept.len() as u64) < FLOOD / 10,
            "{}",
            kept.len()
        );
        let said: u64 = kept.iter().map(|event| event.suppressed).sum();
        assert_eq!(said + kept.len() as u64, FLOOD, "all are counted");
    }
}
