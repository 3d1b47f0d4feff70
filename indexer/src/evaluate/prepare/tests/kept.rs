//! What is kept in the folder, and what is made again.

use super::*;

#[test]
fn lists_say_keys_boxes_and_turns() {
    let bench = Bench::new();
    let (calls, prepared) = bench.run(&set(&bench, Some(BOX)), &bench.options());
    let prepared = prepared.unwrap();
    let call = |name: &str| {
        let list = bench.work(&format!("{name}.jsonl"));
        let weights = bench.arg("net.safetensors");
        let out = bench.work(&format!("{name}.part"));
        ["--list", &list, "--include", "*", "--weights", &weights, "--sizes=448", "--out", &out]
            .map(str::to_owned)
            .to_vec()
    };
    assert_eq!(calls, [call("photos"), call("queries")]);
    let path = |i: usize| bench.arg(&format!("set/{i:02}.jpg"));
    let photos = [
        json!({"path": path(0), "key": "00.jpg"}),
        json!({"path": path(1), "key": "01.jpg", "rotate": 90}),
        json!({"path": path(2), "key": "02.jpg"}),
        json!({"path": path(3), "key": "03.jpg"}),
        json!({"path": path(4), "key": "04.jpg", "rotate": 270}),
        json!({"path": path(5), "key": "05.jpg"}),
    ];
    let listed = lines(&bench.path("work/photos.jsonl"));
    assert_eq!(listed, photos);
    let queries =
        [json!({"path": path(1), "key": "boxed", "box": [1.0, 2.0, 30.0, 40.5], "rotate": 90})];
    assert_eq!(lines(&bench.path("work/queries.jsonl")), queries);
    assert_eq!(prepared.descriptors, [PathBuf::from(bench.work("photos.part"))]);
    assert_eq!(prepared.queries, Some(PathBuf::from(bench.work("queries.part"))));
    assert_eq!((prepared.whitening, prepared.index, prepared.learn.len()), (None, None, 0));
    assert_eq!(Part::open(&prepared.descriptors[0]).unwrap().images(), 6);
    drop(prepared.lock);

    // Without a box, the database has the descriptors of both queries.
    let (calls, prepared) = bench.run(&set(&bench, None), &bench.options());
    assert_eq!((calls.len(), prepared.unwrap().queries), (0, None));
}

#[test]
fn what_did_not_change_is_kept() {
    let bench = Bench::new();
    let (data, options) = (set(&bench, Some(BOX)), bench.options());
    let photos = "descriptors of 6 photos (photos)";
    let queries = "descriptors of 1 photos (queries)";
    let (_, first) = bench.run(&data, &options);
    assert_eq!(steps(&first.unwrap()), [(photos, false), (queries, false)]);
    let (calls, again) = bench.run(&data, &options);
    assert_eq!(calls.len(), 0);
    assert_eq!(steps(&again.unwrap()), [(photos, true), (queries, true)]);

    bench.touch("set/03.jpg");
    let (_, touched) = bench.run(&data, &options);
    assert_eq!(steps(&touched.unwrap()), [(photos, false), (queries, true)]);

    let (_, boxed) = bench.run(&set(&bench, Some([0.0, 0.0, 9.0, 9.0])), &options);
    assert_eq!(steps(&boxed.unwrap()), [(photos, true), (queries, false)]);

    let mut flags = options.clone();
    flags.encoder_flags.push("--no-upscale".into());
    let (calls, _) = bench.run(&data, &flags);
    assert_eq!(calls.len(), 2);
    // The network itself, by the file that a flag names.
    bench.touch("net.safetensors");
    assert_eq!(bench.run(&data, &flags).0.len(), 2);
    assert_eq!(bench.run(&data, &flags).0.len(), 0);

    fs::remove_file(bench.path("work/queries.part")).unwrap();
    let (calls, _) = bench.run(&data, &flags);
    assert_eq!(calls.len(), 1);
}

/// A part that appeared just before the run was cut is made again, even under the flags of the run
/// before it.
#[test]
fn a_cut_run_is_made_again() {
    let bench = Bench::new();
    let (data, options) = (set(&bench, None), bench.options());
    bench.run(&data, &options).1.unwrap();
    let mut other = options.clone();
    other.encoder_flags.push("--no-exif".into());
    *bench.fails_at.borrow_mut() = 0;
    let error = bench.run(&data, &other).1.unwrap_err().to_string();
    assert!(error.contains("exit code 1"), "{error}");
    *bench.fails_at.borrow_mut() = usize::MAX;
    assert_eq!(bench.run(&data, &options).0.len(), 1);
}

