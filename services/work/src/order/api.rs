//! The rpcs of [`OrderService`].

use std::{sync::Arc, time::Duration};

use quell_api::{
    validate::Checker,
    work::v1::{
        CancelOrderRequest, CancelOrderResponse, GetOrderRequest, GetOrderResponse, ListOrdersRequest,
        ListOrdersResponse, Order, OrderStatus, PlaceOrderRequest, PlaceOrderResponse, ScheduleOrderRequest,
        ScheduleOrderResponse, UnscheduleOrderRequest, UnscheduleOrderResponse, order_service_server::OrderService,
    },
};
use quell_mesh::{Error, Mesh, NamespaceClient, Reason, Settings, Shutdown};
use temporalio_client::{WorkflowCancelOptions, WorkflowGetResultOptions, WorkflowSignalOptions};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{
    ledger::Ledger,
    messages::OrderRequest,
    spec::{self, Checked},
    start::{self, Started},
    view::{self, MEMO_REQUEST, ORDER_TYPE},
    workflow_id,
    workflows::OrderWorkflow,
};
use crate::page::Pages;

const DEFAULT_REASON: &str = "cancelled by request";

/// Time that is left for the answer when the caller's deadline comes.
const MARGIN: Duration = Duration::from_millis(500);

const PAGES: Pages = Pages {
    rpc: "ListOrders",
    list: "orders",
};

/// Serves [`OrderService`].
#[derive(Clone, Debug)]
pub struct OrderApi {
    main: NamespaceClient,
    settings: Arc<Settings>,
    shutdown: Shutdown,
    ledger: Ledger,
}

impl OrderApi {
    /// Serves the orders of the main namespace.
    #[must_use]
    pub fn new(mesh: &Mesh, ledger: Ledger) -> Self {
        Self {
            main: mesh.main.clone(),
            settings: mesh.settings.clone(),
            shutdown: mesh.shutdown.clone(),
            ledger,
        }
    }

    /// Starts the order, or finds the one that the same request started before.
    async fn start(&self, checked: &Checked) -> Result<(), Error> {
        if let Started::Now(_) = start::order(&self.main, &self.settings, checked).await? {
            return Ok(());
        }
        let reused = Error::precondition(
            Reason::RequestIdReused,
            "order_id",
            "it was used for another order, or by somebody else",
        );
        match view::describe(&self.main, &checked.order_id).await {
            Ok(execution) if execution.memo::<OrderRequest>(MEMO_REQUEST).as_ref() == Some(&checked.input.request) => {
                Ok(())
            }
            Ok(_) | Err(Error::NotFound { .. }) => Err(reused),
            Err(error) => Err(error),
        }
    }

    /// Waits until an order has ended, at most until `deadline` or until the service drains.
    async fn wait(&self, order_id: &str, deadline: Instant) -> Result<(), Error> {
        let handle = self
            .main
            .client()
            .await?
            .get_workflow_handle::<OrderWorkflow>(workflow_id(order_id));
        let told = self.shutdown.token();
        tokio::select! {
            // How it ended is in its memo; that it ended is all that is asked here.
            ended = handle.get_result(WorkflowGetResultOptions::default()) => {
                if let Err(error) = ended {
                    tracing::debug!(order_id, %error, "a waited for order has not come through");
                }
            }
            () = tokio::time::sleep_until(deadline) => {}
            () = told.cancelled() => {}
        }
        Ok(())
    }
}

/// The order is placed, so nobody may be told to try again: without an `order_id` that would place another one.
fn placed(order_id: &str, error: Error) -> Error {
    match error {
        Error::Unavailable { message, .. }
        | Error::ResourceExhausted { message, .. }
        | Error::Aborted { message, .. } => Error::DeadlineExceeded {
            message: format!("order {order_id} is placed, but its state could not be read: {message}"),
        },
        error => error,
    }
}

#[tonic::async_trait]
impl OrderService for OrderApi {
    async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Result<Response<PlaceOrderResponse>, Status> {
        let came = Instant::now();
        let longest = self.settings.server.request_timeout;
        let limit = crate::deadline::of(request.metadata()).unwrap_or(longest).min(longest);
        let request = request.into_inner();
        let (wait, validate_only) = (request.wait, request.validate_only);
        let checked = spec::check(request, &self.settings)?;
        if validate_only {
            let order = Order {
                order_id: checked.order_id,
                spec: Some(spec::wire(checked.input.request)),
                status: OrderStatus::Unspecified.into(),
                ..Order::default()
            };
            return Ok(Response::new(PlaceOrderResponse { order: Some(order) }));
        }
        self.start(&checked).await?;
        tracing::info!(order_id = checked.order_id, "order placed");
        let placed = |error| placed(&checked.order_id, error);
        if wait {
            self.wait(&checked.order_id, came + limit.saturating_sub(MARGIN))
                .await
                .map_err(placed)?;
        }
        let execution = view::describe(&self.main, &checked.order_id).await.map_err(placed)?;
        Ok(Response::new(PlaceOrderResponse {
            order: Some(view::order(execution)),
        }))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        let GetOrderRequest {
            order_id,
            include_ledger,
        } = request.into_inner();
        required(Checker::new(), &order_id)?;
        let mut order = view::order(view::describe(&self.main, &order_id).await?);
        if include_ledger {
            order.ledger = self.ledger.entries(&workflow_id(&order_id)).await.map_err(|error| {
                tracing::warn!(%error, "the ledger of orders does not answer");
                Error::unavailable(Reason::LedgerUnavailable, "the ledger of orders does not answer")
            })?;
        }
        Ok(Response::new(GetOrderResponse { order: Some(order) }))
    }

