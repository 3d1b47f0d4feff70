//! Whole jobs with a small untrained network over generated photos.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use ocelli_index::{DescriptorSpec, Part, Whitening};
use tempfile::TempDir;

use super::*;
use crate::network::seeded::{self, SeededArch};
use crate::network::{Network, NetworkOptions};
use crate::pipeline::PipelineOptions;

/// A network of one stage, 64 channels, at the given sizes.
fn pipeline(folder: &Path, sizes: &[u32], whitening: Option<Whitening>) -> Pipeline {
    let weights = folder.join("weights.safetensors");
    if !weights.exists() {
        seeded::write(SeededArch::Resnet18, 7, 1, &weights).unwrap();
    }
    let network = Network::open(&weights, &NetworkOptions::default()).unwrap();
    let options = PipelineOptions { sizes: sizes.to_vec(), ..PipelineOptions::default() };
    Pipeline::new(network, options, whitening).unwrap()
}

fn view_options(sizes: &[u32]) -> ViewOptions {
    ViewOptions {
        sizes: sizes.to_vec(),
        filter: ocelli_index::ResizeFilter::Bilinear,
        upscale: true,
        exif: true,
        max_pixels: 10_000,
    }
}

/// Stripes that differ from image to image.
fn photo(seed: u32) -> RgbImage {
    RgbImage::from_fn(40 + seed % 30, 50, |x, y| {
        let wave = (x * (1 + seed % 5) + y * (2 + seed % 7)) * 9 % 256;
        Rgb([wave as u8, (wave / 2) as u8, (seed * 8 % 256) as u8])
    })
}

fn photos(folder: &Path) -> Input {
    let root = folder.join("photos");
    fs::create_dir_all(root.join("sub")).unwrap();
    for seed in 0..24 {
        let name = format!("{}{seed:02}.png", if seed % 3 == 0 { "sub/" } else { "" });
        photo(seed).save(root.join(name)).unwrap();
    }
    let sound = fs::read(root.join("01.png")).unwrap();
    fs::write(root.join("05-cut.png"), &sound[..sound.len() / 2]).unwrap();
    fs::write(root.join("11-text.jpg"), "no image").unwrap();
    RgbImage::new(200, 51).save(root.join("99-large.png")).unwrap();
    Input::Directory(root)
}

fn output(folder: &Path, name: &str, kind: PartKind) -> Output {
    let part = folder.join(name);
    Output { rejected: Output::rejected_beside(&part), part, kind, dtype: Dtype::F32 }
}

