//! The work of one worker: a run of images, from their files to what is written of them.

use image::RgbImage;
use ocelli_index::attributes::{Value, names, record};
use ocelli_index::{
    Attributes, Encoded as Codes, Hash, Model, RowEncoder, RowEncoderScratch, simd,
};
use ocelli_network::NetworkSeconds;
use ocelli_pictures::photos::{ImageFile, Origin, Photo};
use ocelli_pictures::{
    Decoded, Fingerprint, PixelBox, Preview, Previews, Resizer, Rotation, ViewOptions, decode,
    views,
};

use super::StageSeconds;
use crate::error::{Error, Result};
use crate::pipeline::{Pipeline, Wanted};

/// Consecutive images of one part, which one worker encodes together.
pub(super) struct Run {
    /// Number of the first one in the input.
    pub(super) first: u64,
    pub(super) photos: Vec<Photo>,
}

/// The data that is written for an image.
pub(super) enum Made {
    Vectors(Vec<f32>),
    Code { list: u32, code: Vec<u8>, fine: Vec<u8> },
}

/// One image when it leaves its worker.
pub(super) struct Encoded {
    pub(super) key: String,
    pub(super) id: Option<u64>,
    pub(super) attributes: Option<Attributes>,
    /// The image's further attributes ([`ocelli_index::attributes::record`]).
    pub(super) record: Vec<u8>,
    /// The image's place in the input, where the key does not give it.
    pub(super) origin: Option<Origin>,
    /// The reason if there is nothing.
    pub(super) made: std::result::Result<Made, String>,
}

/// The images of a [`Run`] when they leave their worker.
pub(super) struct EncodedRun {
    pub(super) first: u64,
    pub(super) images: Vec<Encoded>,
    pub(super) times: StageSeconds,
}

/// A model that makes codes of descriptors, shared by all workers.
pub(super) struct Coder<'m> {
    model: &'m Model,
    encoder: RowEncoder<'m>,
}

impl<'m> Coder<'m> {
    pub(super) fn new(model: &'m Model) -> Self {
        Coder { model, encoder: RowEncoder::new(model) }
    }

    /// Codes of one descriptor, (dim,): what building an index makes of it.
    pub(super) fn code(&self, x: &[f32], scratch: &mut RowEncoderScratch) -> Result<Made> {
        let mut out = Codes::default();
        self.encoder.encode(x, scratch, &mut out)?;
        let Some(&list) = out.lists.first() else {
            return Err(Error::invalid("no code for a descriptor"));
        };
        let mut fine = Vec::new();
        self.model.encode_fine(simd(), &out.z, list, &out.codes, &mut fine)?;
        Ok(Made::Code { list, code: out.codes, fine })
    }
}

/// The pipeline, options and buffers of one thread.
pub(super) struct Worker<'m> {
    pub(super) pipeline: Pipeline,
    pub(super) resizer: Resizer,
    pub(super) view_options: ViewOptions,
    pub(super) wanted: Wanted,
    pub(super) batch: usize,
    pub(super) pixel_hashes: bool,
    pub(super) previews: Option<Previews>,
    pub(super) coder: Option<&'m Coder<'m>>,
    pub(super) scratch: RowEncoderScratch,
}

/// An image as it is known before the network.
struct SeenImage {
    attributes: Attributes,
    record: Vec<u8>,
    views: Vec<RgbImage>,
}

/// The reason if an image cannot be seen.
type Seen = std::result::Result<SeenImage, String>;

