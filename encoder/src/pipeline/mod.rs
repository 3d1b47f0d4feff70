//! Views of an image to region vectors or to one descriptor.
//!
//! R-MAC as in Gordo, Almazán, Revaud, Larlus (IJCV 2017): the network runs once for each size of
//! the image; each region's maximum is L2-normalised, whitened and L2-normalised again; the regions
//! of a size are summed and L2-normalised; the sizes are summed and L2-normalised. MAC, SPoC and
//! GeM are the same path with a single region. Projections that the weights hold
//! ([`ocelli_weights::Head`]) come where the network was trained to have them: of rows right behind
//! the pooling, of images at the end.

mod batches;
mod combine;

use std::borrow::Cow;
use std::time::Instant;

use image::RgbImage;
use ocelli_index::{
    Combine, CropFirst, DescriptorSpec, Grid, NetworkSpec, Pooling, ResizeFilter, Whitening,
};
use ocelli_network::finish::{self, check_whitening};
use ocelli_network::pooling::Rows;
use ocelli_network::{Error as NetworkError, Finish, Network, NetworkSeconds};
use ocelli_weights::settings::check_pooling;

use crate::error::{Error, Result};
use batches::rows_of_views;
use combine::combine;

/// Options of a pipeline around its network. All are part of the descriptor spec.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineOptions {
    /// How a feature map becomes vectors.
    pub pooling: Pooling,
    /// Longest sides, in pixels, that images are resized to; empty: never resized. Carried out
    /// where views are made, recorded here.
    pub sizes: Vec<u32>,
    /// Filter of that resizing.
    pub filter: ResizeFilter,
    /// Whether images smaller than a size are enlarged to it.
    pub upscale: bool,
    /// Whether EXIF orientation is applied.
    pub exif: bool,
    /// Whether JPEG files may be decoded at a reduced scale.
    pub jpeg_scaled: bool,
    /// How the descriptors of several sizes become one.
    pub combine: Combine,
    /// Whether, and how, boxes are cut out before resizing. Carried out where views are made,
    /// recorded here.
    pub crop_first: CropFirst,
}

/// The result that is made from an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All region vectors, (n, dim).
    Regions,
    /// One descriptor, (dim,).
    Descriptor,
}

impl Default for PipelineOptions {
    /// R-MAC of three levels on the feature map; images upright, as large as they are.
    fn default() -> PipelineOptions {
        PipelineOptions {
            pooling: Pooling::Rmac { levels: 3, grid: Grid::FeatureMap },
            sizes: Vec::new(),
            filter: ResizeFilter::Bilinear,
            upscale: true,
            exif: true,
            jpeg_scaled: false,
            combine: Combine::Sum,
            crop_first: CropFirst::No,
        }
    }
}

/// A network with its pooling and whitening, known by the descriptor spec of what it makes. Like
/// its network it may be sent to a thread but not shared between two: [`Pipeline::try_clone`].
pub struct Pipeline {
    network: Network,
    options: PipelineOptions,
    /// Head and whitening.
    finish: Finish,
    spec: DescriptorSpec,
}

impl Pipeline {
    /// Puts the pieces together.
    ///
    /// # Errors
    /// `Invalid` for pooling parameters or sizes out of range, and for a pooling that the network
    /// cannot serve; `Index(Dim)` or
    /// `Index(SpecMismatch)` when the whitening was learned on vectors of another dimension or spec
    /// (both hashes and the fields that differ are in the message).
    pub fn new(
        network: Network,
        options: PipelineOptions,
        whitening: Option<Whitening>,
    ) -> Result<Pipeline> {
        check_pooling(&options.pooling)?;
        network.check_pooling(&options.pooling)?;
        if !options.combine.is_sound() {
            return Err(Error::invalid(format!(
                "combine: expected gem:P or scale-gem:P with P over 0, or gem:P:FLOOR, found {}",
                options.combine
            )));
        }
        if options.sizes.contains(&0) {
            return Err(Error::invalid(
                "sizes: expected longest sides of at least 1 pixel, found 0",
            ));
        }
        let unwhitened = network_spec(&network, &options);
        let spec = match &whitening {
            None => DescriptorSpec::Network(unwhitened),
            Some(whitening) => {
                let expected = DescriptorSpec::Network(unwhitened.clone());
                check_whitening(whitening, network.row_dim())?;
                if network.head().image.is_some() {
                    return Err(Error::invalid(
                        "whitening: these weights have one for whole images already, and no other \
                         can follow it: do not pass --whitening, or pass --no-head",
                    ));
                }
                DescriptorSpec::same_or_err(
                    "the spec that the whitening was learned on",
                    &expected,
                    &whitening.learned_on,
                )?;
                DescriptorSpec::Network(NetworkSpec {
                    whitening: Some(whitening.hash()),
                    dim: dimension(whitening.dim_out()),
                    ..unwhitened
                })
            }
        };
        let finish = network.finish(whitening)?;
        Ok(Pipeline { network, options, finish, spec })
    }

