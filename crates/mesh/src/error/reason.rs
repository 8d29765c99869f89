//! The closed list of reasons a caller may meet, stable across releases.
//!
//! A reason is what a program branches on; the message beside it is for people and may change. Reasons are
//! only ever added. Each travels as `google.rpc.ErrorInfo.reason` with the domain [`crate::error::DOMAIN`].

/// Defines [`Reason`] and its table in one place, so that a reason without a name or a page cannot exist.
macro_rules! reasons {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $name:literal; )+) => {
        /// Why a call failed, as a stable name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason { $( $(#[doc = $doc])+ $variant, )+ }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Reason] = &[ $( Reason::$variant, )+ ];

            /// The stable name, as it travels in `ErrorInfo.reason` (`UPPER_SNAKE_CASE`).
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Reason::$variant => $name, )+ }
            }

            /// What it means and what to do about it: the text of its page under docs/errors/.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self { $( Reason::$variant => concat!($($doc, "\n"),+), )+ }
            }
        }
    };
}

reasons! {
    /// A field of the request is missing, malformed or out of range. `BadRequest` names every such field at once.
    InvalidArgument = "INVALID_ARGUMENT";
    /// Temporal refused the visibility query. Its own words are in `BadRequest`.
    InvalidQuery = "INVALID_QUERY";
    /// What was asked for does not exist. `ResourceInfo` names its kind and its name.
    NotFound = "NOT_FOUND";
    /// Something of that name exists already. `ResourceInfo` names it.
    AlreadyExists = "ALREADY_EXISTS";
    /// The same `request_id` came before with other parameters. Use a new one.
    RequestIdReused = "REQUEST_ID_REUSED";
    /// More executions match than `max_affected` allows. Narrow the target, or raise the limit knowingly.
    MaxAffectedExceeded = "MAX_AFFECTED_EXCEEDED";
    /// The target would match every workflow of the namespace, or the server's own. Name a workload or a filter.
    TargetTooWide = "TARGET_TOO_WIDE";
    /// The confirmation token is missing, expired, or was given for another target. Preview again.
    ConfirmationTokenMismatch = "CONFIRMATION_TOKEN_MISMATCH";
    /// The target holds executions that the configuration protects. The violations say which.
    ProtectedTarget = "PROTECTED_TARGET";
    /// Another cancellation of the same target is running. The violation names it.
    CancellationRunning = "CANCELLATION_RUNNING";
    /// A cancellation of the same target is being undone. The violation names it.
    RestorationRunning = "RESTORATION_RUNNING";
    /// A source refused to be quiesced. The violations say which and why.
    QuiesceRefused = "QUIESCE_REFUSED";
    /// The operation has ended already, or is not in a state that allows the call.
    WrongState = "WRONG_STATE";
    /// Another batch operation holds the namespace's slot. Try again after it ended.
    BatchSlotTaken = "BATCH_SLOT_TAKEN";
    /// The namespace does not exist on the Temporal server. Create it, or correct the setting.
    NamespaceNotFound = "NAMESPACE_NOT_FOUND";
    /// The search attribute is not registered in the namespace. `quell doctor` says how to add it.
    SearchAttributeMissing = "SEARCH_ATTRIBUTE_MISSING";
    /// The Temporal server does not offer what the call needs. Upgrade it.
    TemporalUnsupported = "TEMPORAL_UNSUPPORTED";
    /// Temporal does not answer the service now. It keeps trying; so may you, after `RetryInfo`.
    TemporalUnreachable = "TEMPORAL_UNREACHABLE";
    /// Temporal rejected the service's own credentials. An operator must correct them.
    TemporalDenied = "TEMPORAL_DENIED";
    /// Temporal's own rate limit was met. Try again after `RetryInfo`.
    TemporalRateLimited = "TEMPORAL_RATE_LIMITED";
    /// The service demands to know who calls, and the call had neither a token nor a client certificate.
    CredentialsMissing = "CREDENTIALS_MISSING";
    /// The service does not know the token or the certificate: it is wrong, or it was revoked.
    CredentialsInvalid = "CREDENTIALS_INVALID";
    /// The token or the certificate's entry has expired.
    CredentialsExpired = "CREDENTIALS_EXPIRED";
    /// The caller's role does not allow the call: a viewer may look, an operator may also change.
    RoleInsufficient = "ROLE_INSUFFICIENT";
    /// The caller may not act on the namespace that this service works for.
    NamespaceNotAllowed = "NAMESPACE_NOT_ALLOWED";
    /// The caller makes more calls than it may, at once or a second. Try again after `RetryInfo`.
    RateLimited = "RATE_LIMITED";
    /// The request message is larger than the service takes.
    MessageTooLarge = "MESSAGE_TOO_LARGE";
    /// The service that this one calls refused its credentials. An operator must correct them.
    PeerDenied = "PEER_DENIED";
    /// The service that this one calls does not answer.
    PeerUnavailable = "PEER_UNAVAILABLE";
    /// The service serves as many calls at once as it is allowed to. Try again after `RetryInfo`.
    Overloaded = "OVERLOADED";
    /// The service's worker does not poll its task queue yet, so that nothing would happen. Try again.
    WorkerNotReady = "WORKER_NOT_READY";
    /// The service is shutting down. Another replica, or the next one, will answer.
    ShuttingDown = "SHUTTING_DOWN";
    /// The store of large payloads and journals cannot be reached or written.
    PayloadStoreUnavailable = "PAYLOAD_STORE_UNAVAILABLE";
    /// A stored payload is missing. It was deleted, or the services do not share one store.
    PayloadMissing = "PAYLOAD_MISSING";
    /// A stored payload does not have the checksum that its reference names.
    PayloadCorrupt = "PAYLOAD_CORRUPT";
    /// The database of the orders' ledger cannot be reached or read.
    LedgerUnavailable = "LEDGER_UNAVAILABLE";
    /// The deadline of the call passed before it was done. What it started may go on.
    DeadlineExceeded = "DEADLINE_EXCEEDED";
    /// The call met a concurrent change and was given up. Try the whole of it again.
    Conflict = "CONFLICT";
    /// The caller gave the call up.
    Cancelled = "CANCELLED";
    /// A fault of the service. The trace id leads to its log; nothing about it leaves the service.
    Internal = "INTERNAL";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
