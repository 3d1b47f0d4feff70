use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::files::container::{FileKind, Writer};

/// A file that holds nothing but a section of keys.
fn file(folder: &Path, section: &[u8]) -> Reader {
    let path = folder.join("a.part");
    let mut w = Writer::create(&path, FileKind::Part).unwrap();
    w.section(SectionKind::Keys, true, section).unwrap();
    w.finish().unwrap();
    Reader::open(&path, FileKind::Part).unwrap()
}

fn encoded(keys: &[impl AsRef<str>]) -> Vec<u8> {
    encode(keys.iter().map(AsRef::as_ref)).unwrap()
}

fn assert_round_trip(keys: &[impl AsRef<str>]) {
    let tmp = tempfile::tempdir().unwrap();
    let file = file(tmp.path(), &encoded(keys));
    let found = Keys::open(&file, keys.len()).unwrap();
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(found.get(&file, i).unwrap(), key.as_ref());
        assert!(found.is(&file, i, key.as_ref()).unwrap());
        assert!(!found.is(&file, i, "another").unwrap());
    }
    assert!(found.all(&file).unwrap().iter().eq(keys.iter().map(AsRef::as_ref)));
    assert!(matches!(found.get(&file, keys.len()), Err(Error::NotFound { .. })));
}

proptest! {
    #[test]
    fn any_keys_come_back(
        keys in prop::collection::vec("\\PC{0,12}|[a-c]{0,40}|\0{0,9}.", 0..100),
    ) {
        assert_round_trip(&keys);
    }
}

#[test]
fn keys_as_people_have_them_come_back() {
    let photos = |i: u64| format!("photos/{}/07/IMG_{i:06}.jpg", 2000 + i / 40);
    let hashes = |i: u64| format!("{:016x}.jpg", i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mixed = |i: u64| match i % 4 {
        0 => String::new(),
        1 => format!("été/写真 {i}.jpg"),
        2 => "é".repeat(MAX_KEY_BYTES / 2),
        _ => format!("\u{1}{i}\0\0"),
    };
    for n in [0, 1, 31, 32, 33, 1000] {
        assert_round_trip(&(0..n).map(photos).collect::<Vec<_>>());
        assert_round_trip(&(0..n).map(hashes).collect::<Vec<_>>());
    }
    assert_round_trip(&(0..70).map(mixed).collect::<Vec<_>>());
    // Around the length from which a key has memory of its own.
    let lengths = |i: usize| format!("{}{i}", "x".repeat(240 + i));
    assert_round_trip(&(0..64).map(lengths).collect::<Vec<_>>());
}

/// A file that was written by hand after the page on the format. Whoever changes what it reads as
/// changes the format.
#[test]
fn layout_is_pinned() {
    let mut section = vec![0; TABLE_BYTES];
    for (code, symbol) in ["photos/2", "019/", ".jpg"].into_iter().enumerate() {
        section[code] = symbol.len() as u8;
        section[256 + 8 * code..][..symbol.len()].copy_from_slice(symbol.as_bytes());
    }
    // The head: bytes of the first key's codes; then, for each other key, shared bytes and bytes of
    // codes.
    let mut block = vec![5, 12, 3, 17, 0, 0, 0];
    // "photos/2", "019/", an escaped "a", ".jpg"; and of the second key an escaped "b", ".jpg".
    block.extend([0, 1, 255, b'a', 2]);
    block.extend([255, b'b', 2]);
    let starts = [TABLE_BYTES + 16, TABLE_BYTES + 16 + block.len()];
    section.extend(starts.iter().flat_map(|&s| (s as u64).to_le_bytes()));
    section.extend(block);
    let tmp = tempfile::tempdir().unwrap();
    let file = file(tmp.path(), &section);
    let keys = Keys::open(&file, 4).unwrap();
    let want = ["photos/2019/a.jpg", "photos/2019/b.jpg", "photos/2019/a.jpg", ""];
    assert_eq!(keys.all(&file).unwrap(), want);
    assert!(want.iter().enumerate().all(|(i, key)| keys.get(&file, i).unwrap() == *key));
    // Written by the program, equal keys are equal bytes.
    assert_eq!(encoded(&want), encoded(&want));
}

/// Bytes whose checksums are right, but which say what cannot be.
#[test]
fn what_cannot_be_is_refused() {
    let keys: Vec<String> = (0..40).map(|i| format!("photos/{i}.jpg")).collect();
    let good = encoded(&keys);
    let tmp = tempfile::tempdir().unwrap();
    let refused = |bytes: &[u8], what: &str| {
        let file = file(tmp.path(), bytes);
        let outcome = Keys::open(&file, keys.len()).and_then(|found| {
            let one = (0..keys.len()).try_for_each(|i| found.get(&file, i).map(drop));
            let all = found.all(&file);
            assert_eq!(one.is_err(), all.is_err(), "{what}");
            one
        });
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}, expected {what}");
    };
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let first = TABLE_BYTES + 8 * 3;
    refused(&good[..100], "expected at least");
    refused(&with(&|b| b[0] = 9), "has 9 bytes");
    refused(&with(&|b| b[255] = 1), "symbol 255");
    refused(&with(&|b| b[TABLE_BYTES - 1] = 1), "are not zero");
    refused(&with(&|b| b[TABLE_BYTES] ^= 1), "blocks from");
    refused(&with(&|b| b.push(0)), "blocks from");
    refused(&with(&|b| b[TABLE_BYTES + 8 + 7] = 0x80), "its head says");
    refused(&with(&|b| b[TABLE_BYTES + 8..][..8].fill(0)), "it ends before it begins");
    refused(&with(&|b| b[first] ^= 1), "its head says");
    refused(&with(&|b| b[first..first + 3].fill(0xFF)), "does not end");
    // A key of the first block that shares 127 bytes.
    refused(&with(&|b| b[first + 1] = 127), "shares more");
    refused(&with(&|b| *b.last_mut().unwrap() = 255), "an escape without its byte");
    refused(&with(&|b| b[..256].fill(0)), "are not zero");
    refused(&with(&|b| b[..TABLE_BYTES].fill(0)), "a code without a symbol");
}

/// A key that would unfold to more than a key may have ends there, whatever its codes say.
#[test]
fn a_key_that_is_too_long_is_refused() {
    let mut section = vec![0; TABLE_BYTES];
    section[0] = 8;
    section[256..264].fill(b'a');
    let mut block = Vec::new();
    put_number(&mut block, (1 << 21) - 1);
    block.resize(block.len() + (1 << 21) - 1, 0);
    let head = TABLE_BYTES + 16;
    section.extend([head, head + block.len()].iter().flat_map(|&s| (s as u64).to_le_bytes()));
    section.extend(block);
    let tmp = tempfile::tempdir().unwrap();
    let file = file(tmp.path(), &section);
    let keys = Keys::open(&file, 1).unwrap();
    for error in [keys.get(&file, 0).unwrap_err(), keys.all(&file).unwrap_err()] {
        assert!(error.to_string().contains("longer than 16 KiB"), "{error}");
    }
}
