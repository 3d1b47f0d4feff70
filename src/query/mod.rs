//! `ocelli query`: one query to a running searcher, over gRPC.

mod answer;

use std::ffi::OsString;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ArgGroup;
use image::ImageReader;
use ocelli_index::{Diffusion, Expansion, ExpansionMethod, Predicate};
use ocelli_indexer::encode_images;
use ocelli_indexer::evaluate::ranking::Rerank;
use ocelli_proto::status::reason;
use ocelli_proto::v1;
use ocelli_proto::v1::query_term::Term;
use ocelli_proto::v1::search_service_client::SearchServiceClient;
use ocelli_service::role;

use self::answer::{to_json, to_table};
use crate::output::print_text;
use crate::pass_through;
use crate::remote::{RemoteArgs, timed};
use crate::vector_file::{MAX_FILE_BYTES, read_vector};

/// The pause before a server that is not ready is asked again.
const NOT_READY_INTERVAL: Duration = Duration::from_secs(1);

/// Query expansion and diffusion, for `ocelli query` and `ocelli eval retrieval`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct RerankArgs {
    /// Search, make a new query of the query and its best hits, and search again.
    #[arg(long, value_enum, value_name = "METHOD")]
    pub expand: Option<ExpandMethod>,
    /// Hits that go into the new query.
    #[arg(
        long,
        value_name = "K",
        default_value_t = Expansion::DEFAULT_K as u32,
        requires = "expand"
    )]
    pub expand_k: u32,
    /// Exponent of the similarity by which --expand alpha weights hits.
    #[arg(
        long,
        value_name = "A",
        default_value_t = Expansion::DEFAULT_ALPHA,
        requires = "expand"
    )]
    pub alpha: f32,
    /// How many times to expand; each round uses the hits of the round before.
    #[arg(
        long,
        value_name = "N",
        default_value_t = Expansion::DEFAULT_ROUNDS as u32,
        requires = "expand"
    )]
    pub rounds: u32,
    /// Rank the best hits again by diffusion: a walk from the query along their neighbours.
    #[arg(long)]
    pub diffuse: bool,
    /// Hits that take part in --diffuse.
    #[arg(
        long,
        value_name = "N",
        default_value_t = Diffusion::DEFAULT.candidates as u32,
        requires = "diffuse"
    )]
    pub diffuse_candidates: u32,
    /// Nearest neighbours of each hit that may be its neighbours in --diffuse.
    #[arg(
        long,
        value_name = "N",
        default_value_t = Diffusion::DEFAULT.neighbours as u32,
        requires = "diffuse"
    )]
    pub diffuse_neighbours: u32,
    /// Hits nearest to the query where the walk of --diffuse begins.
    #[arg(
        long,
        value_name = "N",
        default_value_t = Diffusion::DEFAULT.query_neighbours as u32,
        requires = "diffuse"
    )]
    pub diffuse_query_neighbours: u32,
    /// --diffuse: share of a hit's score that flows on to its neighbours, 0 to less than 1.
    #[arg(
        long,
        value_name = "A",
        default_value_t = Diffusion::DEFAULT.alpha,
        requires = "diffuse"
    )]
    pub diffuse_alpha: f32,
}

/// The method of making the new query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExpandMethod {
    /// The mean of the query and the hits.
    Aqe,
    /// The hits weighted by their similarity to the power --alpha, at unit length.
    Alpha,
}

impl RerankArgs {
    /// The values for a search in this process.
    ///
    /// # Errors
    /// A value out of range.
    pub fn rerank(&self) -> Result<Rerank> {
        let diffusion = self.diffuse.then(|| Diffusion {
            candidates: self.diffuse_candidates as usize,
            neighbours: self.diffuse_neighbours as usize,
            query_neighbours: self.diffuse_query_neighbours as usize,
            alpha: self.diffuse_alpha,
            ..Diffusion::default()
        });
        diffusion.map_or(Ok(()), |diffusion| diffusion.check())?;
        Ok(Rerank { expansion: self.expansion()?, diffusion })
    }

