//! Every rpc of `quell.work.v1`, by a generated client.

use crate::{
    cancel::{grown, look_at, millis, snowball},
    details,
    harness::{mesh, unique},
    poll::{SOON, eventually, holds, when},
};
use quell_api::work::v1::{
    CancelSnowballRequest, GetSnowballRequest, LifetimeDistribution, ListSnowballsRequest, QuiesceRequest,
    QuiesceState, ResumeRequest, SnowballLeaves, SnowballPacing, SnowballProducer, SnowballShape, SnowballSpec,
    StartSnowballRequest, WatchSnowballRequest,
};
use std::{collections::BTreeSet, time::Duration};

#[tokio::test]
async fn validate_only_starts_nothing_and_tells_the_defaults() {
    let mesh = mesh().await;
    let mut client = mesh.snowballs();
    let request_id = unique("validate");
    let request = StartSnowballRequest {
        request_id: request_id.clone(),
        validate_only: true,
        ..Default::default()
    };
    let answer = client.start_snowball(request).await.unwrap().into_inner();
    assert_eq!(answer.snowball_id, format!("snowball-{request_id}"));
    assert_eq!((answer.run_id.as_str(), answer.planned_workflows), ("", 10 + 100));
    let expected = SnowballSpec {
        width: 10,
        depth: 2,
        concurrency: 50,
        rate_per_second: 0.0,
        lifetime: millis(3_600_000),
        workload_id: "1".to_owned(),
        pacing: Some(SnowballPacing {
            shape: SnowballShape::Tree.into(),
            ..Default::default()
        }),
        leaves: Some(SnowballLeaves {
            distribution: LifetimeDistribution::Fixed.into(),
            ..Default::default()
        }),
        tag_after: None,
        producer: SnowballProducer::Parents.into(),
        max_children: 1_000,
    };
    assert_eq!(answer.spec, Some(expected));

    let get = client
        .get_snowball(GetSnowballRequest {
            snowball_id: answer.snowball_id.clone(),
        })
        .await;
    details::not_found("GetSnowball", &get.unwrap_err(), &answer.snowball_id);
    assert_eq!(mesh.status("main", &answer.snowball_id).await, None);
}

#[tokio::test]
async fn a_snowball_grows_to_its_plan_and_its_leaves_end() {
    let mesh = mesh().await;
    let mut client = mesh.snowballs();
    let id = unique("grows");
    let spec = SnowballSpec {
        width: 4,
        depth: 3,
        concurrency: 2,
        lifetime: millis(2_000),
        workload_id: id.clone(),
        ..Default::default()
    };
    let started = snowball(&mut client, spec).await;
    assert_eq!(started.planned_workflows, 4 + 16 + 64);
    assert!(!started.run_id.is_empty());

    // Watch ends by itself when nothing is open any more.
    let request = WatchSnowballRequest {
        snowball_id: started.snowball_id.clone(),
        interval: millis(500),
    };
    let mut stream = client.watch_snowball(request).await.unwrap().into_inner();
    let (mut looks, mut last) = (0, None);
    while let Some(look) = stream.message().await.unwrap() {
        if looks == 0 {
            assert!(
                look.growth_per_second.abs() < f64::EPSILON,
                "the first message has nothing to compare with"
            );
        }
        looks += 1;
        last = look.snowball;
    }
    let last = last.expect("at least one message");
    assert!(looks >= 2, "it lives for two seconds and is watched twice a second");
    assert_eq!((last.open, last.total), (0, 1 + 84), "{last:?}");
    assert_eq!(
        last.counts.iter().map(|count| count.count).sum::<i64>(),
        last.total,
        "{last:?}"
    );
    assert_eq!(
        (last.root_status.as_str(), last.workload_id.as_str()),
        ("Completed", id.as_str())
    );
    assert_eq!(
        mesh.count(&format!("WorkloadId=\"{id}\" AND ExecutionStatus=\"Completed\""))
            .await,
        85
    );
}

