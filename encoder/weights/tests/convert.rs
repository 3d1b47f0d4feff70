//! Damaged, hostile and odd files of other programs.
//!
//! The files of `encoder/golden/layouts` come from those programs (`make_layouts.py`). The
//! encoder's tests compare the networks that are made from them with PyTorch's.

use std::path::{Path, PathBuf};

use ocelli_weights::convert::{ConvertOptions, convert};

fn layout(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/layouts").join(name)
}

/// A pickle by hand: protocol 0's names, a name that comes from text, and objects that contain
/// themselves.
#[test]
fn odd_pickles_are_errors() {
    let legacy = |pickle: &[u8]| {
        let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
        bytes.extend_from_slice(b"\x80\x02M\xe9\x03.\x80\x02}.");
        bytes.extend_from_slice(pickle);
        bytes
    };
    for (pickle, message) in [
        (&b"cos\nsystem\n."[..], "os.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "builtins.eval"),
        (b"\x80\x02ccollections\nOrderedDict\n(", "truncated"),
        (b"\x80\x02]q\x00h\x00a.", "truncated"),
        (b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.].", "no tensor"),
        (b"\x80\x02h\x07.", "object 7"),
        (b"\x80\x02\x82\x01.", "0x82"),
        (b"\x80\x02a.", "too little on the stack"),
        (b"\x80\x02(X\xff\xff\xff\xffab.", "truncated"),
    ] {
        let error = convert(&legacy(pickle), &ConvertOptions::default()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

/// A hundred bytes of pickle that name one tensor again and again must not become gigabytes.
#[test]
fn one_tensor_under_many_names_is_bounded() {
    let good = std::fs::read(layout("tv_resnet_legacy.pth")).unwrap();
    let floats = 4096usize;
    let mut bytes = good[..15].to_vec(); // magic number
    bytes.extend_from_slice(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}(");
    bytes.extend_from_slice(b"X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((");
    bytes.extend_from_slice(b"X\x07\x00\x00\x00storagectorch\nFloatStorage\n");
    bytes.extend_from_slice(
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuM\x00\x10tQK\x00M\x00\x10\x85K\x01\x85\x89}tRq\x01",
    );
    for i in 0..2000u32 {
        bytes.extend_from_slice(b"X\x04\x00\x00\x00");
        bytes.extend_from_slice(format!("{i:04}").as_bytes());
        bytes.extend_from_slice(b"h\x01");
    }
    bytes.extend_from_slice(b"u.\x80\x02]X\x01\x00\x00\x000a.");
    bytes.extend_from_slice(&(floats as u64).to_le_bytes());
    bytes.extend(std::iter::repeat_n(1.0f32.to_le_bytes(), floats).flatten());
    let error = convert(&bytes, &ConvertOptions::default()).unwrap_err().to_string();
    assert!(error.contains("under more names"), "{error}");
}

/// Every length, and a flip in every byte (some by default): an error or another network, never a
/// panic, and no more memory than the file accounts for.
#[test]
fn damaged_files_are_errors_or_other_networks() {
    let step = ocelli_test_support::step(397);
    for entry in std::fs::read_dir(layout("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            continue;
        }
        let good = std::fs::read(&path).unwrap();
        let options = ConvertOptions::default();
        for len in (0..good.len()).step_by(step * 5) {
            let cut = convert(&good[..len], &options);
            // A .caffemodel cut between two layers is a shorter one.
            let is_caffe = path.extension().is_some_and(|ending| ending == "caffemodel");
            assert!(cut.is_err() || is_caffe, "{} cut at {len}", path.display());
        }
        for at in (0..good.len()).step_by(step) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            if let Ok(converted) = convert(&bytes, &options) {
                let held: usize = converted.tensors.values().map(|array| array.bytes.len()).sum();
                assert!(held <= 4 * good.len(), "{} byte {at}", path.display());
            }
        }
    }
}
