use std::fs;

use ocelli_weights::seeded::{self, SeededArch};
use tempfile::TempDir;

use super::*;

/// A folder of photos, which are never opened, and a network.
struct Setup(TempDir);

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("photos")).unwrap();
        for name in ["a.jpg", "b.jpg", "c.jpg"] {
            fs::write(folder.path().join("photos").join(name), "no image").unwrap();
        }
        seeded::write(SeededArch::Resnet18, 7, 1, &folder.path().join("net.safetensors")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self, library: &str) -> Config {
        let vars = [
            ("OCELLI_ENCODER_WEIGHTS", self.path("net.safetensors").into_os_string()),
            ("OCELLI_ENCODER_SIZES", "[48]".into()),
            ("OCELLI_ENCODER_ONNXRUNTIME", library.into()),
        ];
        let vars = vars.map(|(name, value)| (name.into(), value));
        role::load_config_from(DEFAULT_TOML, None, ENV_PREFIX, vars).unwrap()
    }

    fn plan(&self, parts: &str, plan: &str, exclude: &[&str]) -> Result<PlanFile> {
        let part = self.path(parts);
        let (kind, dtype) = (PartKind::Descriptors, Dtype::F32);
        let output = Output { rejected: Output::rejected_beside(&part), part, kind, dtype };
        let exclude = exclude.iter().map(|&pattern| pattern.to_owned()).collect();
        super::plan(&Request {
            config: &self.config("planned.so"),
            input: &Input::Directory(self.path("photos")),
            chosen: Chosen { exclude, ..Chosen::default() },
            output: &output,
            model: None,
            part_images: 2,
            pixel_hashes: true,
            plan: &self.path(plan),
        })
    }

    fn read(&self, file: &PlanFile) -> Result<Encoding> {
        file.write(&self.path("a.plan"))?;
        Encoding::read(&self.path("a.plan"))
    }
}

#[test]
fn a_plan_does_not_lie_among_its_photos() {
    let setup = Setup::new();
    let error = setup.plan("parts", "photos/a.plan", &[]).unwrap_err().to_string();
    assert!(error.contains("photos/a.plan: this file would be among the photos"), "{error}");
    let error = setup.plan("photos/parts", "a.plan", &["*.txt"]).unwrap_err().to_string();
    assert!(error.contains("photos/parts/job.json: this file"), "{error}");
    assert!(!setup.path("parts").exists() && !setup.path("photos/parts").exists());
    let file = setup.plan("photos/parts", "photos/a.json", &[]).unwrap();
    assert_eq!(file.plan.tasks(), 2);
}

/// A plan comes from anywhere: it must not say which code a machine runs.
#[test]
fn a_plan_names_no_library() {
    let setup = Setup::new();
    let mut file = setup.plan("parts", "a.plan", &[]).unwrap();
    assert_eq!(file.places.keys().collect::<Vec<_>>(), ["weights"]);
    file.places.insert("onnxruntime".to_owned(), "theirs.so".into());
    let encoding = setup.read(&file).unwrap();
    let config = encoding.config(&setup.config("ours.so")).unwrap();
    assert_eq!(config.onnxruntime.as_deref(), Some(Path::new("ours.so")));
    assert_eq!(config.weights, Some(setup.path("net.safetensors")));
}

#[test]
fn a_plan_that_was_not_made_so_is_refused() {
    let setup = Setup::new();
    let file = setup.plan("parts", "a.plan", &[]).unwrap();
    setup.read(&file).unwrap();
    let with = |change: &dyn Fn(&mut EncodeJob, &mut Settings)| {
        let Job::Encode(mut job) = file.plan.job.clone() else { panic!("{:?}", file.plan) };
        let mut settings: Settings = job.settings.read().unwrap();
        change(&mut job, &mut settings);
        job.settings = JobSettings::of(&settings).unwrap();
        let plan = Plan::new(Job::Encode(job));
        let changed = PlanFile::new(plan, file.inputs.clone(), &file.out).unwrap();
        format!("{:#}", setup.read(&changed).unwrap_err())
    };
    for key in ["onnxruntime", "security__tls", "weights"] {
        let error = with(&|_, settings| {
            settings.network.insert(key.to_owned(), "\"theirs\"".to_owned());
        });
        assert!(error.contains(&format!("{key:?} is no setting")), "{error}");
    }
    let error = with(&|job, _| job.part_images = 3);
    assert!(error.contains("contradicts itself: images_a_part was 2, now 3"), "{error}");
    assert!(with(&|job, _| job.photos = Hash::of(b"others")).contains("input was"));
    assert!(with(&|_, settings| settings.output = PartKind::Regions).contains("output was"));
    assert!(with(&|_, settings| settings.dtype = Dtype::F16).contains("dtype was"));
}
