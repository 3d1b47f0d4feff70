//! Items that will not do.

use super::*;

/// A key, an id or a line that will not do is one image less, named with its place. The same in
/// parts: by two tasks, and where parts are made again, the first of a key has it, in whatever part
/// it is.
#[test]
fn one_bad_item_does_not_end_a_job() {
    let (folder, _) = setup();
    let folder = folder.path();
    let pipeline = pipeline(folder, &[48], None);
    let run = |input: &Input, name: &str, options: &JobOptions<'_>| {
        let output = output(folder, name, PartKind::Descriptors);
        let summary = encode(input, &pipeline, &view_options(&[48]), &output, options).unwrap();
        (summary.images, summary.rejected)
    };
    let list = folder.join("bad.jsonl");
    let line = |file: &str, key: &str, id: &str| {
        format!("{{\"path\": \"photos/{file}.png\", \"key\": \"{key}\", \"id\": {id}}}\n")
    };
    let lines = [
        line("01", "a", "1"),
        line("02", "b", "null"),
        line("04", "c", "3"),
        line("05", "a", "4"),
        line("07", "d", "3"),
        line("08", &"k".repeat(17_000), "6"),
        "{\n".to_owned(),
        line("10", "e", "8"),
    ];
    fs::write(&list, lines.concat()).unwrap();
    let input = Input::List(list.clone());
    assert_eq!(run(&input, "list.part", &workers_of(2)), (3, 5));
    let part = Part::open(&folder.join("list.part")).unwrap();
    assert_eq!(part.keys().unwrap(), ["a", "c", "e"]);
    assert_eq!(part.id(2).unwrap(), Some(8));
    let text = fs::read_to_string(folder.join("list.part.rejected.jsonl")).unwrap();
    let rejected: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rows: Vec<_> = rejected.iter().map(|line| line["row"].as_u64().unwrap()).collect();
    assert_eq!(rows, [2, 4, 5, 6, 7], "{text}");
    assert!(rejected.iter().all(|line| line["file"] == list.display().to_string()), "{text}");
    assert_eq!((&rejected[0]["key"], &rejected[1]["key"]), (&"b".into(), &"a".into()));
    // A key that is too long, and one that is not known, are left away.
    assert!(rejected[3].get("key").is_none() && rejected[4].get("key").is_none(), "{text}");
    for (line, reason) in rejected.iter().zip(["no id", "its key", "id 3", "17000 bytes", "EOF"]) {
        assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
    }

    // Parts of two, so that the second "a" and the second id 3 are in other parts than the first.
    let options = JobOptions { batch: 2, parts: parts_of(2), ..workers_of(2) };
    assert_eq!(run(&input, "once", &options), (3, 5));
    let whole = files(&folder.join("once"));
    assert_eq!(whole.keys().filter(|name| name.ends_with(".part")).count(), 3);
    for task in 0..2 {
        let parts = Some(Parts { images: 2, task, tasks: 2 });
        run(&input, "shared", &JobOptions { parts, ..options });
    }
    assert!(files(&folder.join("shared")) == whole);
    // As after a kill: only what is gone is made, and it is made of the same images.
    fs::remove_file(folder.join("once/00000001.part")).unwrap();
    fs::remove_file(folder.join("once/00000001.part.rejected.jsonl")).unwrap();
    assert_eq!(run(&input, "once", &options), (1, 1));
    assert!(files(&folder.join("once")) == whole);
}

/// An image that the part cannot hold, and the writer says so, is one image less.
#[test]
fn what_a_part_refuses_is_rejected() {
    let (folder, _) = setup();
    let folder = folder.path();
    let spec = DescriptorSpec::foreign("test", 4).unwrap();
    let out = output(folder, "x.part", PartKind::Descriptors);
    let mut sink = Sink::create(&out, &spec, None, None, Some(3)).unwrap();
    let images = ["a", "b", "c"].map(|key| work::Encoded {
        key: key.to_owned(),
        id: None,
        attributes: None,
        record: Vec::new(),
        origin: None,
        made: Ok(work::Made::Vectors(vec![if key == "b" { f32::NAN } else { 1.0 }; 4])),
    });
    let run = work::EncodedRun { first: 0, images: images.into(), times: StageSeconds::default() };
    sink.push(run).unwrap();
    let summary = sink.finish(0, true, std::time::Duration::ZERO).unwrap();
    assert_eq!((summary.images, summary.rejected), (2, 1));
    assert_eq!(Part::open(&out.part).unwrap().keys().unwrap(), ["a", "c"]);
    let text = fs::read_to_string(&out.rejected).unwrap();
    assert!(text.starts_with("{\"key\":\"b\",\"reason\":"), "{text}");
}
