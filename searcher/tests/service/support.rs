//! A tiny synthetic index, a server on a free port, and a fake encoder.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use ocelli_index::{
    DescriptorSpec, FineCodec, Hash, IndexDir, Metric, Model, ModelParts, NewGeneration,
    ShardBuilder,
};
use ocelli_proto::status::{Code, retriable};
use ocelli_proto::v1;
use ocelli_proto::v1::admin_service_client::AdminServiceClient;
use ocelli_proto::v1::encoder_service_server::{EncoderService, EncoderServiceServer};
use ocelli_proto::v1::search_service_client::SearchServiceClient;
use ocelli_searcher::{Config, Searcher, grpc, run};
use ocelli_service::security::Security;
use ocelli_service::server::Server;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

pub const DIM: usize = 16;
pub const SHARDS: u64 = 2;
/// Enough that codes and keys of a shard lie under different checksums.
pub const ROWS_PER_SHARD: u64 = 6000;

/// `n` numbers in (-1, 1), the same for the same seed.
pub fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Vec::from_iter((0..n).map(|_| rng.random_range(-1.0..1.0)))
}

/// The key of an id. Long, so that the keys of one shard fill many checksummed blocks.
pub fn key(id: u64) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(id);
    format!("photos/{id}-{:016x}{:016x}.jpg", rng.next_u64(), rng.next_u64())
}

pub fn spec() -> DescriptorSpec {
    DescriptorSpec::Foreign { name: "synthetic".to_owned(), dim: DIM as u32 }
}

fn model() -> Result<Model> {
    let (nlist, m, ksub) = (8, 16, 256);
    Ok(Model::from_parts(ModelParts {
        spec: spec(),
        metric: Metric::InnerProduct,
        mean: None,
        rotation: None,
        renormalize: false,
        dim: DIM,
        d: DIM,
        nlist,
        coarse: numbers(1, nlist * DIM).into(),
        m,
        ksub,
        codebooks: numbers(2, ksub * DIM),
        training: BTreeMap::new(),
    })?)
}

/// Writes an index of `SHARDS` shards with ids from 0; returns the shards' files.
pub fn build(folder: &Path) -> Result<Vec<PathBuf>> {
    build_under(folder, &model()?, &|_| Vec::new())
}

/// [`build`] with the attributes that `record` gives to the row of an id.
pub fn build_with(folder: &Path, record: &dyn Fn(u64) -> Vec<u8>) -> Result<Vec<PathBuf>> {
    build_under(folder, &model()?, record)
}

/// Commits a further generation, whose first shard is the only one; returns its number.
pub fn commit_half(folder: &Path) -> Result<u64> {
    let index = IndexDir::open(folder)?;
    let current = index.current()?.context("a generation")?;
    let new = NewGeneration {
        model: current.model,
        shards: current.shards[..1].to_vec(),
        tombstones: BTreeMap::new(),
        deletes: None,
        next_id: current.next_id,
    };
    Ok(index.commit(Some(current.number), new)?.number)
}

/// [`build`] with the vectors in half precision as finer codes.
pub fn build_refined(folder: &Path) -> Result<Vec<PathBuf>> {
    let model = model()?;
    let refinement = FineCodec::f16(model.hash(), model.parts().d);
    build_under(folder, &model.with_fine_codec(refinement)?, &|_| Vec::new())
}

fn build_under(
    folder: &Path,
    model: &Model,
    record: &dyn Fn(u64) -> Vec<u8>,
) -> Result<Vec<PathBuf>> {
    let index = IndexDir::create(folder)?;
    index.put_model(model)?;
    let mut shards = Vec::new();
    for shard in 0..SHARDS {
        let mut builder = ShardBuilder::new(model);
        for id in shard * ROWS_PER_SHARD..(shard + 1) * ROWS_PER_SHARD {
            builder.push(id, &key(id), &numbers(1000 + id, DIM))?;
            builder.set_record(&record(id))?;
        }
        shards.push(index.put_shard(builder, Hash::of(b"test"), shard as u32)?);
    }
    let generation = index.commit(
        None,
        NewGeneration {
            model: model.hash(),
            shards,
            tombstones: BTreeMap::new(),
            deletes: None,
            next_id: SHARDS * ROWS_PER_SHARD,
        },
    )?;
    let names = generation.shards.iter().map(|shard| &shard.name);
    Ok(names.map(|name| index.shard_path(name)).collect::<ocelli_index::Result<_>>()?)
}

/// The configuration of a server for the index in `folder`, named "synthetic".
pub fn config(folder: &Path, encoder_url: &str) -> Result<Config> {
    let defaults = ocelli_searcher::config::DEFAULT_TOML;
    let mut config: Config = ocelli_service::role::load_config_from(defaults, None, "TEST", [])?;
    config.indexes.insert("synthetic".to_owned(), folder.to_owned());
    config.encoder.url = encoder_url.to_owned();
    config.threads = 1;
    config.max_k = 100;
    // The machine that runs tests may be slow, or stand still for a while.
    config.max_queue_ms = 600_000;
    Ok(config)
}

