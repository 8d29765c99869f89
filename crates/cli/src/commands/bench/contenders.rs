//! The ways to stop a workload, each until it says itself that it is done.

use super::lanes::{self, Tally};
use super::observer::Waiter;
use super::plan::{Contender, LOOP_CONCURRENCY};
use super::server::{self, Known, Pin, Server};
use super::workload::Workload;
use crate::clients::Addresses;
use crate::commands::receipt::fetch_receipt;
use crate::commands::{stop, watch};
use crate::exit::Failure;
use crate::ui::Ui;
use quell_api::canceler::v1::{CancellationSpec, Receipt, StartCancellationRequest};
use quell_api::r#type::v1::Target;
use quell_api::r#type::v1::target::Selector;
use std::sync::Arc;
use std::time::Duration;
use temporalio_common::protos::temporal::api::enums::v1::BatchOperationState;
use tonic::Code;

/// Between two questions whether a batch operation has ended.
const BATCH_POLL: Duration = Duration::from_millis(250);
/// How long to wait for the namespace's one slot for batch operations.
const SLOT_WITHIN: Duration = Duration::from_secs(120);

/// What a contender says at its end.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Executions that it says it stopped; none when it does not say.
    pub(super) stopped: Option<i64>,
    /// Stops that it says failed; none when it does not say.
    pub(super) failed: Option<i64>,
    /// Quell's receipt.
    pub(super) receipt: Option<Receipt>,
}

impl From<Tally> for Told {
    fn from(tally: Tally) -> Self {
        Self {
            stopped: i64::try_from(tally.done).ok(),
            failed: i64::try_from(tally.failed).ok(),
            receipt: None,
        }
    }
}

/// The mesh that all contenders work on.
pub(super) struct Place<'a> {
    pub(super) progress: Ui,
    pub(super) server: &'a Server,
    pub(super) addresses: &'a Addresses,
}

impl Place<'_> {
    /// What has to be true before the contender may begin; not measured.
    pub(super) async fn ready(&self, contender: Contender) -> Result<(), Failure> {
        if contender != Contender::Batch {
            return Ok(());
        }
        let free = async {
            while self.server.batch_runs().await? {
                tokio::time::sleep(BATCH_POLL).await;
            }
            Ok(())
        };
        tokio::time::timeout(SLOT_WITHIN, free).await.unwrap_or_else(|_| {
            Err(Failure::Other(
                "the server still runs another batch operation".to_owned(),
            ))
        })
    }

    /// Stops the workload, until the contender is done by its own account.
    pub(super) async fn stop(&self, workload: &Workload, observer: Waiter) -> Result<Told, Failure> {
        match workload.contender {
            Contender::Raw(concurrency) => {
                let known = Arc::clone(&workload.known);
                Ok(lanes::terminate(self.server, known, Pin::Chain, concurrency)
                    .await?
                    .into())
            }
            Contender::Batch => self.batch(workload).await,
            Contender::Loop => self.list_and_terminate(workload).await,
            Contender::Root => self.root(workload, observer).await,
            Contender::Quell => self.quell(workload).await,
        }
    }

    async fn batch(&self, workload: &Workload) -> Result<Told, Failure> {
        self.server
            .start_batch(&workload.id, server::open(&workload.id))
            .await?;
        loop {
            tokio::time::sleep(BATCH_POLL).await;
            let job = match self.server.describe_batch(&workload.id).await {
                Ok(job) => job,
                // Between the start and the first word of the server's own worker.
                Err(status) if status.code() == Code::NotFound => continue,
                Err(status) => return Err(status.into()),
            };
            match job.state() {
                BatchOperationState::Unspecified | BatchOperationState::Running => {}
                BatchOperationState::Completed => {
                    return Ok(Told {
                        stopped: Some(job.complete_operation_count),
                        failed: Some(job.failure_operation_count),
                        receipt: None,
                    });
                }
                BatchOperationState::Failed => {
                    return Err(Failure::Other("the batch operation failed".to_owned()));
                }
            }
        }
    }

    /// As a script would: what is listed is terminated by its run, and an empty list is taken for the end.
    async fn list_and_terminate(&self, workload: &Workload) -> Result<Told, Failure> {
        let mut total = Tally::default();
        loop {
            let (rows, _) = self.server.list(server::open(&workload.id), Vec::new()).await?;
            if rows.is_empty() {
                return Ok(total.into());
            }
            let rows: Arc<[Known]> = rows.into_iter().filter_map(Known::listed).collect();
            let tally = lanes::terminate(self.server, rows, Pin::Run, LOOP_CONCURRENCY).await?;
            total.done += tally.done;
            total.failed += tally.failed;
        }
    }

    /// It has no account of its own: it is done when the observer sees nothing.
    async fn root(&self, workload: &Workload, mut observer: Waiter) -> Result<Told, Failure> {
        workload.quiesce(self.addresses).await?;
        let root = Known {
            workflow_id: workload.root.clone(),
            run_id: String::new(),
        };
        self.server.terminate(root, Pin::Current).await?;
        observer.zero().await?;
        Ok(Told::default())
    }

    async fn quell(&self, workload: &Workload) -> Result<Told, Failure> {
        let spec = CancellationSpec {
            target: Some(Target {
                selector: Some(Selector::WorkloadId(workload.id.clone())),
            }),
            reason: "quell bench".to_owned(),
            max_affected: workload.planned,
            ..Default::default()
        };
        let request = StartCancellationRequest {
            spec: Some(spec),
            request_id: workload.id.clone(),
            ..Default::default()
        };
        let started = stop::start(self.addresses, request).await?;
        watch::until_done(self.progress, self.addresses, &started.cancellation_id).await?;
        let receipt = fetch_receipt(self.addresses, started.cancellation_id).await?;
        Ok(Told {
            stopped: Some(receipt.stopped),
            failed: Some(receipt.failed),
            receipt: Some(receipt),
        })
    }
}
