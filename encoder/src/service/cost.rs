//! What a request costs, in pixels that the network sees: known from its sizes, before anything is
//! read of its image.

use ocelli_pictures::ViewOptions;

use super::{Request, ServiceError};

/// How requests are priced, and the dearest that is taken.
///
/// A size S costs S x S, which is what a square takes: no view has more. So a client knows the cost
/// without this server, and nothing of a stranger's file is parsed for it.
#[derive(Clone, Debug)]
pub(super) struct Prices {
    own: u64,
    limit: u64,
}

impl Prices {
    /// `max_request_pixels` as configured: what the server's own sizes need is always allowed.
    pub(super) fn new(options: &ViewOptions, max_request_pixels: u64) -> Prices {
        let own = match options.sizes.as_slice() {
            // Never resized.
            [] => options.max_pixels,
            sizes => squares(sizes),
        };
        Prices { own, limit: own.max(max_request_pixels) }
    }

    /// Pixels of an image at the server's own sizes.
    pub(super) fn own(&self) -> u64 {
        self.own
    }

    /// Pixels of `request`.
    ///
    /// # Errors
    /// `InvalidArgument` beyond the limit.
    pub(super) fn of(&self, request: &Request) -> Result<u64, ServiceError> {
        let Request { sizes, .. } = request;
        if sizes.is_empty() {
            return Ok(self.own);
        }
        let pixels = squares(sizes);
        if pixels > self.limit {
            let message = format!(
                "sizes: {} sizes come to {pixels} pixels for the network (each times itself), \
                 more than max_request_pixels = {}: ask for fewer sizes or smaller ones",
                sizes.len(),
                self.limit
            );
            return Err(ServiceError::field("sizes", message));
        }
        Ok(pixels)
    }
}

fn squares(sizes: &[u32]) -> u64 {
    sizes.iter().map(|&px| u64::from(px).pow(2)).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use ocelli_index::{CropFirst, ResizeFilter};

    use super::*;

    fn prices(sizes: &[u32], max_request_pixels: u64) -> Prices {
        let options = ViewOptions {
            sizes: sizes.to_vec(),
            filter: ResizeFilter::Bilinear,
            upscale: true,
            exif: true,
            crop_first: CropFirst::No,
            max_pixels: 1 << 20,
            min_side: 1,
        };
        Prices::new(&options, max_request_pixels)
    }

    fn request(sizes: &[u32]) -> Request {
        Request { sizes: sizes.to_vec(), ..Request::default() }
    }

    #[test]
    fn sizes_cost_their_squares_and_own_ones_are_allowed() {
        let some = prices(&[100], 50_000);
        assert_eq!((some.own(), some.of(&request(&[])).unwrap()), (10_000, 10_000));
        assert_eq!(some.of(&request(&[200, 100])).unwrap(), 50_000);
        let error = some.of(&request(&[200, 101])).unwrap_err();
        for part in ["2 sizes come to 50201 pixels", "max_request_pixels = 50000"] {
            assert!(error.message.contains(part), "{error}");
        }
        assert_eq!(error.field, "sizes");
        let low = prices(&[100, 300], 1);
        assert_eq!(low.of(&request(&[])).unwrap(), 100_000);
        assert_eq!(low.of(&request(&[300, 100])).unwrap(), 100_000);
        assert_eq!(prices(&[], 1).of(&request(&[])).unwrap(), 1 << 20);
        assert!(prices(&[u32::MAX; 8], 1).of(&request(&[4096; 8])).is_ok());
    }
}