    async fn cancel_order(
        &self,
        request: Request<CancelOrderRequest>,
    ) -> Result<Response<CancelOrderResponse>, Status> {
        let CancelOrderRequest { order_id, reason } = request.into_inner();
        let mut check = Checker::new();
        check.reason("reason", &reason, false);
        required(check, &order_id)?;
        let ended = || {
            Error::precondition(
                Reason::WrongState,
                order_id.as_str(),
                "the order has ended already, or is on its way",
            )
        };
        let execution = view::describe(&self.main, &order_id).await?;
        if !execution.open {
            return Err(ended().into());
        }
        let reason = if reason.trim().is_empty() {
            DEFAULT_REASON.to_owned()
        } else {
            reason
        };
        let handle = self
            .main
            .client()
            .await?
            .get_workflow_handle::<OrderWorkflow>(workflow_id(&order_id));
        let sent = handle
            .signal(OrderWorkflow::cancel, reason.clone(), WorkflowSignalOptions::default())
            .await;
        match sent.map_err(Error::from) {
            Ok(()) => {}
            // It was open a moment ago.
            Err(Error::NotFound { .. }) => return Err(ended().into()),
            Err(error) => return Err(error.into()),
        }
        if view::is_delayed(&execution) {
            // The server keeps a signal until the delay is over; a cancel request ends the delay. It meets the signal there, whose
            // reason came first.
            let options = WorkflowCancelOptions::builder().reason(reason.clone()).build();
            match handle.cancel(options).await.map_err(Error::from) {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        tracing::info!(order_id, reason, "order asked to stop");
        Ok(Response::new(CancelOrderResponse {}))
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        let ListOrdersRequest {
            page_size,
            page_token,
            order_id_prefix,
        } = request.into_inner();
        let mut check = Checker::new();
        let wanted = PAGES.wanted(&mut check, page_size, &page_token);
        spec::prefix(&mut check, &order_id_prefix);
        check.finish(()).map_err(Error::InvalidArgument)?;
        let mut query = format!("WorkflowType = \"{ORDER_TYPE}\"");
        if !order_id_prefix.is_empty() {
            query.push_str(&format!(
                " AND WorkflowId STARTS_WITH \"{}\"",
                workflow_id(&order_id_prefix)
            ));
        }
        let (rows, next_page_token) = PAGES.list(&self.main, query, wanted).await?;
        Ok(Response::new(ListOrdersResponse {
            orders: rows.into_iter().map(view::order).collect(),
            next_page_token,
        }))
    }

    async fn schedule_order(
        &self,
        request: Request<ScheduleOrderRequest>,
    ) -> Result<Response<ScheduleOrderResponse>, Status> {
        let request = request.into_inner();
        let validate_only = request.validate_only;
        let checked = spec::check_schedule(request, &self.settings)?;
        if !validate_only {
            start::schedule(&self.main, &self.settings, &checked).await?;
            let (schedule_id, every_s) = (&checked.schedule_id, checked.every.as_secs());
            tracing::info!(schedule_id, every_s, limit = checked.limit, "orders scheduled");
        }
        Ok(Response::new(ScheduleOrderResponse {
            order: Some(spec::wire(checked.input.request)),
        }))
    }

    async fn unschedule_order(
        &self,
        request: Request<UnscheduleOrderRequest>,
    ) -> Result<Response<UnscheduleOrderResponse>, Status> {
        let UnscheduleOrderRequest { schedule_id } = request.into_inner();
        let mut check = Checker::new();
        spec::schedule_id(&mut check, &schedule_id);
        check.finish(()).map_err(Error::InvalidArgument)?;
        start::unschedule(&self.main, &schedule_id).await?;
        tracing::info!(schedule_id, "orders unscheduled");
        Ok(Response::new(UnscheduleOrderResponse {}))
    }
}

fn required(mut check: Checker, order_id: &str) -> Result<(), Error> {
    check.required_id("order_id", order_id);
    check.finish(()).map_err(Error::InvalidArgument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_placed_an_order_is_never_told_to_try_again() {
        let message = || "Temporal does not answer".to_owned();
        for error in [
            Error::unavailable(Reason::TemporalUnreachable, message()),
            Error::ResourceExhausted {
                reason: Reason::TemporalUnreachable,
                message: message(),
                retry_after: None,
            },
            Error::Aborted {
                reason: Reason::TemporalUnreachable,
                message: message(),
            },
        ] {
            let told = Status::from(placed("o-1", error));
            assert_eq!(told.code(), tonic::Code::DeadlineExceeded);
            assert!(told.message().contains("order o-1 is placed"), "{}", told.message());
        }
        let refused = Error::precondition(Reason::WrongState, "o-1", "no");
        assert_eq!(
            Status::from(placed("o-1", refused)).code(),
            tonic::Code::FailedPrecondition
        );
    }
}
