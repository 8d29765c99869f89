//! Bad values that nobody wrote down: for every field of every request, out of the descriptors, one request for each kind of value that
//! such a field cannot have, its limits being those that its comment tells. Whoever adds a field and forgets to check it finds it
//! here.

use super::{
    Channels, good,
    values::{May, comment, limits, values},
};
use crate::{
    contract,
    harness::{mesh, unique},
    locked::scene::raw,
};
use futures::{StreamExt as _, stream};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage as _,
    Value,
};
use std::collections::BTreeSet;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

/// Calls at once.
const LANES: usize = 8;

/// Values that are good after all, or refused in another way: the end of the rpc's and the field's name, and why.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    (
        "",
        "confirmation_token",
        "whatever is no token for this is told as a token for something else is: FAILED_PRECONDITION, CONFIRMATION_TOKEN_MISMATCH",
    ),
    (
        "ListFailures",
        "pass",
        "a pass of any number may have been: there are none of it",
    ),
    (
        "ReadJournalChunk",
        "cancellation_id",
        "the key is not one of that cancellation's: the key is named",
    ),
];

/// A request, encoded, with one bad value in it.
#[derive(Clone)]
struct Bad {
    /// As errors name the field.
    field: String,
    what: &'static str,
    may: May,
    request: Vec<u8>,
}

/// A message with a field that is given in bytes, whatever they are.
fn with_bytes(message: &DynamicMessage, field: &FieldDescriptor, wire: WireType, held: &[u8]) -> Vec<u8> {
    let mut rest = message.clone();
    rest.clear_field(field);
    let mut bytes = rest.encode_to_vec();
    encode_key(field.number(), wire, &mut bytes);
    if wire == WireType::LengthDelimited {
        encode_varint(held.len() as u64, &mut bytes);
    }
    bytes.extend_from_slice(held);
    bytes
}

/// A good message's fields, one at a time given each odd value, and those of the messages in it.
fn spoilt(good: &DynamicMessage) -> Vec<Bad> {
    let mut all = Vec::new();
    for field in good.descriptor().fields() {
        assert!(
            !field.is_map() && !field.is_group(),
            "{}: not known here",
            field.full_name()
        );
        let name = if field.is_list() {
            format!("{}[0]", field.name())
        } else {
            field.name().to_owned()
        };
        let bad = |field: &str, what, may, request| Bad {
            field: field.to_owned(),
            what,
            may,
            request,
        };
        let set = |value: Value| {
            let mut message = good.clone();
            message.set_field(&field, value);
            message.encode_to_vec()
        };
        for (what, may, value) in values(&field) {
            let value = if field.is_list() {
                Value::List(vec![value])
            } else {
                value
            };
            all.push(bad(&name, what, may, set(value)));
        }
        all.push(bad(
            &name,
            "a value of another type",
            May::Refuse,
            with_bytes(good, &field, WireType::ThirtyTwoBit, &[0; 4]),
        ));
        if field.kind() == Kind::String {
            let bytes = with_bytes(good, &field, WireType::LengthDelimited, b"a\xff\xfe");
            all.push(bad(&name, "a text that is not UTF-8", May::Refuse, bytes));
        }
        let comment = comment(&field);
        if field.is_list() {
            let element = match good.get_field(&field).as_list().and_then(|list| list.first()) {
                Some(element) => element.clone(),
                None => Value::default_value(&field.kind()),
            };
            let most = limits(&comment).1.unwrap_or(20_000.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a length")]
            let many = Value::List(vec![element; most as usize + 1]);
            all.push(bad(field.name(), "too many", May::Refuse, set(many)));
        }
        let Kind::Message(_) = field.kind() else { continue };
        if comment.contains("Required") {
            let mut message = good.clone();
            message.clear_field(&field);
            all.push(bad(field.name(), "left out", May::Refuse, message.encode_to_vec()));
        }
        let value = good.get_field(&field);
        let inner = match &*value {
            Value::List(list) => list.first(),
            value => Some(value).filter(|_| good.has_field(&field)),
        };
        if let Some(Value::Message(inner)) = inner {
            all.extend(spoilt(inner).into_iter().map(|bad| Bad {
                field: format!("{name}.{}", bad.field),
                request: with_bytes(good, &field, WireType::LengthDelimited, &bad.request),
                ..bad
            }));
        }
    }
    all
}

/// The names of all fields of a message, those of ours in it included; of one that holds itself (`within`) once.
fn fields(of: &MessageDescriptor, within: &[MessageDescriptor]) -> BTreeSet<String> {
    let within = [within, std::slice::from_ref(of)].concat();
    let mut all = BTreeSet::new();
    for field in of.fields() {
        let name = if field.is_list() {
            format!("{}[0]", field.name())
        } else {
            field.name().to_owned()
        };
        if let Kind::Message(inner) = field.kind()
            && inner.package_name().starts_with("quell")
            && !within.contains(&inner)
        {
            all.extend(
                fields(&inner, &within)
                    .into_iter()
                    .map(|inner| format!("{name}.{inner}")),
            );
        }
        all.insert(name);
    }
    all
}

async fn call(channel: &Channel, rpc: &str, message: &[u8]) -> Status {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    raw(channel, rpc, None, [&[0][..], &length, message].concat()).await
}

/// What is wrong with the answer to a bad value, where a good one is answered with `good`.
fn problem(bad: &Bad, status: &Status, good: Code) -> Option<String> {
    if bad.may == May::Either && status.code() == good {
        return None;
    }
    if status.code() != Code::InvalidArgument {
        return Some(format!("{:?} {:.200}", status.code(), status.message()));
    }
    if status.message().len() > 4_000 {
        return Some(format!("repeats the input: {} bytes", status.message().len()));
    }
    let details = status.get_error_details();
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.clone())
        .unwrap_or_default();
    // Where a list or a message is refused as a whole, that is named; where one is missing, perhaps what it must hold.
    let is_in = |field: &str, message: &str| {
        let rest = field.strip_prefix(message);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let fits = |named: &str| is_in(&bad.field, named) || is_in(named, &bad.field);
    if violations
        .iter()
        .any(|violation| !violation.field.is_empty() && fits(&violation.field))
    {
        return None;
    }
    let named: Vec<_> = violations.iter().map(|violation| &violation.field).collect();
    Some(format!("names {named:?}"))
}

/// Whether it is told as a fault of the service, which nothing that is sent may be.
fn is_ours(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Internal | Code::Unknown | Code::Unavailable | Code::DataLoss
    )
}