fn setup() -> (TempDir, Input) {
    let folder = tempfile::tempdir().unwrap();
    let input = photos(folder.path());
    (folder, input)
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_workers() {
    let (folder, input) = setup();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let mut written = Vec::new();
    for workers in [1, 3] {
        let output = output(folder, &format!("{workers}.part"), PartKind::Regions);
        let summary = encode(&input, &pipeline, &view_options(&[48]), &output, workers).unwrap();
        assert_eq!((summary.images, summary.rejected), (24, 3));
        written.push((fs::read(&output.part).unwrap(), fs::read(&output.rejected).unwrap()));
    }
    assert!(written[0] == written[1]);

    let part = Part::open(&folder.join("1.part")).unwrap();
    let keys = part.keys().unwrap();
    assert!(keys.is_sorted() && keys[0] == "01.png" && keys[23] == "sub/21.png", "{keys:?}");
    let rejected: Vec<BTreeMap<String, String>> = written[0]
        .1
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let expected = [
        ("05-cut.png", "PNG"),
        ("11-text.jpg", "not an image"),
        ("99-large.png", "200 x 51 pixels, the limit is 10000"),
    ];
    assert_eq!(rejected.len(), expected.len());
    for (line, (key, reason)) in rejected.iter().zip(expected) {
        assert!(line["key"] == key && line["reason"].contains(reason), "{line:?}");
    }
}

/// Directory, list and tar of the same photos give the same vectors; the list adds ids and a box.
#[test]
fn inputs_agree() {
    let (folder, input) = setup();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let run = |input: &Input, name: &str| {
        let output = output(folder, name, PartKind::Descriptors);
        encode(input, &pipeline, &view_options(&[48]), &output, 2).unwrap();
        Part::open(&output.part).unwrap()
    };
    let whole = run(&input, "dir.part");
    let tar_path = folder.join("photos.tar");
    let mut tar = ::tar::Builder::new(fs::File::create(&tar_path).unwrap());
    tar.append_dir_all(".", folder.join("photos")).unwrap();
    tar.into_inner().unwrap();
    let from_tar = run(&Input::Tar(tar_path), "tar.part");
    assert_eq!(from_tar.images(), whole.images());
    let rows: BTreeMap<String, Vec<f32>> = (0..from_tar.images())
        .map(|i| (from_tar.key(i).unwrap(), from_tar.read(from_tar.rows_of(i)).unwrap()))
        .collect();
    for i in 0..whole.images() {
        assert_eq!(rows[&whole.key(i).unwrap()], whole.read(whole.rows_of(i)).unwrap());
    }

    let list = folder.join("list.jsonl");
    let lines = "{\"path\": \"photos/02.png\", \"id\": 9}\n\
                 {\"path\": \"photos/02.png\", \"key\": \"part\", \"id\": 4, \"box\": [9, 9, 30, 30]}\n\
                 {\"path\": \"photos/01.png\", \"id\": 5, \"box\": [900, 9, 930, 30]}";
    fs::write(&list, lines).unwrap();
    let listed = run(&Input::List(list), "list.part");
    assert_eq!(listed.keys().unwrap(), ["photos/02.png", "part"]);
    assert_eq!((listed.id(0).unwrap(), listed.id(1).unwrap()), (Some(9), Some(4)));
    assert_eq!(listed.read(0..1).unwrap(), rows["02.png"]);
    assert_ne!(listed.read(1..2).unwrap(), rows["02.png"]);
}

/// Regions first and pooled later is the same as pooled at once, with and without a whitening.
#[test]
fn kept_regions_pool_to_the_same_descriptors() {
    let (folder, input) = setup();
    let folder = folder.path();
    let regions = output(folder, "regions.part", PartKind::Regions);
    let plain = pipeline(folder, &[48], None);
    encode(&input, &plain, &view_options(&[48]), &regions, 2).unwrap();

    // Any matrix will do: 64 to 8 dimensions.
    let projection = (0..64 * 8).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let whitening = |learned_on: &DescriptorSpec| Whitening {
        mean: vec![0.01; 64],
        projection,
        learned_on: learned_on.clone(),
    };
    let whitening = whitening(plain.spec());
    for whitening in [None, Some(whitening.clone())] {
        let pipeline = pipeline(folder, &[48], whitening.clone());
        for kind in [PartKind::Descriptors, PartKind::Regions] {
            let direct = output(folder, "direct.part", kind);
            encode(&input, &pipeline, &view_options(&[48]), &direct, 2).unwrap();
            let later = output(folder, "later.part", kind);
            let summary = encode_regions(&regions.part, whitening.as_ref(), &later).unwrap();
            let (a, b) = (Part::open(&direct.part).unwrap(), Part::open(&later.part).unwrap());
            assert_eq!((a.spec(), a.rows()), (b.spec(), b.rows()));
            assert_eq!(a.keys().unwrap(), b.keys().unwrap());
            assert_eq!(summary.rows as usize, a.rows());
            let (x, y) = (a.read(0..a.rows()).unwrap(), b.read(0..b.rows()).unwrap());
            assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-5));
        }
    }

    // What does not fit is refused: descriptors, another spec, two sizes.
    let out = output(folder, "never.part", PartKind::Descriptors);
    let refused = |part: &Path, whitening: Option<&Whitening>| {
        encode_regions(part, whitening, &out).unwrap_err().to_string()
    };
    encode(
        &input,
        &plain,
        &view_options(&[48]),
        &output(folder, "d.part", PartKind::Descriptors),
        1,
    )
    .unwrap();
    assert!(refused(&folder.join("d.part"), None).contains("expected region vectors"));
    let two = output(folder, "two.part", PartKind::Regions);
    encode(&input, &pipeline(folder, &[48, 32], None), &view_options(&[48, 32]), &two, 2).unwrap();
    assert!(refused(&two.part, None).contains("2 sizes"));
    assert!(refused(&two.part, Some(&whitening)).contains("sizes: expected"));
    assert!(!out.part.exists() && !out.rejected.exists());
}

#[test]
fn a_failed_job_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let root = folder.join("photos");
    fs::create_dir(&root).unwrap();
    let out = folder.join("out");
    fs::create_dir(&out).unwrap();
    let output = output(&out, "x.part", PartKind::Descriptors);
    let failed = |input: &Input| {
        let result = encode(input, &pipeline, &view_options(&[48]), &output, 2);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
        result.unwrap_err().to_string()
    };
    let directory = Input::Directory(root.clone());
    assert_eq!(failed(&directory), "the input has no images");
    fs::write(root.join("a.jpg"), "text").unwrap();
    let message = failed(&directory);
    assert!(
        message.contains("all 1 images were rejected") && message.contains("a.jpg"),
        "{message}"
    );

    // A tar that ends in the middle: its first members are encoded, but the job fails.
    photo(1).save(root.join("b.png")).unwrap();
    let mut tar = ::tar::Builder::new(Vec::new());
    tar.append_path_with_name(root.join("b.png"), "b.png").unwrap();
    tar.append_path_with_name(root.join("b.png"), "c.png").unwrap();
    let bytes = tar.into_inner().unwrap();
    let path = folder.join("cut.tar");
    fs::write(&path, &bytes[..bytes.len() - 1024 - 600]).unwrap();
    assert!(failed(&Input::Tar(path)).contains("damaged tar"));
    let list = folder.join("list");
    fs::write(&list, "photos/b.png\n{").unwrap();
    assert!(failed(&Input::List(list)).contains("line 2"));

    // A directory in the place of an output is noticed before the work.
    let blocked = Output { part: root.clone(), ..output.clone() };
    let refused = encode(&directory, &pipeline, &view_options(&[48]), &blocked, 1).unwrap_err();
    assert!(refused.to_string().contains("not a regular file"), "{refused}");
}
