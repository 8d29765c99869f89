//! Starts of orders: now, with a delay, and by a schedule.
//!
//! The SDK's client has no start delay and no limited schedules, so these two go out by the bare stub, with the input and the memo as
//! the SDK would encode them and with the trace context that its plugin would add.

use std::{collections::HashMap, time::Duration};

use opentelemetry::{Context, global};
use quell_mesh::{Error, NamespaceClient, Settings, telemetry::temporal::HEADER};
use serde::Serialize;
use temporalio_client::{
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions, errors::WorkflowStartError,
};
use temporalio_common::{
    MemoValues,
    data_converters::{SerializationContextData, WorkflowSerializationContext},
    payload_visitor::{PayloadVisitable, encode_payloads},
    protos::temporal::api::{
        common::v1::{Header, Memo, Payload, Payloads, WorkflowType},
        enums::v1::{ScheduleOverlapPolicy, TaskQueueKind},
        schedule::v1::{
            IntervalSpec, Schedule, ScheduleAction, SchedulePolicies, ScheduleSpec, ScheduleState, schedule_action,
        },
        taskqueue::v1::TaskQueue,
        workflow::v1::NewWorkflowExecutionInfo,
        workflowservice::v1::{CreateScheduleRequest, DeleteScheduleRequest, StartWorkflowExecutionRequest},
    },
};
use tonic::Code;

use super::{
    QUEUE,
    messages::OrderInput,
    schedule_id,
    spec::{Checked, CheckedSchedule},
    view::{MEMO_REQUEST, ORDER_TYPE},
    workflow_id,
    workflows::OrderWorkflow,
};

/// Whether an order was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// It was; this is its run id.
    Now(String),
    /// There is a workflow of its id already.
    Before,
}

/// Starts an order.
///
/// # Errors
/// Temporal's, translated.
pub async fn order(main: &NamespaceClient, settings: &Settings, checked: &Checked) -> Result<Started, Error> {
    if checked.input.request.start_delay_ms > 0 {
        return delayed(main, settings, checked).await;
    }
    let mut memo = MemoValues::new();
    memo.insert(MEMO_REQUEST, checked.input.request.clone());
    let timeouts = &settings.workflows;
    let options = WorkflowStartOptions::new(QUEUE, workflow_id(&checked.order_id))
        .id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate)
        .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
        .execution_timeout(timeouts.execution)
        .run_timeout(timeouts.run)
        .task_timeout(timeouts.task)
        .memo(memo)
        .build();
    let client = main.client().await?;
    match client
        .start_workflow(OrderWorkflow::run, checked.input.clone(), options)
        .await
    {
        Ok(handle) => Ok(Started::Now(handle.info().run_id.clone().unwrap_or_default())),
        Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(Started::Before),
        Err(error) => Err(error.into()),
    }
}

async fn delayed(main: &NamespaceClient, settings: &Settings, checked: &Checked) -> Result<Started, Error> {
    use temporalio_common::protos::temporal::api::enums::v1::{WorkflowIdConflictPolicy, WorkflowIdReusePolicy};
    let delay = Duration::from_millis(checked.input.request.start_delay_ms);
    let new = new_workflow(settings, workflow_id(&checked.order_id), &checked.input)?;
    let mut request = StartWorkflowExecutionRequest {
        namespace: main.namespace().to_owned(),
        workflow_id: new.workflow_id,
        workflow_type: new.workflow_type,
        task_queue: new.task_queue,
        input: new.input,
        // Counted from now, where the run timeout is counted from the end of the delay.
        workflow_execution_timeout: (settings.workflows.execution + delay).try_into().ok(),
        workflow_run_timeout: new.workflow_run_timeout,
        workflow_task_timeout: new.workflow_task_timeout,
        identity: "quell-work".to_owned(),
        // The SDK's retries repeat this request as it is.
        request_id: uuid::Uuid::new_v4().to_string(),
        workflow_id_reuse_policy: WorkflowIdReusePolicy::RejectDuplicate.into(),
        workflow_id_conflict_policy: WorkflowIdConflictPolicy::Fail.into(),
        memo: new.memo,
        header: new.header,
        workflow_start_delay: delay.try_into().ok(),
        ..StartWorkflowExecutionRequest::default()
    };
    let header = request.header.take();
    encode(main, &mut request).await?;
    request.header = header;
    let mut stub = main.raw().await?;
    match stub.start_workflow_execution(tonic::Request::new(request)).await {
        Ok(reply) => Ok(Started::Now(reply.into_inner().run_id)),
        Err(status) if status.code() == Code::AlreadyExists => Ok(Started::Before),
        Err(status) => Err(status.into()),
    }
}

