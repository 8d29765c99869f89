//! Temporal: reachable, the namespaces, the search attribute, who polls which queue, version and limits.

use super::Finding;
use quell_api::batch_activities::BATCH_QUEUE;
use quell_mesh::config::NamespaceSettings;
use quell_mesh::payload::OversizeCodec;
use quell_mesh::{NamespaceClient, Settings};
use std::collections::BTreeSet;
use std::time::Duration;
use temporalio_client::Client;
use temporalio_common::protos::temporal::api::enums::v1::{IndexedValueType, TaskQueueType};
use temporalio_common::protos::temporal::api::operatorservice::v1::ListSearchAttributesRequest;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeNamespaceRequest, DescribeTaskQueueRequest, GetClusterInfoRequest, GetSystemInfoRequest,
};
use tonic::IntoRequest as _;

/// The search attribute that marks a workload.
const WORKLOAD_ID: &str = "WorkloadId";

/// How long a connection may take here: longer than an rpc of a service would wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// One of the namespaces as the configuration has it.
struct Place {
    /// "main", "canceler", or "beside main".
    role: &'static str,
    address: String,
    namespace: String,
    client: Option<Client>,
    finding: Finding,
}

pub(super) async fn examine(settings: &Settings, codec: Option<OversizeCodec>) -> Vec<Finding> {
    let Some(codec) = codec else {
        return vec![Finding::bad(
            "temporal",
            "not looked at",
            "mend the payload store first: its clients need it",
        )];
    };
    let same =
        settings.main.address == settings.canceler.address && settings.main.namespace == settings.canceler.namespace;
    let main = connect("main", "TEMPORAL_MAIN", &settings.main, &codec).await;
    let mut findings = vec![main.finding.clone()];
    let canceler = if same {
        findings.push(Finding::note("temporal canceler", "the same namespace as main"));
        Place {
            role: "canceler",
            client: main.client.clone(),
            address: main.address.clone(),
            namespace: main.namespace.clone(),
            finding: main.finding.clone(),
        }
    } else {
        let canceler = connect("canceler", "TEMPORAL_CANCELER", &settings.canceler, &codec).await;
        findings.push(canceler.finding.clone());
        canceler
    };
    if let Some(client) = &main.client {
        findings.push(server(client).await);
        findings.extend(limits(client, &main).await);
        findings.push(search_attribute(client, &main).await);
        findings.extend(pollers(client, &main, &settings.main.task_queue, "work", &BOTH_KINDS).await);
    }
    if let Some(client) = &canceler.client {
        findings.extend(
            pollers(
                client,
                &canceler,
                &settings.canceler.task_queue,
                "canceler",
                &BOTH_KINDS,
            )
            .await,
        );
        findings.extend(pollers(client, &canceler, BATCH_QUEUE, "batch", &[TaskQueueType::Activity]).await);
    }
    // Nobody of ours works in these: they are only looked into, and stopped in.
    for settings in &settings.beside_main {
        let place = connect("beside main", "TEMPORAL_MAIN", settings, &codec).await;
        findings.push(place.finding.clone());
        if let Some(client) = &place.client {
            findings.push(search_attribute(client, &place).await);
        }
    }
    findings
}

const BOTH_KINDS: [TaskQueueType; 2] = [TaskQueueType::Workflow, TaskQueueType::Activity];

async fn connect(role: &'static str, prefix: &str, settings: &NamespaceSettings, codec: &OversizeCodec) -> Place {
    let mut patient = settings.clone();
    patient.connect_wait = PATIENCE;
    let (address, namespace) = (patient.address.clone(), patient.namespace.clone());
    let connected = NamespaceClient::new(patient, "quell-doctor", codec.clone());
    let what = format!("temporal {role}");
    let (client, finding) = match connected.client().await {
        Ok(client) => (
            Some(client),
            Finding::ok(what, format!("{address} answers and knows namespace {namespace}")),
        ),
        Err(error) => {
            let todo = format!(
                "start Temporal there, set {prefix}_ADDRESS and {prefix}_NAMESPACE, or make the namespace: temporal operator \
                 namespace create --namespace {namespace}"
            );
            (
                None,
                Finding::bad(what, format!("{address}, namespace {namespace}: {error}"), todo),
            )
        }
    };
    Place {
        role,
        address,
        namespace,
        client,
        finding,
    }
}

/// Version and stores. The second call is not allowed everywhere, so only the first decides.
async fn server(client: &Client) -> Finding {
    let mut service = client.connection().workflow_service();
    let version = match service
        .get_system_info(GetSystemInfoRequest::default().into_request())
        .await
    {
        Ok(info) => info.into_inner().server_version,
        Err(status) => {
            return Finding::bad(
                "server version",
                status.message(),
                "the server does not tell; look at its log",
            );
        }
    };
    let cluster = service
        .get_cluster_info(GetClusterInfoRequest::default().into_request())
        .await;
    let stores = cluster.map_or_else(
        |_| "stores not told".to_owned(),
        |info| {
            let info = info.into_inner();
            format!(
                "stores {} and {} (visibility), {} shards",
                info.persistence_store, info.visibility_store, info.history_shard_count
            )
        },
    );
    Finding::ok("server version", format!("{version}, {stores}"))
}

