//! The gRPC face: checks requests, all bad fields at once, and translates.

use std::pin::Pin;

use futures::Stream;
use quell_api::{
    canceler::v1 as pb, canceler::v1::cancellation_service_server::CancellationService, target::Filter,
    validate::Checker,
};
use quell_mesh::{
    Error, Mesh, Reason,
    auth::Scope,
    config::CancelSettings,
    confirmation::{self, Token},
    telemetry::trace_id,
};
use tonic::{Request, Response, Status};

use super::{
    admission,
    convert::count,
    failures::{self, Wanted},
    guards,
    journal::ChunkName,
    limits::Limits,
    namespaces::Namespaces,
    page_token, preview,
    spec::{self, Spec},
    store::{self, NewCancellation},
    target::TargetSpec,
    view::View,
    watch::Watchers,
};
use crate::restoration;

const DEFAULT_SAMPLE: i32 = 10;
const MAX_SAMPLE: i32 = 100;
/// Bytes of one piece of a chunk of the journal.
const PIECE: usize = 256 << 10;
const DEFAULT_STOP_REASON: &str = "stopped by request";

/// `quell.canceler.v1.CancellationService`.
#[derive(Clone)]
pub struct CancellationApi {
    mesh: Mesh,
    namespaces: Namespaces,
    watchers: Watchers,
    restorations: restoration::Watchers,
}

impl CancellationApi {
    /// The face of a service process. `namespaces` are shared with its activities.
    #[must_use]
    pub fn new(mesh: &Mesh, namespaces: Namespaces) -> Self {
        let watchers = Watchers::new(namespaces.clone(), mesh.canceler.clone(), mesh.shutdown.clone());
        Self {
            restorations: restoration::Watchers::new(mesh.canceler.clone(), mesh.shutdown.clone()),
            mesh: mesh.clone(),
            namespaces,
            watchers,
        }
    }

    fn defaults(&self) -> &CancelSettings {
        &self.mesh.settings.cancel
    }

    /// The message of a request that is about one cancellation.
    async fn admitted<T: admission::AboutOne>(&self, request: Request<T>) -> Result<T, Error> {
        admission::admit(&self.mesh.canceler, &self.namespaces, request).await
    }

    async fn start(
        &self,
        request: pb::StartCancellationRequest,
        scope: &Scope,
        requested_by: String,
    ) -> Result<pb::StartCancellationResponse, Error> {
        let mut check = Checker::new();
        let (mut spec, filter) = Spec::check(&mut check, request.spec.as_ref(), self.defaults());
        self.namespaces.check_spec(&mut check, &mut spec);
        check.request_id("request_id", &request.request_id);
        let (mut spec, filter) = check.finish((spec, filter)).map_err(Error::InvalidArgument)?;
        admission::may(&self.namespaces, scope, &spec.namespaces)?;
        let subject = guards::subject(&filter, spec.mode, &spec.namespaces);
        let token = Token::of_request(&request.confirmation_token, &request.request_id, &subject)?;

        // A repeated request gets the first one's answer, whatever matches by now.
        let given = match &token {
            Some(token) => Some(token.id.to_string()),
            None => Some(request.request_id).filter(|id| !id.is_empty()),
        };
        if let Some(id) = &given
            && let Some(mut first) = store::find(&self.mesh.canceler, id).await?
        {
            self.namespaces.fill_in(&mut first.about.spec);
            return repeated(&first, spec, token.is_some());
        }
        token.as_ref().map_or(Ok(()), Token::fresh)?;
        let id = given.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let places = self.namespaces.connect_all(&spec.namespaces).await?;
        let by_place = guards::matched(&places, &mut spec, &filter, token.as_ref()).await?;
        let matched = by_place.iter().sum();
        let canceler = &self.mesh.canceler;
        let (running, undone) = (store::running(canceler).await?, guards::undone(canceler).await?);
        for main in &places {
            guards::unprotected(main, &self.defaults().protected, &filter).await?;
            guards::alone(main, canceler, &running, &spec, Some(&id)).await?;
            guards::not_restored(main, &undone, &spec, None).await?;
        }
        let response = pb::StartCancellationResponse {
            cancellation_id: id.clone(),
            spec: Some(spec.to_proto()),
            matched: count(matched),
        };
        if request.validate_only {
            return Ok(response);
        }
        let new = NewCancellation {
            id: id.clone(),
            spec: spec.clone(),
            filter,
            matched: by_place,
            requested_by,
            trace_id: trace_id(),
            settings: self.defaults().clone(),
        };
        if store::start(&self.mesh.canceler, new).await? {
            tracing::info!(cancellation_id = id, matched, "cancellation started");
            return Ok(response);
        }
        // Somebody else was faster with the same request id.
        let first = View::read(&self.mesh.canceler, &id).await?;
        repeated(&first, spec, token.is_some())
    }
}