    /// The spec of the descriptors that this pipeline makes.
    pub fn spec(&self) -> &DescriptorSpec {
        &self.spec
    }

    /// Dimension of descriptors and of region vectors.
    pub fn dim(&self) -> usize {
        self.spec.dim()
    }

    /// The options given to [`Pipeline::new`].
    pub fn options(&self) -> &PipelineOptions {
        &self.options
    }

    /// The network inside.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Another pipeline over the same weights and whitening, for another thread.
    ///
    /// # Errors
    /// `Torch` when libtorch refuses.
    pub fn try_clone(&self) -> Result<Pipeline> {
        Ok(Pipeline {
            network: self.network.try_clone()?,
            options: self.options.clone(),
            finish: self.finish.share(),
            spec: self.spec.clone(),
        })
    }

    /// Region vectors (n, [`dim`](Pipeline::dim)) row-major of an image given at one or several
    /// sizes: all regions of the first view, then of the second. Each is L2-normalised, whitened
    /// and L2-normalised again if there is a whitening; a region without activation is all zeros
    /// if there is none.
    ///
    /// # Errors
    /// `Invalid` without a view or for one without pixels, `NoActivation` when no unit fires in any
    /// view, `Torch`.
    pub fn regions(&self, views: &[RgbImage]) -> Result<Vec<f32>> {
        self.one(views, Wanted::Regions)
    }

    fn regions_of(&self, per_view: Vec<Rows>) -> Result<Vec<f32>> {
        if self.network.head().image.is_some() {
            return Err(Error::invalid(
                "region vectors: these weights whiten whole images only; take them without their \
                 head (--no-head)",
            ));
        }
        Ok(per_view.into_iter().flat_map(|view| view.rows).collect())
    }

    /// Descriptor ([`dim`](Pipeline::dim),) of length 1 of an image given at one or several sizes.
    ///
    /// # Errors
    /// As [`regions`](Pipeline::regions); `NoActivation` also when the sum of all regions vanishes.
    pub fn descriptor(&self, views: &[RgbImage]) -> Result<Vec<f32>> {
        self.one(views, Wanted::Descriptor)
    }

    fn descriptor_of(&self, per_view: Vec<Rows>) -> Result<Vec<f32>> {
        let sizes: Vec<f32> = per_view.into_iter().flat_map(|view| view.rows).collect();
        let combined = combine(&sizes, self.finish.row_dim(), self.options.combine);
        Ok(self.finish.image(combined)?)
    }

    fn one(&self, views: &[RgbImage], wanted: Wanted) -> Result<Vec<f32>> {
        let mut all = self.encode(&[views], wanted, 1, &mut NetworkSeconds::default())?;
        all.pop().unwrap_or_else(|| Err(Error::invalid("no answer for an image")))
    }

    /// What is wanted of each of `images`, which are given at one or several sizes each, in their
    /// order. Views of equal size pass the network together, at most `batch` of them. Seconds are
    /// added.
    ///
    /// An image alone and in a batch may differ in the last bits, since libtorch splits its sums
    /// otherwise; equal `images` and `batch` give equal bits on one kind of machine.
    ///
    /// # Errors
    /// `Torch`. What is wrong with one image is its own result: `Invalid`, `NoActivation`.
    pub fn encode(
        &self,
        images: &[&[RgbImage]],
        wanted: Wanted,
        batch: usize,
        seconds: &mut NetworkSeconds,
    ) -> Result<Vec<Result<Vec<f32>>>> {
        self.encode_while(images, wanted, batch, seconds, &|_| true)
    }

