//! End-to-end tests: everything through the wire, as a user would, on real servers.
//!
//! One binary, so that it is linked once, and one mesh for all of it ([`harness`]). The tests know the contract (`proto/`),
//! the programs, and Temporal itself, which is their witness: what a service says about its work is compared with what
//! Temporal's own command line says ([`outside`]). They know nothing of the services' insides.
//!
//! | module | what it shows |
//! | --- | --- |
//! | [`main_job`] | a workload that is still spawning is stopped to zero; foreign workflows too, neighbours not |
//! | [`rpcs_work`], [`rpcs_canceler`], [`rpcs_batch`] | every rpc of the contract by a generated client |
//! | [`shapes`] | snowballs of every shape, and that none of them meets a limit of the server |
//! | [`batch_kinds`], [`batch_queue`], [`batch_python`] | every kind of batch operation, the queue for the slot, the activities from Python |
//! | [`reflection`] | the same contract by the real `grpcurl` |
//! | [`bad_input`] | bad input for every rpc, and that none is forgotten |
//! | [`guards`], [`guards_outside`], [`tokens`], [`several`] | caps, deadlines, exclusions; tokens, what is protected, one at a time; several targets as one |
//! | [`modes`] | what is asked to end, and what becomes of what does not |
//! | [`batch_processing`], [`batch_own_work`] | the tree that squares numbers: results, a killed worker; joining, other work |
//! | [`orders`], [`orders_undone`], [`orders_killed`] | orders against their ledger ([`shop`]): each failure at each step, cancels, killed workers |
//! | [`adjust`] | limits changed on the way; a thousand watchers |
//! | [`failures`], [`signed`] | stops that fail for good, each listed; receipts, signed and verified |
//! | [`restore`], [`restore_asked`] | a cancellation undone: the whole tree, results, guards, a killed canceler; what was only asked |
//! | [`scope`], [`schedules`] | descendants, suspects; schedules |
//! | [`payloads`] | 1, 5 and 30 MB through the codec |
//! | [`drain`], [`alone`], [`killed`] | the life of a process: asked to end, without Temporal, killed |
//! | [`killed_phases`], [`store_lost`] | each part killed in each phase of a cancellation, Temporal too; the payload store lost on the way |
//! | [`probe`], [`chaos`], [`hangs`], [`under_load`] | workers that lose nothing and never hang |
//! | [`locked`] | tokens, roles, TLS, limits, audit: who does not belong does not get in |
//! | [`secured`] | Temporal behind an API key and behind client certificates, renewed |
//! | [`one_namespace`], [`namespaces`] | main and canceler in one and the same namespace; cancellations in others than main |
//! | [`trace`], [`metrics`] | one trace through all of it, and what was counted on the way |
//! | [`config`], [`command`], [`bench`] | the faces for operators |

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test panics when what it shows does not hold; helpers of tests too"
)]

mod adjust;
mod alone;
mod bad_input;
mod batch_kinds;
mod batch_own_work;
mod batch_processing;
mod batch_python;
mod batch_queue;
mod bench;
mod cancel;
mod certificates;
mod chaos;
mod command;
mod config;
mod contract;
mod details;
mod drain;
mod failures;
mod guards;
mod guards_outside;
mod hangs;
mod harness;
mod killed;
mod killed_phases;
mod locked;
mod main_job;
mod metrics;
mod modes;
mod namespaces;
mod one_namespace;
mod orders;
mod orders_killed;
mod orders_undone;
mod outside;
mod payloads;
mod poll;
mod probe;
mod reflection;
mod refusing;
mod restore;
mod restore_asked;
mod rpcs_batch;
mod rpcs_canceler;
mod rpcs_work;
mod schedules;
mod scope;
mod secured;
mod several;
mod shapes;
mod shop;
mod signed;
mod slow_source;
mod store_lost;
mod tokens;
mod trace;
mod tree;
mod under_load;
