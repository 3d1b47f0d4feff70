//! The page, over HTTP, for this machine alone.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use ocelli_index::{IndexDir, Snapshot};
use ocelli_indexer::collection::{
    self, CollectionPage, Photos, SCRIPT, Settings, hits_fragment, home_page, near_misses,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::RunningIndex;
use super::client::{Hit, Refusal, Searcher, Wanted};
use crate::output::cell;

/// Photos of a page.
const SHOWN: usize = 24;
/// The largest image that is searched for, in bytes.
const MAX_IMAGE_BYTES: usize = 64 << 20;

/// A collection of the page.
pub struct Collection {
    pub name: String,
    dir: PathBuf,
    settings: Settings,
    photos: Mutex<Photos>,
}

impl Collection {
    pub fn new(name: String, dir: PathBuf, photos: Photos) -> Self {
        let settings = photos.settings().clone();
        Collection { name, dir, settings, photos: Mutex::new(photos) }
    }

    pub fn dir(&self) -> &FilePath {
        &self.dir
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn running(&self) -> RunningIndex {
        RunningIndex {
            name: self.name.clone(),
            dir: self.dir.clone(),
            photos: self.photos.lock().len(),
            code_bytes: self.settings.code_bytes,
        }
    }

    /// Reads from the photos, as the last run of `ocelli index` left them.
    fn read<R>(&self, read: impl FnOnce(&Photos) -> R) -> R {
        let mut photos = self.photos.lock();
        // While a run changes them, the earlier ones answer.
        let _ = photos.refresh();
        read(&photos)
    }
}

/// Lists that the searcher scans: all while that takes some milliseconds.
pub fn nprobe(collections: &[Collection]) -> usize {
    let of = |collection: &Collection| match Snapshot::open(&collection.dir, None) {
        Ok(snapshot) => collection::nprobe(snapshot.rows(), snapshot.model().parts().nlist),
        Err(_) => 1,
    };
    collections.iter().map(of).max().unwrap_or(1)
}

/// Everything that the page shows.
pub struct Pages {
    pub searcher: Searcher,
    pub collections: Vec<Collection>,
}

/// Serves until the listener fails.
pub async fn serve(listener: TcpListener, pages: Arc<Pages>) -> Result<()> {
    let routes = Router::new()
        .route("/", get(|| async { Redirect::temporary("/c/0") }))
        .route("/page.js", get(script))
        .route("/c/{number}", get(home))
        .route("/c/{number}/like/{id}", get(like))
        .route("/c/{number}/photo/{id}", get(photo))
        .route("/c/{number}/image", post(by_image))
        .route("/c/{number}/key", post(by_key))
        .layer(DefaultBodyLimit::max(MAX_IMAGE_BYTES))
        .layer(middleware::from_fn(this_machine))
        .with_state(pages);
    axum::serve(listener, routes).await.context("the page ended")
}

/// Refuses requests that another site's name leads here: a page from elsewhere could read photos
/// otherwise.
async fn this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let is_here = name == "localhost"
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if is_here {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "expected an address of this machine\n").into_response()
}

async fn script() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

/// A request without an answer: the status, and why.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<Refusal> for Refused {
    fn from(Refusal { is_query, what }: Refusal) -> Self {
        Refused(if is_query { StatusCode::BAD_REQUEST } else { StatusCode::BAD_GATEWAY }, what)
    }
}

fn none(what: impl Into<String>) -> Refused {
    Refused(StatusCode::NOT_FOUND, what.into())
}

impl Pages {
    fn collection(&self, number: usize) -> Result<&Collection, Refused> {
        self.collections.get(number).ok_or_else(|| none("no such collection\n"))
    }