/// A server that runs in this process.
pub struct Running {
    pub url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Running {
    pub async fn start(config: &Config) -> Result<Running> {
        let searcher = Arc::new(Searcher::open(config)?);
        searcher.compare_encoder().await;
        let server = Server::bind("127.0.0.1:0").await?;
        tokio::spawn(run::report(Arc::clone(&searcher), server.health()));
        let routes = grpc::routes(searcher, config.max_message_bytes);
        Running::serve(server, routes, &grpc::SERVICE_NAMES).await
    }

    async fn serve(
        server: Server,
        routes: Routes,
        names: &'static [&'static str],
    ) -> Result<Running> {
        let url = format!("http://{}", server.address());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            server.serve(routes, names, Duration::from_secs(5), stop).await
        });
        Ok(Running { url, stop, task })
    }

    pub async fn channel(&self) -> Result<Channel> {
        Ok(Channel::from_shared(self.url.clone())?.connect().await?)
    }

    pub async fn admin(&self) -> Result<AdminServiceClient<Channel>> {
        Ok(AdminServiceClient::new(self.channel().await?))
    }

    pub async fn client(&self) -> Result<SearchServiceClient<Channel>> {
        Ok(SearchServiceClient::new(self.channel().await?))
    }

    /// Stops as SIGTERM does, and waits for the end.
    pub async fn stop(self) -> Result<()> {
        let _ = self.stop.send(());
        self.task.await.context("the server panicked")?
    }
}

/// An encoder service that answers every image with the vector `numbers(7, DIM)`, its spec hash,
/// and `sizes_differ` as the request's sizes say. The image `bad` is refused, the image `slow` is
/// never answered.
#[derive(Clone)]
pub struct FakeEncoder {
    spec_hash: String,
    /// The number of calls that still get NOT_READY.
    pub unready: Arc<AtomicUsize>,
    /// The metadata of the last image.
    pub seen: Arc<Mutex<MetadataMap>>,
}

impl FakeEncoder {
    pub fn new(spec: Hash) -> FakeEncoder {
        FakeEncoder { spec_hash: spec.to_string(), unready: Arc::default(), seen: Arc::default() }
    }

    pub async fn start(spec: Hash) -> Result<Running> {
        FakeEncoder::new(spec).serve().await
    }

    pub async fn serve(self) -> Result<Running> {
        self.serve_secured(Security::default()).await
    }

    fn check_ready(&self) -> Result<(), Status> {
        let less = |left: usize| left.checked_sub(1);
        match self.unready.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Err(_) => Ok(()),
            Ok(_) => Err(retriable(
                Code::Unavailable,
                "it reads its network",
                v1::ErrorReason::NotReady,
                Duration::from_millis(100),
            )),
        }
    }

    pub async fn serve_secured(self, security: Security) -> Result<Running> {
        let routes = Routes::new(EncoderServiceServer::new(self));
        let server = Server::bind("127.0.0.1:0").await?.secured(security)?;
        Running::serve(server, routes, &["ocelli.v1.EncoderService"]).await
    }
}

#[tonic::async_trait]
impl EncoderService for FakeEncoder {
    async fn encode(
        &self,
        request: Request<v1::EncodeRequest>,
    ) -> Result<Response<v1::EncodeResponse>, Status> {
        self.check_ready()?;
        *self.seen.lock().expect("no panic") = request.metadata().clone();
        let request = request.into_inner();
        match request.data.as_slice() {
            b"bad" => return Err(Status::invalid_argument("no image")),
            b"slow" => std::future::pending().await,
            _ => {}
        }
        Ok(Response::new(v1::EncodeResponse {
            values: numbers(7, DIM),
            spec_hash: self.spec_hash.clone(),
            // True only if box and sizes arrived unchanged.
            sizes_differ: request.sizes == [224] && request.r#box.is_some_and(|b| b.x1 == 9.0),
            times: None,
        }))
    }

    type StreamEncodeStream = tokio_stream::Empty<Result<v1::StreamEncodeResponse, Status>>;

    async fn stream_encode(
        &self,
        _: Request<Streaming<v1::StreamEncodeRequest>>,
    ) -> Result<Response<Self::StreamEncodeStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }

    async fn get_spec(
        &self,
        _: Request<v1::GetSpecRequest>,
    ) -> Result<Response<v1::GetSpecResponse>, Status> {
        self.check_ready()?;
        Ok(Response::new(v1::GetSpecResponse {
            spec_hash: self.spec_hash.clone(),
            spec_text: String::new(),
            dim: DIM as u32,
        }))
    }
}

/// Flips one bit of the byte at `offset`, in place.
pub fn flip(path: &Path, offset: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    file.write_all_at(&[byte[0] ^ 1], offset)?;
    Ok(())
}

/// A request with options.
pub trait WithOptions: Sized {
    fn options(&mut self) -> &mut Option<v1::SearchOptions>;

    /// This request with its options changed.
    fn with(mut self, change: impl FnOnce(&mut v1::SearchOptions)) -> Self {
        change(self.options().get_or_insert_default());
        self
    }
}

macro_rules! with_options {
    ($($request:ident),*) => {
        $(impl WithOptions for v1::$request {
            fn options(&mut self) -> &mut Option<v1::SearchOptions> {
                &mut self.options
            }
        })*
    };
}

with_options!(SearchRequest, BatchSearchRequest, RangeSearchRequest);

/// The time of a stage in microseconds.
pub fn stage_us(times: &v1::SearchTimes, stage: v1::Stage) -> u64 {
    let found = times.stages.iter().find(|time| time.stage() == stage);
    found.expect("every stage is there").us
}
