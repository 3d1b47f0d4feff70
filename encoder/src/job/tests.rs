//! Whole jobs with a small untrained network over generated photos.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use ocelli_index::{Combine, DescriptorSpec, InputConvention, Part, Precision, Whitening};
use tempfile::TempDir;

use super::*;
use crate::device::Device;
use crate::network::seeded::{self, SeededArch};
use crate::network::{Network, NetworkOptions};
use crate::pipeline::PipelineOptions;
use ocelli_pictures::photos::Input;

/// A job over all of an input.
pub(super) fn encode(
    input: &Input,
    pipeline: &Pipeline,
    view_options: &ViewOptions,
    output: &Output,
    options: &JobOptions<'_>,
) -> Result<JobSummary> {
    super::encode(Photos::find(input)?, pipeline, view_options, output, options)
}

/// A network of one stage, 64 channels, at the given sizes.
pub(super) fn pipeline(folder: &Path, sizes: &[u32], whitening: Option<Whitening>) -> Pipeline {
    let weights = folder.join("weights.safetensors");
    if !weights.exists() {
        seeded::write(SeededArch::Resnet18, 7, 1, &weights).unwrap();
    }
    let network = Network::open(&weights, &NetworkOptions::default()).unwrap();
    let options = PipelineOptions { sizes: sizes.to_vec(), ..PipelineOptions::default() };
    Pipeline::new(network, options, whitening).unwrap()
}