/// The answer to a request that came before. Another spec under the same id is a mistake that must not pass in silence: the
/// caller would believe that something else is being stopped.
fn repeated(first: &View, spec: Spec, by_token: bool) -> Result<pb::StartCancellationResponse, Error> {
    if by_token {
        // The token has raised the cap by what matched then.
        let max_affected = first.about.spec.max_affected;
        if first.about.spec != (Spec { max_affected, ..spec }) {
            let text = format!("was used already, for cancellation {}", first.id);
            return Err(confirmation::mismatch(text));
        }
    } else if first.about.spec != spec {
        let text = "the same request_id came before with another spec";
        return Err(Error::precondition(Reason::RequestIdReused, "request_id", text));
    }
    Ok(pb::StartCancellationResponse {
        cancellation_id: first.id.clone(),
        spec: Some(first.about.spec.to_proto()),
        matched: count(first.about.matched),
    })
}

fn checked_id(id: &str) -> Result<(), Error> {
    let mut check = Checker::new();
    check.required_id("cancellation_id", id);
    check.finish(()).map_err(Error::InvalidArgument)
}

type ChunkStream = Pin<Box<dyn Stream<Item = Result<pb::ReadJournalChunkResponse, Status>> + Send>>;
type RestorationStream = Pin<Box<dyn Stream<Item = Result<pb::WatchRestorationResponse, Status>> + Send>>;
type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchCancellationResponse, Status>> + Send>>;

#[tonic::async_trait]
impl CancellationService for CancellationApi {
    async fn preview_cancellation(
        &self,
        request: Request<pb::PreviewCancellationRequest>,
    ) -> Result<Response<pb::PreviewCancellationResponse>, Status> {
        let scope = Scope::of_caller(&request);
        let request = request.into_inner();
        let mut check = Checker::new();
        let filter = Filter::check(&mut check, "target", request.target.as_ref());
        let namespaces = self.namespaces.check(&mut check, "namespaces", &request.namespaces);
        let size = check.int("sample_size", request.sample_size, DEFAULT_SAMPLE, 1..=MAX_SAMPLE);
        let mode = spec::mode(&mut check, "mode", request.mode);
        let filter = check.finish(filter).map_err(Error::InvalidArgument)?;
        admission::may(&self.namespaces, &scope, &namespaces)?;
        let wanted = preview::Wanted {
            mode,
            namespaces,
            target: TargetSpec::of(request.target.as_ref()),
            filter,
            sample_size: usize::try_from(size).unwrap_or(0),
            descendants: request.include_descendants.unwrap_or(true),
        };
        Ok(Response::new(
            preview::run(&self.namespaces, &self.mesh.canceler, &scope, &wanted).await?,
        ))
    }

    async fn start_cancellation(
        &self,
        request: Request<pb::StartCancellationRequest>,
    ) -> Result<Response<pb::StartCancellationResponse>, Status> {
        let requested_by = quell_mesh::auth::caller(&request);
        let scope = Scope::of_caller(&request);
        Ok(Response::new(
            self.start(request.into_inner(), &scope, requested_by).await?,
        ))
    }

