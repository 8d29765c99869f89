//! `quell.batch.v1.BatchOperationService`: the gRPC face of the server's batch operations.

use super::{
    action::{Kind, Selection},
    executions::Row,
    guards::{counted, unprotected},
    identity::Identity,
    job::Job,
    messages::OperationInput,
    page_token,
    refusals::{about_to_be_taken, full, reused, slot_taken, wrong_state},
    server::JobServer,
    spec::Spec,
    store::{RESOURCE, Records},
    support::Support,
    view::Viewer,
};
use futures::{Stream, StreamExt as _};
use quell_api::{
    batch::v1::{self as pb, batch_operation_service_server::BatchOperationService},
    validate::Checker,
};
use quell_mesh::{
    Shutdown,
    confirmation::{self, Token},
    error::Error,
};
use std::{pin::Pin, sync::Arc};
use tonic::{Request, Response, Status};

/// Operations that may wait: the line is read whole at each look.
const MOST_WAITING: usize = 500;
const DEFAULT_SAMPLE: i32 = 10;
const MAX_SAMPLE: i32 = 100;

/// The service.
pub(crate) struct Api {
    server: Arc<dyn JobServer>,
    records: Arc<dyn Records>,
    support: Support,
    viewer: Viewer,
    namespace: String,
}

/// A checked Start.
struct Wish {
    id: String,
    spec: Spec,
    sample: i32,
    /// The id came from the caller, so that the call may come again.
    repeatable: bool,
    /// Of whoever has seen how many it is about.
    token: Option<Token>,
}