pub(super) fn view_options(sizes: &[u32]) -> ViewOptions {
    ViewOptions {
        sizes: sizes.to_vec(),
        filter: ocelli_index::ResizeFilter::Bilinear,
        upscale: true,
        exif: true,
        crop_first: ocelli_index::CropFirst::No,
        max_pixels: 10_000,
        min_side: 1,
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

pub(super) fn output(folder: &Path, name: &str, kind: PartKind) -> Output {
    let part = folder.join(name);
    Output { rejected: Output::rejected_beside(&part), part, kind, dtype: Dtype::F32 }
}

pub(super) fn workers_of(workers: usize) -> JobOptions<'static> {
    JobOptions { workers, batch: 1, parts: None, model: None }
}

pub(super) fn setup() -> (TempDir, Input) {
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
    for (workers, batch) in [(1, 4), (3, 4)] {
        let output = output(folder, &format!("{workers}.part"), PartKind::Regions);
        let summary = encode(
            &input,
            &pipeline,
            &view_options(&[48]),
            &output,
            &JobOptions { batch, ..workers_of(workers) },
        )
        .unwrap();
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
        encode(input, &pipeline, &view_options(&[48]), &output, &workers_of(2)).unwrap();
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
    encode(&input, &plain, &view_options(&[48]), &regions, &workers_of(2)).unwrap();

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
            encode(&input, &pipeline, &view_options(&[48]), &direct, &workers_of(2)).unwrap();
            let later = output(folder, "later.part", kind);
            let summary = encode_regions(&regions.part, whitening.as_ref(), &later, None).unwrap();
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
        encode_regions(part, whitening, &out, None).unwrap_err().to_string()
    };
    encode(
        &input,
        &plain,
        &view_options(&[48]),
        &output(folder, "d.part", PartKind::Descriptors),
        &workers_of(1),
    )
    .unwrap();
    assert!(refused(&folder.join("d.part"), None).contains("expected region vectors"));
    let two = output(folder, "two.part", PartKind::Regions);
    encode(
        &input,
        &pipeline(folder, &[48, 32], None),
        &view_options(&[48, 32]),
        &two,
        &workers_of(2),
    )
    .unwrap();
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
        let result = encode(input, &pipeline, &view_options(&[48]), &output, &workers_of(2));
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
        result.unwrap_err().to_string()
    };
    let directory = Input::Directory(root.clone());
    assert_eq!(failed(&directory), "the input has no images");
    fs::write(root.join("a.jpg"), "text").unwrap();
    let message = failed(&directory);
    assert!(
        message.contains("the only image was rejected") && message.contains("a.jpg"),
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
    fs::write(&list, "{\nphotos/a.jpg").unwrap();
    let message = failed(&Input::List(list));
    assert!(
        message.contains("list line 1): EOF") && message.contains("photos/a.jpg: "),
        "{message}"
    );

    // A directory in the place of an output is noticed before the work.
    let blocked = Output { part: root.clone(), ..output.clone() };
    let refused =
        encode(&directory, &pipeline, &view_options(&[48]), &blocked, &workers_of(1)).unwrap_err();
    assert!(refused.to_string().contains("not a regular file"), "{refused}");
}

/// Alone and in batches of equal shape, descriptors agree to the last bits of float32; nothing is
/// padded.
#[test]
fn a_batch_changes_no_descriptor() {
    let (folder, input) = setup();
    let folder = folder.path();
    // 40 of 24 photos x sizes have shapes of their own, so that batches of every length occur.
    let pipeline = pipeline(folder, &[48, 40], None);
    let vectors = |batch: usize| {
        let output = output(folder, &format!("{batch}.part"), PartKind::Descriptors);
        let options = JobOptions { batch, ..workers_of(2) };
        encode(&input, &pipeline, &view_options(&[48, 40]), &output, &options).unwrap();
        let part = Part::open(&output.part).unwrap();
        part.read(0..part.rows()).unwrap()
    };
    let alone = vectors(1);
    for batch in [2, 8] {
        for (a, b) in alone.chunks(64).zip(vectors(batch).chunks(64)) {
            let cosine: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert!(cosine > 0.99999, "batch {batch}: {cosine}");
        }
    }
}

/// The way that a CUDA device takes, on the CPU: near what the CPU's own makes, whatever is made,
/// of every form of the input; the same bytes whatever the number of workers; and with room for two
/// images at a time the same descriptors.
#[test]
fn a_device_makes_the_same_descriptors() {
    let (folder, input) = setup();
    let folder = folder.path();
    let sizes = [48, 40];
    let cpu = pipeline(folder, &sizes, None);
    let on_device = |precision, input| {
        let options = NetworkOptions {
            precision,
            input,
            device: Device::CpuAsDevice,
            ..NetworkOptions::default()
        };
        Network::open(&folder.join("weights.safetensors"), &options).unwrap()
    };
    let vectors = |pipeline: &Pipeline, kind, workers, batch, name: &str| {
        let output = output(folder, name, kind);
        let options = JobOptions { batch, ..workers_of(workers) };
        let summary = encode(&input, pipeline, &view_options(&sizes), &output, &options).unwrap();
        assert_eq!((summary.images, summary.rejected), (24, 3));
        assert_eq!(summary.device.as_deref(), Some("cpu"));
        let part = Part::open(&output.part).unwrap();
        part.read(0..part.rows()).unwrap()
    };
    let least_cosine = |a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len());
        let dot = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
        };
        let cosines =
            a.chunks(64).zip(b.chunks(64)).map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
        cosines.fold(f64::INFINITY, |least, cosine| if cosine >= least { least } else { cosine })
    };
    let bgr =
        NetworkOptions { input: Some(InputConvention::CaffeBgr), ..NetworkOptions::default() };
    let bgr = Network::open(&folder.join("weights.safetensors"), &bgr).unwrap();
    let bgr = Pipeline::new(bgr, cpu.options().clone(), None).unwrap();
    for (cpu, convention) in [(&cpu, None), (&bgr, Some(InputConvention::CaffeBgr))] {
        let device =
            Pipeline::new(on_device(Precision::F32, convention), cpu.options().clone(), None)
                .unwrap();
        assert_eq!(device.spec(), cpu.spec());
        for kind in [PartKind::Descriptors, PartKind::Regions] {
            let expected = vectors(cpu, kind, 2, 1, "cpu.part");
            let found = vectors(&device, kind, 3, 4, "device.part");
            let cosine = least_cosine(&expected, &found);
            assert!(cosine > 0.99999, "{kind} {convention:?}: {cosine}");
            let again = vectors(&device, kind, 1, 4, "again.part");
            assert!(found == again, "{kind}");
        }
    }
    let expected = vectors(&cpu, PartKind::Descriptors, 2, 1, "cpu.part");
    let half =
        Pipeline::new(on_device(Precision::Bf16, None), cpu.options().clone(), None).unwrap();
    let half = vectors(&half, PartKind::Descriptors, 2, 4, "half.part");
    assert!(half != expected && least_cosine(&expected, &half) > 0.999);

    let cramped = on_device(Precision::F32, None).cramped(2);
    let cramped = Pipeline::new(cramped, cpu.options().clone(), None).unwrap();
    let found = vectors(&cramped, PartKind::Descriptors, 2, 8, "cramped.part");
    assert!(least_cosine(&expected, &found) > 0.99999);
    // Where not even one fits, the job ends and says why.
    let options = JobOptions { batch: 8, ..workers_of(2) };
    let none =
        Pipeline::new(on_device(Precision::F32, None).cramped(0), cpu.options().clone(), None)
            .unwrap();
    let output = output(folder, "none.part", PartKind::Descriptors);
    let error = encode(&input, &none, &view_options(&sizes), &output, &options).unwrap_err();
    assert!(error.to_string().contains("CUDA out of memory"), "{error}");
    assert!(!output.part.exists());
}

