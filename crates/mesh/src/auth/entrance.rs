//! The way in to a service, made of its settings.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Access, GateLayer, Guard, Methods, ServerTls, server_tls, watch_files};
use crate::audit::AuditLog;
use crate::config::Settings;

/// TLS and guard of a server.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(crate) tls: Option<ServerTls>,
    pub(crate) gate: GateLayer,
    pub(crate) audit: AuditLog,
    /// Paths of the rpcs that there are.
    pub(crate) paths: Arc<HashSet<String>>,
}

impl Entrance {
    /// Reads certificates and access file. Call it inside a Tokio runtime.
    ///
    /// # Errors
    /// Which of them cannot be used, for people.
    pub(crate) fn open(settings: &Settings, contract: &[u8], audit: AuditLog) -> Result<Self, anyhow::Error> {
        let server = &settings.server;
        let failed = |what: &str, message: String| anyhow::anyhow!("{what}: {message}");
        let tls = server_tls(&server.guard.tls).map_err(|message| failed("server.tls_cert_file", message))?;
        let access = match &server.guard.access_file {
            Some(path) => {
                let read = watch_files("the access file", vec![path.into()], |files| {
                    let text = files.first().map(Vec::as_slice).unwrap_or_default();
                    Access::parse(std::str::from_utf8(text).map_err(|error| error.to_string())?)
                });
                Some(read.map_err(|message| failed("server.access_file", message))?)
            }
            None if server.guard.authenticates() => {
                Some(tokio::sync::watch::channel(Arc::new(Access::of_certificates())).1)
            }
            None => None,
        };
        if access.is_none() && !crate::config::is_loopback(&server.host) {
            tracing::warn!("nobody has to say who he is, on more than this machine: server.insecure is on");
        }
        let methods = Methods::read(contract)?;
        let paths = Arc::new(methods.paths());
        let guard = Guard {
            settings: server.guard.clone(),
            request_timeout: server.request_timeout,
            namespace: settings.main.namespace.clone(),
            access,
            methods,
            audit: audit.clone(),
            usage: super::usage::Usage::default(),
        };
        Ok(Self {
            tls,
            gate: GateLayer(Arc::new(guard)),
            audit,
            paths,
        })
    }
}
