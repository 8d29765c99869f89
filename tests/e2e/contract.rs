//! The contract as data: the descriptors of `proto/`, for tests that must not forget a part of it.

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;

/// The files of ours in the descriptor set.
pub(crate) fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(quell_api::FILE_DESCRIPTOR_SET).expect("the descriptor set decodes");
    set.file
        .into_iter()
        .filter(|file| file.package().starts_with("quell."))
        .collect()
}

/// Every service with its methods, by full name.
pub(crate) fn services() -> BTreeMap<String, Vec<String>> {
    let mut services = BTreeMap::new();
    for file in files() {
        for service in &file.service {
            let methods = service.method.iter().map(|method| method.name().to_owned()).collect();
            services.insert(format!("{}.{}", file.package(), service.name()), methods);
        }
    }
    services
}

/// Every rpc, as `quell.work.v1.SnowballService/StartSnowball`.
pub(crate) fn rpcs() -> Vec<String> {
    services()
        .into_iter()
        .flat_map(|(service, methods)| methods.into_iter().map(move |method| format!("{service}/{method}")))
        .collect()
}

/// Every message of a package with its fields, by full name.
pub(crate) fn messages(package: &str) -> BTreeMap<String, Vec<String>> {
    fn walk(prefix: &str, message: &DescriptorProto, into: &mut BTreeMap<String, Vec<String>>) {
        let name = format!("{prefix}.{}", message.name());
        into.insert(
            name.clone(),
            message.field.iter().map(|field| field.name().to_owned()).collect(),
        );
        for nested in &message.nested_type {
            walk(&name, nested, into);
        }
    }
    let mut messages = BTreeMap::new();
    for file in files().iter().filter(|file| file.package() == package) {
        for message in &file.message_type {
            walk(package, message, &mut messages);
        }
    }
    messages
}

/// Every enum of a package with its values, by full name.
pub(crate) fn enums(package: &str) -> BTreeMap<String, Vec<String>> {
    let files = files();
    let of_package = files.iter().filter(|file| file.package() == package);
    of_package
        .flat_map(|file| &file.enum_type)
        .map(|item| {
            let values = item.value.iter().map(|value| value.name().to_owned()).collect();
            (format!("{package}.{}", item.name()), values)
        })
        .collect()
}
