//! Tests of [`Reader`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::super::{FileKind, MappedLimit, SectionKind, Writer};
use super::*;
use crate::base::error::FileTrouble;
use crate::base::hash::Hash;
use ocelli_test_support::step;

/// Under a limit of mapped pages the same bytes are read, in whatever order, and few tiles are
/// ready at any time.
#[test]
fn a_limit_of_mapped_pages_changes_nothing_that_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.part");
    let mut w = Writer::create(&path, FileKind::Part).unwrap();
    w.begin(SectionKind::Vectors, true).unwrap();
    let number = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for i in 0..1 << 20 {
        w.write(&number(i).to_le_bytes()).unwrap();
    }
    w.finish().unwrap();
    let limit = MappedLimit::new(1 << 20);
    assert!(MappedLimit::in_force().unwrap() <= 1 << 20);
    let r = Reader::open(&path, FileKind::Part).unwrap();
    let section = *r.require(SectionKind::Vectors).unwrap();
    let ready = |r: &Reader| -> u32 {
        r.ready.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum()
    };
    for step in 0..200_000u64 {
        let i = number(step) % (1 << 20);
        assert_eq!(r.read_word(&section, 8 * i).unwrap(), number(i));
        assert!(ready(&r) <= 16 + 1, "{} tiles are ready", ready(&r));
    }
    assert_eq!(r.checksum(), Hash::of(&fs::read(&path).unwrap()));
    r.verify().unwrap();
    r.intact().unwrap();
    drop(limit);
}

/// A page that the system does not give, in a file of its size, is no damage; in one that was cut,
/// it is.
#[test]
fn a_page_that_is_refused_is_not_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = sample(dir.path());
    let r = Reader::open(&path, FileKind::Part).unwrap();
    r.verify().unwrap();
    // What the handler of the signal does.
    r.map.mark(8192);
    for error in [r.intact().unwrap_err(), r.verify().unwrap_err()] {
        assert_eq!(error.trouble(), Some(FileTrouble::Refused), "{error}");
        assert!(!error.is_lost() && error.to_string().contains("offset 8192"), "{error}");
    }
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(8192).unwrap();
    assert!(r.intact().unwrap_err().is_lost());
    file.set_len(0).unwrap();
    assert_eq!(r.intact().unwrap_err().trouble(), Some(FileTrouble::Damaged));
}

fn sample(folder: &Path) -> PathBuf {
    let mut w = Writer::create(&folder.join("a.part"), FileKind::Part).unwrap();
    w.section(SectionKind::Meta, true, b"{}").unwrap();
    w.begin(SectionKind::Vectors, true).unwrap();
    for i in 0..40_000u32 {
        w.write(&i.to_le_bytes()).unwrap();
    }
    w.finish().unwrap().path
}

/// An input that is given as output by mistake is not lost.
#[test]
fn other_files_are_not_replaced_and_pipes_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let photo = dir.path().join("photo.jpg");
    fs::write(&photo, b"\xff\xd8\xff").unwrap();
    let part = sample(dir.path());
    for (path, kind, what) in
        [(&photo, FileKind::Part, "no file of Ocelli's"), (&part, FileKind::Model, "a part")]
    {
        let before = fs::read(path).unwrap();
        let error = Writer::create(path, kind).err().unwrap().to_string();
        assert!(error.contains("would replace") && error.contains(what), "{error}");
        assert_eq!(fs::read(path).unwrap(), before);
    }
    Writer::create(&part, FileKind::Part).unwrap();

    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = Reader::open(&pipe, FileKind::Part).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
}

#[test]
fn what_was_written_comes_back_aligned() {
    let dir = tempfile::tempdir().unwrap();
    let r = Reader::open(&sample(dir.path()), FileKind::Part).unwrap();
    assert_eq!(r.read_all(SectionKind::Meta).unwrap(), b"{}");
    let numbers: &[u32] = r.read_numbers(SectionKind::Vectors, 40_000).unwrap();
    assert!(numbers.iter().enumerate().all(|(i, &n)| n == i as u32));
    assert!(r.sections().iter().all(|s| s.offset % 4096 == 0));
    r.verify().unwrap();
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["a.part"], "no temporary name is left");
    assert!(matches!(
        Reader::open(&dir.path().join("a.part"), FileKind::Shard),
        Err(Error::WrongKind { .. })
    ));
}

/// Another kind of file is named.
#[test]
fn another_kind_of_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.whitening");
    for (bytes, name) in [
        (&b""[..], "found an empty file"),
        (b"<html><body>Sign in", "found an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "found a Git LFS pointer"),
        (&[b' '; 1000], "found a file of blanks"),
    ] {
        fs::write(&path, bytes).unwrap();
        let message = Reader::open_any(&path).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains("a.whitening"), "{message}");
    }
}

/// A flipped bit anywhere is reported, at open or by `verify`; never as a newer version.
#[test]
fn every_flipped_byte_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = sample(dir.path());
    let good = fs::read(&path).unwrap();
    let bad_path = dir.path().join("bad.part");
    // All bytes of the end, where the structure is, and a sample of the rest.
    let tail = good.len() - 400;
    for at in (0..tail).step_by(step(997)).chain(tail..good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&bad_path, &bad).unwrap();
        let outcome = Reader::open(&bad_path, FileKind::Part).and_then(|r| r.verify());
        assert!(
            matches!(outcome, Err(Error::Corrupt { .. } | Error::NotOcelli { .. })),
            "byte {at}: {outcome:?}"
        );
    }
}

#[test]
fn every_truncation_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let good = fs::read(sample(dir.path())).unwrap();
    let bad_path = dir.path().join("bad.part");
    for len in (0..good.len()).step_by(step(1009)).chain(good.len() - 100..good.len()) {
        fs::write(&bad_path, &good[..len]).unwrap();
        assert!(Reader::open(&bad_path, FileKind::Part).is_err(), "{len} bytes");
    }
}

/// A newer file and a damaged one have different errors, since the CRC is checked first.
#[test]
fn a_newer_version_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = sample(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let n = bytes.len();
    let body_len = u32::from_le_bytes(bytes[n - 16..n - 12].try_into().unwrap()) as usize;
    let body_at = n - 16 - body_len;
    bytes[body_at] = 2;
    let crc = crc32c::crc32c(&bytes[body_at..n - 12]);
    bytes[n - 12..n - 8].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(
        Reader::open(&path, FileKind::Part),
        Err(Error::NewerVersion { found: 2, supported: 1, .. })
    ));
}

#[test]
fn an_unfinished_writer_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = Writer::create(&dir.path().join("a"), FileKind::Part).unwrap();
    w.section(SectionKind::Meta, true, &[0; 100_000]).unwrap();
    drop(w);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
