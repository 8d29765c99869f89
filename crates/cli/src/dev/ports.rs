//! The ports of a mesh.

use super::Part;
use crate::error::Error;

/// The TCP ports of a mesh, all on 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// Temporal's frontend.
    pub temporal: u16,
    /// Temporal's Web UI; none to start without it.
    pub temporal_ui: Option<u16>,
    /// The work service.
    pub work: u16,
    /// The canceler service.
    pub canceler: u16,
    /// The batch service.
    pub batch: u16,
    /// The pages of metrics: work, canceler, batch.
    pub metrics: [u16; 3],
    /// Jaeger's UI and HTTP query API.
    pub jaeger_ui: u16,
    /// Jaeger's gRPC query API.
    pub jaeger_query: u16,
    /// Where Jaeger takes OTLP over gRPC.
    pub jaeger_otlp_grpc: u16,
    /// Where Jaeger takes OTLP over HTTP.
    pub jaeger_otlp_http: u16,
    /// Jaeger's health.
    pub jaeger_health: u16,
}

impl Ports {
    /// The ports that everyone knows: 7233, 8233, 50051 to 50053, 9464 to 9466 for metrics, and Jaeger's own.
    #[must_use]
    pub fn well_known() -> Self {
        Self {
            temporal: 7233,
            temporal_ui: Some(8233),
            work: 50051,
            canceler: 50052,
            batch: 50053,
            metrics: [9464, 9465, 9466],
            jaeger_ui: 16686,
            jaeger_query: 16685,
            jaeger_otlp_grpc: 4317,
            jaeger_otlp_http: 4318,
            jaeger_health: 13133,
        }
    }

    /// Free ones.
    ///
    /// # Errors
    /// [`Error::Ports`].
    pub fn free() -> Result<Self, Error> {
        let ports: [u16; 13] = crate::ports::free(13)?
            .try_into()
            .map_err(|_| Error::Ports("fewer than asked for".to_owned()))?;
        let [
            temporal,
            temporal_ui,
            work,
            canceler,
            batch,
            metrics_work,
            metrics_canceler,
            metrics_batch,
            jaeger_ui,
            jaeger_query,
            jaeger_otlp_grpc,
            jaeger_otlp_http,
            jaeger_health,
        ] = ports;
        let temporal_ui = Some(temporal_ui);
        Ok(Self {
            temporal,
            temporal_ui,
            work,
            canceler,
            batch,
            metrics: [metrics_work, metrics_canceler, metrics_batch],
            jaeger_ui,
            jaeger_query,
            jaeger_otlp_grpc,
            jaeger_otlp_http,
            jaeger_health,
        })
    }

    /// The ports that a part listens on.
    pub(super) fn of(&self, part: Part) -> Vec<u16> {
        match part {
            Part::Temporal => std::iter::once(self.temporal).chain(self.temporal_ui).collect(),
            Part::Jaeger => {
                vec![
                    self.jaeger_ui,
                    self.jaeger_query,
                    self.jaeger_otlp_grpc,
                    self.jaeger_otlp_http,
                    self.jaeger_health,
                ]
            }
            Part::Work => vec![self.work, self.metrics[0]],
            Part::Canceler => vec![self.canceler, self.metrics[1]],
            Part::Batch => vec![self.batch, self.metrics[2]],
        }
    }
}