async fn limits(client: &Client, place: &Place) -> Vec<Finding> {
    let request = DescribeNamespaceRequest {
        namespace: place.namespace.clone(),
        ..Default::default()
    };
    let described = client
        .connection()
        .workflow_service()
        .describe_namespace(request.into_request())
        .await;
    let described = match described {
        Ok(described) => described.into_inner(),
        Err(status) => {
            return vec![Finding::bad(
                "namespace",
                status.message(),
                "the credentials must allow DescribeNamespace",
            )];
        }
    };
    let retention = described
        .config
        .and_then(|config| config.workflow_execution_retention_ttl);
    let retention = retention.map_or_else(|| "not told".to_owned(), |time| format!("{} h", time.seconds / 3600));
    let sizes = described.namespace_info.and_then(|info| info.limits);
    let sizes = sizes.map_or_else(
        || "size limits not told by this server (2 MB a payload by default)".to_owned(),
        |limits| {
            format!(
                "{} bytes a payload, {} bytes of memo",
                limits.blob_size_limit_error, limits.memo_size_limit_error
            )
        },
    );
    vec![
        Finding::ok("namespace limits", format!("retention {retention}; {sizes}")),
        Finding::note(
            "rate limits",
            "not visible from outside; by default 2400 requests a second and namespace, 10 of them lists and counts",
        ),
    ]
}

async fn search_attribute(client: &Client, place: &Place) -> Finding {
    let what = "search attribute";
    let create = format!(
        "temporal operator search-attribute create --address {} --namespace {} --name {WORKLOAD_ID} --type Keyword",
        place
            .address
            .trim_start_matches("http://")
            .trim_start_matches("https://"),
        place.namespace
    );
    let request = ListSearchAttributesRequest {
        namespace: place.namespace.clone(),
    };
    let listed = match client
        .connection()
        .operator_service()
        .list_search_attributes(request.into_request())
        .await
    {
        Ok(listed) => listed.into_inner(),
        Err(status) => {
            let todo = "allow ListSearchAttributes, or look in the console whether WorkloadId is there as a Keyword";
            return Finding::bad(what, format!("cannot be listed: {}", status.message()), todo);
        }
    };
    let Some(kind) = listed.custom_attributes.get(WORKLOAD_ID) else {
        return Finding::bad(
            what,
            format!("{WORKLOAD_ID} is not known in namespace {}", place.namespace),
            create,
        );
    };
    if *kind == i32::from(IndexedValueType::Keyword) {
        return Finding::ok(
            what,
            format!("{WORKLOAD_ID} is a Keyword in namespace {}", place.namespace),
        );
    }
    let kind = IndexedValueType::try_from(*kind).map_or("of an unknown type", |kind| kind.as_str_name());
    Finding::bad(
        what,
        format!("{WORKLOAD_ID} is {kind}, not a Keyword"),
        format!("remove it, then: {create}"),
    )
}

/// Who polls a queue, by the kinds of task that its service must take.
async fn pollers(client: &Client, place: &Place, queue: &str, service: &str, kinds: &[TaskQueueType]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kind in kinds {
        let kind_name = kind.as_str_name().trim_start_matches("TASK_QUEUE_TYPE_").to_lowercase();
        let what = format!("pollers {queue}");
        let request = DescribeTaskQueueRequest {
            namespace: place.namespace.clone(),
            task_queue: Some(TaskQueue {
                name: queue.to_owned(),
                ..Default::default()
            }),
            task_queue_type: (*kind).into(),
            ..Default::default()
        };
        let described = client
            .connection()
            .workflow_service()
            .describe_task_queue(request.into_request())
            .await;
        findings.push(match described {
            Ok(described) => {
                let pollers = described.into_inner().pollers;
                let who: BTreeSet<&str> = pollers.iter().map(|poller| poller.identity.as_str()).collect();
                if who.is_empty() {
                    let todo = format!(
                        "start quell-{service}; it must use namespace {} as {}",
                        place.namespace, place.role
                    );
                    Finding::bad(
                        what,
                        format!("nobody asks for {kind_name} tasks in namespace {}", place.namespace),
                        todo,
                    )
                } else {
                    let who: Vec<&str> = who.into_iter().collect();
                    Finding::ok(what, format!("{kind_name}: {}", who.join(", ")))
                }
            }
            Err(status) => Finding::bad(what, status.message(), "the credentials must allow DescribeTaskQueue"),
        });
    }
    findings
}