/// Tries everything with one rpc; tells how much that was, and what was wrong.
async fn try_all(channel: &Channel, method: &MethodDescriptor, mark: &str) -> (usize, Vec<String>) {
    let rpc = format!("{}/{}", method.parent_service().full_name(), method.name());
    let (mut tried, mut wrong, mut met) = (0, Vec::new(), BTreeSet::new());
    for request in good::requests(method, mark) {
        let good = request.encode_to_vec();
        let answer = call(channel, &rpc, &good).await;
        // What is named is not there; failures on demand (`faults`) are switched off.
        if ![Code::Ok, Code::NotFound, Code::FailedPrecondition].contains(&answer.code()) {
            wrong.push(format!("{rpc}: the good request: {answer:.300?}"));
            continue;
        }
        let all = spoilt(&request);
        tried += all.len();
        met.extend(all.iter().map(|bad| bad.field.clone()));
        let answers = stream::iter(all).map(|bad| {
            let (channel, rpc) = (channel.clone(), rpc.clone());
            async move { (call(&channel, &rpc, &bad.request).await, bad) }
        });
        let answers: Vec<_> = answers.buffer_unordered(LANES).collect().await;
        for (status, bad) in answers {
            let known = EXCEPTIONS
                .iter()
                .any(|(of, field, _)| rpc.ends_with(of) && bad.field == *field && !is_ours(&status));
            if let Some(problem) = problem(&bad, &status, answer.code())
                && !known
            {
                wrong.push(format!("{rpc}: {} as {}: {problem}", bad.what, bad.field));
            }
        }
        let after = call(channel, &rpc, &good).await;
        if after.code() != answer.code() {
            wrong.push(format!("{rpc}: the good request afterwards: {after:.300?}"));
        }
    }
    let missed = fields(&method.input(), &[])
        .into_iter()
        .filter(|field| !met.contains(field));
    wrong.extend(missed.map(|field| format!("{rpc}: no good request has {field}")));
    (tried, wrong)
}

/// A target in a target in a target ...: deeper than any stack.
#[tokio::test]
async fn what_nests_without_end_is_refused() {
    let mesh = mesh().await;
    let channels = Channels::of(&mesh);
    let mut target = Vec::new();
    for level in 0..40_000 {
        // Within a Target `any_of`, within an AnyOf `targets`; the request's own target is the outermost.
        let number = if level % 2 == 0 { 1 } else { 3 };
        let mut outer = Vec::with_capacity(target.len() + 6);
        encode_key(number, WireType::LengthDelimited, &mut outer);
        encode_varint(target.len() as u64, &mut outer);
        outer.append(&mut target);
        target = outer;
    }
    let mut request = Vec::new();
    encode_key(1, WireType::LengthDelimited, &mut request);
    encode_varint(target.len() as u64, &mut request);
    request.append(&mut target);
    let rpc = "quell.canceler.v1.CancellationService/PreviewCancellation";
    for _ in 0..2 {
        let status = call(&channels.canceler, rpc, &request).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let details = status.get_error_details();
        let field = &details.bad_request().expect("it says where").field_violations[0].field;
        assert!(field.starts_with("target.any_of.targets[0].any_of"), "{field}");
    }
}

#[tokio::test]
async fn every_field_of_every_request_is_checked() {
    let mesh = mesh().await;
    let mark = unique("generated");
    let channels = Channels::of(&mesh);
    let pool = DescriptorPool::decode(quell_api::FILE_DESCRIPTOR_SET).unwrap();
    let (mut rpcs, mut tried, mut wrong) = (0, 0, Vec::new());
    for method in pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
    {
        let service = method.parent_service().full_name().to_owned();
        let channel = match service.split('.').nth(1) {
            Some("work") => &channels.work,
            Some("canceler" | "audit") => &channels.canceler,
            Some("batch") => &channels.batch,
            _ => panic!("who serves {service}?"),
        };
        let (more, problems) = try_all(channel, &method, &mark).await;
        rpcs += 1;
        tried += more;
        wrong.extend(problems);
    }
    assert_eq!(rpcs, contract::rpcs().len());
    assert!(tried > 1_000, "only {tried} values");
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}