    async fn get_cancellation(
        &self,
        request: Request<pb::GetCancellationRequest>,
    ) -> Result<Response<pb::GetCancellationResponse>, Status> {
        let id = self.admitted(request).await?.cancellation_id;
        checked_id(&id)?;
        let view = self.watchers.read(&id).await?;
        Ok(Response::new(pb::GetCancellationResponse {
            cancellation: Some(view.to_proto(true)),
        }))
    }

    async fn list_cancellations(
        &self,
        request: Request<pb::ListCancellationsRequest>,
    ) -> Result<Response<pb::ListCancellationsResponse>, Status> {
        let scope = Scope::of_caller(&request);
        let request = request.into_inner();
        let mut check = Checker::new();
        let size = check.page_size("page_size", request.page_size);
        let token = page_token::read(&request.page_token).unwrap_or_else(|| {
            check.reject("page_token", "is not one that this service gave");
            Vec::new()
        });
        let (size, token) = check.finish((size, token)).map_err(Error::InvalidArgument)?;
        let given = !token.is_empty();
        let (views, next) = store::list(&self.mesh.canceler, size, token)
            .await
            .map_err(|error| match error {
                Error::InvalidArgument(_) if given => Error::invalid("page_token", "is not one that this service gave"),
                other => other,
            })?;
        Ok(Response::new(pb::ListCancellationsResponse {
            cancellations: views
                .iter()
                .filter(|view| admission::may_see(&self.namespaces, &scope, Some(view)).is_ok())
                .map(|view| view.to_proto(false))
                .collect(),
            next_page_token: page_token::write(&next),
        }))
    }

    type WatchCancellationStream = WatchStream;

    async fn watch_cancellation(
        &self,
        request: Request<pb::WatchCancellationRequest>,
    ) -> Result<Response<Self::WatchCancellationStream>, Status> {
        let id = self.admitted(request).await?.cancellation_id;
        checked_id(&id)?;
        Ok(Response::new(Box::pin(self.watchers.watch(&id))))
    }

    async fn stop_cancellation(
        &self,
        request: Request<pb::StopCancellationRequest>,
    ) -> Result<Response<pb::StopCancellationResponse>, Status> {
        let request = self.admitted(request).await?;
        let mut check = Checker::new();
        check.required_id("cancellation_id", &request.cancellation_id);
        check.reason("reason", &request.reason, false);
        check.finish(()).map_err(Error::InvalidArgument)?;
        let reason = if request.reason.trim().is_empty() {
            DEFAULT_STOP_REASON.to_owned()
        } else {
            request.reason
        };
        store::stop(&self.mesh.canceler, &request.cancellation_id, reason).await?;
        Ok(Response::new(pb::StopCancellationResponse {}))
    }

    async fn adjust_cancellation(
        &self,
        request: Request<pb::AdjustCancellationRequest>,
    ) -> Result<Response<pb::AdjustCancellationResponse>, Status> {
        let request = self.admitted(request).await?;
        let mut check = Checker::new();
        check.required_id("cancellation_id", &request.cancellation_id);
        let limits = Limits::check(&mut check, request.limits.as_ref());
        let limits = check.finish(limits).map_err(Error::InvalidArgument)?;
        let limits = store::adjust(&self.mesh.canceler, &request.cancellation_id, limits).await?;
        Ok(Response::new(pb::AdjustCancellationResponse { limits: Some(limits) }))
    }

    async fn get_receipt(
        &self,
        request: Request<pb::GetReceiptRequest>,
    ) -> Result<Response<pb::GetReceiptResponse>, Status> {
        let id = self.admitted(request).await?.cancellation_id;
        checked_id(&id)?;
        let receipt = store::receipt(&self.mesh.canceler, &id).await?;
        Ok(Response::new(receipt.to_answer().map_err(Error::internal)?))
    }