/// Makes a schedule.
///
/// # Errors
/// `AlreadyExists`; Temporal's, translated.
pub async fn schedule(main: &NamespaceClient, settings: &Settings, checked: &CheckedSchedule) -> Result<(), Error> {
    // To this id the server adds the time of each order.
    let mut new = new_workflow(settings, workflow_id(&checked.schedule_id), &checked.input)?;
    let header = new.header.take();
    encode(main, &mut new).await?;
    new.header = header;
    let schedule = Schedule {
        spec: Some(ScheduleSpec {
            interval: vec![IntervalSpec {
                interval: checked.every.try_into().ok(),
                phase: None,
            }],
            ..ScheduleSpec::default()
        }),
        action: Some(ScheduleAction {
            action: Some(schedule_action::Action::StartWorkflow(new)),
        }),
        policies: Some(SchedulePolicies {
            overlap_policy: ScheduleOverlapPolicy::Skip.into(),
            ..SchedulePolicies::default()
        }),
        state: Some(ScheduleState {
            limited_actions: checked.limit > 0,
            remaining_actions: checked.limit.into(),
            ..ScheduleState::default()
        }),
    };
    let request = CreateScheduleRequest {
        namespace: main.namespace().to_owned(),
        schedule_id: schedule_id(&checked.schedule_id),
        schedule: Some(schedule),
        identity: "quell-work".to_owned(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..CreateScheduleRequest::default()
    };
    let mut stub = main.raw().await?;
    match stub.create_schedule(tonic::Request::new(request)).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::AlreadyExists => Err(Error::AlreadyExists {
            kind: "order schedule",
            name: checked.schedule_id.clone(),
        }),
        Err(status) => Err(status.into()),
    }
}

/// Ends a schedule.
///
/// # Errors
/// `NotFound`; Temporal's, translated.
pub async fn unschedule(main: &NamespaceClient, id: &str) -> Result<(), Error> {
    let request = DeleteScheduleRequest {
        namespace: main.namespace().to_owned(),
        schedule_id: schedule_id(id),
        identity: "quell-work".to_owned(),
    };
    let reply = main.raw().await?.delete_schedule(tonic::Request::new(request)).await;
    reply
        .map(drop)
        .map_err(|status| Error::from(status).named("order schedule", id))
}

/// Sends the payloads of a request through the codec, as the SDK does with its own: the large ones to the store, and encrypted where there
/// are keys. The trace in the header is for other workers as well.
async fn encode<M: PayloadVisitable + Send>(main: &NamespaceClient, message: &mut M) -> Result<(), Error> {
    let client = main.client().await?;
    let context = SerializationContextData::Workflow(WorkflowSerializationContext::new());
    encode_payloads(message, client.options().data_converter.codec(), &context)
        .await
        .map_err(Error::internal)
}

fn new_workflow(
    settings: &Settings,
    workflow_id: String,
    input: &OrderInput,
) -> Result<NewWorkflowExecutionInfo, Error> {
    let timeouts = &settings.workflows;
    Ok(NewWorkflowExecutionInfo {
        workflow_id,
        workflow_type: Some(WorkflowType {
            name: ORDER_TYPE.to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: QUEUE.to_owned(),
            kind: TaskQueueKind::Normal.into(),
            ..TaskQueue::default()
        }),
        input: Some(Payloads {
            payloads: vec![json(input)?],
        }),
        workflow_execution_timeout: timeouts.execution.try_into().ok(),
        workflow_run_timeout: timeouts.run.try_into().ok(),
        workflow_task_timeout: timeouts.task.try_into().ok(),
        memo: Some(Memo {
            fields: HashMap::from([(MEMO_REQUEST.to_owned(), json(&input.request)?)]),
        }),
        header: trace_header()?,
        ..NewWorkflowExecutionInfo::default()
    })
}

fn json(value: &impl Serialize) -> Result<Payload, Error> {
    Ok(Payload {
        metadata: HashMap::from([("encoding".to_owned(), b"json/plain".to_vec())]),
        data: serde_json::to_vec(value).map_err(Error::internal)?,
        ..Payload::default()
    })
}

/// The current trace, as the SDK's plugin hands it on.
fn trace_header() -> Result<Option<Header>, Error> {
    let mut carrier = HashMap::<String, String>::new();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&Context::current(), &mut carrier));
    if carrier.is_empty() {
        return Ok(None);
    }
    Ok(Some(Header {
        fields: HashMap::from([(HEADER.to_owned(), json(&carrier)?)]),
    }))
}