    /// [`encode`](Pipeline::encode) for as long as somebody waits: before each pass of the network
    /// `waiting` is asked, by their places, for which images that is so. The others become
    /// `Cancelled`.
    ///
    /// # Errors
    /// As [`encode`](Pipeline::encode).
    pub fn encode_while(
        &self,
        images: &[&[RgbImage]],
        wanted: Wanted,
        batch: usize,
        seconds: &mut NetworkSeconds,
        waiting: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Result<Vec<f32>>>> {
        let views: Vec<&RgbImage> = images.iter().copied().flatten().collect();
        // The image that each view is of.
        let owners: Vec<usize> =
            images.iter().zip(0..).flat_map(|(views, at)| vec![at; views.len()]).collect();
        let view_wanted = |view: usize| owners.get(view).is_none_or(|&image| waiting(image));
        let finish = (&self.finish, wanted == Wanted::Descriptor);
        let pooling = &self.options.pooling;
        let rows =
            rows_of_views(&self.network, pooling, finish, &views, batch, seconds, &view_wanted)?;
        let mut rows = rows.into_iter();
        let begun = Instant::now();
        let made = images
            .iter()
            .map(|views| {
                // All of an image's views are taken, also where one of them is an error.
                let rows: Vec<Result<Rows>> = rows.by_ref().take(views.len()).collect();
                let per_view = rows.into_iter().collect::<Result<Vec<_>>>()?;
                if per_view.is_empty() {
                    return Err(Error::invalid("views: expected at least one, found none"));
                }
                if !per_view.iter().any(|view| view.active) {
                    return Err(NetworkError::no_activation().into());
                }
                match wanted {
                    Wanted::Regions => self.regions_of(per_view),
                    Wanted::Descriptor => self.descriptor_of(per_view),
                }
            })
            .collect();
        seconds.pool += begun.elapsed().as_secs_f64();
        Ok(made)
    }
}

/// Descriptor of length 1 from the region vectors `rows` (n, `dim`) of one image at one size, as
/// [`Pipeline::descriptor`] makes it. With a whitening, `rows` are unwhitened and `dim` is its
/// input's dimension; without one, `rows` are summed as they are, be they whitened or not.
///
/// Where an image was encoded at several sizes each size is pooled on its own: give the rows of one
/// size at a time, then all results together as rows without a whitening.
///
/// # Errors
/// `Index(Dim)` when the whitening takes another dimension, `Invalid` when `rows` is empty or no
/// multiple of `dim`, `NoActivation` when all rows or their sum are zero.
pub fn pool_regions(rows: &[f32], dim: usize, whitening: Option<&Whitening>) -> Result<Vec<f32>> {
    check_regions(rows, dim, whitening)?;
    if rows.iter().all(|&v| v == 0.0) {
        return Err(NetworkError::no_activation().into());
    }
    Ok(finish::unit(finish::sum_of_units(rows, dim, whitening)?)?)
}

/// Region vectors `rows` (n, `dim`) whitened and L2-normalised row by row, as [`Pipeline::regions`]
/// makes them; as they are if there is no whitening.
///
/// # Errors
/// `Index(Dim)` when the whitening takes another dimension, `Invalid` when `rows` is empty or no
/// multiple of `dim`.
pub fn whiten_regions<'a>(
    rows: &'a [f32],
    dim: usize,
    whitening: Option<&Whitening>,
) -> Result<Cow<'a, [f32]>> {
    check_regions(rows, dim, whitening)?;
    Ok(finish::whiten(rows, dim, whitening)?)
}

fn check_regions(rows: &[f32], dim: usize, whitening: Option<&Whitening>) -> Result<()> {
    if dim == 0 || rows.is_empty() || !rows.len().is_multiple_of(dim) {
        return Err(Error::invalid(format!(
            "region vectors: expected rows of dimension {dim}, found {} values",
            rows.len()
        )));
    }
    Ok(whitening.map_or(Ok(()), |whitening| check_whitening(whitening, dim))?)
}

fn network_spec(network: &Network, options: &PipelineOptions) -> NetworkSpec {
    let identity = network.identity();
    NetworkSpec {
        weights: identity.weights,
        arch: identity.arch.clone(),
        form: identity.form,
        last_stage: identity.last_stage,
        input: identity.input,
        bn_eps: identity.bn_eps,
        pooling: options.pooling,
        sizes: options.sizes.clone(),
        filter: options.filter,
        upscale: options.upscale,
        exif: options.exif,
        jpeg_scaled: options.jpeg_scaled,
        head: identity.head,
        image_whitening: identity.image_whitening,
        precision: identity.precision,
        combine: options.combine,
        crop_first: options.crop_first,
        whitening: None,
        dim: dimension(network.descriptor_dim()),
    }
}

/// Dimensions come from tensor shapes and files that are checked; none is near the limit.
fn dimension(dim: usize) -> u32 {
    u32::try_from(dim).unwrap_or(u32::MAX)
}
