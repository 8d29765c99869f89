//! The one message of a request: read whole and within limits before anything else looks at it, and understood as far as the
//! audit needs. No rpc of ours takes a stream.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use prost::{decode_length_delimiter, encoding::DecodeContext};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, ReflectMessage as _, UnknownField, Value};
use tonic::Status;
use tonic::body::Body;
use tonic_types::StatusExt as _;

use crate::audit::Event;
use crate::error::{Error, Reason};

/// How many messages within each other are gone through for the field to blame; ours nest half as deep.
const DEEPEST: usize = 16;
/// Bytes before a message: a flag and its length.
const PREFIX: usize = 5;
/// Longest text that the audit keeps of a field.
const KEPT: usize = 300;
/// Fields that the audit keeps of a message, nested ones included.
const FIELDS: usize = 30;
/// What tells which thing a request is about, besides everything that ends with `_id`. Nothing else is kept: what an order is
/// paid with is nobody's business here.
const TELLING: [&str; 9] = [
    "namespaces",
    "query",
    "mode",
    "engine",
    "action",
    "max_affected",
    "matched",
    "ttl",
    "job_id",
];

/// What the audit wants to know of a request or of its answer.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) request_id: String,
    pub(super) reason: String,
    pub(super) validate_only: bool,
    pub(super) what: BTreeMap<String, String>,
}

/// Reads the message with its prefix, up to `limit` bytes, if it arrives `within` this time.
pub(super) async fn read(body: Body, limit: usize, within: Duration) -> Result<Bytes, Error> {
    tokio::time::timeout(within, arriving(body, limit))
        .await
        .unwrap_or_else(|_| {
            Err(Error::DeadlineExceeded {
                message: "the request did not arrive in time".to_owned(),
            })
        })
}

async fn arriving(mut body: Body, limit: usize) -> Result<Bytes, Error> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::Cancelled {
            message: "the request did not arrive whole".to_owned(),
        })?;
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
        }
        let announced = read.get(1..PREFIX).map_or(0, |mut length| length.get_u32());
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        if announced > limit || read.len() > limit.saturating_add(PREFIX) {
            return Err(Error::ResourceExhausted {
                reason: Reason::MessageTooLarge,
                message: format!("the request message is larger than {limit} bytes"),
                retry_after: None,
            });
        }
    }
    Ok(read.freeze())
}

/// Understands what was read. None for a compressed message, which the service itself refuses.
pub(super) fn understand(read: &Bytes, descriptor: &MessageDescriptor) -> Result<Option<DynamicMessage>, Error> {
    let broken_at = |field: String, what: &str| {
        Err(Error::invalid(
            field,
            format!(
                "the request is not one message of type {}: {what}",
                descriptor.full_name()
            ),
        ))
    };
    let broken = |what: &str| broken_at(String::new(), what);
    let Some((prefix, message)) = read.split_at_checked(PREFIX) else {
        return broken("there is none");
    };
    let (flag, mut length) = (prefix[0], &prefix[1..]);
    if usize::try_from(length.get_u32()).unwrap_or(usize::MAX) != message.len() {
        return broken("its length is another than announced");
    }
    match flag {
        0 => {}
        1 => return Ok(None),
        _ => return broken("its first byte is no flag"),
    }
    match DynamicMessage::decode(descriptor.clone(), message) {
        Ok(message) => Ok(Some(message)),
        Err(_) => broken_at(culprit(descriptor, message, DEEPEST), "it cannot be decoded"),
    }
}

/// Which field of a message that cannot be decoded is to blame: one of another type, or a text that is not UTF-8. Empty where the bytes
/// do not even come apart into fields. It is looked for in `deepest` messages within each other at most: what nests without end is to be
/// refused, not followed.
fn culprit(descriptor: &MessageDescriptor, mut message: &[u8], deepest: usize) -> String {
    let mut met = BTreeMap::<u32, usize>::new();
    while !message.is_empty() {
        let Ok(one) = UnknownField::decode(&mut message, DecodeContext::default()) else {
            break;
        };
        let Some(field) = descriptor.get_field(one.number()) else {
            continue;
        };
        let index = met.entry(one.number()).or_default();
        let name = if field.is_list() {
            format!("{}[{index}]", field.name())
        } else {
            field.name().to_owned()
        };
        *index += 1;
        let mut alone = Vec::new();
        one.encode(&mut alone);
        if DynamicMessage::decode(descriptor.clone(), alone.as_slice()).is_ok() {
            continue;
        }
        if let Kind::Message(nested) = field.kind()
            && deepest > 0
        {
            // A key and a length, both of them varints, stand before what it holds.
            let mut held = alone.as_slice();
            let deeper = decode_length_delimiter(&mut held).and_then(|_| decode_length_delimiter(&mut held));
            let deeper = deeper.map_or_else(|_| String::new(), |_| culprit(&nested, held, deepest - 1));
            if !deeper.is_empty() {
                return format!("{name}.{deeper}");
            }
        }
        return name;
    }
    String::new()
}

impl Event {
    /// Takes over what a status says.
    pub(super) fn refused(&mut self, status: &Status) {
        self.outcome = format!("{:?}", status.code());
        let details = status.get_error_details();
        self.refusal = details
            .error_info()
            .map_or_else(|| status.message().to_owned(), |info| info.reason.clone());
    }

