//! Requests of orders: checked, with defaults, and as what the workflow is told.

use std::{collections::BTreeSet, time::Duration};

use quell_api::{
    validate::{Checker, MAX_REQUEST_ID},
    work::v1::{OrderFault, OrderFaultKind, OrderItem, OrderSpec, Payment, PlaceOrderRequest, ScheduleOrderRequest},
};
use quell_mesh::{Error, Reason, Settings};

use super::{
    faults::{Fault, Kind},
    messages::{Action, Item, Limits, OrderInput, OrderRequest, PaymentDetails, STEPS, millis},
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3_600);
const LONGEST_DELAY: Duration = Duration::from_secs(30 * 24 * 3_600);
const LONGEST_PAUSE: Duration = Duration::from_secs(366 * 24 * 3_600);
const LARGEST_AMOUNT: i64 = 1_000_000_000_000;
const MOST_ITEMS: usize = 100;
const MOST_OF_AN_ITEM: u32 = 1_000_000;
const MOST_ATTEMPTS: u32 = 100;
const MOST_OCCURRENCES: u32 = 1_000_000;

/// An order that can be placed.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// Its id.
    pub order_id: String,
    /// What the workflow is told.
    pub input: OrderInput,
}

/// A schedule that can be made.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedSchedule {
    /// Its id.
    pub schedule_id: String,
    /// What each order is told.
    pub input: OrderInput,
    /// Time between two orders.
    pub every: Duration,
    /// Orders until it is done; 0 = no end.
    pub limit: u32,
}

/// Checks an order.
///
/// # Errors
/// `InvalidArgument` with every bad field; `FailedPrecondition` for failures on demand where they are not allowed.
pub fn check(request: PlaceOrderRequest, settings: &Settings) -> Result<Checked, Error> {
    let mut check = Checker::new();
    check.request_id("order_id", &request.order_id);
    let mut input = order(&mut check, request.order.unwrap_or_default(), settings);
    let delay = check.duration(
        "start_delay",
        request.start_delay,
        Duration::ZERO,
        Duration::ZERO..=LONGEST_DELAY,
    );
    input.request.start_delay_ms = millis(delay);
    input.request.faults = faults(&mut check, &request.faults);
    let order_id = if request.order_id.is_empty() {
        uuid::Uuid::new_v4().to_string()
    } else {
        request.order_id
    };
    let checked = check
        .finish(Checked { order_id, input })
        .map_err(Error::InvalidArgument)?;
    if !checked.input.request.faults.is_empty() && !settings.orders.faults {
        return Err(Error::precondition(
            Reason::WrongState,
            "faults",
            "failures on demand are for tests: the service does not run with the setting orders.faults",
        ));
    }
    Ok(checked)
}

/// Checks a schedule.
///
/// # Errors
/// `InvalidArgument` with every bad field.
pub fn check_schedule(request: ScheduleOrderRequest, settings: &Settings) -> Result<CheckedSchedule, Error> {
    let mut check = Checker::new();
    schedule_id(&mut check, &request.schedule_id);
    let input = order(&mut check, request.order.unwrap_or_default(), settings);
    if request.every.is_none() {
        check.reject("every", "must be given");
    }
    let every = check.duration(
        "every",
        request.every,
        LONGEST_PAUSE,
        Duration::from_secs(1)..=LONGEST_PAUSE,
    );
    let limit = check.int("limit", request.limit, 0, 1..=MOST_OCCURRENCES);
    check
        .finish(CheckedSchedule {
            schedule_id: request.schedule_id,
            input,
            every,
            limit,
        })
        .map_err(Error::InvalidArgument)
}

/// The id of a schedule: what is allowed of an order's, and not empty.
pub fn schedule_id(check: &mut Checker, id: &str) {
    if id.is_empty() {
        check.reject("schedule_id", "must be given");
    }
    check.request_id("schedule_id", id);
}

/// The beginning of orders' ids: also of those that a schedule has made, which have a time with colons.
pub fn prefix(check: &mut Checker, prefix: &str) {
    if prefix.chars().count() > MAX_REQUEST_ID + 30 {
        check.reject("order_id_prefix", "is longer than any order's id");
    } else if !prefix
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'))
    {
        check.reject(
            "order_id_prefix",
            "may contain only letters, digits, '-', '_', '.' and ':'",
        );
    }
}

