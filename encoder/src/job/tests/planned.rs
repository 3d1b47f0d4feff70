//! Jobs in parts that were planned.

use std::time::{Duration, SystemTime};

use ocelli_pictures::photos::{Names, Selection};

use super::*;

/// A planned job over an input.
struct Job<'a> {
    input: &'a Input,
    pipeline: &'a Pipeline,
    output: Output,
    planned: Planned,
}

impl<'a> Job<'a> {
    fn plan(input: &'a Input, pipeline: &'a Pipeline, output: Output, images: u64) -> Result<Self> {
        let photos = Photos::find(input)?;
        let made_on = (pipeline.spec(), "cpu");
        let options = JobOptions { batch: 2, ..workers_of(1) };
        let planned =
            Planned::new(photos, made_on, &view_options(&[48]), &output, &options, images)?;
        Ok(Self { input, pipeline, output, planned })
    }

    fn photos(&self) -> Photos {
        Photos::find(self.input).unwrap()
    }

    fn task(&self, task: u64, workers: usize) -> Result<JobSummary> {
        if self.planned.is_complete(&self.output, task)? {
            return self.planned.kept(&self.photos(), &self.output, task);
        }
        let options = JobOptions {
            batch: 2,
            parts: Some(self.planned.parts(task)),
            planned: Some(&self.planned),
            ..workers_of(workers)
        };
        encode(self.input, self.pipeline, &view_options(&[48]), &self.output, &options)
    }

    fn prove(&self) -> Result<Proof> {
        self.planned.prove(&self.photos(), &self.output)
    }
}

/// By 1, 2 or 16 workers, in any order, at once and again: the parts of a job without a plan, from
/// a directory and from a tar, whose photos are counted by walking it.
#[test]
fn a_plan_gives_the_parts_of_a_job_without_one() {
    let (folder, input) = setup();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let Input::Directory(root) = &input else { panic!("{input:?}") };
    let path = folder.join("photos.tar");
    let mut tar = ::tar::Builder::new(fs::File::create(&path).unwrap());
    for photo in Photos::find(&input).unwrap().listed().unwrap() {
        tar.append_path_with_name(root.join(&photo.key), &photo.key).unwrap();
    }
    tar.into_inner().unwrap();
    for (of, input) in [("directory", &input), ("tar", &Input::Tar(path))] {
        let whole = output(folder, &format!("{of}-whole"), PartKind::Descriptors);
        let options = JobOptions { batch: 2, parts: parts_of(4), ..workers_of(2) };
        encode(input, &pipeline, &view_options(&[48]), &whole, &options).unwrap();
        let expected = files(&whole.part);
        for workers in [1u64, 2, 16] {
            let name = format!("{of}-{workers}");
            let output = output(folder, &name, PartKind::Descriptors);
            let job = Job::plan(input, &pipeline, output, 4).unwrap();
            assert_eq!((job.planned.images(), job.planned.parts(0).tasks), (27, 7));
            assert_eq!(job.prove().unwrap().missing, [0, 1, 2, 3, 4, 5, 6]);
            std::thread::scope(|scope| {
                for worker in 0..workers {
                    let network = pipeline.try_clone().unwrap();
                    let (output, planned) = (job.output.clone(), job.planned.clone());
                    scope.spawn(move || {
                        let job = Job { input, pipeline: &network, output, planned };
                        for i in 0..7 {
                            let i = (i * 3 + worker) % 7;
                            if workers < 16 || i % 4 == worker % 4 {
                                job.task(i, 1 + worker as usize % 2).unwrap();
                            }
                        }
                    });
                }
            });
            assert!(files(&job.output.part) == expected, "{name}");
            let again = job.task(3, 1).unwrap();
            assert_eq!((again.parts, again.parts_kept), (0, 1));
            let proof = job.prove().unwrap();
            assert_eq!((proof.images, proof.rejected, proof.missing), (24, 3, vec![]));
            assert_eq!(job.prove().unwrap().bytes, proof.bytes);
            // The same job planned again has the same folder.
            let output = job.output.clone();
            assert_eq!(Job::plan(input, &pipeline, output, 4).unwrap().planned, job.planned);
        }
    }
}

