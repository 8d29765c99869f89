//! The ledger of orders: what each activity did to the world, in a database, so that it can be done once and checked by anyone.
//!
//! Two tables. `order_step` has one row for each step of an order that anything is known of, and decides: its states are `done`,
//! `undone` and `void`, and each change is one statement that either happens or does not. `order_ledger` is the journal: a row
//! for each effect, written in the transaction that changed the state, never changed. There is no constraint on the journal that
//! would hide a second effect: it shows what happened.
//!
//! The statements are those that SQLite and PostgreSQL have in common.

use std::sync::Arc;

use prost_types::Timestamp;
use quell_api::work::v1::OrderLedgerEntry;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    Any, AnyPool, Row as _, Transaction,
    any::{AnyPoolOptions, install_default_drivers},
};
use tokio::sync::OnceCell;

use super::messages::Action;

/// The database of a single machine.
const DEFAULT_URL: &str = "sqlite:///tmp/quell-orders.db";

/// Connections of one process to PostgreSQL. SQLite has one: it has one writer at a time anyway.
const CONNECTIONS: u32 = 8;

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is done, now or before; this is what it gave.
    Done(String),
    /// It was undone, or declared void before it came: it must not happen any more.
    TooLate,
}

/// The ledger. Cheap to clone; clones share their connections, which are made by the first use.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    url: SecretString,
    pool: OnceCell<AnyPool>,
}

impl Ledger {
    /// The ledger at a URL, or on this machine. Needs no connection yet.
    #[must_use]
    pub fn new(url: Option<SecretString>) -> Self {
        Self(Arc::new(Shared {
            url: url.unwrap_or_else(|| SecretString::from(DEFAULT_URL)),
            pool: OnceCell::new(),
        }))
    }

    /// Connected, with its tables. A failure is not kept: the next use tries again.
    async fn pool(&self) -> Result<&AnyPool, sqlx::Error> {
        self.0.pool.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<AnyPool, sqlx::Error> {
        install_default_drivers();
        let url = self.0.url.expose_secret();
        let sqlite = url.starts_with("sqlite:");
        // Made if missing, unless the URL itself says how to open it.
        let url = if sqlite && !url.contains("mode=") {
            let mark = if url.contains('?') { '&' } else { '?' };
            format!("{url}{mark}mode=rwc")
        } else {
            url.to_owned()
        };
        let pool = AnyPoolOptions::new()
            .max_connections(if sqlite { 1 } else { CONNECTIONS })
            .connect(&url)
            .await?;
        let sequence = if sqlite {
            // Readers are not held up by the writer; kept in the file once set.
            sqlx::query("PRAGMA journal_mode = WAL").execute(&pool).await?;
            "INTEGER PRIMARY KEY AUTOINCREMENT"
        } else {
            "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
        };
        let mut transaction = pool.begin().await?;
        if !sqlite {
            // CREATE TABLE IF NOT EXISTS of two replicas at once can fail in PostgreSQL: one after the other.
            sqlx::query("SELECT pg_advisory_xact_lock(7106427309)")
                .execute(&mut *transaction)
                .await?;
        }
        let tables = [
            "CREATE TABLE IF NOT EXISTS order_step (
                order_id TEXT NOT NULL, step TEXT NOT NULL, state TEXT NOT NULL, reference TEXT NOT NULL,
                PRIMARY KEY (order_id, step))"
                .to_owned(),
            format!(
                "CREATE TABLE IF NOT EXISTS order_ledger (
                sequence {sequence}, order_id TEXT NOT NULL, action TEXT NOT NULL, idempotency_key TEXT NOT NULL,
                reference TEXT NOT NULL, details TEXT NOT NULL, recorded_at_ms BIGINT NOT NULL)"
            ),
            "CREATE INDEX IF NOT EXISTS order_ledger_of_order ON order_ledger (order_id)".to_owned(),
        ];
        for table in tables {
            sqlx::query(&table).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(pool)
    }