    fn expansion(&self) -> Result<Option<Expansion>> {
        let Some(method) = self.expand else { return Ok(None) };
        let method = match method {
            ExpandMethod::Aqe => ExpansionMethod::Average,
            ExpandMethod::Alpha => ExpansionMethod::Alpha(self.alpha),
        };
        let (k, rounds) = (self.expand_k as usize, self.rounds as usize);
        let expansion = Expansion { method, k, rounds };
        expansion.check()?;
        Ok(Some(expansion))
    }

    /// The message for a server.
    fn expansion_message(&self) -> Option<v1::Expansion> {
        let method = self.expand?;
        let (method, alpha) = match method {
            ExpandMethod::Aqe => (v1::ExpansionMethod::Average, None),
            ExpandMethod::Alpha => (v1::ExpansionMethod::Alpha, Some(self.alpha)),
        };
        let (k, rounds) = (self.expand_k, self.rounds);
        Some(v1::Expansion { method: method.into(), k, alpha, rounds })
    }

    /// The message for a server.
    fn diffusion_message(&self) -> Option<v1::Diffusion> {
        self.diffuse.then_some(v1::Diffusion {
            candidates: self.diffuse_candidates,
            neighbours: self.diffuse_neighbours,
            query_neighbours: self.diffuse_query_neighbours,
            gamma: None,
            alpha: Some(self.diffuse_alpha),
        })
    }
}

/// Flags of `ocelli query`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("terms").required(true).multiple(true))]
pub struct QueryArgs {
    #[command(flatten)]
    pub remote: RemoteArgs,
    /// Name of the index; not needed if the server has only one.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub index: String,
    /// Look for an image file. This and the next three can be repeated and mixed: the query is then
    /// the mean of all of them.
    #[arg(long, value_name = "FILE", group = "terms")]
    pub image: Vec<PathBuf>,
    /// Look for an indexed image, by id.
    #[arg(long = "id", value_name = "N", group = "terms")]
    pub ids: Vec<u64>,
    /// Look for an indexed image, by key.
    #[arg(long = "key", value_name = "KEY", group = "terms")]
    pub keys: Vec<String>,
    /// Look for a descriptor: .npy (float32 or float64), .json (an array of numbers), or text
    /// (numbers between blanks).
    #[arg(long = "vector", value_name = "FILE", group = "terms")]
    pub vectors: Vec<PathBuf>,
    /// Weights, one for each image, id, key and vector, in this order.
    #[arg(long, value_name = "W,…", value_delimiter = ',', allow_negative_numbers = true)]
    pub weights: Vec<f32>,
    /// The part of the image to look for, in pixels of the stored image; repeated with --image, one
    /// for each.
    #[arg(long = "box", value_name = "X0,Y0,X1,Y1", requires = "image")]
    pub boxes: Vec<BoxArg>,
    /// Longest sides in pixels to encode images at, or `stored` for each image's own; default:
    /// those of the index.
    #[arg(long, value_name = "S,…", requires = "image")]
    pub sizes: Option<SizesArg>,
    /// Encode images here, by this pack (its file, or `default`), and send their descriptors: the
    /// server needs no encoder then. Runs ocelli-encoder once.
    #[arg(long, value_name = "FILE|default", requires = "image", conflicts_with = "sizes")]
    pub pack: Option<PathBuf>,
    /// Bytes of the index's codes, of the sizes that the pack has [default: the pack's own choice]
    #[arg(long, value_name = "N", requires = "pack")]
    pub code_bytes: Option<usize>,
    /// Number of hits; default: the server's.
    #[arg(short, long, default_value_t = 0, hide_default_value = true)]
    pub k: u32,
    /// Lists scanned in each shard; default: the server's.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub nprobe: u32,
    /// Candidates of the scan that are scored again from finer codes, 0 for none; default: the
    /// server's, if the index has finer codes.
    #[arg(long, value_name = "N")]
    pub refine_candidates: Option<u32>,
    #[command(flatten)]
    pub rerank: RerankArgs,
    /// Only images with such attributes: `width >= 640 and not (camera in ("a", "b"))`,
    /// `captured > 2019-05-01`.
    #[arg(long = "where", value_name = "FILTER")]
    pub filter: Option<Predicate>,
    /// Columns of attributes to show with each hit; `*`: all.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub attributes: Vec<String>,
    /// Accept an answer from a part of the shards if others are damaged.
    #[arg(long)]
    pub allow_partial: bool,
}

