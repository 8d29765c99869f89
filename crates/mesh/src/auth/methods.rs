//! What is known of each rpc: the role that it needs, and its messages. All of it is read from the contract's descriptors, so that
//! no rpc can be forgotten.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use prost_reflect::{DescriptorPool, MessageDescriptor};

use super::Role;

/// First words of the names of rpcs that only look.
const LOOKING: [&str; 6] = ["Preview", "Get", "List", "Watch", "Describe", "Read"];

/// One rpc.
#[derive(Debug)]
pub(crate) struct Method {
    /// As `quell.work.v1.SnowballService/StartSnowball`.
    pub(crate) name: String,
    /// Who may call it.
    pub(crate) needs: Role,
    /// Whether its answer is a stream.
    pub(crate) streams: bool,
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
}

/// All rpcs of the contract, by path.
#[derive(Debug, Default, Clone)]
pub(crate) struct Methods(Arc<HashMap<String, Arc<Method>>>);

impl Methods {
    /// Reads them from an encoded `google.protobuf.FileDescriptorSet`.
    pub(crate) fn read(file_descriptor_set: &[u8]) -> Result<Self, prost_reflect::DescriptorError> {
        let pool = DescriptorPool::decode(file_descriptor_set)?;
        let methods = pool.services().flat_map(|service| {
            let of = service.full_name().to_owned();
            service
                .methods()
                .map(move |method| {
                    let name = format!("{of}/{}", method.name());
                    let method = Method {
                        needs: needs(method.name()),
                        streams: method.is_server_streaming(),
                        input: method.input(),
                        output: method.output(),
                        name: name.clone(),
                    };
                    (format!("/{name}"), Arc::new(method))
                })
                .collect::<Vec<_>>()
        });
        Ok(Self(Arc::new(methods.collect())))
    }

    /// All paths.
    pub(crate) fn paths(&self) -> HashSet<String> {
        self.0.keys().cloned().collect()
    }

    pub(crate) fn get(&self, path: &str) -> Option<Arc<Method>> {
        self.0.get(path).cloned()
    }
}

/// The role that an rpc of this name needs. What does not plainly look is for operators.
fn needs(name: &str) -> Role {
    let looks = LOOKING.iter().any(|word| {
        name.strip_prefix(word)
            // `Getaway` is another word.
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    });
    if looks { Role::Viewer } else { Role::Operator }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_plainly_looks_is_for_viewers() {
        for name in [
            "PreviewCancellation",
            "GetReceipt",
            "ListOrders",
            "WatchSnowball",
            "DescribeServer",
            "ReadJournalChunk",
        ] {
            assert_eq!(needs(name), Role::Viewer, "{name}");
        }
        for name in [
            "StartCancellation",
            "Quiesce",
            "Resume",
            "PlaceOrder",
            "Getaway",
            "Get",
            "Listen",
            "RestoreCancellation",
            "Anything",
        ] {
            assert_eq!(needs(name), Role::Operator, "{name}");
        }
    }
}