    /// Does a step, unless it was done before. `reference` is what it gives if it is done now.
    ///
    /// # Errors
    /// When the database does not answer; whether the step was done is not known then.
    pub async fn apply(
        &self,
        order: &str,
        step: Action,
        reference: String,
        details: &str,
    ) -> Result<Applied, sqlx::Error> {
        let mut transaction = self.pool().await?.begin().await?;
        let new = sqlx::query(
            "INSERT INTO order_step (order_id, step, state, reference) VALUES ($1, $2, 'done', $3)
             ON CONFLICT (order_id, step) DO NOTHING",
        )
        .bind(order)
        .bind(step.name())
        .bind(&reference)
        .execute(&mut *transaction)
        .await?;
        if new.rows_affected() == 1 {
            record(&mut transaction, order, step, &reference, details).await?;
            transaction.commit().await?;
            return Ok(Applied::Done(reference));
        }
        let row = sqlx::query("SELECT state, reference FROM order_step WHERE order_id = $1 AND step = $2")
            .bind(order)
            .bind(step.name())
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let (state, before): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        Ok(if state == "done" {
            Applied::Done(before)
        } else {
            Applied::TooLate
        })
    }

    /// Undoes a step if it was done, and makes sure that it never will be if it was not. Returns what was undone, now or before.
    ///
    /// # Errors
    /// When the database does not answer; whether the step was undone is not known then.
    pub async fn undo(&self, order: &str, step: Action) -> Result<Option<String>, sqlx::Error> {
        let mut transaction = self.pool().await?.begin().await?;
        let changed = sqlx::query(
            "INSERT INTO order_step (order_id, step, state, reference) VALUES ($1, $2, 'void', '')
             ON CONFLICT (order_id, step) DO UPDATE SET state = 'undone' WHERE order_step.state = 'done'
             RETURNING state, reference",
        )
        .bind(order)
        .bind(step.name())
        .fetch_optional(&mut *transaction)
        .await?;
        let row = match changed {
            Some(row) => {
                let (state, reference): (String, String) = (row.try_get(0)?, row.try_get(1)?);
                if state == "undone" {
                    record(&mut transaction, order, step.undo(), &reference, "").await?;
                }
                row
            }
            None => {
                sqlx::query("SELECT state, reference FROM order_step WHERE order_id = $1 AND step = $2")
                    .bind(order)
                    .bind(step.name())
                    .fetch_one(&mut *transaction)
                    .await?
            }
        };
        transaction.commit().await?;
        let state: String = row.try_get(0)?;
        Ok(if state == "undone" { Some(row.try_get(1)?) } else { None })
    }

    /// What was done for an order, in order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn entries(&self, order: &str) -> Result<Vec<OrderLedgerEntry>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT sequence, action, idempotency_key, reference, recorded_at_ms FROM order_ledger
             WHERE order_id = $1 ORDER BY sequence",
        )
        .bind(order)
        .fetch_all(self.pool().await?)
        .await?;
        rows.into_iter()
            .map(|row| {
                let action: String = row.try_get(1)?;
                let at: i64 = row.try_get(4)?;
                Ok(OrderLedgerEntry {
                    sequence: row.try_get(0)?,
                    action: Action::named(&action).map_or(0, |action| action.wire().into()),
                    idempotency_key: row.try_get(2)?,
                    reference: row.try_get(3)?,
                    time: Some(Timestamp {
                        seconds: at.div_euclid(1_000),
                        nanos: i32::try_from(at.rem_euclid(1_000) * 1_000_000).unwrap_or(0),
                    }),
                })
            })
            .collect()
    }
}

async fn record(
    transaction: &mut Transaction<'_, Any>,
    order: &str,
    action: Action,
    reference: &str,
    details: &str,
) -> Result<(), sqlx::Error> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    sqlx::query(
        "INSERT INTO order_ledger (order_id, action, idempotency_key, reference, details, recorded_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(order)
    .bind(action.name())
    .bind(format!("{order}/{}", action.name()))
    .bind(reference)
    .bind(details)
    .bind(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
