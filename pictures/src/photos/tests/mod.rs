//! Inputs on disk, found in order; broken ones, with their reasons.

mod parquet;

use std::fs;
use std::os::unix::fs::symlink;

use ::tar::EntryType;

use super::*;

/// The first bytes of a GIF: enough to be taken for an image by content.
const IMAGE: &[u8] = b"GIF89a-and-more";

fn found(input: &Input) -> Result<Vec<(String, std::result::Result<usize, String>)>> {
    let mut out = Vec::new();
    Photos::find(input)?.for_each(
        |_| Ok::<_, Error>(true),
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

/// The same files as a walk finds, before they are there.
#[test]
fn files_that_would_be_among_the_photos_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("photos");
    fs::create_dir(&root).unwrap();
    symlink(&root, folder.path().join("same")).unwrap();
    let input = Input::Directory(root.clone());
    let select = |exclude: &[String]| {
        let names = Names::new(&[], exclude).unwrap();
        Selection { names, strict: false }
    };
    let takes = |file: &Path| select(&[]).takes(&input, file).unwrap();
    assert!(takes(&root.join("a.plan")) && takes(&root.join("no/such/a.plan")));
    assert!(takes(&folder.path().join("same/a.plan")));
    for other in ["a.part", ".a.plan", ".b/a.plan", "a.json", "../a.plan"] {
        assert!(!takes(&root.join(other)), "{other}");
    }
    assert!(!takes(&folder.path().join("photos.plan")));
    assert!(select(&["*.txt".to_owned()]).takes(&input, &root.join("a.json")).unwrap());
    assert!(!select(&[]).takes(&Input::List(root.clone()), &root.join("a.plan")).unwrap());
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
        "\u{feff}in/a b.jpg\r\n\n{}\n{{\"path\": \"./in//d.jpg\", \"box\": [0, 1.5, 10, 20], \
         \"rotate\": 270}}\n\
         {{\"path\": \"in/a b.jpg\", \"key\": \"again\"}}\n../e.jpg",
        absolute.display()
    );
    fs::write(&list, text).unwrap();
    let input = Input::List(list.clone());
    assert_eq!(keys(&input), ["in/a b.jpg", "in/c.jpg", "in/d.jpg", "again", "../e.jpg"]);
    let all = found(&input).unwrap();
    assert_eq!(all[0].1, Ok(IMAGE.len()));
    assert!(all[1].1.as_ref().unwrap_err().contains("cannot read"));
    let mut boxes = Vec::new();
    Photos::find(&input)
        .unwrap()
        .for_each(
            |_| Ok::<_, Error>(true),
            |_, p| {
                boxes.push((p.bbox, p.rotate));
                ControlFlow::Continue(())
            },
        )
        .unwrap();
    let bbox = PixelBox { x0: 0.0, y0: 1.5, x1: 10.0, y1: 20.0 };
    assert_eq!(boxes[2], (Some(bbox), Some(Rotation::ThreeQuarters)));
    assert_eq!(boxes[3], (None, None));
    // A turn is a part of what the images are.
    let fingerprint = || Photos::find(&input).unwrap().fingerprint().unwrap();
    let before = fingerprint();
    fs::write(&list, fs::read_to_string(&list).unwrap().replace("270", "90")).unwrap();
    assert_ne!(fingerprint(), before);
}

/// What is found where nothing may be wrong.
fn strictly(input: &Input) -> Result<Vec<String>> {
    let names = Names::new(&[], &[])?;
    let mut keys = Vec::new();
    Photos::select(input, &Selection { names, strict: true })?.for_each(
        |_| Ok::<_, Error>(true),
        |_, photo| {
            keys.push(photo.key);
            ControlFlow::Continue(())
        },
    )?;
    Ok(keys)
}

/// Items that will not do: place, key and reason.
fn unfit(input: &Input) -> Vec<(String, String, String)> {
    let mut unfit = Vec::new();
    let take = |_, photo: Photo| {
        if let Source::Unfit(reason) = photo.source {
            assert_eq!(photo.id, None);
            unfit.push((photo.origin.unwrap().to_string(), photo.key, reason));
        }
        ControlFlow::Continue(())
    };
    Photos::find(input).unwrap().for_each(|_| Ok::<_, Error>(true), take).unwrap();
    unfit
}