/// Longest sides as `S,…`, or `stored`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SizesArg {
    /// Sizes in pixels.
    Pixels(Vec<u32>),
    /// The image's own size.
    Stored,
}

impl FromStr for SizesArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "stored" {
            return Ok(SizesArg::Stored);
        }
        let sizes: Result<Vec<u32>, _> = text.split(',').map(|size| size.trim().parse()).collect();
        let wrong = |_| format!("expected numbers of pixels, or `stored`, found {text:?}");
        sizes.map(SizesArg::Pixels).map_err(wrong)
    }
}

impl SizesArg {
    /// Longest sides for an image file.
    ///
    /// # Errors
    /// For `stored`, a file whose size cannot be read.
    fn of(&self, file: &[u8]) -> Result<Vec<u32>> {
        match self {
            SizesArg::Pixels(sizes) => Ok(sizes.clone()),
            SizesArg::Stored => {
                let reader = ImageReader::new(Cursor::new(file)).with_guessed_format()?;
                let (width, height) =
                    reader.into_dimensions().context("its size for --sizes stored")?;
                Ok(vec![width.max(height)])
            }
        }
    }
}

/// A box as `X0,Y0,X1,Y1`.
#[derive(Clone, Debug)]
pub struct BoxArg(v1::Box);

impl FromStr for BoxArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<f32>, _> = text.split(',').map(|n| n.trim().parse()).collect();
        match numbers.as_deref() {
            Ok(&[x0, y0, x1, y1]) => Ok(BoxArg(v1::Box { x0, y0, x1, y1 })),
            _ => Err("expected four numbers, X0,Y0,X1,Y1".to_owned()),
        }
    }
}

/// Sends the query and prints the answer: a table, or the whole response as one JSON object if
/// `json`. While the server's encoder still reads its network, this prints a note and waits.
///
/// # Errors
/// A file that cannot be read, a server that cannot be reached, a query that it refuses.
pub fn run(args: &QueryArgs, json: bool) -> Result<()> {
    let request = request(args)?;
    let response = args.remote.ask(async |channel, timeout| {
        // A reply with many long keys is larger than the default limit of a client.
        let limit = ocelli_proto::limits::DEFAULT_MAX_MESSAGE_BYTES;
        let mut client = SearchServiceClient::new(channel).max_decoding_message_size(limit);
        let end = Instant::now() + timeout;
        let mut told = false;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match client.search(timed(request.clone(), left)).await {
                Err(status) if reason(&status).0 == v1::ErrorReason::NotReady => {
                    if !std::mem::replace(&mut told, true) {
                        role::note(&format!("waiting: {}", status.message()));
                    }
                    tokio::time::sleep(NOT_READY_INTERVAL).await;
                }
                answer => return answer,
            }
        }
    })?;
    match json {
        true => role::print(&format!("{}\n", to_json(&response))),
        false => print_text(&to_table(&response)),
    }
}