/// bfloat16 is another spec, and nearly the same descriptors.
#[test]
fn bfloat16_is_near_and_known_by_its_spec() {
    let (folder, input) = setup();
    let folder = folder.path();
    let single = pipeline(folder, &[48], None);
    let options = NetworkOptions { precision: Precision::Bf16, ..NetworkOptions::default() };
    let network = Network::open(&folder.join("weights.safetensors"), &options).unwrap();
    let half = Pipeline::new(network, single.options().clone(), None).unwrap();
    assert!(half.spec().canonical().contains("precision=bf16"));
    assert_ne!(half.spec().hash(), single.spec().hash());
    let vectors = |pipeline: &Pipeline, name: &str| {
        let output = output(folder, name, PartKind::Descriptors);
        encode(&input, pipeline, &view_options(&[48]), &output, &workers_of(2)).unwrap();
        let part = Part::open(&output.part).unwrap();
        part.read(0..part.rows()).unwrap()
    };
    let (single, half) = (vectors(&single, "single.part"), vectors(&half, "half.part"));
    assert_ne!(single, half);
    for (a, b) in single.chunks(64).zip(half.chunks(64)) {
        let cosine: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        assert!(cosine > 0.999, "{cosine}");
    }
}

/// Sizes pooled by a generalized mean: with p = 1 the direction of the sum, with another p the
/// formula.
#[test]
fn sizes_are_combined_by_sum_or_generalized_mean() {
    let (folder, _) = setup();
    let folder = folder.path();
    let both = pipeline(folder, &[48, 40], None);
    let views: Vec<RgbImage> = [photo(1), photo(2)].to_vec();
    let with = |combine| {
        let options = PipelineOptions { combine, ..both.options().clone() };
        let network = both.network().try_clone().unwrap();
        let pipeline = Pipeline::new(network, options, None).unwrap();
        assert_eq!(pipeline.spec().canonical().contains("combine="), combine != Combine::Sum);
        pipeline.descriptor(&views).unwrap()
    };
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(&with(Combine::Sum), &with(Combine::Gem { p: 1.0, floor: 0.0 })));
    let each: Vec<Vec<f32>> =
        views.iter().map(|v| both.descriptor(std::slice::from_ref(v)).unwrap()).collect();
    let mut expected: Vec<f32> = each[0]
        .iter()
        .zip(&each[1])
        .map(|(a, b)| (((a * a * a) + (b * b * b)) / 2.0).cbrt())
        .collect();
    let norm = expected.iter().map(|v| v * v).sum::<f32>().sqrt();
    expected.iter_mut().for_each(|v| *v /= norm);
    assert!(near(&with(Combine::Gem { p: 3.0, floor: 0.0 }), &expected));
}

pub(super) fn parts_of(images: u64) -> Option<Parts> {
    Some(Parts { images, task: 0, tasks: 1 })
}

/// Every file of a folder of parts, by name.
pub(super) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // What a killed writer leaves behind.
        if !name.starts_with('.') {
            files.insert(name, fs::read(path).unwrap());
        }
    }
    files
}

