//! Jobs in parts.

use super::*;

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
    assert!(message.contains("it is not known which job made the parts"), "{message}");
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