impl Api {
    /// Over the batch interface of the main namespace, of that name, and the records in the canceler's.
    pub(crate) fn new(
        server: Arc<dyn JobServer>,
        records: Arc<dyn Records>,
        namespace: &str,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            support: Support::new(server.clone()),
            viewer: Viewer::new(server.clone(), records.clone(), namespace, shutdown),
            server,
            records,
            namespace: namespace.to_owned(),
        }
    }

    pub(crate) async fn start(
        &self,
        request: pb::StartBatchOperationRequest,
    ) -> Result<pb::StartBatchOperationResponse, Error> {
        let wish = Wish::check(&request)?;
        if wish.repeatable
            && !request.validate_only
            && let Some(first) = self.first(&wish).await?
        {
            return Ok(first);
        }
        wish.token.as_ref().map_or(Ok(()), Token::fresh)?;
        self.support.check(&wish.spec.action).await?;
        let matched = counted(&*self.server, &wish.spec)
            .await
            .map_err(|error| Spec::name_field(error, &request))?;
        let mut spec = wish.spec.clone();
        match &wish.token {
            Some(token) => spec.raise(token, matched)?,
            // Whoever only looks is to be told how many, and gets the token.
            None if request.validate_only => {}
            None => spec.allows(matched)?,
        }
        unprotected(&*self.server, &spec).await?;
        let answer = pb::StartBatchOperationResponse {
            job_id: wish.id.clone(),
            matched,
            query: wish.spec.query().to_owned(),
            ..Default::default()
        };
        if request.validate_only {
            let token = Token::new(u64::try_from(matched).unwrap_or(0));
            return Ok(pb::StartBatchOperationResponse {
                sample: self.sample(&wish).await?,
                confirmation_token: token.write(&wish.spec.confirmed()),
                ..answer
            });
        }
        self.admit(request.no_wait).await?;
        let input = OperationInput {
            job_id: wish.id.clone(),
            namespace: self.namespace.clone(),
            spec,
            matched,
            caller: String::new(),
        };
        if self.records.start(input).await? {
            tracing::info!(job_id = wish.id, matched, kind = ?wish.spec.action.kind(), "batch operation queued");
            return Ok(answer);
        }
        // Somebody else was faster with the same request id.
        let first = self.first(&wish).await?;
        first.ok_or_else(|| Error::internal(anyhow::anyhow!("a record that exists cannot be read")))
    }

    /// The answer to the first Start of this id, if there was one. Another request under the same id is a mistake that must not pass in
    /// silence.
    async fn first(&self, wish: &Wish) -> Result<Option<pb::StartBatchOperationResponse>, Error> {
        let matched = if let Some(record) = self.records.read(&wish.id).await? {
            let mut spec = wish.spec.clone();
            if let Some(token) = &wish.token {
                // As it was raised then.
                spec.raise(token, record.about.matched)?;
            }
            if record.about.digest != spec.digest() {
                return Err(match wish.token {
                    Some(_) => confirmation::mismatch(format!("was used already, for {RESOURCE} {:?}", wish.id)),
                    None => reused(&wish.id),
                });
            }
            record.about.matched
        } else if let Some(job) = self.server.describe(&wish.id).await? {
            // Its record is gone already, or it is one of before there were records.
            matched_by(&job, &wish.spec).ok_or_else(|| reused(&wish.id))?
        } else {
            return Ok(None);
        };
        Ok(Some(pb::StartBatchOperationResponse {
            job_id: wish.id.clone(),
            matched,
            query: wish.spec.query().to_owned(),
            ..Default::default()
        }))
    }

    async fn sample(&self, wish: &Wish) -> Result<Vec<quell_api::r#type::v1::ExecutionRef>, Error> {
        let rows: Vec<Row> = match &wish.spec.selection {
            Selection::Query(query) => self.server.rows(query, wish.sample, Vec::new()).await?.0,
            Selection::Executions(list) => {
                let mut rows = Vec::new();
                for execution in list.iter().take(usize::try_from(wish.sample).unwrap_or(0)) {
                    // One that is not there is not done anything to: it is left out.
                    rows.extend(self.server.look(execution).await?.map(|seen| seen.row));
                }
                rows
            }
        };
        Ok(rows.into_iter().map(Row::proto).collect())
    }

    /// Whether another operation may come: into a line that is not too long, or, without waiting, into a slot that is free.
    async fn admit(&self, no_wait: bool) -> Result<(), Error> {
        let line = self.records.line(&self.namespace).await?;
        if line.waiting.len() >= MOST_WAITING {
            return Err(full(MOST_WAITING));
        }
        if !no_wait {
            return Ok(());
        }
        if let Some(holder) = self.server.holder().await? {
            return Err(slot_taken(&holder));
        }
        match line.holder {
            None => Ok(()),
            Some(holder) => Err(about_to_be_taken(&holder.job_id)),
        }
    }

    pub(crate) async fn stop(
        &self,
        request: pb::StopBatchOperationRequest,
    ) -> Result<pb::StopBatchOperationResponse, Error> {
        let mut check = Checker::new();
        check.required_id("job_id", &request.job_id);
        check.reason("reason", &request.reason, true);
        let id = check.finish(request.job_id).map_err(Error::InvalidArgument)?;
        // The record first, so that it knows why its job ends.
        let record = self.records.read(&id).await?;
        if record.as_ref().is_some_and(|record| !record.ended) {
            self.records.stop(&id, &request.reason).await?;
        }
        // Describe first: the server would terminate any workflow of that id. An ended one stays as it is.
        let stopped = self.server.stop_running(&id, &request.reason).await?;
        if record.is_none() && !stopped && self.server.describe(&id).await?.is_none() {
            return Err(Error::not_found(RESOURCE, id));
        }
        tracing::info!(job_id = id, stopped, "batch operation told to stop");
        Ok(pb::StopBatchOperationResponse {})
    }

    pub(crate) async fn survivors(
        &self,
        request: pb::ListSurvivorsRequest,
    ) -> Result<pb::ListSurvivorsResponse, Error> {
        let mut check = Checker::new();
        check.required_id("job_id", &request.job_id);
        let size = check.page_size("page_size", request.page_size);
        let from = page_token::open(&request.page_token)
            .and_then(|token| page_token::offset(&token))
            .unwrap_or_else(|| {
                check.reject("page_token", "is not one that this service gave");
                0
            });
        let id = check.finish(request.job_id).map_err(Error::InvalidArgument)?;
        let record = self.records.read(&id).await?;
        let record = record.ok_or_else(|| Error::not_found(RESOURCE, id.clone()))?;
        if !record.ended {
            return Err(wrong_state(
                &record,
                "it has not ended; survivors are looked for at its end",
            ));
        }
        if record.standing.verdict.is_none() {
            return Err(wrong_state(
                &record,
                "its record was ended from outside, before anything was looked for",
            ));
        }
        let survey = self.records.survey(&id).await?;
        let end = from.saturating_add(usize::try_from(size).unwrap_or(0));
        let more = end < survey.survivors.len();
        let page = survey.survivors.into_iter().skip(from).take(end - from);
        Ok(pb::ListSurvivorsResponse {
            survivors: page.map(super::view::survivor).collect(),
            next_page_token: if more {
                page_token::seal(&page_token::of_offset(end))
            } else {
                String::new()
            },
            looked_at: survey.looked_at,
            complete: survey.complete,
        })
    }

    pub(crate) async fn get(&self, id: &str) -> Result<pb::BatchOperation, Error> {
        checked_id(id)?;
        self.viewer.get(id).await
    }

    pub(crate) async fn list(
        &self,
        request: pb::ListBatchOperationsRequest,
    ) -> Result<pb::ListBatchOperationsResponse, Error> {
        let mut check = Checker::new();
        let page_size = check.page_size("page_size", request.page_size);
        let from = page_token::open(&request.page_token)
            .and_then(|token| page_token::Place::read(&token))
            .unwrap_or_else(|| {
                check.reject("page_token", "is not one that this service gave");
                page_token::Place::default()
            });
        let from = check.finish(from).map_err(Error::InvalidArgument)?;
        let (operations, next) = self.viewer.list(page_size, from).await?;
        Ok(pb::ListBatchOperationsResponse {
            operations,
            next_page_token: next.map(|next| page_token::seal(&next.write())).unwrap_or_default(),
        })
    }
}