fn order(check: &mut Checker, spec: OrderSpec, settings: &Settings) -> OrderInput {
    let payment = spec.payment.unwrap_or_default();
    text(check, "order.payment.token", &payment.token, 200);
    if looks_like_a_card(&payment.token) {
        check.reject(
            "order.payment.token",
            "looks like a card number: give the payment provider's token, since it is kept in the workflow's history",
        );
    }
    if !(1..=LARGEST_AMOUNT).contains(&payment.amount_minor) {
        check.reject(
            "order.payment.amount_minor",
            format!("must be from 1 to {LARGEST_AMOUNT}"),
        );
    }
    if payment.currency.len() != 3 || !payment.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        check.reject("order.payment.currency", "must be three capital letters (ISO 4217)");
    }
    let items = items(check, spec.items);
    text(check, "order.address", &spec.address, 1_000);
    let longest = settings.workflows.run * 5 / 6;
    let timeout = check.duration(
        "order.timeout",
        spec.timeout,
        DEFAULT_TIMEOUT.min(longest),
        Duration::from_secs(1).min(longest)..=longest,
    );
    OrderInput {
        request: OrderRequest {
            payment: PaymentDetails {
                token: payment.token,
                amount_minor: payment.amount_minor,
                currency: payment.currency,
            },
            items,
            address: spec.address,
            timeout_ms: millis(timeout),
            start_delay_ms: 0,
            faults: Vec::new(),
        },
        limits: Limits::of(settings),
    }
}

fn items(check: &mut Checker, items: Vec<OrderItem>) -> Vec<Item> {
    if items.is_empty() || items.len() > MOST_ITEMS {
        check.reject("order.items", format!("must be 1 to {MOST_ITEMS}"));
        return Vec::new();
    }
    let checked = items.into_iter().enumerate().map(|(index, item)| {
        text(check, &format!("order.items[{index}].sku"), &item.sku, 100);
        let field = format!("order.items[{index}].quantity");
        let quantity = check.int(&field, item.quantity, 1, 1..=MOST_OF_AN_ITEM);
        Item {
            sku: item.sku,
            quantity,
        }
    });
    checked.collect()
}

/// A text that must be there.
fn text(check: &mut Checker, field: &str, text: &str, longest: usize) {
    if text.trim().is_empty() {
        check.reject(field, "must be given");
    } else if text.chars().count() > longest {
        check.reject(field, format!("must have at most {longest} characters"));
    } else if text.chars().any(|c| c.is_control() && c != '\n') {
        check.reject(field, "must not contain control characters");
    }
}

/// 13 to 19 digits, perhaps grouped: nobody's token looks like that.
fn looks_like_a_card(token: &str) -> bool {
    let digits = token.chars().filter(char::is_ascii_digit).count();
    (13..=19).contains(&digits) && token.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-'))
}

fn faults(check: &mut Checker, faults: &[OrderFault]) -> Vec<Fault> {
    let mut seen = BTreeSet::new();
    let mut checked = Vec::new();
    for (index, fault) in faults.iter().enumerate().take(Action::ALL.len() + 1) {
        let field = |name: &str| format!("faults[{index}].{name}");
        let action = Action::of_wire(fault.action);
        match action {
            None => check.reject(&field("action"), "must be one of the six actions"),
            Some(action) if !seen.insert(action) => check.reject(&field("action"), "is there twice"),
            Some(_) => {}
        }
        let kind = match fault.kind() {
            OrderFaultKind::Unspecified => None,
            OrderFaultKind::Refused => Some(Kind::Refused),
            OrderFaultKind::Error => Some(Kind::Error),
            OrderFaultKind::Hold => Some(Kind::Hold),
        };
        if kind.is_none() {
            check.reject(&field("kind"), "must be REFUSED, ERROR or HOLD");
        }
        if kind == Some(Kind::Refused) && action.is_some_and(|action| !STEPS.contains(&action)) {
            check.reject(
                &field("kind"),
                "can be REFUSED for a step only: what undoes one is tried until it succeeds",
            );
        }
        if kind == Some(Kind::Refused) && fault.after_effect {
            check.reject(&field("after_effect"), "is not possible with REFUSED");
        }
        let attempts = check.int(&field("attempts"), fault.attempts, 1, 1..=MOST_ATTEMPTS);
        if let (Some(action), Some(kind)) = (action, kind) {
            checked.push(Fault {
                action,
                kind,
                attempts,
                after_effect: fault.after_effect,
            });
        }
    }
    checked
}

/// A request as the contract has it, with its defaults.
#[must_use]
pub fn wire(request: OrderRequest) -> OrderSpec {
    OrderSpec {
        payment: Some(Payment {
            token: request.payment.token,
            amount_minor: request.payment.amount_minor,
            currency: request.payment.currency,
        }),
        items: request
            .items
            .into_iter()
            .map(|item| OrderItem {
                sku: item.sku,
                quantity: item.quantity,
            })
            .collect(),
        address: request.address,
        timeout: prost_types::Duration::try_from(Duration::from_millis(request.timeout_ms)).ok(),
    }
}

#[cfg(test)]
mod tests;
