//! Pictures that are made ahead: while the network runs one photo, the next ones are decoded.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::thread;

use image::RgbImage;

use crate::augment::Change;
use crate::list::List;
use crate::photos::Photos;

/// Pictures that wait for the network.
const AHEAD: usize = 2;

/// Bytes of pictures that are kept.
const KEPT_BYTES: usize = 2 << 20;

/// Gives the picture of a photo by its place in the list; None, and a warning, where there is none.
pub type Next<'a> = dyn FnMut(usize) -> Option<RgbImage> + 'a;

/// Runs `run`, which asks for the pictures of `items` in this order, each at most once, changed
/// as `change` says. Memory: a photo that is decoded, and three pictures.
pub fn ahead<T>(
    list: &List,
    photos: &mut Photos,
    items: &[usize],
    change: &(dyn Fn(usize) -> Change + Sync),
    run: impl FnOnce(&mut Next<'_>) -> T,
) -> T {
    thread::scope(|scope| {
        let (made, wanted) = sync_channel(AHEAD);
        scope.spawn(move || {
            for &item in items {
                let picture = view(list, photos, item, change(item));
                // Whoever asked has ended.
                if made.send((item, picture)).is_err() {
                    break;
                }
            }
        });
        let mut next = |item: usize| loop {
            match wanted.recv() {
                Ok((at, picture)) if at == item => return picture,
                Ok(_) => {}
                Err(_) => return None,
            }
        };
        run(&mut next)
    })
}

/// Pictures that are kept from the first pass to the second, as many as fit: of large pictures,
/// which are decoded again, the network takes most of the time.
#[derive(Default)]
pub struct Kept {
    pictures: BTreeMap<usize, RgbImage>,
    bytes: usize,
}

impl Kept {
    /// Keeps a picture, if it fits.
    pub fn put(&mut self, item: usize, picture: RgbImage) {
        let bytes = picture.as_raw().len();
        if self.bytes + bytes <= KEPT_BYTES {
            self.bytes += bytes;
            self.pictures.insert(item, picture);
        }
    }

    /// A picture that was kept.
    #[must_use]
    pub fn get(&self, item: usize) -> Option<&RgbImage> {
        self.pictures.get(&item)
    }

    /// The pictures that several have kept.
    #[must_use]
    pub fn all(kept: Vec<Kept>) -> Kept {
        let bytes = kept.iter().map(|kept| kept.bytes).sum();
        Kept { pictures: kept.into_iter().flat_map(|kept| kept.pictures).collect(), bytes }
    }
}

/// The picture of a photo of the list; None, and a warning, where there is none.
fn view(list: &List, photos: &mut Photos, item: usize, change: Change) -> Option<RgbImage> {
    let entry = list.entries.get(item)?;
    match photos.view(entry, change) {
        Ok(image) => Some(image),
        Err(reason) => {
            tracing::warn!(photo = %entry.path.display(), reason, "a photo is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_come_in_order_and_may_be_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        for number in 0..9u8 {
            let name = format!("{number}.png");
            RgbImage::from_pixel(40, 40, image::Rgb([number; 3]))
                .save(folder.path().join(&name))
                .unwrap();
            lines += &format!("{{\"path\": \"{name}\", \"class\": \"a\"}}\n");
        }
        std::fs::remove_file(folder.path().join("4.png")).unwrap();
        let path = folder.path().join("set.jsonl");
        std::fs::write(&path, lines).unwrap();
        let list = List::read(&path).unwrap();
        let mut photos = Photos::new(40);
        let none = |_| Change::default();
        let mut asked = |items: &[usize], wanted: &[usize]| -> Vec<Option<u8>> {
            ahead(&list, &mut photos, items, &none, |next| {
                wanted.iter().map(|&item| next(item).map(|p| p.get_pixel(0, 0).0[0])).collect()
            })
        };
        assert_eq!(asked(&[3, 4, 8, 1], &[3, 4, 8, 1]), [Some(3), None, Some(8), Some(1)]);
        assert_eq!(asked(&[0, 1, 2, 3, 5, 6, 7], &[1, 6]), [Some(1), Some(6)]);
        // More than were announced, and fewer.
        assert_eq!(asked(&[0], &[0, 7]), [Some(0), None]);
        assert!(asked(&[0, 1, 2, 3, 5, 6, 7, 8], &[]).is_empty());
    }
}
