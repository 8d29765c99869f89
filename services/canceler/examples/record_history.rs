//! Records the history of a cancellation for the replay test:
//!
//! ```text
//! cargo run -p quell-canceler --example record_history -- http://127.0.0.1:7233 canceler <cancellation_id> <file>
//! ```

use std::error::Error;

use quell_api::ids::cancellation_workflow;
use quell_canceler::cancellation::BulkCancelWorkflow;
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, Url, WorkflowFetchHistoryOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, namespace, id, file] = arguments.as_slice() else {
        return Err("usage: record_history ADDRESS NAMESPACE CANCELLATION_ID FILE".into());
    };
    let options = ConnectionOptions::new(Url::parse(address)?)
        .identity("record_history".to_owned())
        .build();
    let client = Client::new(
        Connection::connect(options).await?,
        ClientOptions::new(namespace).build(),
    )?;
    let handle = client.get_workflow_handle::<BulkCancelWorkflow>(cancellation_workflow(id));
    let history = handle
        .fetch_history(WorkflowFetchHistoryOptions::default())
        .to_json()
        .await?;
    std::fs::write(file, history)?;
    Ok(())
}