impl Wish {
    fn check(request: &pb::StartBatchOperationRequest) -> Result<Self, Error> {
        let mut check = Checker::new();
        let spec = Spec::check(&mut check, request);
        check.request_id("request_id", &request.request_id);
        let sample = check.int("sample_size", request.sample_size, DEFAULT_SAMPLE, 1..=MAX_SAMPLE);
        check.finish(()).map_err(Error::InvalidArgument)?;
        let token = Token::of_request(&request.confirmation_token, &request.request_id, &spec.confirmed())?;
        let given = match &token {
            Some(token) => Some(token.id.to_string()),
            None => Some(request.request_id.clone()).filter(|id| !id.is_empty()),
        };
        let repeatable = given.is_some();
        let id = given.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        Ok(Self {
            id: format!("quell-batch-{id}"),
            spec,
            sample,
            repeatable,
            token,
        })
    }
}

/// What a job of ours without a record counted, if it is over the same.
fn matched_by(job: &Job, spec: &Spec) -> Option<i64> {
    let identity = Identity::parse(&job.identity);
    let same = identity
        .as_ref()
        .is_none_or(|identity| identity.is_over(&spec.subject()));
    let kind: Option<Kind> = job.kind;
    (same && kind == Some(spec.action.kind())).then(|| identity.map_or(job.total, |identity| identity.matched))
}

fn checked_id(id: &str) -> Result<(), Error> {
    let mut check = Checker::new();
    check.required_id("job_id", id);
    check.finish(()).map_err(Error::InvalidArgument)
}

type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchBatchOperationResponse, Status>> + Send>>;

#[tonic::async_trait]
impl BatchOperationService for Api {
    async fn start_batch_operation(
        &self,
        request: Request<pb::StartBatchOperationRequest>,
    ) -> Result<Response<pb::StartBatchOperationResponse>, Status> {
        Ok(Response::new(self.start(request.into_inner()).await?))
    }

    async fn get_batch_operation(
        &self,
        request: Request<pb::GetBatchOperationRequest>,
    ) -> Result<Response<pb::GetBatchOperationResponse>, Status> {
        let operation = Some(self.get(&request.into_inner().job_id).await?);
        Ok(Response::new(pb::GetBatchOperationResponse { operation }))
    }

    async fn list_batch_operations(
        &self,
        request: Request<pb::ListBatchOperationsRequest>,
    ) -> Result<Response<pb::ListBatchOperationsResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    type WatchBatchOperationStream = WatchStream;

    async fn watch_batch_operation(
        &self,
        request: Request<pb::WatchBatchOperationRequest>,
    ) -> Result<Response<Self::WatchBatchOperationStream>, Status> {
        let id = request.into_inner().job_id;
        checked_id(&id)?;
        let looks = self.viewer.watch(id).map(|look| {
            look.map(|operation| pb::WatchBatchOperationResponse {
                operation: Some(operation),
            })
            .map_err(Status::from)
        });
        Ok(Response::new(Box::pin(looks)))
    }

    async fn stop_batch_operation(
        &self,
        request: Request<pb::StopBatchOperationRequest>,
    ) -> Result<Response<pb::StopBatchOperationResponse>, Status> {
        Ok(Response::new(self.stop(request.into_inner()).await?))
    }

    async fn list_survivors(
        &self,
        request: Request<pb::ListSurvivorsRequest>,
    ) -> Result<Response<pb::ListSurvivorsResponse>, Status> {
        Ok(Response::new(self.survivors(request.into_inner()).await?))
    }

    async fn describe_server(
        &self,
        _request: Request<pb::DescribeServerRequest>,
    ) -> Result<Response<pb::DescribeServerResponse>, Status> {
        Ok(Response::new(self.support.describe().await?))
    }
}
