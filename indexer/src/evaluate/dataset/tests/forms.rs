//! Which form a directory or a file is taken for, and what is refused of any form.

use super::*;

#[test]
fn the_form_is_told_or_refused() {
    let dir = folder(&[("readme.txt", "")]);
    let error = refused(dir.path());
    for looked in ["found no data set; looked for", "*_query.txt", "gnd_*.pkl", "(disc21)"] {
        assert!(error.contains(looked), "{error}");
    }
    let error = refused(&dir.path().join("readme.txt"));
    assert!(error.contains("expected a directory, or a file .pkl"), "{error}");
    let missing = dir.path().join("nothing");
    assert!(matches!(Dataset::open(&missing, None), Err(Error::Index(_))));
    let wanted = Dataset::open(dir.path(), Some(Form::Copydays)).unwrap_err().to_string();
    assert!(wanted.contains("form copydays: expected original/ beside strong/"), "{wanted}");
    let file = dir.path().join("readme.txt");
    let wanted = Dataset::open(&file, Some(Form::Oxford)).unwrap_err().to_string();
    assert!(wanted.contains("form oxford: expected a directory"), "{wanted}");

    // Two official forms: both are named, and the flag decides.
    let dir = folder(&HALL);
    put(dir.path(), "gnd_roxford5k.json", ROXFORD);
    let error = refused(dir.path());
    let expected = "found several data sets: gt has 1 file *_query.txt, with photos named oxc1_… \
                    (form oxford), and gnd_roxford5k.json is there (form lists); choose with \
                    --protocol FORM";
    assert!(error.contains(expected), "{error}");
    let chosen = Dataset::open(dir.path(), Some(Form::Oxford)).unwrap();
    assert_eq!(chosen.form, Form::Oxford);
    // A file whose name says nothing.
    fs::rename(dir.path().join("gnd_roxford5k.json"), dir.path().join("other.dat")).unwrap();
    let chosen = Dataset::open(&dir.path().join("other.dat"), Some(Form::Lists)).unwrap();
    assert_eq!((chosen.name.as_str(), chosen.why.as_str()), ("other", "the form was given"));
    // Official files win over this project's own.
    put(dir.path(), "groundtruth.json", JSON);
    let dataset = open(dir.path());
    assert!(
        dataset.why.ends_with(
            "groundtruth.json is there too, which would be form json; official files win"
        )
    );
}

/// The forms whose readers are elsewhere.
#[test]
fn marks_of_the_other_forms() {
    for (file, content, form) in [
        ("gnd_instre.mat", "", Form::Instre),
        ("INSTRE-S1/a/1.jpg", "", Form::Instre),
        ("retrieval_solution_v2.1.csv", "id,images,Usage\n", Form::Gldv2),
        ("image_ids/image_query_ids.txt", "", Form::Ilias),
        ("public_ground_truth.csv", "query_id,reference_id\n", Form::Disc21),
        ("public_ground_truth.csv", "Q00000,\nQ00001,R000001\n", Form::Disc21),
        ("matches.csv", "query,positive\n", Form::Matches),
        ("matches.jsonl", "", Form::Matches),
    ] {
        let dir = folder(&[(file, content)]);
        let found = open::form_of(dir.path()).unwrap();
        assert_eq!(found, form, "{file}");
        if !file.contains('/') {
            assert_eq!(open::form_of(&dir.path().join(file)).unwrap(), form, "{file}");
        }
    }
    // A user's own list of photos whose names are as those of Holidays.
    let dir = folder(&[("100000.jpg", ""), ("100001.jpg", "")]);
    assert_eq!(open::form_of(dir.path()).unwrap(), Form::Holidays);
    put(dir.path(), "matches.csv", "");
    assert_eq!(open::form_of(dir.path()).unwrap(), Form::Matches);
    let dir = folder(&[("100001.jpg", ""), ("100002.jpg", "")]);
    assert!(open::form_of(dir.path()).is_err(), "no photo asks");
    let dir = folder(&[("a_ground_truth.csv", "query,positive\nQ1,R1\n")]);
    assert!(open::form_of(dir.path()).is_err());
    assert_eq!(open::form_of(&dir.path().join("a_ground_truth.csv")).unwrap(), Form::Matches);
}