#[test]
fn bad_lines_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.jsonl");
    let input = Input::List(list.clone());
    let huge = format!("{}\nb", "x".repeat(200_000));
    let long = format!("{{\"path\": \"a\", \"key\": \"{}\"}}\nb", "k".repeat(20_000));
    for (text, fit, expected) in [
        ("ok\n{\"path\": \"a\", \"size\": 3}\n", 1, "line 2: unknown field `size`"),
        ("{\"key\": \"a\"}", 0, "line 1: missing field `path`"),
        ("ok\n\n{\"path\": ", 1, "line 3: EOF"),
        ("a\nb\n./a\nc", 3, "line 3: its key occurs a second time (\"a\")"),
        ("{\"path\": \"a\", \"id\": 1}\nb", 1, "line 2: no id, or null"),
        // The first line does not decide for the others.
        (
            "a\n{\"path\": \"b\", \"id\": 1}\n{\"path\": \"c\", \"id\": 2}",
            2,
            "line 1: no id, or null",
        ),
        (
            "{\"path\": \"a\", \"id\": 1}\n{\"path\": \"b\", \"id\": null}\n{\"path\": \"c\", \
             \"id\": 3}",
            2,
            "line 2: no id, or null",
        ),
        (
            "{\"path\": \"a\", \"id\": 7}\n{\"path\": \"b\", \"id\": 7}",
            1,
            "line 2: id 7 occurs a second time (\"b\")",
        ),
        (
            "{\"path\": \"a\", \"id\": 9223372036854775808}",
            0,
            "line 1: id 9223372036854775808 is not below 2^63",
        ),
        ("{\"path\": \"a\", \"id\": -1}", 0, "line 1: invalid value"),
        (
            "{\"path\": \"a\", \"box\": [5, 0, 5, 9]}",
            0,
            "line 1: box [5, 0, 5, 9]: expected x0 < x1",
        ),
        ("{\"path\": \"a\", \"box\": [5, 0, 9]}", 0, "line 1: invalid length 3"),
        ("ok\n{\"path\": \"a\", \"rotate\": 45}", 1, "line 2: rotate 45: expected 90, 180 or 270"),
        ("{\"path\": \"a\", \"rotate\": -90}", 0, "line 1: rotate -90: expected 90"),
        ("{\"path\": \"a\", \"rotate\": 0}", 0, "line 1: rotate 0: expected 90"),
        ("{\"path\": \"a\", \"rotate\": \"90\"}", 0, "line 1: invalid type: string"),
        ("{\"path\": \"\"}\nb", 1, "line 1: an empty path"),
        (&huge, 1, "line 1: longer than 65536 bytes"),
        (&long, 1, "line 1: key has 20000 bytes, expected at most 16384"),
    ] {
        fs::write(&list, text).unwrap();
        let error = strictly(&input).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("list.jsonl"), "{error}");
        assert!(!error.contains('\n'), "{error}");
        let (all, bad) = (found(&input).unwrap(), unfit(&input));
        assert_eq!((all.len() - bad.len(), bad.len()), (fit, 1), "{text}");
        let line = format!("{}: {} ({:?})", bad[0].0, bad[0].2, bad[0].1);
        assert!(line.contains(expected), "{line}");
    }
    fs::write(&list, b"a\n\xff\xfe\nb").unwrap();
    assert!(strictly(&input).unwrap_err().to_string().contains("line 2: not UTF-8"));
    assert_eq!(keys(&input), ["a", "", "b"]);
    // Nothing has an id where all of them are null.
    fs::write(&list, "{\"path\": \"a\", \"id\": null}\n{\"path\": \"b\", \"id\": null}").unwrap();
    assert_eq!(strictly(&input).unwrap(), ["a", "b"]);
}

fn header(kind: EntryType, bytes: usize) -> ::tar::Header {
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(bytes as u64);
    header.set_mode(0o644);
    header
}

fn builder_of(members: &[(&str, &[u8])]) -> ::tar::Builder<Vec<u8>> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = header(EntryType::Regular, bytes.len());
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder
}

fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    builder_of(members).into_inner().unwrap()
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
    let mut builder = builder_of(&members);
    builder.append_link(&mut header(EntryType::Symlink, 0), "link.jpg", "/etc/passwd").unwrap();
    fs::write(&path, builder.into_inner().unwrap()).unwrap();
    let input = Input::Tar(path.clone());
    let all = found(&input).unwrap();
    let names: Vec<&str> = all.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(names, ["b/2.jpg", "a.jpg", &long, "1.jpg", "link.jpg"]);
    assert_eq!(all[2].1, Ok(IMAGE.len()));
    assert!(all[4].1.as_ref().unwrap_err().contains("link"));

    let failed = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        found(&input).unwrap_err().to_string()
    };
    assert!(failed(b"\x1f\x8b\x08rest").contains("gzip"));
    assert!(failed(&vec![b'x'; 2000]).contains("damaged tar"));
    assert!(failed(&vec![b'x'; 2048]).contains("found none in 2048 bytes: it was cut off"));
    assert!(failed(b"").contains("damaged tar"));
}

/// Wherever a tar is cut, that is an error: inside of a member, of its padding, of a header, and
/// between members. Nothing that is skipped unread hides it.
#[test]
fn a_cut_tar_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photos.tar");
    let input = Input::Tar(path.clone());
    // Zeros at its end, as a picture may have them too.
    let whole = tar_of(&[("a.jpg", &[IMAGE, &[0; 5000]].concat()), ("b.jpg", &[0; 3000])]);
    assert_eq!(whole.len(), 512 + 5120 + 512 + 3072 + 1024);
    fs::write(&path, &whole).unwrap();
    assert_eq!(keys(&input), ["a.jpg", "b.jpg"]);
    for cut in (0..whole.len() - 1024).step_by(128) {
        fs::write(&path, &whole[..cut]).unwrap();
        for wants in [true, false] {
            let read = Photos::find(&input).and_then(|photos| {
                photos.for_each(|_| Ok::<_, Error>(wants), |_, _| ControlFlow::Continue(()))
            });
            let Err(error) = read else { panic!("cut at {cut}, wanted: {wants}") };
            assert!(error.to_string().contains("damaged tar"), "{cut}: {error}");
        }
    }
}

/// `tar -r` and `cat a.tar b.tar`: all members, and a key belongs to the first of its name.
#[test]
fn tars_one_after_the_other_are_read_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photos.tar");
    let [x, y] = [1, 2].map(|n| [IMAGE, &vec![n; usize::from(n)]].concat());
    let first = [tar_of(&[("a.jpg", &x), ("b.jpg", IMAGE)]), vec![0; 8192]].concat();
    let second = tar_of(&[("./a.jpg", &y), ("c.jpg", &y), ("0.json", b"{}"), ("0.txt", b"a cat")]);
    fs::write(&path, [first, second].concat()).unwrap();
    let input = Input::Tar(path.clone());
    let photos = Photos::find(&input).unwrap();
    let skipped = photos.skipped();
    let mut numbers = Vec::new();
    let take = |number, photo: Photo| {
        numbers.push((number, photo.key));
        ControlFlow::Continue(())
    };
    photos.for_each(|_| Ok::<_, Error>(true), take).unwrap();
    let expected = ["a.jpg", "b.jpg", "a.jpg", "c.jpg"];
    assert_eq!(numbers, (0..).zip(expected.map(str::to_owned)).collect::<Vec<_>>());
    assert_eq!(skipped.load(Ordering::Relaxed), 2);
    let place = format!("{} member 2", path.display());
    let reason = "its key occurs a second time".to_owned();
    assert_eq!(unfit(&input), [(place.clone(), "a.jpg".to_owned(), reason.clone())]);
    assert_eq!(found(&input).unwrap()[0].1, Ok(x.len()));
    let error = strictly(&input).unwrap_err().to_string();
    assert_eq!(error, format!("{place}: {reason} (\"a.jpg\")"));
    // Garbage behind the end is damage, not the end.
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([[7; 512], [0; 512]].concat());
    fs::write(&path, bytes).unwrap();
    assert!(found(&input).unwrap_err().to_string().contains("damaged tar"));
}

