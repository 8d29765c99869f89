//! Values that a field cannot have, or that are odd: by its type, and by the limits that its comment tells.

use May::{Either, Refuse};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// What a service may do with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    /// It is none that the field can have.
    Refuse,
    /// Odd, and for the field to decide: refused by name, or taken like the good one.
    Either,
}

/// What a field's comment says, as one line.
pub(super) fn comment(field: &FieldDescriptor) -> String {
    let file = field.parent_file();
    let infos = file.file_descriptor_proto().source_code_info.iter();
    let mut of_field = infos
        .flat_map(|info| &info.location)
        .filter(|location| location.path == field.path());
    let words = of_field
        .next()
        .map(|location| location.leading_comments().split_whitespace().collect::<Vec<_>>());
    words.unwrap_or_default().join(" ")
}

/// The limits that a comment tells: `1 to 1,000`, or `at most 1,000`.
pub(super) fn limits(comment: &str) -> (Option<f64>, Option<f64>) {
    let number = |text: &str| text.replace(',', "").parse::<f64>().ok();
    let digits = |c: char| c.is_ascii_digit() || c == ',' || c == '.';
    let first = |text: &str| number(text.split(|c| !digits(c)).next()?.trim_end_matches([',', '.']));
    for (at, found) in comment.match_indices(" to ") {
        let before = comment[..at].rsplit(|c| !digits(c)).next().and_then(number);
        let after = first(&comment[at + found.len()..]);
        if let (Some(least), Some(most)) = (before, after) {
            return (Some(least), Some(most));
        }
    }
    let most = comment
        .match_indices("t most ")
        .find_map(|(at, found)| first(&comment[at + found.len()..]));
    (None, most)
}

/// The odd values of one field; of a list, of its elements.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "limits are whole numbers"
)]
pub(super) fn values(field: &FieldDescriptor) -> Vec<(&'static str, May, Value)> {
    let comment = comment(field);
    let (least, most) = limits(&comment);
    let least = least.filter(|least| *least >= 2.0);
    // The limits of a list are those of its length.
    let most = most.filter(|_| !field.is_list());
    let beyond = |value: fn(f64) -> Value| {
        let below = least.map(|least| ("less than its comment allows", Refuse, value(least - 1.0)));
        let above = most.map(|most| ("more than its comment allows", Refuse, value(most + 1.0)));
        below.into_iter().chain(above)
    };
    let zero = if comment.contains("Required") { Refuse } else { Either };
    let mut values = match field.kind() {
        Kind::Int32 => vec![
            ("zero", Either, Value::I32(0)),
            ("minus one", Refuse, Value::I32(-1)),
            ("the least number", Refuse, Value::I32(i32::MIN)),
            ("the largest number", Refuse, Value::I32(i32::MAX)),
        ],
        Kind::Int64 => vec![
            ("zero", Either, Value::I64(0)),
            ("minus one", Refuse, Value::I64(-1)),
            ("the least number", Refuse, Value::I64(i64::MIN)),
            ("the largest number", Refuse, Value::I64(i64::MAX)),
        ],
        Kind::Uint32 => vec![
            ("zero", Either, Value::U32(0)),
            ("the largest number", Refuse, Value::U32(u32::MAX)),
        ],
        Kind::Uint64 => vec![
            ("zero", Either, Value::U64(0)),
            ("the largest number", Refuse, Value::U64(u64::MAX)),
        ],
        Kind::Double => vec![
            ("zero", Either, Value::F64(0.0)),
            ("no number", Refuse, Value::F64(f64::NAN)),
            ("no end", Refuse, Value::F64(f64::INFINITY)),
            ("less than nothing", Refuse, Value::F64(-1.0)),
            ("nearly nothing", Either, Value::F64(f64::MIN_POSITIVE)),
            ("the largest number", Refuse, Value::F64(f64::MAX)),
        ],
        Kind::String => vec![
            ("nothing", zero, Value::String(String::new())),
            ("blanks", Either, Value::String("  ".to_owned())),
            (
                "quotes",
                Either,
                Value::String("it's \"x\" \\ `y` ') OR ('1' = '1".to_owned()),
            ),
            (
                "control characters",
                Refuse,
                Value::String("a\u{0}b\u{1b}[2Jc\n".to_owned()),
            ),
            ("a huge text", Refuse, Value::String("x".repeat(300_000))),
            ("as long as an id may be", Either, Value::String("x".repeat(1_000))),
            (
                "far letters",
                Either,
                Value::String("\u{202e}\u{1F980}\u{FFFF}".to_owned()),
            ),
        ],
        // Neither is bad, and validate_only must stay as it is.
        Kind::Bool => Vec::new(),
        Kind::Enum(_) => vec![
            ("nothing", zero, Value::EnumNumber(0)),
            ("an unknown number", Refuse, Value::EnumNumber(9_999)),
            ("a negative number", Refuse, Value::EnumNumber(-1)),
        ],
        Kind::Message(kind) => moments(&kind),
        other => panic!("{}: no values for {other:?}", field.full_name()),
    };
    match field.kind() {
        Kind::Int32 => values.extend(beyond(|n| Value::I32(n as i32))),
        Kind::Int64 => values.extend(beyond(|n| Value::I64(n as i64))),
        Kind::Uint32 => values.extend(beyond(|n| Value::U32(n as u32))),
        Kind::Uint64 => values.extend(beyond(|n| Value::U64(n as u64))),
        Kind::Double => values.extend(beyond(Value::F64)),
        Kind::String => values.extend(beyond(|n| Value::String("x".repeat(n as usize)))),
        _ => {}
    }
    values
}

/// Durations and times that are none.
fn moments(kind: &MessageDescriptor) -> Vec<(&'static str, May, Value)> {
    let of = |what, may, seconds: i64, nanos: i32| {
        let mut message = DynamicMessage::new(kind.clone());
        message.set_field_by_name("seconds", Value::I64(seconds));
        message.set_field_by_name("nanos", Value::I32(nanos));
        (what, may, Value::Message(message))
    };
    let mut values = vec![
        of("zero", Either, 0, 0),
        of("the least seconds", Refuse, i64::MIN, 0),
        of("the most seconds", Refuse, i64::MAX, 0),
        of("too many nanoseconds", Refuse, 5, 2_000_000_000),
        of("the most of all", Refuse, i64::MAX, i32::MAX),
    ];
    match kind.full_name() {
        "google.protobuf.Duration" => values.extend([
            of("a negative duration", Refuse, -5, 0),
            of("a duration of two signs", Refuse, 5, -1),
            of("a nanosecond too little", Refuse, 0, -1),
            of("ten thousand years", Refuse, 315_576_000_001, 0),
        ]),
        "google.protobuf.Timestamp" => values.extend([
            of("negative nanoseconds", Refuse, 5, -1),
            of("the year 10,000", Refuse, 253_402_300_800, 0),
            of("before the year 1", Refuse, -62_135_596_801, 0),
        ]),
        _ => return Vec::new(),
    }
    values
}