#[test]
fn names_that_are_too_long_are_not_shown_whole() {
    let long = "n".repeat(5000);
    let dir = folder(&[("matches.csv", &format!("query,image\na,b\nc,{long}\n"))]);
    let error = refused(dir.path());
    let expected = "matches.csv:3: expected names of at most 4,096 bytes, found \"nnn";
    assert!(error.contains(expected) && error.len() < 1000, "{error}");
    put(dir.path(), "matches.csv", &format!("query,image\na,{long}\na,{long}\n"));
    let error = refused(dir.path());
    assert!(error.contains("(5,000 bytes) is there twice") && error.len() < 1000, "{error}");
    let list = format!(r#"{{"images": ["a", "{long}"], "label": {{"a": 1}}}}"#);
    let dir = folder(&[("groundtruth.json", &list)]);
    let error = refused(dir.path());
    assert!(error.contains("images[1]: expected names of at most 4,096 bytes"), "{error}");
}

/// A pipe would be waited for.
#[test]
fn pipes_are_refused() {
    let dir = folder(&[]);
    for name in ["matches.csv", "gnd_x.pkl", "gnd_x.json", "mine.json"] {
        let path = dir.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let error = refused(&path);
        assert!(error.contains("not a regular file"), "{name}: {error}");
    }
}

/// Several published files of one set are no question.
#[test]
fn one_of_several_published_files_is_taken() {
    let dir = folder(&[
        ("retrieval_solution_v2.0.csv", "broken"),
        ("retrieval_solution_v2.1.csv", "id,images,Usage\nq,a,Public\n"),
    ]);
    for form in [None, Some(Form::Gldv2)] {
        let dataset = Dataset::open(dir.path(), form).unwrap();
        let why = "retrieval_solution_v2.1.csv has the columns id and images, the last version; \
                   retrieval_solution_v2.0.csv is there too";
        assert_eq!((dataset.form, dataset.why.as_str()), (Form::Gldv2, why));
    }
    let pairs = "query_id,reference_id\nQ00001,R000007\n";
    let dir = folder(&[("final_ground_truth.csv", pairs), ("public_ground_truth.csv", pairs)]);
    let dataset = open(dir.path());
    let why = "public_ground_truth.csv has pairs of query and reference, the public development \
               set; final_ground_truth.csv is there too";
    assert_eq!((dataset.form, dataset.why.as_str()), (Form::Disc21, why));
    // No rule chooses between these.
    fs::rename(dir.path().join("public_ground_truth.csv"), dir.path().join("a_ground_truth.csv"))
        .unwrap();
    let error = refused(dir.path());
    assert!(error.contains("give the path of the one that is meant"), "{error}");
}

/// The real sets that are at hand: photos, queries, positives and junk of each setup, as Python
/// counts them in the files.
#[test]
fn sets_at_hand() {
    let test = "sets_at_hand";
    let Some(data) = ocelli_test_support::data(test, &["images/paris322"]) else { return };
    let images = data.join("images");
    let mut counts = Vec::new();
    for (name, form) in [
        ("gnd_oxford5k.json", None),
        ("gnd_paris6k.json", None),
        ("gnd_roxford5k.json", None),
        ("gnd_rparis6k.json", None),
        ("paris322", None),
        ("paris124", None),
        ("holidays", None),
        ("holidays", Some(Form::Json)),
        ("ukbench", None),
        ("ukbench", Some(Form::Json)),
    ] {
        let dataset = Dataset::open(&images.join(name), form).unwrap_or_else(|e| panic!("{e}"));
        for setup in &dataset.setups {
            let sum = |of: fn(&Asked) -> usize| setup.asked.iter().map(of).sum::<usize>();
            let images = listed(&dataset).len();
            counts.push(format!(
                "{} {} {} {images} {} {} {}",
                dataset.name,
                dataset.form,
                setup.name,
                setup.asked.len(),
                sum(|asked| asked.positives.len()),
                sum(|asked| asked.junk.len())
            ));
        }
    }
    let expected = [
        "oxford5k lists official 5063 55 2840 1495",
        "paris6k lists official 6392 55 8955 8245",
        "roxford5k lists easy 4993 70 3029 3853",
        "roxford5k lists medium 4993 70 5526 1356",
        "roxford5k lists hard 4993 70 2497 4385",
        "rparis6k lists easy 6322 70 6874 17503",
        "rparis6k lists medium 6322 70 17224 7153",
        "rparis6k lists hard 6322 70 10350 14027",
        "paris322 json official 322 14 674 158",
        "paris322 json easy 322 14 599 198",
        "paris322 json medium 322 14 786 11",
        "paris322 json hard 322 14 187 610",
        "paris322 json leave-one-out 322 322 20138 0",
        "paris124 json official 124 9 194 27",
        "paris124 json leave-one-out 124 124 3390 0",
        "holidays holidays official 402 147 243 0",
        "holidays json official 402 147 243 0",
        "ukbench ukbench n-s 500 500 2000 0",
        "ukbench json leave-one-out 500 500 1500 0",
    ];
    assert_eq!(counts, expected);
}
