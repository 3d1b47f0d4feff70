//! The way that a CUDA device takes, on the CPU.

use super::*;

/// The way that a CUDA device takes, on the CPU: near what the CPU's own makes, whatever is made,
/// of every form of the input; the same bytes whatever the number of workers; and with room for two
/// images at a time the same descriptors.
#[test]
fn a_device_makes_the_same_descriptors() {
    let (folder, input) = setup();
    let folder = folder.path();
    let sizes = [48, 40];
    let cpu = pipeline(folder, &sizes, None);
    // Without metadata, which would contradict the other form of the input.
    let bare = folder.join("bare.safetensors");
    let bytes = fs::read(folder.join("weights.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors();
    fs::write(&bare, safetensors::serialize(tensors, None).unwrap()).unwrap();
    let on_device = |precision, input: Option<InputConvention>| {
        let options = NetworkOptions {
            settings: SettingsOptions { input, ..SettingsOptions::default() },
            precision,
            device: Device::CpuAsDevice,
            ..NetworkOptions::default()
        };
        let told = folder.join("weights.safetensors");
        Network::open(if input.is_some() { &bare } else { &told }, &options).unwrap()
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
    let bgr = NetworkOptions {
        settings: SettingsOptions {
            input: Some(InputConvention::CaffeBgr),
            ..SettingsOptions::default()
        },
        ..NetworkOptions::default()
    };
    let bgr = Network::open(&bare, &bgr).unwrap();
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
    let cramped = Pipeline::new(cramped.unwrap(), cpu.options().clone(), None).unwrap();
    let found = vectors(&cramped, PartKind::Descriptors, 2, 8, "cramped.part");
    assert!(least_cosine(&expected, &found) > 0.99999);
    // Where not even one fits, the job ends and says why.
    let options = JobOptions { batch: 8, ..workers_of(2) };
    let none = Pipeline::new(
        on_device(Precision::F32, None).cramped(0).unwrap(),
        cpu.options().clone(),
        None,
    )
    .unwrap();
    let output = output(folder, "none.part", PartKind::Descriptors);
    let error = encode(&input, &none, &view_options(&sizes), &output, &options).unwrap_err();
    assert!(error.to_string().contains("CUDA out of memory"), "{error}");
    assert!(!output.part.exists());
}
