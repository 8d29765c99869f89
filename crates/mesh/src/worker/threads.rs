//! The runtime of the workers.

use temporalio_common::telemetry::TelemetryOptions;
use temporalio_sdk::Runtime;
use temporalio_sdk::runtime::RuntimeOptions;

use crate::metrics::sdk;

/// The runtime of the workers, Tokio's and the SDK's.
pub(super) struct Threads {
    pub(super) sdk: Runtime,
    tokio: Option<tokio::runtime::Runtime>,
    pub(super) handle: tokio::runtime::Handle,
}

impl Threads {
    pub(super) fn new() -> Result<Self, anyhow::Error> {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .thread_name("workers")
            .enable_all()
            .build()?;
        let handle = tokio.handle().clone();
        let _inside = handle.enter();
        let telemetry = TelemetryOptions::builder()
            .metrics(sdk::for_runtime())
            .attach_service_name(false)
            .build();
        let options = RuntimeOptions::builder()
            .telemetry_options(telemetry)
            .build()
            .map_err(anyhow::Error::msg)?;
        let sdk = Runtime::from_current_tokio(options)?;
        Ok(Self {
            sdk,
            tokio: Some(tokio),
            handle: handle.clone(),
        })
    }
}

impl Drop for Threads {
    /// Waits for nobody: a thread that an activity holds may never come back.
    fn drop(&mut self) {
        if let Some(tokio) = self.tokio.take() {
            tokio.shutdown_background();
        }
    }
}