/// The request that the flags ask for; reads images and vectors.
///
/// # Errors
/// A file that cannot be read or is not a vector; boxes or weights that do not match the terms.
pub fn request(args: &QueryArgs) -> Result<v1::SearchRequest> {
    ensure!(
        args.boxes.is_empty() || args.boxes.len() == args.image.len(),
        "{} boxes for {} images; expected one for each, or none",
        args.boxes.len(),
        args.image.len()
    );
    let mut terms = Vec::new();
    let sent = if args.pack.is_some() { &[] } else { args.image.as_slice() };
    if let Some(pack) = &args.pack {
        terms.extend(encoded(args, pack)?);
    }
    for (number, path) in sent.iter().enumerate() {
        let data = role::read_at_most(path, MAX_FILE_BYTES)
            .with_context(|| format!("image {}", path.display()))?;
        let sizes = args.sizes.as_ref().map(|sizes| sizes.of(&data)).transpose();
        let sizes = sizes.with_context(|| format!("image {}", path.display()))?.unwrap_or_default();
        let r#box = args.boxes.get(number).map(|given| given.0);
        terms.push(Term::Image(v1::QueryImage { data, r#box, sizes }));
    }
    let ids = args.ids.iter();
    terms.extend(ids.map(|&id| Term::Id(v1::QueryId { id })));
    let keys = args.keys.iter().cloned();
    terms.extend(keys.map(|key| Term::Key(v1::QueryKey { key })));
    for path in &args.vectors {
        let values = read_vector(path).with_context(|| format!("vector {}", path.display()))?;
        terms.push(Term::Vector(v1::QueryVector { values, spec_hash: String::new() }));
    }
    ensure!(
        args.weights.is_empty() || args.weights.len() == terms.len(),
        "{} weights for {} images, ids, keys and vectors; expected one for each, or none",
        args.weights.len(),
        terms.len()
    );
    let weighted = terms.into_iter().enumerate().map(|(number, term)| v1::QueryTerm {
        weight: args.weights.get(number).copied(),
        term: Some(term),
    });
    let options = v1::SearchOptions {
        k: args.k,
        nprobe: args.nprobe,
        refine_candidates: args.refine_candidates,
        with_keys: true,
        allow_partial: args.allow_partial,
        expansion: args.rerank.expansion_message(),
        diffusion: args.rerank.diffusion_message(),
        filter: args.filter.as_ref().map(filter),
        attributes: args.attributes.clone(),
        ..Default::default()
    };
    Ok(v1::SearchRequest {
        index: args.index.clone(),
        generation: 0,
        terms: weighted.collect(),
        options: Some(options),
    })
}

/// The message of a filter by attributes.
fn filter(predicate: &Predicate) -> v1::Filter {
    let test = Some(v1::predicate::Test::Text(predicate.to_string()));
    v1::Filter { predicate: Some(v1::Predicate { test }), ..Default::default() }
}

/// The descriptors of the images, made by a pack.
fn encoded(args: &QueryArgs, pack: &Path) -> Result<Vec<Term>> {
    let boxes = args.boxes.iter().map(|BoxArg(b)| Some([b.x0, b.y0, b.x1, b.y1].map(f64::from)));
    let images = args.image.iter().cloned().zip(boxes.chain(std::iter::repeat(None)));
    let mut flags: Vec<OsString> = vec!["--pack".into(), ocelli_packs::absolute(pack).into()];
    if let Some(bytes) = args.code_bytes {
        flags.extend(["--code-bytes".into(), bytes.to_string().into()]);
    }
    flags.extend(["--log".into(), "warn".into()]);
    let encoded = encode_images(&images.collect::<Vec<_>>(), &flags, &pass_through::encode)?;
    let spec_hash = encoded.spec.to_string();
    let term = |values| Term::Vector(v1::QueryVector { values, spec_hash: spec_hash.clone() });
    Ok(encoded.descriptors.into_iter().map(term).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_attributes_travel_with_the_request() -> Result<()> {
        #[derive(clap::Parser)]
        struct Query {
            #[command(flatten)]
            args: QueryArgs,
        }
        let asked = |flags: &[&str]| -> Result<Vec<String>> {
            let args = ["query", "--id", "3"].iter().chain(flags);
            let query = <Query as clap::Parser>::try_parse_from(args)?;
            Ok(request(&query.args)?.options.unwrap_or_default().attributes)
        };
        assert_eq!(asked(&["--attributes", "captured,camera"])?, ["captured", "camera"]);
        assert_eq!(asked(&["--attributes", "*", "--attributes", "width"])?, ["*", "width"]);
        assert!(asked(&[])?.is_empty());
        Ok(())
    }

    #[test]
    fn sizes_are_numbers_or_the_images_own() -> Result<()> {
        let parse = |text: &str| text.parse::<SizesArg>();
        assert_eq!(parse("448, 800"), Ok(SizesArg::Pixels(vec![448, 800])));
        for wrong in ["", "a", "1,,2", "Stored", "-1"] {
            assert!(parse(wrong).is_err_and(|error| error.contains("`stored`")), "{wrong:?}");
        }
        let mut png = Cursor::new(Vec::new());
        image::GrayImage::new(30, 70).write_to(&mut png, image::ImageFormat::Png)?;
        let stored = parse("stored").map_err(anyhow::Error::msg)?;
        assert_eq!(stored.of(&png.into_inner())?, [70]);
        assert!(stored.of(b"no image").is_err());
        assert_eq!(SizesArg::Pixels(vec![5]).of(b"no image")?, [5]);
        Ok(())
    }
}
