//! The types a setting can have, and how each is read from text.
//!
//! All sources (YAML, `.env`, environment, flags) are brought to text first, so that one parser and one error
//! message serve them all: `86400` means the same wherever it stands.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;

use crate::payload::PayloadKeys;
use crate::signing::SigningKey;

/// A type that a setting may have.
pub(crate) trait Value: Sized {
    /// What the documentation calls it.
    const TYPE: &'static str;
    /// Whether it is never shown, and may stand in a file of its own.
    const SECRET: bool = false;
    /// Reads it. The error says what was expected; the caller adds source, key and value.
    fn parse(text: &str) -> Result<Self, String>;
}

impl Value for String {
    const TYPE: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("must not be empty".to_owned())
        } else {
            Ok(text.to_owned())
        }
    }
}

/// Text that may be absent.
impl Value for Option<String> {
    const TYPE: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }
}

/// A secret: held so that it is never printed and wiped when dropped.
impl Value for Option<SecretString> {
    const TYPE: &'static str = "secret";
    const SECRET: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        Ok((!text.is_empty()).then(|| SecretString::from(text.to_owned())))
    }
}

/// A private key, in PEM.
impl Value for Option<SigningKey> {
    const TYPE: &'static str = "secret, PEM";
    const SECRET: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(None);
        }
        SigningKey::from_pem(text).map(Some).map_err(|error| error.to_string())
    }
}

/// Keys of payloads.
impl Value for Option<PayloadKeys> {
    const TYPE: &'static str = "secret, keys";
    const SECRET: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(None);
        }
        PayloadKeys::parse(text).map(Some)
    }
}

impl Value for bool {
    const TYPE: &'static str = "true or false";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }
}

impl Value for u16 {
    const TYPE: &'static str = "port";
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be a port, 0 to 65535".to_owned())
    }
}

impl Value for Option<u16> {
    const TYPE: &'static str = "port";
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Ok(None)
        } else {
            u16::parse(text).map(Some)
        }
    }
}

/// A count of at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u32);

impl Value for Count {
    const TYPE: &'static str = "count";
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<u32>() {
            Ok(n) if n >= 1 => Ok(Self(n)),
            _ => Err(format!("must be a whole number, 1 to {}", u32::MAX)),
        }
    }
}

/// A count that may be absent.
impl Value for Option<Count> {
    const TYPE: &'static str = "count";
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Ok(None)
        } else {
            Count::parse(text).map(Some)
        }
    }
}

/// Activities per second by queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct QueueRates(pub(crate) BTreeMap<String, u32>);

impl Value for QueueRates {
    const TYPE: &'static str = "list of queue=number";
    fn parse(text: &str) -> Result<Self, String> {
        let mut rates = BTreeMap::new();
        for part in Vec::<String>::parse(text)? {
            // Queues may have a '=' in their names; numbers have not.
            let pair = part
                .rsplit_once('=')
                .and_then(|(queue, rate)| Some((queue.trim(), Count::parse(rate.trim()).ok()?)));
            match pair {
                Some((queue, Count(rate))) if !queue.is_empty() && rates.insert(queue.to_owned(), rate).is_none() => {}
                _ => return Err("must be queue=number, separated by commas, each queue once".to_owned()),
            }
        }
        Ok(Self(rates))
    }
}

/// A number of bytes, 1 KiB to 1 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) usize);

impl Value for Bytes {
    const TYPE: &'static str = "bytes";
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<usize>() {
            Ok(n) if (1024..=1 << 30).contains(&n) => Ok(Self(n)),
            _ => Err("must be a whole number of bytes, 1024 to 1073741824".to_owned()),
        }
    }
}

/// The longest time a setting may name: a year. Longer ones are typing errors, and some overflow a timer.
const MAX_SECONDS: f64 = 366.0 * 86_400.0;

/// A span of time above zero, in seconds, with decimals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl Value for Seconds {
    const TYPE: &'static str = "seconds";
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(s) if (0.001..=MAX_SECONDS).contains(&s) => Ok(Self(Duration::from_secs_f64(s))),
            _ => Err("must be seconds, 0.001 to 31622400 (for instance 240 or 0.5)".to_owned()),
        }
    }
}

/// A factor of at least one.
impl Value for f64 {
    const TYPE: &'static str = "factor";
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(x) if (1.0..=100.0).contains(&x) => Ok(x),
            _ => Err("must be a number, 1 to 100".to_owned()),
        }
    }
}