/// A hard link has the bytes of the member that it names; sparse files of GNU tar are read, those
/// of PAX are refused by their own name.
#[test]
fn links_and_sparse_members_of_a_tar() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photos.tar");
    let image = [IMAGE, &[9; 700]].concat();
    let mut builder = builder_of(&[("one.jpg", &image), ("side.txt", IMAGE)]);
    for (name, to) in [
        ("two.jpg", "./one.jpg"),
        ("three.jpg", "two.jpg"),
        ("of-text.jpg", "side.txt"),
        ("lost.jpg", "later.jpg"),
        ("self.jpg", "./self.jpg"),
        ("to-lost.jpg", "lost.jpg"),
    ] {
        builder.append_link(&mut header(EntryType::Link, 0), name, to).unwrap();
    }
    builder.append_data(&mut header(EntryType::Regular, 3), "later.jpg", &b"GIF"[..]).unwrap();
    let pax: [(&str, &[u8]); 2] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.name", b"deep/sparse.jpg")];
    builder.append_pax_extensions(pax).unwrap();
    let stored = "deep/GNUSparseFile.0/sparse.jpg";
    builder.append_data(&mut header(EntryType::Regular, 3), stored, &b"0\n0"[..]).unwrap();
    // GNU: 512 bytes here, then a hole to 2048.
    let mut sparse = header(EntryType::GNUSparse, 512);
    let gnu = sparse.as_gnu_mut().unwrap();
    gnu.set_real_size(2048);
    gnu.sparse[0].set_offset(0);
    gnu.sparse[0].set_length(512);
    gnu.sparse[1].set_offset(2048);
    gnu.sparse[1].set_length(0);
    let data = [IMAGE, &[1; 512]].concat();
    builder.append_data(&mut sparse, "hole.jpg", &data[..512]).unwrap();
    fs::write(&path, builder.into_inner().unwrap()).unwrap();

    let all: Vec<_> = found(&Input::Tar(path)).unwrap();
    let ok = |name: &str| all.iter().find(|(key, _)| key == name).unwrap().1.clone();
    for name in ["one.jpg", "two.jpg", "three.jpg"] {
        assert_eq!(ok(name), Ok(image.len()), "{name}");
    }
    assert_eq!((ok("of-text.jpg"), ok("hole.jpg")), (Ok(IMAGE.len()), Ok(2048)));
    assert!(ok("lost.jpg").unwrap_err().contains("not before it in the tar"));
    assert_eq!(ok("self.jpg").unwrap_err(), "a hard link to itself");
    assert_eq!(ok("to-lost.jpg").unwrap_err(), "a hard link to a member that is no file");
    assert!(ok("deep/sparse.jpg").unwrap_err().contains("sparse file with PAX headers"));
    assert!(all.iter().all(|(key, _)| key != "side.txt" && key != stored));
}

/// A pipe that nobody writes is refused at once, whatever input it is given as.
#[test]
fn a_pipe_is_no_input() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let parquet =
        |path| Input::Parquet { path, columns: ParquetColumns::default(), follow_links: false };
    for input in [Input::List(pipe.clone()), Input::Tar(pipe.clone()), parquet(pipe.clone())] {
        let error = Photos::find(&input).unwrap_err().to_string();
        assert!(error.ends_with("pipe: not a regular file"), "{error}");
    }
}

/// The same in a folder and in a list: by default `.json` and `.txt` are left out and counted.
#[test]
fn names_choose_what_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("set");
    fs::create_dir_all(root.join("sub")).unwrap();
    let files = ["0.jpg", "0.json", "0.txt", "sub/1.png"];
    for name in files {
        fs::write(root.join(name), IMAGE).unwrap();
    }
    fs::write(folder.path().join("list"), files.map(|f| format!("set/{f}\n")).concat()).unwrap();
    let tar = tar_of(&files.map(|f| (f, IMAGE)));
    fs::write(folder.path().join("tar"), tar).unwrap();
    for (input, prefix) in [
        (Input::Directory(root), ""),
        (Input::List(folder.path().join("list")), "set/"),
        (Input::Tar(folder.path().join("tar")), ""),
    ] {
        for (include, exclude, expected) in [
            (&[][..], &[][..], &["0.jpg", "sub/1.png"][..]),
            (&["*.png"], &[], &["sub/1.png"]),
            (&[], &["*sub/*"], &["0.jpg", "0.json", "0.txt"]),
        ] {
            let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
            let names = Names::new(&owned(include), &owned(exclude)).unwrap();
            let photos = Photos::select(&input, &Selection { names, strict: true }).unwrap();
            let (skipped, mut taken) = (photos.skipped(), Vec::new());
            let take = |_, photo: Photo| {
                taken.push(photo.key);
                ControlFlow::Continue(())
            };
            photos.for_each(|_| Ok::<_, Error>(true), take).unwrap();
            let expected: Vec<String> = expected.iter().map(|e| format!("{prefix}{e}")).collect();
            assert_eq!(taken, expected, "{input:?}");
            assert_eq!(skipped.load(Ordering::Relaxed) as usize, files.len() - taken.len());
        }
    }
}
