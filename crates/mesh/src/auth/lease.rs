//! A response that holds what its call holds, and a stream that ends when its caller's credentials do.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::error::Error;

/// When, and why, a stream is ended from our side.
pub(super) type Ending = Pin<Box<dyn Future<Output = Error> + Send>>;

/// A response body that keeps `held` until it ends.
pub(super) struct Leased {
    body: Body,
    ending: Option<Ending>,
    ended: bool,
    _held: Box<dyn Any + Send>,
}

impl Leased {
    pub(super) fn new(body: Body, ending: Option<Ending>, held: impl Any + Send) -> Self {
        Self {
            body,
            ending,
            ended: false,
            _held: Box::new(held),
        }
    }
}

impl http_body::Body for Leased {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(ending) = &mut self.ending
            && let Poll::Ready(error) = ending.as_mut().poll(cx)
        {
            self.ended = true;
            let mut trailers = HeaderMap::new();
            let added = Status::from(error).add_header(&mut trailers);
            return Poll::Ready(Some(added.map(|()| Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // A stream may be shorter than it promised.
        if self.ending.is_some() {
            SizeHint::default()
        } else {
            self.body.size_hint()
        }
    }
}
