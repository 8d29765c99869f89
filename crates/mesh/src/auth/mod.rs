//! Who calls, and what he may do.
//!
//! | module | concern |
//! | --- | --- |
//! | `access` | the access file: names, roles, namespaces, hashed tokens, expiry |
//! | `methods` | which role an rpc needs, and what its message is |
//! | `entrance` | all of it, made of the settings |
//! | `gate` | the layer around all services: identity, limits per principal, role, namespace, audit |
//! | `message` | the request's message, within limits |
//! | `lease` | a stream that ends when its caller's credentials do |
//! | [`Scope`] | the namespaces that a caller may act on |
//! | `account`, `usage`, `bucket` | on whose account a call goes, and how many there may be |
//! | `tls` | the server's and the clients' TLS, from files |
//! | `watched` | files that are read again when they change |
//! | [`Outgoing`] | what a caller of the services shows |
//!
//! There are two roles. A *viewer* may look: preview, get, list, watch. An *operator* may also change: everything else, so that an
//! rpc that is added one day is locked until somebody thinks of it. Who calls is told by a bearer token, else by the client
//! certificate. Where neither is demanded (on this machine, or with `server.insecure`), everybody is the same anonymous operator.

mod access;
mod account;
mod bucket;
mod entrance;
mod gate;
mod lease;
mod message;
mod methods;
mod outgoing;
mod scope;
mod tls;
mod usage;
mod watched;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use access::Access;
pub(crate) use account::Account;
pub(crate) use bucket::Bucket;
pub(crate) use entrance::Entrance;
pub(crate) use gate::{GateLayer, Guard};
pub(crate) use methods::Methods;
pub use outgoing::{Dialling, Outgoing};
pub(crate) use outgoing::{Token, client_tls, dial};
pub use scope::Scope;
pub(crate) use tls::{ServerTls, client_config, names_of, own_config, server_tls};
pub(crate) use watched::watch_files;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Preview, get, list, watch.
    Viewer,
    /// Everything.
    Operator,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        })
    }
}

/// How a caller was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Not at all.
    None,
    /// By a bearer token.
    Token,
    /// By a client certificate.
    Certificate,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Certificate => "certificate",
        })
    }
}

/// Who makes a call.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Its name in the access file; without one, the first name in its certificate; `anonymous` where nobody has to say.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// How it was recognised.
    pub proof: Proof,
}

impl Principal {
    pub(crate) fn anonymous() -> Self {
        Self {
            name: "anonymous".into(),
            role: Role::Operator,
            proof: Proof::None,
        }
    }
}

/// Who makes a call, and from where; every request of a service carries it.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// From which address.
    pub address: Option<SocketAddr>,
    /// On which namespaces he may act.
    pub scope: Scope,
}

impl fmt::Display for Caller {
    /// `ops (10.0.0.1:4711)`; the address alone for somebody who did not have to say who he is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.principal.name;
        match (self.principal.proof, self.address) {
            (Proof::None, Some(address)) => write!(f, "{address}"),
            (_, Some(address)) => write!(f, "{name} ({address})"),
            (_, None) => f.write_str(name),
        }
    }
}

/// Who makes this call, for people: his name and his address, as far as they are known.
#[must_use]
pub fn caller<T>(request: &tonic::Request<T>) -> String {
    request
        .extensions()
        .get::<Caller>()
        .map_or_else(String::new, ToString::to_string)
}
