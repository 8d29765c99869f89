//! Records the history of a cancellation, or of its restoration, for the replay test:
//!
//! ```text
//! cargo run -p quell-canceler --example record_history -- http://127.0.0.1:7233 canceler <cancellation_id> <file> [restoration]
//! ```

use std::error::Error;

use quell_api::ids::{cancellation_workflow, restoration_workflow};
use quell_canceler::{cancellation::BulkCancelWorkflow, restoration::RestoreWorkflow};
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, Url, WorkflowFetchHistoryOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, namespace, id, file, restoration) = match arguments.as_slice() {
        [address, namespace, id, file] => (address, namespace, id, file, false),
        [address, namespace, id, file, what] if what == "restoration" => (address, namespace, id, file, true),
        _ => return Err("usage: record_history ADDRESS NAMESPACE CANCELLATION_ID FILE [restoration]".into()),
    };
    let options = ConnectionOptions::new(Url::parse(address)?)
        .identity("record_history".to_owned())
        .build();
    let client = Client::new(
        Connection::connect(options).await?,
        ClientOptions::new(namespace).build(),
    )?;
    let options = WorkflowFetchHistoryOptions::default();
    let history = if restoration {
        let handle = client.get_workflow_handle::<RestoreWorkflow>(restoration_workflow(id));
        handle.fetch_history(options).to_json().await?
    } else {
        let handle = client.get_workflow_handle::<BulkCancelWorkflow>(cancellation_workflow(id));
        handle.fetch_history(options).to_json().await?
    };
    std::fs::write(file, history)?;
    Ok(())
}