    pub(super) fn about(&mut self, facts: Facts) {
        self.request_id = facts.request_id;
        self.reason = facts.reason;
        self.validate_only = facts.validate_only;
        self.what = facts.what;
    }

    /// What the answer adds: the ids that were chosen here.
    pub(super) fn answered(&mut self, facts: Facts) {
        for (name, value) in facts.what {
            self.what.entry(name).or_insert(value);
        }
    }
}

/// What is worth keeping of a message.
pub(super) fn facts(message: &DynamicMessage) -> Facts {
    let mut facts = Facts::default();
    gather(message, &mut facts, 0);
    facts
}

fn gather(message: &DynamicMessage, facts: &mut Facts, depth: usize) {
    for (field, value) in message.fields() {
        let name = field.name();
        match (name, value) {
            ("request_id", Value::String(text)) => facts.request_id = cut(text),
            ("reason", Value::String(text)) => facts.reason = cut(text),
            ("validate_only", Value::Bool(only)) => facts.validate_only = *only,
            (_, Value::Message(nested)) if depth < 3 && nested.descriptor().package_name().starts_with("quell") => {
                gather(nested, facts, depth + 1);
            }
            _ => {
                if (name.ends_with("_id") || TELLING.contains(&name))
                    && facts.what.len() < FIELDS
                    && let Some(text) = plain(value, &field)
                {
                    facts.what.insert(name.to_owned(), text);
                }
            }
        }
    }
}

fn plain(value: &Value, field: &prost_reflect::FieldDescriptor) -> Option<String> {
    Some(match value {
        Value::String(text) => cut(text),
        Value::U32(n) => n.to_string(),
        Value::U64(n) => n.to_string(),
        Value::I32(n) => n.to_string(),
        Value::I64(n) => n.to_string(),
        Value::EnumNumber(number) => {
            let kind = field.kind();
            let name = kind.as_enum().and_then(|kind| kind.get_value(*number));
            name.map_or_else(|| number.to_string(), |name| name.name().to_owned())
        }
        Value::List(list) if !list.is_empty() => {
            let texts = list.iter().take(FIELDS).filter_map(|one| plain(one, field));
            cut(&texts.collect::<Vec<_>>().join(", "))
        }
        _ => return None,
    })
}

fn cut(text: &str) -> String {
    text.chars().take(KEPT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    /// A message that every build has: a violation of a bad request, of `google.rpc`.
    fn descriptor() -> MessageDescriptor {
        let pool = prost_reflect::DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).unwrap();
        pool.get_message_by_name("google.rpc.ErrorInfo").unwrap()
    }

    fn framed(flag: u8, announced: usize, message: &[u8]) -> Bytes {
        let mut frame = vec![flag];
        frame.extend_from_slice(&u32::try_from(announced).unwrap().to_be_bytes());
        frame.extend_from_slice(message);
        frame.into()
    }

    #[tokio::test]
    async fn too_large_is_known_from_the_prefix_or_from_the_bytes() {
        for frame in [framed(0, 2_000, b"x"), framed(0, 1, &[0; 1_100])] {
            let error = arriving(Body::new(http_body_util::Full::new(frame)), 1_000)
                .await
                .unwrap_err();
            assert_eq!(
                (error.code(), error.reason()),
                (Code::ResourceExhausted, Reason::MessageTooLarge)
            );
        }
        let fits = framed(0, 1_000, &[0; 1_000]);
        let whole = arriving(Body::new(http_body_util::Full::new(fits.clone())), 1_000)
            .await
            .unwrap();
        assert_eq!(whole, fits);
    }

    #[test]
    fn what_is_not_one_message_is_a_bad_argument() {
        let descriptor = descriptor();
        // Field 1 with a length beyond the end; a text that is not UTF-8.
        let cases: [Bytes; 6] = [
            Bytes::new(),
            Bytes::from_static(b"\0\0"),
            framed(0, 3, b"ab"),
            framed(9, 0, b""),
            framed(0, 2, &[0x0a, 0x7f]),
            framed(0, 3, &[0x0a, 0x01, 0xff]),
        ];
        for case in cases {
            let error = understand(&case, &descriptor).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{case:?}");
        }
        assert!(understand(&framed(0, 0, b""), &descriptor).unwrap().is_some());
        assert!(understand(&framed(1, 0, b""), &descriptor).unwrap().is_none());
    }

    #[test]
    fn the_field_that_cannot_be_decoded_is_named() {
        let pool = prost_reflect::DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).unwrap();
        let descriptor = pool.get_message_by_name("google.rpc.BadRequest").unwrap();
        // Violations in field 1; of each the field in 1, the description in 2.
        let good: &[u8] = &[0x0a, 0x03, 0x0a, 0x01, b'x'];
        let not_utf8: &[u8] = &[0x0a, 0x03, 0x12, 0x01, 0xff];
        let number: &[u8] = &[0x0a, 0x02, 0x08, 0x07];
        let no_message: &[u8] = &[0x08, 0x07];
        let unknown: &[u8] = &[0x78, 0x07];
        for (message, named) in [
            ([good, not_utf8].concat(), "field_violations[1].description"),
            ([unknown, number].concat(), "field_violations[0].field"),
            ([good, no_message].concat(), "field_violations[1]"),
            ([good, &[0x0a, 0x7f][..]].concat(), ""),
        ] {
            assert_eq!(culprit(&descriptor, &message, DEEPEST), named, "{message:?}");
        }
    }
}
