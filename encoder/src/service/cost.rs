//! What an image costs, in pixels that the network sees: known from its header, before anything is decoded.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::ImageReader;

use super::{Request, ServiceError};
use crate::views::{ViewOptions, geometry};

/// How images are priced, and the dearest that is taken.
#[derive(Clone, Debug)]
pub(super) struct Prices {
    sizes: Vec<u32>,
    upscale: bool,
    crop_first: bool,
    own: u64,
    limit: u64,
}

impl Prices {
    /// `max_request_pixels` as configured: what the server's own sizes need is always allowed.
    pub(super) fn new(options: &ViewOptions, max_request_pixels: u64) -> Prices {
        let own = match options.sizes.as_slice() {
            [] => options.max_pixels,
            sizes => sizes.iter().map(|&px| u64::from(px).pow(2)).sum(),
        };
        Prices {
            sizes: options.sizes.clone(),
            upscale: options.upscale,
            crop_first: options.crop_first,
            own,
            limit: own.max(max_request_pixels),
        }
    }

    /// Pixels of an image at the server's own sizes, at most.
    pub(super) fn own(&self) -> u64 {
        self.own
    }

    /// Pixels of `request`, an upper bound where its image's header cannot be read.
    ///
    /// # Errors
    /// `InvalidArgument` beyond the limit.
    pub(super) fn of(&self, request: &Request) -> Result<u64, ServiceError> {
        self.of_stored(request, stored(&request.data))
    }

    /// The same where the size of the image is known.
    ///
    /// # Errors
    /// As [`of`](Prices::of).
    pub(super) fn of_stored(
        &self,
        request: &Request,
        stored: Option<(u32, u32)>,
    ) -> Result<u64, ServiceError> {
        // With the crop first its longest side becomes the size, and its shape is not the image's.
        let stored = stored.filter(|_| !(self.crop_first && request.bbox.is_some()));
        let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        let sizes = if request.sizes.is_empty() { &self.sizes } else { &request.sizes };
        let pixels: u64 = match (sizes.as_slice(), stored) {
            ([], stored) => stored.map_or(1, area),
            (sizes, None) => sizes.iter().map(|&px| u64::from(px).pow(2)).sum(),
            (sizes, Some(stored)) => {
                let view = |&px| area(geometry::resized(stored, Some(px), self.upscale));
                sizes.iter().map(view).sum()
            }
        };
        // Without sizes `max_pixels` is the limit, which the decoder holds.
        if pixels > self.limit && !sizes.is_empty() {
            return Err(ServiceError::field(
                "sizes",
                format!(
                    "sizes: the network would see {pixels} pixels of this image ({} sizes), more than \
                     max_request_pixels = {}: ask for fewer sizes or smaller ones",
                    sizes.len(),
                    self.limit
                ),
            ));
        }
        Ok(pixels.max(1))
    }
}

/// Width and height of an image, from its header; none where it has none that can be read.
fn stored(data: &[u8]) -> Option<(u32, u32)> {
    let read = || {
        let reader = ImageReader::new(Cursor::new(data)).with_guessed_format().ok()?;
        reader.into_dimensions().ok()
    };
    catch_unwind(AssertUnwindSafe(read)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, RgbImage};
    use ocelli_index::ResizeFilter;

    use super::*;
    use crate::views::PixelBox;

    fn options(sizes: &[u32]) -> ViewOptions {
        ViewOptions {
            sizes: sizes.to_vec(),
            filter: ResizeFilter::Bilinear,
            upscale: true,
            exif: true,
            crop_first: false,
            max_pixels: 1 << 20,
        }
    }

    fn request(format: ImageFormat, sizes: &[u32]) -> Request {
        let mut out = Cursor::new(Vec::new());
        RgbImage::new(200, 100).write_to(&mut out, format).unwrap();
        Request { data: out.into_inner(), bbox: None, sizes: sizes.to_vec() }
    }

    /// By hand: half as high as wide, so half of the square; a header that cannot be read costs the square.
    #[test]
    fn an_image_costs_the_pixels_of_its_views() {
        let prices = Prices::new(&options(&[100]), 70_000);
        assert_eq!(prices.own(), 10_000);
        let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Tiff];
        for format in formats {
            assert_eq!(prices.of(&request(format, &[])).unwrap(), 5_000, "{format:?}");
        }
        let png = |sizes: &[u32]| request(ImageFormat::Png, sizes);
        assert_eq!(prices.of(&png(&[300, 100])).unwrap(), 50_000);
        let error = prices.of(&png(&[300, 300])).unwrap_err();
        assert!(error.message.contains("90000 pixels") && error.message.contains("70000"));
        assert_eq!(error.field, "sizes");
        let unreadable = Request { data: b"no image".to_vec(), ..png(&[300]) };
        assert!(prices.of(&unreadable).is_err());
        let small = ViewOptions { upscale: false, ..options(&[100]) };
        assert_eq!(Prices::new(&small, 1).of(&png(&[])).unwrap(), 5_000);
        assert_eq!(Prices::new(&small, 1 << 40).of(&png(&[4096; 8])).unwrap(), 160_000);
    }

    /// The server's own sizes are never refused; a crop that comes first may be square.
    #[test]
    fn own_sizes_are_always_allowed() {
        let prices = Prices::new(&options(&[100, 300]), 1);
        assert_eq!(prices.of(&request(ImageFormat::Png, &[])).unwrap(), 50_000);
        let stored = Prices::new(&options(&[]), 1);
        assert_eq!(stored.of(&request(ImageFormat::Png, &[])).unwrap(), 20_000);
        let first = ViewOptions { crop_first: true, ..options(&[100]) };
        let bbox = Some(PixelBox { x0: 0.0, y0: 0.0, x1: 50.0, y1: 50.0 });
        let boxed = Request { bbox, ..request(ImageFormat::Png, &[]) };
        assert_eq!(Prices::new(&first, 1).of(&boxed).unwrap(), 10_000);
    }
}
