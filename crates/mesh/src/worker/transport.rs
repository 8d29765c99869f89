//! A worker's own connection to Temporal: everything goes through as it is, but polls pass [`Polls`] first.
//!
//! The SDK lets a connection be replaced by a function from request to answer. This one forwards each call, byte for byte, over
//! a channel of its own, so that the polls of a worker can be held, counted and waited for: the SDK has no way to do that.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use futures::FutureExt as _;
use http::uri::PathAndQuery;
use prost::Message as _;
use temporalio_client::callback_based::{CallbackBasedGrpcService, GrpcRequest, GrpcSuccessResponse};
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueKind;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest, RespondActivityTaskFailedRequest,
};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::polls::Polls;

/// The calls of a worker over `channel`. A poll that finds nothing comes back after `poll_timeout` at the latest: what the server
/// is asked for is a second more, since it answers a second before its deadline.
pub(crate) fn service(channel: Channel, polls: Polls, poll_timeout: Duration) -> CallbackBasedGrpcService {
    let forward = Forward {
        channel,
        polls,
        poll_deadline: poll_timeout + Duration::from_secs(1),
    };
    CallbackBasedGrpcService {
        callback: std::sync::Arc::new(move |request| forward.clone().call(request).boxed()),
    }
}

/// All calls over `channel`, as they are.
pub(crate) fn plain(channel: Channel) -> CallbackBasedGrpcService {
    CallbackBasedGrpcService {
        callback: std::sync::Arc::new(move |request| forward(channel.clone(), request, None).boxed()),
    }
}

#[derive(Clone)]
struct Forward {
    channel: Channel,
    polls: Polls,
    poll_deadline: Duration,
}

impl Forward {
    async fn call(self, request: GrpcRequest) -> Result<GrpcSuccessResponse, Status> {
        match request.rpc.as_str() {
            "PollActivityTaskQueue" | "PollWorkflowTaskQueue" => self.poll(request).await,
            "RespondActivityTaskFailed" => {
                // Also how a task is refused that no activity of ours handles: it never begins.
                let body = RespondActivityTaskFailedRequest::decode(request.proto.clone());
                let answer = forward(self.channel.clone(), request, None).await;
                if let Ok(body) = body {
                    self.polls.begun(&body.task_token);
                }
                answer
            }
            _ => forward(self.channel.clone(), request, None).await,
        }
    }

    async fn poll(&self, request: GrpcRequest) -> Result<GrpcSuccessResponse, Status> {
        let of_activities = request.rpc == "PollActivityTaskQueue";
        if request.rpc == "PollWorkflowTaskQueue"
            && self.polls.sticky().is_none()
            && let Ok(body) = PollWorkflowTaskQueueRequest::decode(request.proto.clone())
            && let Some(queue) = body.task_queue.filter(|queue| queue.kind() == TaskQueueKind::Sticky)
        {
            self.polls.note_sticky(queue.name);
        }
        let Some(out) = self.polls.enter().await else {
            return Ok(nothing());
        };
        // From here on nothing is awaited but the answer: the poll counts as open until the step in which the SDK gets it.
        let answer = match forward(self.channel.clone(), request, Some(self.poll_deadline)).await {
            Ok(answer) => answer,
            Err(status) => {
                if says_no(status.code()) {
                    out.answered();
                }
                return Err(status);
            }
        };
        if of_activities && let Ok(task) = PollActivityTaskQueueResponse::decode(answer.proto.as_slice()) {
            let token = task.task_token;
            if !token.is_empty() {
                self.polls.handed(token);
            }
        }
        out.answered();
        Ok(answer)
    }
}

async fn forward(
    channel: Channel,
    request: GrpcRequest,
    deadline: Option<Duration>,
) -> Result<GrpcSuccessResponse, Status> {
    let GrpcRequest {
        service,
        rpc,
        headers,
        proto,
    } = request;
    let path = PathAndQuery::from_maybe_shared(format!("/{service}/{rpc}"))
        .map_err(|error| Status::internal(error.to_string()))?;
    let mut request = Request::new(proto);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    // Whoever asked checks the size of the answer.
    let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let answer = grpc.unary(request, path, AsItIs).await?;
    let (metadata, proto, _) = answer.into_parts();
    Ok(GrpcSuccessResponse {
        headers: metadata.into_headers(),
        proto,
    })
}

/// Whether a failed poll was refused. All other failures leave open what the server had done by then.
fn says_no(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Unimplemented
    )
}

/// How the server says that there was no task: the empty message.
fn nothing() -> GrpcSuccessResponse {
    GrpcSuccessResponse {
        headers: http::HeaderMap::new(),
        proto: Vec::new(),
    }
}

/// Messages as bytes.
#[derive(Debug, Clone, Copy, Default)]
struct AsItIs;

impl Codec for AsItIs {
    type Encode = Bytes;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for AsItIs {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
