//! Sections of a model. Where only its hash is wrong, it is opened again with the right one, and
//! used.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_fuzz::{chunks, folder, write_container};
use ocelli_index::container::{FileKind, SectionKind};
use ocelli_index::{Model, Result};

/// The hash that the error names as the content's.
fn content_hash(message: &str) -> Option<&str> {
    message.split_once("its content hashes to ")?.1.get(..64)
}

fn open(sections: &mut [(SectionKind, Vec<u8>)]) -> Result<Model> {
    let path = folder().join("a.model");
    write_container(&path, FileKind::Model, sections);
    Model::open(&path).or_else(|error| {
        let message = error.to_string();
        let meta = sections.iter_mut().find(|(kind, _)| *kind == SectionKind::Meta);
        // The hash is the first field: `{"hash":"…64 digits…"`.
        let place = meta.and_then(|(_, json)| json.get_mut(9..73));
        let (Some(found), Some(place)) = (content_hash(&message), place) else { return Err(error) };
        place.copy_from_slice(found.as_bytes());
        write_container(&path, FileKind::Model, sections);
        Model::open(&path)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = open(&mut chunks(bytes)) else { return };
    let p = model.parts();
    for scale in [0.5f32, -1e30] {
        let x: Vec<f32> = (0..p.dim).map(|i| scale * (i % 7) as f32).collect();
        if let Ok(query) = model.prepare(&x) {
            for nprobe in [1, 3, usize::MAX] {
                let lists = model.probe(&query, nprobe);
                assert_eq!(lists.len(), nprobe.min(p.nlist));
                assert!(lists.iter().all(|l| (l.0 as usize) < p.nlist));
            }
        }
        if let Ok(z) = model.transform(&x) {
            let list = model.assign(&z);
            let mut code = vec![0; p.m];
            model.encode(&z, list, &mut code);
            assert_eq!(model.decode(list, &code).len(), p.d);
            assert_eq!(model.reconstruct(list, &code).len(), p.dim);
        }
    }
});
