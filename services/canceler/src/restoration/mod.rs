//! Restorations: what one cancellation terminated is reset to its last completed workflow task, parents before children.
//!
//! What is to be restored is told by the cancellation's journal, each chunk held against its hash in the receipt, and by the server
//! itself: a closed execution still names the children that it waited for, so what the server's cascade terminated is found without
//! the index. First everything is described and nothing is changed (the survey, whose result is a plan in the payload store); then
//! the plan is carried out, level by level.
//!
//! | module | is |
//! | --- | --- |
//! | [`api`], [`store`], [`watch`] | requests, checked; restorations as workflows; how one is seen from outside |
//! | [`workflows`], [`activities`] | the shell; what it runs |
//! | [`seeds`], [`survey`], [`verdict`], [`plan`] | what is to be restored: from the journal, described, judged, put in order |
//! | [`resetter`], [`resume`] | what is done |
//! | [`calls`] | calls of the main namespace |
//! | [`messages`], [`convert`] | what passes between them, and what callers see |

mod activities;
pub(crate) mod api;
mod calls;
mod convert;
mod messages;
mod plan;
mod resetter;
mod resume;
mod seeds;
pub(crate) mod store;
mod survey;
mod verdict;
mod watch;
mod workflows;

pub use activities::RestoreActivities;
pub use messages::{Asked, Report, RestoreInput, Standing};
pub(crate) use watch::Watchers;
pub use workflows::RestoreWorkflow;
