//! Generations change under a server in this process.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ocelli_index::IndexDir;
use ocelli_proto::status::reason;
use ocelli_proto::v1;
use ocelli_proto::v1::ErrorReason;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::query::{World, one, vector};
use crate::support::{DIM, Running, commit_half, config, flip, numbers};

/// Waits until the health of a service is `wanted`; fails after some seconds.
async fn wait_for_health(server: &Running, service: &str, wanted: ServingStatus) -> Result<()> {
    let mut health = HealthClient::new(server.channel().await?);
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let request = HealthCheckRequest { service: service.to_owned() };
        let found = health.check(request).await.map(|answer| answer.into_inner().status());
        if found.as_ref().is_ok_and(|found| *found == wanted) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "{service}: {found:?}, expected {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Activate, roll back, reload: the next query sees each change, and a wrong request changes
/// nothing.
#[tokio::test]
async fn generations_are_listed_activated_and_rolled_back() -> Result<()> {
    let world = World::new()?;
    let dir = IndexDir::open(world.folder.path())?;
    let server = world.serve("").await?;
    let (mut client, mut admin) = (server.client().await?, server.admin().await?);
    let second = commit_half(world.folder.path())?;
    let list = admin.list_generations(v1::ListGenerationsRequest::default()).await?.into_inner();
    assert_eq!((list.current, list.serving), (second, 1));
    let shards =
        Vec::from_iter(list.generations.iter().map(|g| (g.number, g.parent, g.shards, g.rows)));
    assert_eq!(shards, [(1, 0, 2, 12_000), (2, 1, 1, 6000)]);

    let search = || one(vector(numbers(5, DIM)));
    assert_eq!(client.search(search()).await?.into_inner().generation, 1);
    let reloaded = admin.reload(v1::ReloadRequest::default()).await?.into_inner();
    assert_eq!((reloaded.generation, reloaded.faults.len()), (2, 0));
    let answer = client.search(search()).await?.into_inner();
    assert_eq!((answer.generation, answer.shards.context("shards")?.asked), (2, 1));
    let pinned = v1::SearchRequest { generation: 1, ..search() };
    let status = client.search(pinned).await.unwrap_err();
    assert_eq!(reason(&status), (ErrorReason::GenerationNotFound, "generation".to_owned()));

    let activate = |expected, generation| v1::ActivateGenerationRequest {
        index: "synthetic".to_owned(),
        expected,
        generation,
    };
    let wrong = [
        (activate(1, 1), Code::Aborted, ErrorReason::GenerationChanged, "expected"),
        (activate(2, 9), Code::NotFound, ErrorReason::GenerationNotFound, "generation"),
        (activate(2, 0), Code::InvalidArgument, ErrorReason::FieldInvalid, "generation"),
        (activate(0, 1), Code::InvalidArgument, ErrorReason::FieldInvalid, "expected"),
    ];
    for (request, code, why, field) in wrong {
        let status = admin.activate_generation(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (code, (why, field.to_owned())), "{status}");
    }
    assert_eq!(client.search(search()).await?.into_inner().generation, 2);

    let status = admin.rollback(v1::RollbackRequest { index: String::new(), expected: 9 }).await;
    assert_eq!(status.unwrap_err().code(), Code::Aborted);
    let back = admin.rollback(v1::RollbackRequest { index: String::new(), expected: 2 }).await?;
    assert_eq!(back.into_inner().generation, 1);
    assert_eq!(client.search(search()).await?.into_inner().generation, 1);
    assert_eq!(dir.current()?.context("current")?.number, 1);
    let status = admin.rollback(v1::RollbackRequest { index: String::new(), expected: 1 }).await;
    assert_eq!(status.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(admin.activate_generation(activate(1, 2)).await?.into_inner().generation, 2);
    assert_eq!(dir.current()?.context("current")?.number, 2);

    // A closed generation is unmapped: no mapping of the shard that only generation 1 has is left.
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let status = admin.get_status(v1::GetStatusRequest {}).await?.into_inner();
        if status.indexes[0].retired == 0 {
            break;
        }
        anyhow::ensure!(Instant::now() < end, "{status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A generation with a damaged shard is not activated. The one before goes on, on disk and in the
/// server.
#[tokio::test]
async fn a_damaged_generation_is_not_activated() -> Result<()> {
    let world = World::new()?;
    let dir = IndexDir::open(world.folder.path())?;
    let second = commit_half(world.folder.path())?;
    let server = world.serve("").await?;
    let mut admin = server.admin().await?;
    let damaged = &dir.generation(1)?.shards[1].name;
    flip(&dir.shard_path(damaged)?, crate::query::CODES_OFFSET)?;
    let request =
        v1::ActivateGenerationRequest { expected: second, generation: 1, ..Default::default() };
    let status = admin.activate_generation(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss, "{status}");
    assert!(status.message().contains(damaged), "{status}");
    assert_eq!(dir.current()?.context("current")?.number, second);
    let list = admin.list_generations(v1::ListGenerationsRequest::default()).await?.into_inner();
    assert_eq!((list.current, list.serving), (second, second));
    Ok(())
}

/// Health of the whole server follows Drain, health of an index its shards.
#[tokio::test]
async fn health_follows_drain_and_damage() -> Result<()> {
    use ServingStatus::{NotServing, Serving};
    let world = World::new()?;
    let server = Running::start(&config(world.folder.path(), "")?).await?;
    let mut admin = server.admin().await?;
    wait_for_health(&server, "index/synthetic", Serving).await?;
    let drain = |drain| v1::DrainRequest { drain, timeout_ms: 5000 };
    assert_eq!(admin.drain(drain(Some(true))).await?.into_inner().in_flight, 0);
    for name in ["", "ocelli.v1.SearchService", "index/synthetic"] {
        wait_for_health(&server, name, NotServing).await?;
    }
    // Queries that come all the same are answered.
    server.client().await?.search(one(vector(numbers(5, DIM)))).await?;
    admin.drain(drain(Some(false))).await?;
    for name in ["", "ocelli.v1.SearchService", "index/synthetic"] {
        wait_for_health(&server, name, Serving).await?;
    }
    let status = admin.drain(drain(None)).await.unwrap_err();
    assert_eq!(reason(&status), (ErrorReason::FieldInvalid, "drain".to_owned()));
    Ok(())
}
