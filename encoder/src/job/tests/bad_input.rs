//! A directory of everything that goes wrong in collections: each is encoded or listed with its
//! reason.

use std::collections::BTreeMap;
use std::fs;

use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageBuffer, ImageFormat, Rgb, RgbImage, RgbaImage};
use ocelli_index::{Part, ResizeFilter};
use ocelli_network::{Network, NetworkOptions};
use ocelli_pictures::photos::Input;
use ocelli_weights::seeded::{self, SeededArch};

use super::*;
use crate::pipeline::PipelineOptions;

fn wave(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let v = (x * 7 + y * 3) % 256;
        Rgb([v as u8, (v / 2) as u8, 255 - v as u8])
    })
}

#[test]
fn each_is_encoded_or_rejected_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("photos");
    fs::create_dir(&root).unwrap();
    wave(60, 40).save(root.join("sound.jpg")).unwrap();
    wave(1, 1).save(root.join("one-pixel.png")).unwrap();
    wave(3, 5000).save(root.join("sliver.png")).unwrap();
    fs::write(root.join("cmyk.jpg"), include_bytes!("../../../../pictures/tests-data/cmyk.jpg"))
        .unwrap();
    let deep: ImageBuffer<Rgb<u16>, Vec<u16>> =
        ImageBuffer::from_fn(30, 20, |x, y| Rgb([(x * 2000) as u16, (y * 3000) as u16, 65_535]));
    DynamicImage::ImageRgb16(deep).save(root.join("sixteen-bits.png")).unwrap();
    let mut gif = GifEncoder::new(fs::File::create(root.join("animated.gif")).unwrap());
    let frames = [40u8, 200].map(|v| {
        Frame::new(RgbaImage::from_fn(24, 24, |x, _| image::Rgba([v, (x * 9) as u8, 255 - v, 255])))
    });
    gif.encode_frames(frames).unwrap();
    drop(gif);
    wave(50, 50).save_with_format(root.join("png-inside.jpg"), ImageFormat::Png).unwrap();
    let encoded = ["animated.gif", "cmyk.jpg", "png-inside.jpg", "sixteen-bits.png", "sound.jpg"];

    let sound = fs::read(root.join("sound.jpg")).unwrap();
    fs::write(root.join("truncated.jpg"), &sound[..sound.len() * 2 / 3]).unwrap();
    fs::write(root.join("bomb.png"), include_bytes!("../../../../pictures/tests-data/bomb.png"))
        .unwrap();
    fs::write(root.join("empty.jpg"), "").unwrap();
    fs::write(root.join("text.jpg"), "no image at all").unwrap();
    let rejected = [
        ("bomb.png", "100000 x 100000 pixels"),
        ("empty.jpg", "empty file"),
        ("one-pixel.png", "1 x 1 pixels, expected at least 20 a side"),
        ("sliver.png", "3 x 5000 pixels, expected at least 20 a side"),
        ("text.jpg", "not an image"),
        ("truncated.jpg", "truncated JPEG"),
    ];
    // In a directory it is a folder to walk; named by a list it is no file.
    fs::create_dir(root.join("folder.jpg")).unwrap();

    let weights = folder.path().join("weights.safetensors");
    seeded::write(SeededArch::Resnet18, 7, 1, &weights).unwrap();
    let network = Network::open(&weights, &NetworkOptions::default()).unwrap();
    let sizes = vec![48, 96];
    let options = PipelineOptions { sizes: sizes.clone(), ..PipelineOptions::default() };
    let pipeline = Pipeline::new(network, options, None).unwrap();
    let view_options = ViewOptions {
        sizes,
        filter: ResizeFilter::Bilinear,
        upscale: true,
        exif: true,
        crop_first: ocelli_index::CropFirst::No,
        max_pixels: 1_000_000,
        min_side: 20,
    };
    let list = folder.path().join("photos.list");
    let names: Vec<&str> = encoded.iter().copied().chain(rejected.map(|(name, _)| name)).collect();
    let lines: String = names.iter().map(|name| format!("photos/{name}\n")).collect();
    fs::write(&list, lines + "photos/folder.jpg\nphotos/not-there.jpg\n").unwrap();

    for (input, prefix) in [(Input::Directory(root), ""), (Input::List(list), "photos/")] {
        let path = folder.path().join("out.part");
        let output = Output {
            rejected: Output::rejected_beside(&path),
            part: path.clone(),
            kind: PartKind::Descriptors,
            dtype: Dtype::F32,
        };
        let options = JobOptions { batch: 4, ..workers_of(2) };
        encode(&input, &pipeline, &view_options, &output, &options).unwrap();
        let part = Part::open(&path).unwrap();
        part.verify().unwrap();
        let mut keys = part.keys().unwrap();
        keys.sort();
        assert_eq!(keys, encoded.map(|name| format!("{prefix}{name}")));
        for row in part.read(0..part.rows()).unwrap().chunks(part.dim()) {
            let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            assert!((norm - 1.0).abs() < 1e-5, "{norm}");
        }
        let text = fs::read_to_string(&output.rejected).unwrap();
        let reasons: BTreeMap<String, String> = text
            .lines()
            .map(|line| serde_json::from_str::<BTreeMap<String, String>>(line).unwrap())
            .map(|line| (line["key"].clone(), line["reason"].clone()))
            .collect();
        let mut expected: Vec<(&str, &str)> = rejected.to_vec();
        if !prefix.is_empty() {
            expected
                .extend([("folder.jpg", "not a regular file"), ("not-there.jpg", "cannot read")]);
        }
        assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
        for (name, reason) in expected {
            let found = &reasons[&format!("{prefix}{name}")];
            assert!(found.contains(reason), "{name}: {found}");
        }
    }
}
