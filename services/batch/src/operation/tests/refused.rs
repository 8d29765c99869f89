//! Requests that are refused.

use super::{
    Fake,
    api::{api, start},
};
use quell_api::batch::v1::{
    BatchExecution, BatchOperationKind, BatchReset, BatchSignal, StartBatchOperationRequest, batch_reset::To,
};
use quell_mesh::error::Error;
use std::sync::Arc;

#[tokio::test]
async fn what_belongs_to_another_kind_or_to_quell_is_refused() {
    let server = Arc::new(Fake::default());
    let (api, _) = api(&server);
    let fields = async |change: &dyn Fn(&mut StartBatchOperationRequest)| {
        let mut request = start("1", "a");
        change(&mut request);
        let Err(Error::InvalidArgument(violations)) = api.start(request).await else {
            panic!("refused")
        };
        violations.into_iter().map(|v| v.field).collect::<Vec<_>>()
    };
    let execution = |id: &str| BatchExecution {
        workflow_id: id.to_owned(),
        run_id: String::new(),
    };
    assert_eq!(
        fields(&|r| {
            r.signal = Some(BatchSignal::default());
            r.reset = Some(BatchReset::default());
            r.include_closed = true;
            r.max_affected = -1;
        })
        .await,
        ["signal", "reset", "include_closed", "max_affected"]
    );
    assert_eq!(
        fields(&|r| {
            r.kind = BatchOperationKind::Signal.into();
            r.signal = Some(BatchSignal {
                name: String::new(),
                input: vec!["{".to_owned(), "1".to_owned()],
            });
        })
        .await,
        ["signal.name", "signal.input[0]"]
    );
    assert_eq!(fields(&|r| r.kind = BatchOperationKind::Reset.into()).await, ["reset"]);
    assert_eq!(
        fields(&|r| {
            r.kind = BatchOperationKind::Reset.into();
            r.reset = Some(BatchReset {
                to: Some(To::FirstWorkflowTask(false)),
                current_run_only: true,
                exclude: vec![0],
            });
        })
        .await,
        [
            "reset.first_workflow_task",
            "reset.current_run_only",
            "reset.exclude[0]"
        ]
    );
    assert_eq!(
        fields(&|r| {
            r.executions = vec![execution("w"), execution("quell/gate/1"), execution("")];
        })
        .await,
        ["executions", "executions[1].workflow_id", "executions[2].workflow_id"]
    );
    assert_eq!(
        fields(&|r| {
            r.target = None;
            r.executions = vec![execution("w"); 1_001];
        })
        .await,
        ["executions"]
    );
}