/// Parts of 5: 34 images in 7 parts. Workers, tasks and removed parts change no byte, from a
/// directory or from a tar; a part in which everything is rejected is a list alone, and is not made
/// again.
#[test]
fn a_job_in_parts_goes_on_where_it_stopped() {
    let (folder, _) = setup();
    let folder = folder.path();
    let root = folder.join("photos");
    for i in 0..7 {
        fs::write(root.join(format!("05-cut{i}")), "no image").unwrap();
    }
    let input = Input::Directory(root.clone());
    let pipeline = pipeline(folder, &[48], None);
    let run = |input: &Input, name: &str, options: &JobOptions<'_>| {
        let output = output(folder, name, PartKind::Descriptors);
        encode(input, &pipeline, &view_options(&[48]), &output, options).unwrap()
    };
    let options = JobOptions { batch: 2, parts: parts_of(5), ..workers_of(2) };
    let summary = run(&input, "once", &options);
    assert_eq!((summary.images, summary.rejected, summary.parts_kept), (24, 10, 0));
    let whole = files(&folder.join("once"));
    let parts = whole.keys().filter(|n| n.ends_with(".part")).count();
    let lists = whole.keys().filter(|n| n.ends_with(".rejected.jsonl")).count();
    assert_eq!((lists, summary.parts as usize), (7, parts), "{:?}", whole.keys());
    assert!(parts < lists, "one part has no image");

    let lists = folder.join("once/*.part.rejected.jsonl");
    assert_eq!(summary.rejected_path, lists, "each part has its own");
    assert!(summary.to_string().contains("takes"), "{summary}");

    let again = run(&input, "once", &options);
    assert_eq!((again.images, again.parts, again.parts_kept), (0, 0, 7));
    assert_eq!(again.rejected_path, lists);
    assert!(!again.to_string().contains("takes"), "no work, no share of it: {again}");
    assert!(files(&folder.join("once")) == whole);
    fs::remove_file(folder.join("once/00000003.part")).unwrap();
    fs::remove_file(folder.join("once/00000006.part")).unwrap();
    // What is left: five images of part 3, the last four in part 6.
    let description = fs::read(folder.join("once/job.json")).unwrap();
    let description: Description = serde_json::from_slice(&description).unwrap();
    let once = output(folder, "once", PartKind::Descriptors);
    let to_do = |task, tasks| {
        let parts = Parts { images: 5, task, tasks };
        Plan::open(&once.part, parts, Some(34), &description).unwrap().to_do(&once).unwrap()
    };
    assert_eq!([to_do(0, 1), to_do(0, 2), to_do(1, 2)], [Some(9), Some(4), Some(5)]);
    let repaired = run(&input, "once", &JobOptions { workers: 1, ..options });
    assert_eq!((repaired.parts, repaired.parts_kept), (2, 5));
    assert_eq!(to_do(0, 1), Some(0));
    assert!(files(&folder.join("once")) == whole);

    for task in 0..2 {
        let parts = Some(Parts { images: 5, task, tasks: 2 });
        run(&input, "shared", &JobOptions { parts, ..options });
    }
    assert!(files(&folder.join("shared")) == whole);

    // From a tar in the same order; the description differs by the fingerprint of the input, and
    // parts by the modification times, which a tar keeps in seconds.
    let path = folder.join("photos.tar");
    let mut tar = ::tar::Builder::new(fs::File::create(&path).unwrap());
    let mut names = Vec::new();
    let photos = Photos::find(&input).unwrap();
    let every = |_, photo: Photo| {
        names.push(photo.key);
        ControlFlow::Continue(())
    };
    photos.for_each(|_| Ok::<_, Error>(true), every).unwrap();
    for name in names {
        tar.append_path_with_name(root.join(&name), &name).unwrap();
    }
    tar.into_inner().unwrap();
    let tar = Input::Tar(path);
    run(&tar, "tar", &options);
    fs::remove_file(folder.join("tar/00000004.part")).unwrap();
    assert_eq!(run(&tar, "tar", &options).parts, 1);
    for part in 0..7 {
        let open = |of: &str| Part::open(&folder.join(of).join(format!("{part:08}.part")));
        let (Ok(a), Ok(b)) = (open("once"), open("tar")) else { continue };
        assert_eq!(a.read(0..a.rows()).unwrap(), b.read(0..b.rows()).unwrap());
        let (a, b) = (a.attributes(0).unwrap().unwrap(), b.attributes(0).unwrap().unwrap());
        assert_eq!((a.sha256, a.bytes, a.width, a.height), (b.sha256, b.bytes, b.width, b.height));
        assert_eq!(a.modified_ms.map(|ms| ms / 1000), b.modified_ms.map(|ms| ms / 1000));
    }

    // Another job does not mix into the folder.
    let output = output(folder, "once", PartKind::Descriptors);
    let refused = |options: &JobOptions<'_>| {
        let made = encode(&input, &pipeline, &view_options(&[48]), &output, options);
        made.unwrap_err().to_string()
    };
    let message = refused(&JobOptions { batch: 3, ..options });
    assert!(message.contains("batch was 2, now 3"), "{message}");
    let message = refused(&JobOptions { parts: parts_of(6), ..options });
    assert!(message.contains("images_a_part was 5, now 6"), "{message}");
    // Folders of before there were devices are the CPU's; one that a GPU began is not gone on with
    // here.
    let job = folder.join("once/job.json");
    let ours = fs::read_to_string(&job).unwrap();
    let field = "  \"device\": \"cpu\",\n";
    assert!(ours.contains(field), "{ours}");
    fs::write(&job, ours.replace(field, "")).unwrap();
    assert_eq!(run(&input, "once", &options).parts_kept, 7);
    fs::write(&job, ours.replace(field, "  \"device\": \"cuda\",\n")).unwrap();
    let message = refused(&options);
    assert!(message.contains("device was \"cuda\", now \"cpu\""), "{message}");
    fs::write(&job, ours).unwrap();
    photo(3).save(root.join("01.png")).unwrap();
    assert!(refused(&options).contains("input was"));
}