    /// The page of a collection, with this content.
    fn page(&self, number: usize, heading: &str, content: &str) -> Result<Response, Refused> {
        let collection = self.collection(number)?;
        let bytes = IndexDir::open(&collection.dir).and_then(|index| index.current());
        let bytes = bytes
            .ok()
            .flatten()
            .map_or(0, |generation| generation.shards.iter().map(|shard| shard.bytes).sum());
        let all: Vec<(String, String)> =
            (0..).zip(&self.collections).map(|(n, c)| (base(n), c.name.clone())).collect();
        let page = home_page(&CollectionPage {
            name: &collection.name,
            photos: collection.read(Photos::len) as u64,
            bytes,
            code_bytes: collection.settings.code_bytes,
            base: &base(number),
            all: &all,
            heading,
            content,
        });
        Ok(Html(page).into_response())
    }

    /// Hits of a search, as a part of a page.
    async fn hits(&self, number: usize, wanted: Wanted) -> Result<String, Refused> {
        let collection = self.collection(number)?;
        let hits = self.searcher.search(&collection.name, wanted, SHOWN as u32).await?;
        let shown: Vec<(u64, &str, String)> = hits
            .iter()
            .enumerate()
            .map(|(at, Hit { id, score, key })| {
                (*id, key.as_str(), format!("{} {score:.4}", at + 1))
            })
            .collect();
        Ok(hits_fragment(&base(number), &shown))
    }
}

/// Where the pages of a collection are.
fn base(number: usize) -> String {
    format!("/c/{number}")
}

type Shared = State<Arc<Pages>>;

/// The page of a collection, with photos from all over it.
async fn home(State(pages): Shared, Path(number): Path<usize>) -> Result<Response, Refused> {
    let collection = pages.collection(number)?;
    let content = collection.read(|photos| {
        let sample = photos.sample(SHOWN);
        let shown: Vec<(u64, &str, String)> =
            sample.into_iter().map(|(id, key)| (id, key, String::new())).collect();
        hits_fragment(&base(number), &shown)
    });
    pages.page(number, "Some of the photos; each leads to photos like it", &content)
}

/// Photos like one of the collection.
async fn like(
    State(pages): Shared,
    Path((number, id)): Path<(usize, u64)>,
) -> Result<Response, Refused> {
    let content = pages.hits(number, Wanted::Id(id)).await?;
    let key = pages.collection(number)?.read(|photos| photos.key_of(id).map(str::to_owned));
    let heading = format!("Photos like {}", cell(&key.unwrap_or_default()));
    pages.page(number, &heading, &content)
}

/// Photos like an image.
async fn by_image(
    State(pages): Shared,
    Path(number): Path<usize>,
    image: Bytes,
) -> Result<Response, Refused> {
    let content = pages.hits(number, Wanted::Image(image.into())).await?;
    Ok(Html(content).into_response())
}

/// Photos like one that is named by its key.
async fn by_key(
    State(pages): Shared,
    Path(number): Path<usize>,
    key: String,
) -> Result<Response, Refused> {
    let collection = pages.collection(number)?;
    let near = collection.read(|photos| match photos.path(&key) {
        Some(_) => None,
        None => Some(near_misses(photos.keys(), &key).join(", ")),
    });
    if let Some(near) = near {
        let mean = if near.is_empty() { near } else { format!("; did you mean {near}?") };
        let what = format!("{}: no such key{mean}", cell(&key));
        return Err(none(what));
    }
    let content = pages.hits(number, Wanted::Key(key)).await?;
    Ok(Html(content).into_response())
}

/// The thumbnail of a photo.
async fn photo(
    State(pages): Shared,
    Path((number, id)): Path<(usize, u64)>,
) -> Result<Response, Refused> {
    let path = pages
        .collection(number)?
        .read(|photos| photos.key_of(id).and_then(|key| photos.path(key)).map(FilePath::to_owned));
    let path = path.ok_or_else(|| none("no such photo\n"))?;
    let made = tokio::task::spawn_blocking(move || collection::thumbnail(&path)).await;
    let file = made.map_err(|e| none(e.to_string()))?.map_err(none)?;
    let headers = [
        (CONTENT_TYPE, "image/jpeg"),
        (CACHE_CONTROL, "private, max-age=60"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, file).into_response())
}
