//! Records the history of a workflow's latest run for the replay test:
//!
//! ```text
//! cargo run -p quell-batch --example record_batch_history -- http://127.0.0.1:7233 canceler quell/batch/<job id> <file>
//! ```

use std::error::Error;

use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, Url, WorkflowFetchHistoryOptions};
use temporalio_common::UntypedWorkflow;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, namespace, workflow_id, file] = arguments.as_slice() else {
        return Err("usage: record_batch_history ADDRESS NAMESPACE WORKFLOW_ID FILE".into());
    };
    let options = ConnectionOptions::new(Url::parse(address)?)
        .identity("record_batch_history".to_owned())
        .build();
    let client = Client::new(
        Connection::connect(options).await?,
        ClientOptions::new(namespace).build(),
    )?;
    let handle = client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
    let history = handle
        .fetch_history(WorkflowFetchHistoryOptions::default())
        .to_json()
        .await?;
    std::fs::write(file, history)?;
    Ok(())
}
