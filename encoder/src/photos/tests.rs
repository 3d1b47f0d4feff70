//! Inputs on disk, found in order; broken ones, with their reasons.

use std::fs;
use std::os::unix::fs::symlink;

use ::tar::EntryType;

use super::*;

/// The first bytes of a GIF: enough to be taken for an image by content.
const IMAGE: &[u8] = b"GIF89a-and-more";

fn found(input: &Input) -> Result<Vec<(String, std::result::Result<usize, String>)>> {
    let mut out = Vec::new();
    Photos::find(input)?.for_each(
        |_| Ok(true),
        |_, photo| {
            out.push((photo.key, photo.source.read().map(|file| file.bytes.len())));
            ControlFlow::Continue(())
        },
    )?;
    Ok(out)
}

fn keys(input: &Input) -> Vec<String> {
    found(input).unwrap().into_iter().map(|(key, _)| key).collect()
}

#[test]
fn a_directory_is_walked_in_order_of_keys() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("a/deep")).unwrap();
    fs::create_dir_all(root.join(".hidden")).unwrap();
    // "a-b" sorts before "a/" and "a/" before "a0" by bytes.
    for name in
        ["a/deep/x.jpg", "a-b.jpg", "a0", "a/b.png", ".hidden/y.jpg", ".z.jpg", "photos.part"]
    {
        fs::write(root.join(name), IMAGE).unwrap();
    }
    fs::write(root.join("rejected.jsonl"), "{}").unwrap();
    fs::write(root.join("notes.jpg"), "only text").unwrap();
    fs::write(root.join("zero.png"), "").unwrap();
    symlink(root.join("a0"), root.join("link.webp")).unwrap();
    symlink(root, root.join("a/loop")).unwrap();
    symlink(root.join("nowhere"), root.join("dangling.jpg")).unwrap();

    let all = found(&Input::Directory(root.to_owned())).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, bytes)| bytes.is_ok());
    let good: Vec<&str> = good.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(good, ["a-b.jpg", "a/b.png", "a/deep/x.jpg", "a0", "link.webp"]);
    let reasons: Vec<(&str, &str)> = bad
        .iter()
        .map(|(key, reason)| (key.as_str(), reason.as_ref().unwrap_err().as_str()))
        .collect();
    assert_eq!(
        reasons.iter().map(|r| r.0).collect::<Vec<_>>(),
        ["a/loop", "dangling.jpg", "notes.jpg", "zero.png"]
    );
    for (reason, expected) in
        reasons.iter().zip(["link", "cannot read", "not an image", "empty file"])
    {
        assert!(reason.1.contains(expected), "{reason:?}");
    }
    for wrong in [root.join("nowhere"), root.join("a0")] {
        let error = Photos::find(&Input::Directory(wrong.clone())).unwrap_err().to_string();
        assert!(error.contains(&*wrong.to_string_lossy()), "{error}");
    }
}

/// Links that lead out of the folder, pipes and sockets: each with its reason, none opened.
#[test]
fn what_is_no_file_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = (folder.path().join("photos"), folder.path().join("outside"));
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::write(root.join("sub/a.jpg"), IMAGE).unwrap();
    fs::write(outside.join("b.jpg"), IMAGE).unwrap();
    fs::write(outside.join("deep/c.jpg"), IMAGE).unwrap();
    symlink(root.join("sub"), root.join("within")).unwrap();
    symlink(outside.join("b.jpg"), root.join("file.jpg")).unwrap();
    symlink(&outside, root.join("folder")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(root.join("pipe.jpg")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket.jpg")).unwrap();

    let all = found(&Input::Directory(root.clone())).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, bytes)| bytes.is_ok());
    let good: Vec<String> = good.into_iter().map(|(key, _)| key).collect();
    assert_eq!(good, ["sub/a.jpg", "within/a.jpg"]);
    let expected = [
        ("file.jpg", "--follow-links"),
        ("folder", "--follow-links"),
        ("pipe.jpg", "pipe"),
        ("socket.jpg", "socket"),
    ];
    assert_eq!(bad.len(), expected.len(), "{bad:?}");
    for ((key, reason), (name, part)) in bad.iter().zip(expected) {
        let reason = reason.as_ref().unwrap_err();
        assert!(key == name && reason.contains(part), "{key}: {reason}");
    }

    let all = found(&Input::LinkedDirectory(root)).unwrap();
    let good: Vec<&str> =
        all.iter().filter(|(_, bytes)| bytes.is_ok()).map(|(key, _)| key.as_str()).collect();
    let expected = ["file.jpg", "folder/b.jpg", "folder/deep/c.jpg", "sub/a.jpg", "within/a.jpg"];
    assert_eq!(good, expected);
}

