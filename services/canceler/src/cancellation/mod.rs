//! Cancellations: the gRPC face, the workflow, its activities, and what they share.
//!
//! | module | is |
//! | --- | --- |
//! | [`api`] | the gRPC face |
//! | [`spec`], [`target`] | what is asked for, checked, with defaults filled in |
//! | [`store`], [`page_token`] | cancellations as workflows: started, found, listed, stopped |
//! | [`view`], [`watch`], [`hub`], [`preview`] | how one is seen from outside |
//! | [`admission`] | who may act on which cancellation |
//! | [`joint`] | one cancellation in several namespaces |
//! | [`guards`] | what is held against a request before anything is started |
//! | [`limits`] | what can be changed while it runs |
//! | [`workflows`], [`commands`] | the shell around the campaign |
//! | [`activities`] | the activities' names and spans |
//! | [`fence`], [`source`], [`canary`], [`sweeper`], [`rate`], [`confirmer`], [`conclude`], [`batch`] | what they do |
//! | [`namespaces`] | in which namespaces executions may be stopped |
//! | [`namespace`], [`listing`], [`ancestry`], [`query`], [`status`], [`budget`] | calls of one of them |
//! | [`journal`], [`receipt`] | what remains |
//! | [`failures`] | every failed stop, out of the journal |
//! | [`messages`], [`convert`] | what passes between them |

pub(crate) mod activities;
mod admission;
mod ancestry;
mod api;
mod batch;
mod budget;
mod canary;
mod commands;
mod conclude;
mod confirmer;
pub(crate) mod convert;
mod failures;
mod fence;
pub(crate) mod guards;
pub(crate) mod hub;
pub(crate) mod joint;
pub(crate) mod journal;
mod limits;
mod listing;
mod messages;
mod meter;
pub(crate) mod namespace;
mod namespaces;
pub(crate) mod page_token;
mod preview;
mod query;
mod rate;
pub(crate) mod receipt;
mod schedules;
pub(crate) mod source;
pub(crate) mod spec;
pub(crate) mod status;
pub(crate) mod store;
mod sweeper;
pub(crate) mod target;
pub(crate) mod view;
mod watch;
mod workflows;

pub use activities::CancelActivities;
pub use api::CancellationApi;
pub use joint::{JointCancelWorkflow, JointInput, Part};
pub use limits::{Adjustment, Limits};
pub use messages::{About, CancelInput, Standing};
pub use namespaces::Namespaces;
pub use receipt::{JournalChunk, Receipt, Signed, Unreadable};
pub use spec::Spec;
pub use target::TargetSpec;
pub use workflows::BulkCancelWorkflow;