#[test]
fn what_changed_since_the_plan_is_told() {
    let (folder, input) = setup();
    let folder = folder.path();
    let root = folder.join("photos");
    let network = pipeline(folder, &[48], None);
    let parts = output(folder, "parts", PartKind::Descriptors);
    let job = Job::plan(&input, &network, parts.clone(), 4).unwrap();
    job.task(0, 1).unwrap();
    let told = |message: &str| {
        for found in [job.task(0, 1).unwrap_err(), job.task(1, 1).unwrap_err()] {
            let found = found.to_string();
            assert!(found.starts_with("changed since the plan was made: input was"), "{found}");
            assert!(found.contains("a photo was added, removed or written"), "{message}: {found}");
        }
        assert!(job.prove().unwrap_err().to_string().contains("changed since"), "{message}");
    };
    fs::write(root.join("50-more.png"), "").unwrap();
    told("added");
    fs::remove_file(root.join("50-more.png")).unwrap();
    let file = root.join("20.png");
    let (sound, time) = (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().modified());
    let put_back = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        fs::File::open(&file).unwrap().set_modified(*time.as_ref().unwrap()).unwrap();
    };
    fs::remove_file(&file).unwrap();
    told("removed");
    photo(9).save(&file).unwrap();
    told("written");
    put_back(&sound);
    job.task(1, 1).unwrap();

    // Other settings than planned.
    let other = pipeline(folder, &[64], None);
    let wrong = Job { pipeline: &other, input: &input, output: parts.clone(), ..job };
    let message = wrong.task(2, 1).unwrap_err().to_string();
    assert!(message.contains("spec was") && !message.contains("a photo was"), "{message}");
    let job = Job { pipeline: &network, ..wrong };

    // Photos that were others only while their part was made.
    photo(9).save(&file).unwrap();
    let options = JobOptions { batch: 2, parts: parts_of(4), ..workers_of(1) };
    let meanwhile = output(folder, "meanwhile", PartKind::Descriptors);
    encode(&input, &network, &view_options(&[48]), &meanwhile, &options).unwrap();
    put_back(&sound);
    for task in 2..7 {
        job.task(task, 1).unwrap();
    }
    job.prove().unwrap();
    let part = (0..7).map(|part| format!("{part:08}.part")).find(|name| {
        let part = Part::open(&parts.part.join(name)).unwrap();
        part.keys().unwrap().contains(&"20.png".to_owned())
    });
    let part = parts.part.join(part.unwrap());
    let right = fs::read(&part).unwrap();
    fs::copy(meanwhile.part.join(part.file_name().unwrap()), &part).unwrap();
    let message = job.prove().unwrap_err().to_string();
    assert!(message.contains("\"20.png\" was written after it was encoded"), "{message}");
    assert!(message.contains("start its task again"), "{message}");

    // A part of other photos under its name; a damaged one; one without its list.
    let other = parts.part.join("00000001.part");
    let kept = fs::read(&other).unwrap();
    fs::write(&part, &kept).unwrap();
    assert!(job.prove().is_err());
    let mut bad = right.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&part, bad).unwrap();
    assert!(job.prove().is_err());
    fs::remove_file(&part).unwrap();
    let number: u64 = part.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(job.prove().unwrap().missing, [number as u32]);
    job.task(number, 2).unwrap();
    assert!(fs::read(&part).unwrap() == right);
    job.prove().unwrap();
}

/// Neither an input without images nor the folder of another job is planned.
#[test]
fn a_plan_takes_its_folder() {
    let (folder, input) = setup();
    let folder = folder.path();
    let network = pipeline(folder, &[48], None);
    let parts = output(folder, "parts", PartKind::Descriptors);
    let plan = |input: &Input, images| {
        Job::plan(input, &network, parts.clone(), images).map(drop).map_err(|e| e.to_string())
    };
    fs::create_dir(folder.join("empty")).unwrap();
    let empty = Input::Directory(folder.join("empty"));
    assert_eq!(plan(&empty, 4).unwrap_err(), "the input has no images");
    assert!(!parts.part.exists());
    plan(&input, 4).unwrap();
    let message = plan(&input, 5).unwrap_err();
    assert!(message.contains("images_a_part was 4, now 5"), "{message}");

    // A selection is part of what the photos are.
    let names = Names::new(&["0*".to_owned()], &[]).unwrap();
    let some = Photos::select(&input, &Selection { names, strict: false }).unwrap();
    let made_on = (network.spec(), "cpu");
    let (views, options) = (view_options(&[48]), JobOptions { batch: 2, ..workers_of(1) });
    let other = output(folder, "some", PartKind::Descriptors);
    let some = Planned::new(some, made_on, &views, &other, &options, 4).unwrap();
    let later = SystemTime::now() + Duration::from_secs(5);
    fs::File::open(folder.join("photos/10.png")).unwrap().set_modified(later).unwrap();
    let names = Names::new(&["0*".to_owned()], &[]).unwrap();
    let again = Photos::select(&input, &Selection { names, strict: false }).unwrap();
    let again = Planned::new(again, made_on, &views, &other, &options, 4).unwrap();
    assert_eq!(again, some, "what is left out does not count");
}