#[tokio::test]
async fn a_repeated_request_id_returns_the_first_snowball() {
    let mesh = mesh().await;
    let mut client = mesh.snowballs();
    let id = unique("repeated");
    let spec = SnowballSpec {
        width: 3,
        depth: 1,
        workload_id: id.clone(),
        ..Default::default()
    };
    let request = StartSnowballRequest {
        spec: Some(spec),
        request_id: id.clone(),
        ..Default::default()
    };
    let first = client.start_snowball(request.clone()).await.unwrap().into_inner();
    // At the same time as well as one after the other.
    let mut other = mesh.snowballs();
    let (second, third) = tokio::join!(client.start_snowball(request.clone()), other.start_snowball(request));
    for again in [second, third] {
        let again = again.unwrap().into_inner();
        assert_eq!(
            (again.snowball_id, again.run_id),
            (first.snowball_id.clone(), first.run_id.clone())
        );
    }
    let grown = grown(&mut client, &first.snowball_id, 4).await;
    assert_eq!(grown.total, 4, "it was started once");
}

#[tokio::test]
async fn lists_are_paged() {
    let mesh = mesh().await;
    let mut client = mesh.snowballs();
    let id = unique("paged");
    let mut ours = BTreeSet::new();
    for _ in 0..3 {
        let spec = SnowballSpec {
            width: 1,
            depth: 1,
            lifetime: millis(0),
            workload_id: id.clone(),
            ..Default::default()
        };
        ours.insert(snowball(&mut client, spec).await.snowball_id);
    }
    eventually(SOON, "all pages together hold our snowballs", async || {
        let (mut token, mut seen, mut pages) = (String::new(), Vec::new(), 0);
        loop {
            let page = client
                .list_snowballs(ListSnowballsRequest {
                    page_size: 2,
                    page_token: token,
                })
                .await;
            let page = page.map_err(|status| status.to_string())?.into_inner();
            assert!(page.snowballs.len() <= 2);
            seen.extend(page.snowballs);
            pages += 1;
            token = page.next_page_token;
            // Ours are among the newest; other tests start some meanwhile.
            if token.is_empty() || pages == 20 {
                break;
            }
        }
        let ids: BTreeSet<_> = seen.iter().map(|snowball| snowball.snowball_id.clone()).collect();
        when(pages >= 2 && ids.is_superset(&ours), || {
            format!("{pages} pages with {ids:?}")
        })?;
        assert!(
            seen.iter()
                .all(|snowball| snowball.snowball_id.starts_with("snowball-")),
            "only roots are listed: {ids:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_cancel_signal_ends_a_snowball_and_its_children() {
    let mesh = mesh().await;
    let mut client = mesh.snowballs();
    let id = unique("cancelled");
    let spec = SnowballSpec {
        width: 30,
        depth: 2,
        rate_per_second: 5.0,
        workload_id: id.clone(),
        ..Default::default()
    };
    let started = snowball(&mut client, spec).await;
    grown(&mut client, &started.snowball_id, 30).await;

    let request = CancelSnowballRequest {
        snowball_id: started.snowball_id.clone(),
        reason: "enough".to_owned(),
    };
    client.cancel_snowball(request).await.unwrap();

    let ended = eventually(SOON, "nothing of it is open", async || {
        let snowball = look_at(&mut client, &started.snowball_id).await?;
        if snowball.open == 0 {
            Ok(snowball)
        } else {
            Err(format!("{snowball:?}"))
        }
    })
    .await;
    assert!(
        ended.total < started.planned_workflows,
        "it had stopped spawning: {ended:?}"
    );
    assert_ne!(ended.root_status, "Terminated", "it was asked, not killed");
    assert_eq!(mesh.running(&id).await, 0);
}

#[tokio::test]
async fn a_quiesced_workload_does_not_grow_until_it_is_resumed() {
    let mesh = mesh().await;
    let (mut work, mut sources) = (mesh.snowballs(), mesh.sources());
    let id = unique("quiesced");
    let spec = SnowballSpec {
        width: 10,
        depth: 2,
        rate_per_second: 2.0,
        workload_id: id.clone(),
        ..Default::default()
    };
    let started = snowball(&mut work, spec.clone()).await;
    grown(&mut work, &started.snowball_id, 10).await;

    let quiesce = QuiesceRequest {
        workload_id: id.clone(),
        wait: millis(30_000),
        reason: "a test".to_owned(),
        ..Default::default()
    };
    let closed = sources.quiesce(quiesce.clone()).await.unwrap().into_inner();
    assert_eq!(closed.state(), QuiesceState::Effective);
    assert_eq!(closed.gate_workflow_id, format!("quell/gate/{id}"));
    assert!(closed.gate_time.is_some());
    assert_eq!(
        mesh.status("main", &closed.gate_workflow_id).await.as_deref(),
        Some("RUNNING"),
        "the gate lives in Temporal"
    );
    let still = mesh.count(&format!("WorkloadId=\"{id}\"")).await;
    assert!(still < 1 + started.planned_workflows, "{still}");
    holds(
        Duration::from_secs(3),
        "a closed gate lets nothing through",
        async || {
            let now = mesh.count(&format!("WorkloadId=\"{id}\"")).await;
            when(now == still, || format!("{still} became {now}"))
        },
    )
    .await;

    // Whoever starts another one is told that it would not grow.
    let held = StartSnowballRequest {
        spec: Some(spec),
        validate_only: true,
        ..Default::default()
    };
    assert!(work.start_snowball(held).await.unwrap().into_inner().held);
    assert!(!started.held);

    // Again: no error, the same gate.
    let again = sources
        .quiesce(QuiesceRequest { wait: None, ..quiesce })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.gate_workflow_id, closed.gate_workflow_id);

    let resume = ResumeRequest {
        workload_id: id.clone(),
    };
    assert!(sources.resume(resume.clone()).await.unwrap().into_inner().was_quiesced);
    grown(&mut work, &started.snowball_id, still + 10).await;
    eventually(SOON, "an open gate is open", async || {
        let was_quiesced = sources
            .resume(resume.clone())
            .await
            .map_err(|status| status.to_string())?
            .into_inner()
            .was_quiesced;
        when(!was_quiesced, || "it was still closed".to_owned())
    })
    .await;
    let request = CancelSnowballRequest {
        snowball_id: started.snowball_id.clone(),
        ..Default::default()
    };
    work.cancel_snowball(request).await.unwrap();
}

#[tokio::test]
async fn a_gate_opens_by_itself_after_its_time_to_live() {
    let mesh = mesh().await;
    let (mut work, mut sources) = (mesh.snowballs(), mesh.sources());
    let id = unique("ttl");
    let quiesce = QuiesceRequest {
        workload_id: id.clone(),
        ttl: millis(3_000),
        ..Default::default()
    };
    let closed = sources.quiesce(quiesce).await.unwrap().into_inner();
    assert_ne!(closed.state(), QuiesceState::Unspecified);
    let spec = SnowballSpec {
        width: 3,
        depth: 1,
        lifetime: millis(0),
        workload_id: id.clone(),
        ..Default::default()
    };
    let started = snowball(&mut work, spec).await;
    eventually(SOON, "the snowball grows after all", async || {
        let snowball = look_at(&mut work, &started.snowball_id).await?;
        when((snowball.total, snowball.open) == (4, 0), || format!("{snowball:?}"))
    })
    .await;
    assert_ne!(
        mesh.status("main", &closed.gate_workflow_id).await.as_deref(),
        Some("RUNNING")
    );
}

#[tokio::test]
async fn unknown_snowballs_are_not_found() {
    let mesh = mesh().await;
    let mut client = mesh.snowballs();
    // One that never was, one of another type, and one of ours that is no snowball.
    let foreign = unique("no-snowball");
    mesh.start_by_cli(&foreign, &foreign).await;
    for name in [format!("snowball-{}", unique("nobody")), foreign.clone()] {
        let get = client
            .get_snowball(GetSnowballRequest {
                snowball_id: name.clone(),
            })
            .await;
        details::not_found("GetSnowball", &get.unwrap_err(), &name);
        let watch = WatchSnowballRequest {
            snowball_id: name.clone(),
            interval: None,
        };
        let watched = match client.watch_snowball(watch).await {
            Ok(stream) => stream.into_inner().message().await.map(drop),
            Err(status) => Err(status),
        };
        details::not_found("WatchSnowball", &watched.unwrap_err(), &name);
        let cancel = CancelSnowballRequest {
            snowball_id: name.clone(),
            ..Default::default()
        };
        details::not_found(
            "CancelSnowball",
            &client.cancel_snowball(cancel).await.unwrap_err(),
            &name,
        );
    }
    assert_eq!(mesh.status("main", &foreign).await.as_deref(), Some("RUNNING"));
}
