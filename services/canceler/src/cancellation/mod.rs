//! Cancellations: the gRPC face, the workflow, its activities, and what they share.
//!
//! | module | is |
//! | --- | --- |
//! | [`api`] | the gRPC face |
//! | [`spec`] | what is asked for, checked, with defaults filled in |
//! | [`store`], [`page_token`] | cancellations as workflows: started, found, listed, stopped |
//! | [`view`], [`watch`], [`hub`], [`preview`] | how one is seen from outside |
//! | [`guards`], [`token`] | what is held against a request before anything is started |
//! | [`limits`] | what can be changed while it runs |
//! | [`workflows`], [`commands`] | the shell around the campaign |
//! | [`activities`] | the activities' names and spans |
//! | [`fence`], [`canary`], [`sweeper`], [`confirmer`], [`conclude`], [`batch`] | what they do |
//! | [`namespace`], [`listing`], [`ancestry`], [`query`], [`status`], [`budget`] | calls of the main namespace |
//! | [`journal`], [`receipt`] | what remains |
//! | [`failures`] | every failed stop, out of the journal |
//! | [`messages`], [`convert`] | what passes between them |

mod activities;
mod ancestry;
mod api;
mod batch;
mod budget;
mod canary;
mod commands;
mod conclude;
mod confirmer;
mod convert;
mod failures;
mod fence;
mod guards;
mod hub;
mod journal;
mod limits;
mod listing;
mod messages;
mod meter;
mod namespace;
pub(crate) mod page_token;
mod preview;
mod query;
mod receipt;
mod schedules;
mod spec;
mod status;
mod store;
mod sweeper;
mod token;
mod view;
mod watch;
mod workflows;

pub use activities::CancelActivities;
pub use api::CancellationApi;
pub use budget::Budget;
pub use limits::{Adjustment, Limits};
pub use messages::{About, CancelInput, Standing};
pub use receipt::{JournalChunk, Receipt, Signed, Unreadable};
pub use spec::{Spec, TargetSpec};
pub use workflows::BulkCancelWorkflow;
