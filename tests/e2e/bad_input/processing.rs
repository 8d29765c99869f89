//! Bad input for batch processings.

use super::{Table, bad_durations, bad_ids, bad_pages};
use quell_api::work::v1::{
    BatchProcessingSpec, GetBatchProcessingRequest, ListBatchProcessingsRequest, StartBatchProcessingRequest,
    WatchBatchProcessingRequest, batch_processing_service_client::BatchProcessingServiceClient,
};

pub(super) fn batch_processings(table: &mut Table, _mark: &str) {
    let mut start = |what: &str, fields: &[&str], spec: BatchProcessingSpec| {
        let request = StartBatchProcessingRequest {
            spec: Some(spec),
            validate_only: false,
        };
        table.line(
            "quell.work.v1.BatchProcessingService/StartBatchProcessing",
            what,
            fields,
            |to| async {
                BatchProcessingServiceClient::new(to.work)
                    .start_batch_processing(request)
                    .await
                    .map(drop)
            },
        );
    };
    let of = |total_numbers| BatchProcessingSpec {
        total_numbers,
        ..Default::default()
    };
    start("a sum that overflows", &["spec.total_numbers"], of(10_069_012_961_345));
    start("as many as there are", &["spec.total_numbers"], of(u64::MAX));
    for batch_size in [1_001, u32::MAX] {
        let spec = BatchProcessingSpec { batch_size, ..of(9) };
        start("more activities than Temporal allows", &["spec.batch_size"], spec);
    }
    for max_children in [1, 1_001, u32::MAX] {
        let spec = BatchProcessingSpec { max_children, ..of(9) };
        start("children without an end or too many", &["spec.max_children"], spec);
    }
    for activity in [
        "a b".to_owned(),
        "a@b".to_owned(),
        "x".repeat(101),
        "x".repeat(1_000_000),
        "\u{0}".to_owned(),
    ] {
        let spec = BatchProcessingSpec { activity, ..of(9) };
        start("no name of an activity", &["spec.activity"], spec);
    }
    for activity_queue in ["a b".to_owned(), "x".repeat(201), "x".repeat(1_000_000)] {
        let spec = BatchProcessingSpec {
            activity: "cube".to_owned(),
            activity_queue,
            ..of(9)
        };
        start("no name of a queue", &["spec.activity_queue"], spec);
    }
    let spec = BatchProcessingSpec {
        activity_queue: "elsewhere".to_owned(),
        ..of(9)
    };
    start("our own work elsewhere", &["spec.activity_queue"], spec);
    let everything = BatchProcessingSpec {
        total_numbers: u64::MAX,
        batch_size: u32::MAX,
        max_children: 1,
        activity: String::new(),
        activity_queue: "elsewhere".to_owned(),
    };
    let fields = [
        "spec.activity_queue",
        "spec.batch_size",
        "spec.max_children",
        "spec.total_numbers",
    ];
    start("everything at once", &fields, everything);

    for (what, processing_id) in bad_ids() {
        let request = GetBatchProcessingRequest {
            processing_id: processing_id.clone(),
        };
        let rpc = "quell.work.v1.BatchProcessingService/GetBatchProcessing";
        table.line(rpc, what, &["processing_id"], |to| async {
            BatchProcessingServiceClient::new(to.work)
                .get_batch_processing(request)
                .await
                .map(drop)
        });
        let request = WatchBatchProcessingRequest {
            processing_id,
            interval: Some(bad_durations()[0].1),
        };
        let rpc = "quell.work.v1.BatchProcessingService/WatchBatchProcessing";
        table.line(rpc, what, &["interval", "processing_id"], |to| async {
            let mut stream = BatchProcessingServiceClient::new(to.work)
                .watch_batch_processing(request)
                .await?
                .into_inner();
            stream.message().await.map(drop)
        });
    }
    for (what, page_size, page_token, field) in bad_pages() {
        let request = ListBatchProcessingsRequest { page_size, page_token };
        let rpc = "quell.work.v1.BatchProcessingService/ListBatchProcessings";
        table.line(rpc, what, &[field], |to| async {
            BatchProcessingServiceClient::new(to.work)
                .list_batch_processings(request)
                .await
                .map(drop)
        });
    }
}