    type ReadJournalChunkStream = ChunkStream;

    async fn read_journal_chunk(
        &self,
        request: Request<pb::ReadJournalChunkRequest>,
    ) -> Result<Response<Self::ReadJournalChunkStream>, Status> {
        let request = self.admitted(request).await?;
        let mut check = Checker::new();
        check.required_id("cancellation_id", &request.cancellation_id);
        // No other object of the store can be named.
        if ChunkName::of_key(&request.cancellation_id, &request.key).is_none() {
            check.reject("key", "is not that of a chunk of this cancellation's journal");
        }
        check.finish(()).map_err(Error::InvalidArgument)?;
        let bytes = self.mesh.payloads.get(&request.key).await;
        let bytes = bytes.map_err(|error| error.named("journal chunk", &request.key))?;
        let pieces: Vec<_> = bytes.chunks(PIECE).map(|piece| bytes.slice_ref(piece)).collect();
        let pieces = pieces
            .into_iter()
            .map(|data| Ok(pb::ReadJournalChunkResponse { data: data.into() }));
        Ok(Response::new(Box::pin(futures::stream::iter(pieces))))
    }

    async fn list_failures(
        &self,
        request: Request<pb::ListFailuresRequest>,
    ) -> Result<Response<pb::ListFailuresResponse>, Status> {
        let request = self.admitted(request).await?;
        let mut check = Checker::new();
        check.required_id("cancellation_id", &request.cancellation_id);
        let size = check.page_size("page_size", request.page_size);
        let pass = u32::try_from(request.pass).unwrap_or_else(|_| {
            check.reject("pass", "must be a pass, from 1, or 0 for all");
            0
        });
        let id = &request.cancellation_id;
        let size = usize::try_from(size).unwrap_or(0);
        let wanted = Wanted::new(id, pass, &request.page_token, size).unwrap_or_else(|| {
            let text = "is not one that this service gave for this cancellation and pass";
            check.reject("page_token", text);
            Wanted::default()
        });
        let wanted = check.finish(wanted).map_err(Error::InvalidArgument)?;
        let chunks = store::journal(&self.mesh.canceler, &self.mesh.payloads, id).await?;
        Ok(Response::new(
            failures::page(&self.mesh.payloads, &chunks, &wanted).await?,
        ))
    }

    async fn restore_cancellation(
        &self,
        request: Request<pb::RestoreCancellationRequest>,
    ) -> Result<Response<pb::RestoreCancellationResponse>, Status> {
        let requested_by = quell_mesh::auth::caller(&request);
        let request = self.admitted(request).await?;
        let answer = restoration::api::restore(&self.mesh, &self.namespaces, request, requested_by).await?;
        Ok(Response::new(answer))
    }

    async fn get_restoration(
        &self,
        request: Request<pb::GetRestorationRequest>,
    ) -> Result<Response<pb::GetRestorationResponse>, Status> {
        let id = self.admitted(request).await?.cancellation_id;
        checked_id(&id)?;
        let restoration = restoration::api::get(&self.mesh, &id).await?;
        Ok(Response::new(pb::GetRestorationResponse {
            restoration: Some(restoration),
        }))
    }

    type WatchRestorationStream = RestorationStream;

    async fn watch_restoration(
        &self,
        request: Request<pb::WatchRestorationRequest>,
    ) -> Result<Response<Self::WatchRestorationStream>, Status> {
        let id = self.admitted(request).await?.cancellation_id;
        checked_id(&id)?;
        Ok(Response::new(Box::pin(self.restorations.watch(&id))))
    }

    async fn stop_restoration(
        &self,
        request: Request<pb::StopRestorationRequest>,
    ) -> Result<Response<pb::StopRestorationResponse>, Status> {
        restoration::api::stop(&self.mesh, self.admitted(request).await?).await?;
        Ok(Response::new(pb::StopRestorationResponse {}))
    }
}

#[cfg(test)]
mod tests;