/// A share, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio(pub(crate) f64);

impl Value for Ratio {
    const TYPE: &'static str = "ratio";
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(x) if (0.0..=1.0).contains(&x) => Ok(Self(x)),
            _ => Err("must be a number, 0 to 1".to_owned()),
        }
    }
}

/// Names, separated by commas (a list in YAML).
impl Value for Vec<String> {
    const TYPE: &'static str = "list";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text
            .split(',')
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

/// An `http://` or `https://` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) String);

impl Value for Address {
    const TYPE: &'static str = "address";
    fn parse(text: &str) -> Result<Self, String> {
        parse_address(text).map(Self)
    }
}

impl Value for Option<Address> {
    const TYPE: &'static str = "address";
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Ok(None)
        } else {
            Address::parse(text).map(Some)
        }
    }
}

/// Takes `host:port` too, as Temporal's own tools do, and means `http://` by it.
fn parse_address(text: &str) -> Result<String, String> {
    const EXPECTED: &str = "must be an address such as http://127.0.0.1:7233 or https://host:443";
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = url::Url::parse(&full).map_err(|_| EXPECTED.to_owned())?;
    let usable = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.username().is_empty()
        && url.password().is_none();
    if usable {
        Ok(full.trim_end_matches('/').to_owned())
    } else {
        Err(EXPECTED.to_owned())
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: one readable line an event.
    Human,
    /// For machines: one JSON object a line.
    Json,
}

impl Value for LogFormat {
    const TYPE: &'static str = "human or json";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err("must be human or json".to_owned()),
        }
    }
}

/// A span of time above zero, in whole milliseconds: the unit of OpenTelemetry's variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Millis(pub(crate) Duration);

impl Value for Millis {
    const TYPE: &'static str = "milliseconds";
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<u64>() {
            Ok(ms) if (1..=3_600_000).contains(&ms) => Ok(Self(Duration::from_millis(ms))),
            _ => Err("must be whole milliseconds, 1 to 3600000".to_owned()),
        }
    }
}

/// Which new traces are recorded, in OpenTelemetry's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceSampler {
    /// All.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// The share of [`crate::config::TelemetrySettings::sample_ratio`], whatever a caller says.
    Ratio,
    /// As the caller says; without a caller all.
    ParentOn,
    /// As the caller says; without a caller none.
    ParentOff,
    /// As the caller says; without a caller the share.
    ParentRatio,
}

impl Value for TraceSampler {
    const TYPE: &'static str = "name of a sampler";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "always_on" => Ok(Self::AlwaysOn),
            "always_off" => Ok(Self::AlwaysOff),
            "traceidratio" => Ok(Self::Ratio),
            "parentbased_always_on" => Ok(Self::ParentOn),
            "parentbased_always_off" => Ok(Self::ParentOff),
            "parentbased_traceidratio" => Ok(Self::ParentRatio),
            _ => Err("must be always_on, always_off or traceidratio, or one of these after parentbased_".to_owned()),
        }
    }
}

/// What spans are sent by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, in protobuf.
    Http,
}

impl Value for OtlpProtocol {
    const TYPE: &'static str = "grpc or http/protobuf";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::Http),
            _ => Err("must be grpc or http/protobuf".to_owned()),
        }
    }
}

impl Value for Option<OtlpProtocol> {
    const TYPE: &'static str = "grpc or http/protobuf";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(None),
            protocol => OtlpProtocol::parse(protocol).map(Some),
        }
    }
}

/// Which exporter spans go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TraceExporter {
    /// OTLP, when there is an endpoint.
    Otlp,
    /// None.
    None,
}

impl Value for TraceExporter {
    const TYPE: &'static str = "otlp or none";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "otlp" => Ok(Self::Otlp),
            "none" => Ok(Self::None),
            _ => Err("must be otlp or none".to_owned()),
        }
    }
}

/// Where payloads go: an absolute folder, or the URL of an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreUrl(pub(crate) String);

impl Value for StoreUrl {
    const TYPE: &'static str = "folder or URL";
    fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be an absolute folder, file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";
        if text.starts_with('/') {
            return Ok(Self(text.to_owned()));
        }
        match url::Url::parse(text) {
            Ok(url)
                if matches!(
                    url.scheme(),
                    "file" | "memory" | "s3" | "s3a" | "gs" | "az" | "adl" | "azure" | "abfs" | "abfss"
                ) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(EXPECTED.to_owned()),
        }
    }
}