/// Of an array job some task may have no part, or only parts in which everything is rejected: the
/// summary says so, the same each time. An input without images is an error for all.
#[test]
fn a_task_without_work_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let root = folder.join("photos");
    fs::create_dir(&root).unwrap();
    let output = output(folder, "parts", PartKind::Descriptors);
    let run = |input: &Input, task| {
        let parts = Some(Parts { images: 2, task, tasks: 3 });
        let options = JobOptions { parts, ..workers_of(1) };
        let made = encode(input, &pipeline, &view_options(&[48]), &output, &options);
        fs::remove_file(output.part.join("job.json")).unwrap();
        made
    };
    let directory = Input::Directory(root.clone());
    let message = run(&directory, 0).unwrap_err().to_string();
    assert_eq!(message, "the input has no images");

    for name in ["a.png", "b.png"] {
        photo(1).save(root.join(name)).unwrap();
    }
    fs::write(root.join("c.png"), "no image").unwrap();
    let path = folder.join("photos.tar");
    let mut tar = ::tar::Builder::new(fs::File::create(&path).unwrap());
    for name in ["a.png", "b.png", "c.png"] {
        tar.append_path_with_name(root.join(name), name).unwrap();
    }
    tar.into_inner().unwrap();
    for input in [directory, Input::Tar(path)] {
        let idle = run(&input, 2).unwrap();
        assert!(idle.to_string().contains("no part of this task"), "{idle}");
        let rejected = run(&input, 1).unwrap();
        assert_eq!((rejected.images, rejected.parts_rejected), (0, 1));
        let text = rejected.to_string();
        assert!(text.contains("1 part in which every image was rejected"), "{text}");
        assert!(text.contains("c.png: not an image"), "{text}");
        fs::remove_dir_all(&output.part).unwrap();
    }
}

