use super::*;
use crate::base::hash::Hash;

fn spec() -> NetworkSpec {
    NetworkSpec::new(Hash::of(b"weights"), "resnet50", Layer::Stage(3), 1024)
}

/// The text and hash of a spec are a promise to every file that carries them.
#[test]
fn canonical_text_and_hash_are_pinned() {
    let mut n = spec();
    n.form = Form::V1;
    n.input = InputConvention::CaffeBgr;
    n.bn_eps = 1.001e-5;
    n.sizes = vec![448];
    let spec = DescriptorSpec::Network(n);
    assert_eq!(
        spec.canonical(),
        format!(
            "ocelli-descriptor-spec 1\nweights={}\narch=resnet50\nlast_stage=3\ndim=1024\n\
             form=v1\ninput=caffe-bgr\nbn_eps=0.00001001\nsizes=448\n",
            Hash::of(b"weights")
        )
    );
    let foreign = DescriptorSpec::foreign("sift", 128).unwrap();
    assert_eq!(foreign.canonical(), "foreign:sift\ndim=128\n");
}

#[test]
fn text_round_trips_whatever_the_fields() {
    let full = NetworkSpec {
        form: Form::V1,
        input: InputConvention::CaffeBgr,
        bn_eps: 1.001e-5,
        pooling: Pooling::Rmac { levels: 2, grid: Grid::ImagePixels },
        sizes: vec![550, 800, 1050],
        filter: ResizeFilter::Lanczos3,
        upscale: false,
        exif: false,
        jpeg_scaled: true,
        head: Head::Fc,
        image_whitening: true,
        precision: Precision::Bf16,
        combine: Combine::Gem { p: 3.0, floor: Combine::FLOOR },
        crop_first: CropFirst::PhotoScale,
        whitening: Some(Hash::of(b"w")),
        ..spec()
    };
    let gem = NetworkSpec {
        pooling: Pooling::Gem { p: 2.92 },
        combine: Combine::Gem { p: 2.92, floor: 0.0 },
        ..spec()
    };
    let superglobal =
        NetworkSpec { pooling: Pooling::SUPERGLOBAL, combine: Combine::Max, ..spec() };
    let text = DescriptorSpec::Network(superglobal.clone()).canonical();
    assert!(text.ends_with("\npooling=superglobal:4.6:2.5:5:0\ncombine=max\n"), "{text}");
    let scale_gem = NetworkSpec {
        pooling: Pooling::SuperGlobal { p: 3.0, region_p: 1.5, window: 3, floor: 0.014 },
        combine: Combine::ScaleGem { p: 10.0 },
        ..spec()
    };
    let proposals = NetworkSpec { pooling: Pooling::Proposals { count: 128 }, ..spec() };
    let text = DescriptorSpec::Network(proposals.clone()).canonical();
    assert!(text.ends_with("\npooling=rpn:128\n"), "{text}");
    // Text and hash of what was made before there was a floor.
    let text = DescriptorSpec::Network(gem.clone()).canonical();
    assert!(text.ends_with("\ncombine=gem:2.92\n"), "{text}");
    assert!(DescriptorSpec::Network(full.clone()).canonical().contains("gem:3:0.000001\n"));
    for spec in [
        DescriptorSpec::Network(spec()),
        DescriptorSpec::Network(full),
        DescriptorSpec::Network(gem),
        DescriptorSpec::Network(superglobal),
        DescriptorSpec::Network(scale_gem),
        DescriptorSpec::Network(proposals),
        DescriptorSpec::foreign("a/b-1.0_x", 7).unwrap(),
    ] {
        assert_eq!(DescriptorSpec::parse(&spec.canonical()).unwrap(), spec);
    }
}

#[test]
fn only_the_canonical_form_is_read() {
    let text = DescriptorSpec::Network(spec()).canonical();
    for bad in [
        text.replace("ocelli-descriptor-spec 1", "ocelli-descriptor-spec 2"),
        text.clone() + "form=v1.5\n",
        text.clone() + "colour=red\n",
        text.replace("dim=1024\n", ""),
        text.replace("dim=1024", "dim=many"),
        text.replace("dim=1024", "dim=0"),
        text.replace("last_stage=3", "last_stage=100"),
        text.clone() + "bn_eps=NaN\n",
        text.clone() + "pooling=rmac:0\n",
        text.clone() + "pooling=gem:NaN\n",
        text.clone() + "pooling=gem:0\n",
        text.clone() + "combine=gem:3:0\n",
        text.clone() + "combine=gem:3:-1\n",
        text.clone() + "combine=gem:0:1\n",
        text.clone() + "combine=scale-gem:0\n",
        text.clone() + "pooling=rpn\n",
        text.clone() + "pooling=rpn:0\n",
        text.clone() + "pooling=rpn:1001\n",
        text.clone() + "pooling=rpn:9:9\n",
        text.clone() + "pooling=superglobal\n",
        text.clone() + "pooling=superglobal:4.6:2.5:4:0\n",
        text.clone() + "pooling=superglobal:4.6:2.5:33:0\n",
        text.clone() + "pooling=superglobal:0:2.5:5:0\n",
        text.clone() + "pooling=superglobal:4.6:2.5:5:-1\n",
        text.clone() + "pooling=superglobal:4.6:2.5:5:0:1\n",
        String::new(),
        "foreign:\ndim=3\n".into(),
    ] {
        assert!(DescriptorSpec::parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_mismatch_names_the_fields() {
    let a = DescriptorSpec::Network(spec());
    let b = DescriptorSpec::Network(NetworkSpec { sizes: vec![800], ..spec() });
    let message = DescriptorSpec::same_or_err("query", &a, &b).unwrap_err().to_string();
    assert!(message.contains("sizes: expected default, found 800"), "{message}");
    assert!(message.contains(&a.hash().to_string()) && message.contains(&b.hash().to_string()));
    DescriptorSpec::same_or_err("query", &a, &a.clone()).unwrap();
}
