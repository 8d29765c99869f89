//! Bad values that nobody wrote down: for every field of every request, out of the descriptors, one request for each kind of value that
//! such a field cannot have. Whoever adds a field and forgets to check it finds it here.

use super::Channels;
use crate::{details, harness::mesh, locked::raw};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use tonic::Code;

/// How deep messages are nested at most.
const DEEP: usize = 6;

/// A request with one bad value in it.
struct Bad {
    /// As errors name the field.
    field: String,
    what: &'static str,
    request: DynamicMessage,
}

/// Values that no field of ours of this kind can have.
fn bad_values(field: &FieldDescriptor) -> Vec<(&'static str, Value)> {
    let duration = |kind: &MessageDescriptor, seconds: i64, nanos: i32| {
        let mut message = DynamicMessage::new(kind.clone());
        message.set_field_by_name("seconds", Value::I64(seconds));
        message.set_field_by_name("nanos", Value::I32(nanos));
        Value::Message(message)
    };
    match field.kind() {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => vec![("the least number", Value::I32(i32::MIN))],
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => vec![("the least number", Value::I64(i64::MIN))],
        Kind::Double => vec![
            ("no number", Value::F64(f64::NAN)),
            ("a negative number", Value::F64(-1.0)),
        ],
        Kind::Float => vec![
            ("no number", Value::F32(f32::NAN)),
            ("a negative number", Value::F32(-1.0)),
        ],
        Kind::String => vec![("a huge text", Value::String("x".repeat(300_000)))],
        Kind::Enum(_) => vec![("an unknown name", Value::EnumNumber(9_999))],
        Kind::Message(kind) => match kind.full_name() {
            "google.protobuf.Duration" => vec![
                ("a negative duration", duration(&kind, -5, 0)),
                ("a duration of two signs", duration(&kind, 5, -1)),
                ("an endless duration", duration(&kind, i64::MAX, 0)),
            ],
            "google.protobuf.Timestamp" => vec![("a time after all", duration(&kind, i64::MAX, 0))],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// All of a message's fields, one at a time, and those of the messages in it.
fn requests(of: &MessageDescriptor, deep: usize) -> Vec<Bad> {
    let mut all = Vec::new();
    for field in of.fields().filter(|field| !field.is_map()) {
        let put = |value: Value| {
            let mut request = DynamicMessage::new(of.clone());
            let value = if field.is_list() {
                Value::List(vec![value])
            } else {
                value
            };
            request.set_field(&field, value);
            request
        };
        let name = if field.is_list() {
            format!("{}[0]", field.name())
        } else {
            field.name().to_owned()
        };
        all.extend(bad_values(&field).into_iter().map(|(what, value)| Bad {
            field: name.clone(),
            what,
            request: put(value),
        }));
        let Kind::Message(inner) = field.kind() else { continue };
        if deep == 0 || inner.full_name().starts_with("google.") {
            continue;
        }
        all.extend(requests(&inner, deep - 1).into_iter().map(|bad| Bad {
            field: format!("{name}.{}", bad.field),
            what: bad.what,
            request: put(Value::Message(bad.request)),
        }));
    }
    all
}

#[tokio::test]
async fn every_field_of_every_request_is_checked() {
    let mesh = mesh().await;
    let channels = Channels::of(&mesh);
    let pool = DescriptorPool::decode(quell_api::FILE_DESCRIPTOR_SET).unwrap();
    let (mut tried, mut wrong) = (0, Vec::new());
    for method in pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
    {
        let service = method.parent_service().full_name().to_owned();
        let channel = match service.split('.').nth(1) {
            Some("work") => &channels.work,
            Some("canceler" | "audit") => &channels.canceler,
            Some("batch") => &channels.batch,
            _ => continue,
        };
        let rpc = format!("{service}/{}", method.name());
        for Bad { field, what, request } in requests(&method.input(), DEEP) {
            let name = format!("{rpc}: {what} as {field}");
            let message = request.encode_to_vec();
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            let status = raw(channel, &rpc, None, [&[0][..], &length, &message].concat()).await;
            tried += 1;
            if status.code() != Code::InvalidArgument {
                wrong.push(format!("{name}: {:?} {:.200}", status.code(), status.message()));
                continue;
            }
            let named = details::bad_fields(&name, &status);
            // Where a list or a message is refused as a whole, that is named.
            let fits = named.iter().any(|named| {
                field == *named || field.starts_with(&format!("{named}.")) || field.starts_with(&format!("{named}["))
            });
            if !fits {
                wrong.push(format!("{name}: names {named:?}"));
            }
        }
    }
    assert!(tried > 300, "only {tried} values");
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
}