/// Parts whose job nobody knows, or that another job made, are not taken for this one's.
#[test]
fn parts_of_another_job_are_not_adopted() {
    let (folder, input) = setup();
    let folder = folder.path();
    let output = output(folder, "parts", PartKind::Descriptors);
    let options = JobOptions { batch: 2, parts: parts_of(9), ..workers_of(2) };
    let run = |sizes: &[u32], output: &Output, options: &JobOptions<'_>| {
        let pipeline = pipeline(folder, sizes, None);
        let made = encode(&input, &pipeline, &view_options(sizes), output, options);
        made.map_err(|e| e.to_string())
    };
    run(&[48], &output, &options).unwrap();
    let job = output.part.join("job.json");
    let ours = fs::read(&job).unwrap();
    fs::remove_file(&job).unwrap();
    let message = run(&[48], &output, &options).unwrap_err();
    assert!(message.contains("nothing says which job its parts are of"), "{message}");
    assert!(message.contains("remove the folder") && !job.exists(), "{message}");
    fs::write(&job, "").unwrap();
    let message = run(&[48], &output, &options).unwrap_err();
    assert!(message.contains("job.json: expected the description"), "{message}");
    assert!(message.contains("found an empty file"), "{message}");
    fs::write(&job, &ours).unwrap();
    assert_eq!(run(&[48], &output, &options).unwrap().parts_kept, 3);

    // A part that was put there: of another spec, dtype, or number of images.
    let first = output.part.join("00000000.part");
    let sound = fs::read(&first).unwrap();
    let foreign = Output { part: folder.join("foreign"), ..output.clone() };
    let half = Output { dtype: Dtype::F16, ..foreign.clone() };
    let short = JobOptions { parts: parts_of(7), ..options };
    for (size, theirs, as_theirs, expected) in [
        (64, &foreign, &options, "expected the spec"),
        (48, &half, &options, "expected descriptors of f32, found descriptors of f16"),
        (48, &foreign, &short, "expected 9 images, encoded and rejected ones, found"),
    ] {
        run(&[size], theirs, as_theirs).unwrap();
        fs::copy(foreign.part.join("00000000.part"), &first).unwrap();
        fs::remove_dir_all(&foreign.part).unwrap();
        let message = run(&[48], &output, &options).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
    fs::write(&first, &sound[..sound.len() - 9]).unwrap();
    let message = run(&[48], &output, &options).unwrap_err();
    assert!(message.contains("remove the file, and the next run makes it again"), "{message}");
    fs::remove_file(&first).unwrap();
    assert_eq!(run(&[48], &output, &options).unwrap().parts, 1);
    assert!(fs::read(&first).unwrap() == sound);

    let file = Output { part: job.clone(), ..output.clone() };
    let message = run(&[48], &file, &options).unwrap_err();
    assert!(message.contains("expected a folder of parts"), "{message}");
    let parts = Some(Parts { images: 9, task: 5, tasks: 2 });
    let message = run(&[48], &output, &JobOptions { parts, ..options }).unwrap_err();
    assert!(
        message.starts_with("--task 5: expected a number below that of --tasks 2"),
        "{message}"
    );
}