/// What a run prepared is its own until it has read it, and while it still encodes.
#[test]
fn a_second_run_is_refused() {
    let bench = Bench::new();
    let (data, options) = (set(&bench, None), bench.options());
    let work = fs::canonicalize(bench.folder.path()).unwrap().join("work");
    let expected =
        format!("{}: expected a folder that no other run works in, found one", work.display());
    let refused = || {
        let unused = |_: &[OsString]| -> std::result::Result<(), BoxError> { unreachable!() };
        let error = prepare(&data, &options, &unused, &no_opq, &silent).unwrap_err().to_string();
        assert!(error.starts_with(&expected), "{error}");
    };
    let encode = |args: &[OsString]| {
        refused();
        bench.encode(args)
    };
    let prepared = prepare(&data, &options, &encode, &no_opq, &silent).unwrap();
    refused();
    drop(prepared);
    bench.run(&data, &options).1.unwrap();
}

/// A part of another run under a stamp, and one that was cut, are made again.
#[test]
fn a_stamp_holds_for_one_content() {
    let bench = Bench::new();
    let (data, options) = (set(&bench, None), bench.options());
    let part = bench.path("work/photos.part");
    bench.run(&data, &options).1.unwrap();
    let other = fs::read(&part).unwrap();
    fs::write(bench.path("set/03.jpg"), "a longer photo").unwrap();
    bench.run(&data, &options).1.unwrap();
    let own = fs::read(&part).unwrap();
    assert_eq!((own.len(), own == other), (other.len(), false));
    for swapped in [&other[..], &own[..own.len() / 2], b""] {
        fs::write(&part, swapped).unwrap();
        assert_eq!(bench.run(&data, &options).0.len(), 1);
        assert!(fs::read(&part).unwrap() == own);
    }
    // So is a list of other rejected photos beside it.
    fs::write(bench.path("work/photos.part.rejected.jsonl"), "").unwrap();
    assert_eq!(bench.run(&data, &options).0.len(), 0, "it was empty before");
    fs::remove_file(bench.path("work/photos.part.rejected.jsonl")).unwrap();
    fs::write(bench.path("work/photos.part.rejected.jsonl"), "{}").unwrap();
    assert_eq!(bench.run(&data, &options).0.len(), 1);
}

/// An encoder whose run was killed goes on to write. The next run removes its folder, so that it
/// replaces nothing.
#[test]
fn an_encoder_that_outlives_its_run_replaces_nothing() {
    let bench = Bench::new();
    let (data, options) = (set(&bench, None), bench.options());
    bench.run(&data, &options).1.unwrap();
    let part = bench.path("work/photos.part");
    let made = fs::read(&part).unwrap();
    let orphan = bench.path("work/.new-killed");
    fs::create_dir(&orphan).unwrap();
    fs::write(orphan.join("photos.part"), "incomplete").unwrap();

    bench.touch("set/03.jpg");
    let encode = |args: &[OsString]| {
        assert!(!orphan.exists());
        fs::write(orphan.join("photos.part"), "late").unwrap_err();
        bench.encode(args)?;
        // The encoder's end is not yet that of the step: the old part has its name.
        let out = Path::new(args.last().unwrap());
        assert_ne!(out.parent(), fs::canonicalize(&part).unwrap().parent());
        fs::write(&part, "old").unwrap();
        assert!(out.exists());
        Ok(())
    };
    prepare(&data, &options, &encode, &no_opq, &silent).unwrap();
    assert!(fs::read(&part).unwrap() == made);
    let mut names: Vec<String> = fs::read_dir(bench.path("work"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        ".ocelli-work",
        "photos.jsonl",
        "photos.part",
        "photos.part.rejected.jsonl",
        "photos.part.stamp",
    ];
    assert_eq!(names, expected);
}

/// Runs that start at once in an empty folder: each gets it, or is told that it is taken.
#[test]
fn an_empty_folder_is_taken_by_one_run() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = dir.path().join(round.to_string());
        let holders = AtomicUsize::new(0);
        let open = || match folder::Folder::open(&path) {
            Ok(_folder) => {
                let alone = holders.fetch_add(1, Ordering::SeqCst) == 0;
                thread::yield_now();
                holders.fetch_sub(1, Ordering::SeqCst);
                alone
            }
            Err(e) => e.to_string().contains("another run has locked"),
        };
        thread::scope(|scope| {
            let others = [(); 3].map(|()| scope.spawn(open));
            assert!(open() && others.into_iter().all(|other| other.join().unwrap()));
        });
    }
    // What a run that was killed at its start may have left.
    let path = dir.path().join("killed");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("..ocelli-work.ocelli-00000000-0000000000000000.tmp"), "").unwrap();
    folder::Folder::open(&path).unwrap();
    let mark = fs::read_to_string(path.join(".ocelli-work")).unwrap();
    assert!(mark.ends_with("It may be removed.\n"), "{mark}");
}