#[test]
fn a_list_mixes_paths_and_objects() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("in")).unwrap();
    fs::write(root.join("in/a b.jpg"), IMAGE).unwrap();
    let list = root.join("list.txt");
    let absolute = root.join("in/c.jpg");
    let text = format!(
        "\u{feff}in/a b.jpg\r\n\n{}\n{{\"path\": \"./in//d.jpg\", \"box\": [0, 1.5, 10, 20]}}\n\
         {{\"path\": \"in/a b.jpg\", \"key\": \"again\"}}\n../e.jpg",
        absolute.display()
    );
    fs::write(&list, text).unwrap();
    let input = Input::List(list);
    assert_eq!(keys(&input), ["in/a b.jpg", "in/c.jpg", "in/d.jpg", "again", "../e.jpg"]);
    let all = found(&input).unwrap();
    assert_eq!(all[0].1, Ok(IMAGE.len()));
    assert!(all[1].1.as_ref().unwrap_err().contains("cannot read"));
    let mut boxes = Vec::new();
    Photos::find(&input)
        .unwrap()
        .for_each(
            |_| Ok(true),
            |_, p| {
                boxes.push(p.bbox);
                ControlFlow::Continue(())
            },
        )
        .unwrap();
    assert_eq!(boxes[2], Some(PixelBox { x0: 0.0, y0: 1.5, x1: 10.0, y1: 20.0 }));
}

#[test]
fn bad_lines_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.jsonl");
    let huge = "x".repeat(70_000);
    for (text, expected) in [
        ("ok\n{\"path\": \"a\", \"size\": 3}", "line 2: unknown field `size`"),
        ("{\"key\": \"a\"}", "line 1: missing field `path`"),
        ("ok\n\n{\"path\": ", "line 3: EOF"),
        ("a\nb\n./a", "line 3: key \"a\" occurs a second time"),
        ("{\"path\": \"a\", \"id\": 1}\nb", "line 2: either every line has an id or none has"),
        (
            "{\"path\": \"a\", \"id\": 9223372036854775808}",
            "line 1: id 9223372036854775808 is not below 2^63",
        ),
        ("{\"path\": \"a\", \"id\": -1}", "line 1: invalid value"),
        ("{\"path\": \"a\", \"box\": [5, 0, 5, 9]}", "line 1: box [5, 0, 5, 9]: expected x0 < x1"),
        ("{\"path\": \"a\", \"box\": [5, 0, 9]}", "line 1: invalid length 3"),
        ("{\"path\": \"\"}", "line 1: an empty path"),
        (&huge, "line 1: longer than 65536 bytes"),
    ] {
        fs::write(&list, text).unwrap();
        let error = Photos::find(&Input::List(list.clone())).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("list.jsonl"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    fs::write(&list, b"a\n\xff\xfe").unwrap();
    let error = Photos::find(&Input::List(list)).unwrap_err().to_string();
    assert!(error.contains("line 2: not UTF-8"), "{error}");
}

fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    let mut link = ::tar::Header::new_gnu();
    link.set_entry_type(EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "link.jpg", "/etc/passwd").unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_tar_is_streamed_in_its_own_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photos.tar");
    let long = format!("{}/z.jpg", "d".repeat(180));
    let members: [(&str, &[u8]); 5] = [
        ("./b/2.jpg", IMAGE),
        ("a.jpg", b"text"),
        ("._a.jpg", IMAGE),
        (&long, IMAGE),
        ("1.jpg", &[b'G'; 40]),
    ];
    fs::write(&path, tar_of(&members)).unwrap();
    let input = Input::Tar(path.clone());
    let all = found(&input).unwrap();
    let names: Vec<&str> = all.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(names, ["b/2.jpg", "a.jpg", &long, "1.jpg", "link.jpg"]);
    assert_eq!(all[2].1, Ok(IMAGE.len()));
    assert!(all[4].1.as_ref().unwrap_err().contains("link"));

    fs::write(&path, tar_of(&[("a.jpg", IMAGE), ("./a.jpg", IMAGE)])).unwrap();
    assert!(found(&input).unwrap_err().to_string().contains("\"a.jpg\" occurs a second time"));
    let whole = tar_of(&[("a.jpg", &[IMAGE, &[7; 5000]].concat())]);
    fs::write(&path, &whole[..3000]).unwrap();
    assert!(found(&input).unwrap_err().to_string().contains("damaged tar"));
    fs::write(&path, b"\x1f\x8b\x08rest").unwrap();
    assert!(found(&input).unwrap_err().to_string().contains("gzip"));
    fs::write(&path, vec![b'x'; 2000]).unwrap();
    assert!(found(&input).unwrap_err().to_string().contains("damaged tar"));
}