/// A key, an id or a line that will not do is one image less, named with its place. The same in
/// parts: by two tasks, and where parts are made again, the first of a key has it, in whatever part
/// it is.
#[test]
fn one_bad_item_does_not_end_a_job() {
    let (folder, _) = setup();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let run = |input: &Input, name: &str, options: &JobOptions<'_>| {
        let output = output(folder, name, PartKind::Descriptors);
        let summary = encode(input, &pipeline, &view_options(&[48]), &output, options).unwrap();
        (summary.images, summary.rejected)
    };
    let list = folder.join("bad.jsonl");
    let line = |file: &str, key: &str, id: &str| {
        format!("{{\"path\": \"photos/{file}.png\", \"key\": \"{key}\", \"id\": {id}}}\n")
    };
    let lines = [
        line("01", "a", "1"),
        line("02", "b", "null"),
        line("04", "c", "3"),
        line("05", "a", "4"),
        line("07", "d", "3"),
        line("08", &"k".repeat(17_000), "6"),
        "{\n".to_owned(),
        line("10", "e", "8"),
    ];
    fs::write(&list, lines.concat()).unwrap();
    let input = Input::List(list.clone());
    assert_eq!(run(&input, "list.part", &workers_of(2)), (3, 5));
    let part = Part::open(&folder.join("list.part")).unwrap();
    assert_eq!(part.keys().unwrap(), ["a", "c", "e"]);
    assert_eq!(part.id(2).unwrap(), Some(8));
    let text = fs::read_to_string(folder.join("list.part.rejected.jsonl")).unwrap();
    let rejected: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rows: Vec<_> = rejected.iter().map(|line| line["row"].as_u64().unwrap()).collect();
    assert_eq!(rows, [2, 4, 5, 6, 7], "{text}");
    assert!(rejected.iter().all(|line| line["file"] == list.display().to_string()), "{text}");
    assert_eq!((&rejected[0]["key"], &rejected[1]["key"]), (&"b".into(), &"a".into()));
    // A key that is too long, and one that is not known, are left away.
    assert!(rejected[3].get("key").is_none() && rejected[4].get("key").is_none(), "{text}");
    for (line, reason) in rejected.iter().zip(["no id", "its key", "id 3", "17000 bytes", "EOF"]) {
        assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
    }

    // Parts of two, so that the second "a" and the second id 3 are in other parts than the first.
    let options = JobOptions { batch: 2, parts: parts_of(2), ..workers_of(2) };
    assert_eq!(run(&input, "once", &options), (3, 5));
    let whole = files(&folder.join("once"));
    assert_eq!(whole.keys().filter(|name| name.ends_with(".part")).count(), 3);
    for task in 0..2 {
        let parts = Some(Parts { images: 2, task, tasks: 2 });
        run(&input, "shared", &JobOptions { parts, ..options });
    }
    assert!(files(&folder.join("shared")) == whole);
    // As after a kill: only what is gone is made, and it is made of the same images.
    fs::remove_file(folder.join("once/00000001.part")).unwrap();
    fs::remove_file(folder.join("once/00000001.part.rejected.jsonl")).unwrap();
    assert_eq!(run(&input, "once", &options), (1, 1));
    assert!(files(&folder.join("once")) == whole);
}

/// An image that the part cannot hold, and the writer says so, is one image less.
#[test]
fn what_a_part_refuses_is_rejected() {
    let (folder, _) = setup();
    let folder = folder.path();
    let spec = DescriptorSpec::foreign("test", 4).unwrap();
    let out = output(folder, "x.part", PartKind::Descriptors);
    let mut sink = Sink::create(&out, &spec, None, None, Some(3)).unwrap();
    let images = ["a", "b", "c"].map(|key| work::Encoded {
        key: key.to_owned(),
        id: None,
        attributes: None,
        origin: None,
        made: Ok(work::Made::Vectors(vec![if key == "b" { f32::NAN } else { 1.0 }; 4])),
    });
    let run = work::EncodedRun { first: 0, images: images.into(), times: StageSeconds::default() };
    sink.push(run).unwrap();
    let summary = sink.finish(0, true, std::time::Duration::ZERO).unwrap();
    assert_eq!((summary.images, summary.rejected), (2, 1));
    assert_eq!(Part::open(&out.part).unwrap().keys().unwrap(), ["a", "c"]);
    let text = fs::read_to_string(&out.rejected).unwrap();
    assert!(text.starts_with("{\"key\":\"b\",\"reason\":"), "{text}");
}

/// Attributes are those of the files, whichever way the image came.
#[test]
fn attributes_are_those_of_the_files() {
    let (folder, input) = setup();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let regions = output(folder, "regions.part", PartKind::Regions);
    encode(&input, &pipeline, &view_options(&[48]), &regions, &workers_of(2)).unwrap();
    let later = output(folder, "later.part", PartKind::Descriptors);
    encode_regions(&regions.part, None, &later, None).unwrap();
    for part in [regions.part, later.part] {
        let part = Part::open(&part).unwrap();
        for image in 0..part.images() {
            let key = part.key(image).unwrap();
            let path = folder.join("photos").join(&key);
            let bytes = fs::read(&path).unwrap();
            let seen = part.attributes(image).unwrap().unwrap();
            assert_eq!(seen.sha256, ocelli_index::Hash::of(&bytes).bytes(), "{key}");
            assert_eq!(seen.bytes, bytes.len() as u64);
            assert_eq!((seen.width, seen.height), image::image_dimensions(&path).unwrap());
            let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            let modified = seen.modified_ms.unwrap();
            assert!((0..3_600_000).contains(&(age.as_millis() as i64 - modified)), "{modified}");
        }
    }
}