impl Worker<'_> {
    /// Encodes a run. What is wrong with an image is a reason inside the result; an `Err` is wrong
    /// with the machine.
    pub(super) fn encode(&mut self, run: Run) -> Result<EncodedRun> {
        let mut times = StageSeconds::default();
        let mut names = Vec::with_capacity(run.photos.len());
        let mut seen = Vec::with_capacity(run.photos.len());
        for Photo { key, id, bbox, rotate, source, origin } in run.photos {
            names.push((key, id, origin));
            seen.push(
                timed(&mut times.read, || source.read())
                    .and_then(|file| self.see(&file, bbox.as_ref(), rotate, &mut times)),
            );
        }
        let views: Vec<&[RgbImage]> =
            seen.iter().flatten().map(|image: &SeenImage| image.views.as_slice()).collect();
        let mut seconds = NetworkSeconds::default();
        let mut made =
            self.pipeline.encode(&views, self.wanted, self.batch, &mut seconds)?.into_iter();
        times.copy += seconds.copy;
        times.network += seconds.network;
        times.pool += seconds.pool;

        let mut images = Vec::with_capacity(names.len());
        for ((key, id, origin), seen) in names.into_iter().zip(seen) {
            let (attributes, record, made) = match seen {
                Err(reason) => (None, Vec::new(), Err(reason)),
                Ok(SeenImage { attributes, record, .. }) => {
                    let made = made.next().unwrap_or_else(|| Err(Error::invalid("no answer")));
                    let made = match rejectable(made)? {
                        Err(reason) => Err(reason),
                        Ok(rows) => Ok(self.finish(rows, &mut times)?),
                    };
                    (Some(attributes), record, made)
                }
            };
            images.push(Encoded { key, id, attributes, record, origin, made });
        }
        Ok(EncodedRun { first: run.first, images, times })
    }

    /// Decodes and resizes.
    fn see(
        &mut self,
        file: &ImageFile,
        bbox: Option<&PixelBox>,
        rotate: Option<Rotation>,
        times: &mut StageSeconds,
    ) -> Seen {
        let ImageFile { bytes, modified_ms } = file;
        let sha256 = timed(&mut times.read, || Hash::of(bytes).bytes());
        let max_pixels = self.view_options.max_pixels;
        let mut decoded =
            timed(&mut times.decode, || decode(bytes, max_pixels)).map_err(|e| e.to_string())?;
        timed(&mut times.resize, || self.keep_preview(sha256, &decoded));
        let (width, height) = decoded.pixels.dimensions();
        let attributes = Attributes {
            sha256,
            bytes: bytes.len() as u64,
            modified_ms: *modified_ms,
            width,
            height,
        };
        let turned = rotate.map(|turn| turn.replace_exif(&mut decoded, &self.view_options));
        let options = turned.as_ref().unwrap_or(&self.view_options);
        let record = timed(&mut times.hash, || record_of(&decoded, bbox, self.pixel_hashes));
        let made = timed(&mut times.resize, || {
            views(&decoded, bbox, &options.sizes, options, &mut self.resizer)
        });
        let views = made.map_err(|e| e.to_string())?;
        Ok(SeenImage { attributes, record: record?, views })
    }

    /// Keeps a preview of a photo. Whoever lacks it decodes the photo again.
    fn keep_preview(&mut self, sha256: [u8; 32], photo: &Decoded) {
        let Some(previews) = &self.previews else { return };
        let made = Preview::file_of(photo, &mut self.resizer).map_err(|e| e.to_string());
        let kept = made.and_then(|file| previews.put(sha256, &file).map_err(|e| e.to_string()));
        if let Err(reason) = kept {
            tracing::warn!(reason, "previews are not kept any more: expected room for them");
            self.previews = None;
        }
    }

    fn finish(&mut self, rows: Vec<f32>, times: &mut StageSeconds) -> Result<Made> {
        match self.coder {
            None => Ok(Made::Vectors(rows)),
            Some(coder) => timed(&mut times.pool, || coder.code(&rows, &mut self.scratch)),
        }
    }
}

/// The attributes that a photo, or the part `bbox` of it, shows and says of itself, as a record of
/// columns.
///
/// # Errors
/// A box that is no rectangle or lies outside; a record that cannot be.
fn record_of(
    photo: &Decoded,
    bbox: Option<&PixelBox>,
    pixel_hashes: bool,
) -> std::result::Result<Vec<u8>, String> {
    let mut fields = record::Fields::new();
    if let Some(bbox) = bbox {
        fields.insert(names::PIXEL_BOX.to_owned(), Value::Text(bbox.to_string()));
    }
    if let Some(captured) = photo.captured {
        fields.insert(names::CAPTURED_MS.to_owned(), Value::Int(captured.ms));
        let zone = captured.zone().map(|zone| (names::CAPTURED_ZONE.to_owned(), Value::Text(zone)));
        fields.extend(zone);
    }
    if pixel_hashes {
        let part = bbox.map(|bbox| photo.part(bbox)).transpose().map_err(|e| e.to_string())?;
        let Fingerprint { pixels_sha256, phash } = Fingerprint::of(part.as_ref().unwrap_or(photo));
        fields.insert(names::PIXELS_SHA256.to_owned(), Value::Bytes32(pixels_sha256));
        fields.insert(names::PHASH.to_owned(), Value::Bytes8(phash));
    }
    record::encode(&fields).map_err(|e| e.to_string())
}

/// Splits what the network says: no descriptor for this image, or no network any more.
pub(super) fn rejectable(made: Result<Vec<f32>>) -> Result<std::result::Result<Vec<f32>, String>> {
    match made {
        Ok(rows) => Ok(Ok(rows)),
        Err(e) if e.is_of_one_image() => Ok(Err(e.to_string())),
        Err(e) => Err(e),
    }
}

/// Adds the seconds that `run` takes.
pub(super) fn timed<R>(seconds: &mut f64, run: impl FnOnce() -> R) -> R {
    let started = std::time::Instant::now();
    let result = run();
    *seconds += started.elapsed().as_secs_f64();
    result
}
