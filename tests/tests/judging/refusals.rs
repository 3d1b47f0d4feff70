//! Bad input and wrong usage: exit codes, places, and nothing written.

use super::*;

/// Whatever is wrong: exit code 1, one line that says where, and no file.
#[test]
fn what_is_wrong_is_refused() {
    type Case = (&'static str, fn(&Copy), &'static str, &'static [&'static str]);
    let cases: &[Case] = &[
        // Lists.
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_good.txt", "hall_000001\nhall_999999\n"),
            OXFORD,
            &["hall_999999", "query \"hall_1\"", "gt_files_170407/hall_1_good.txt:2"],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_good.txt", "hall_000001\n\nhall_000001\n"),
            OXFORD,
            &["hall_1_good.txt:3: query \"hall_1\": photo \"hall_000001\" is twice", "good.txt:1"],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_junk.txt", "hall_000003\n"),
            OXFORD,
            &["hall_1_junk.txt:1", "both positive and junk", "hall_1_ok.txt:1"],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_query.txt", "\n"),
            OXFORD,
            &["hall_1_query.txt: expected \"photo x0 y0 x1 y1\", found nothing"],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_query.txt", "oxc1_hall_000001 1 2 3\n"),
            OXFORD,
            &["hall_1_query.txt:1: expected \"photo x0 y0 x1 y1\""],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_query.txt", "oxc1_hall_000001 9 2 3 4\n"),
            OXFORD,
            &["hall_1_query.txt:1: query \"hall_1\": expected a box x0 < x1, y0 < y1"],
        ),
        (
            "oxford5k",
            |c| fs::remove_file(c.at("gt_files_170407/gate_1_ok.txt")).unwrap(),
            OXFORD,
            &["gate_1_ok.txt", "No such file"],
        ),
        (
            "oxford5k",
            |c| c.write("gt_files_170407/hall_1_good.txt", b"\xff\xfe"),
            OXFORD,
            &["hall_1_good.txt", "UTF-8"],
        ),
        ("holidays", |c| c.write("holidays_images.dat", "\n"), HOLIDAYS, &["dat: expected names"]),
        (
            "holidays",
            |c| c.write("holidays_images.dat", "100000.jpg\n10001.jpg\n"),
            HOLIDAYS,
            &["holidays_images.dat:2: expected a name of six digits"],
        ),
        (
            "ukbench",
            |c| fs::remove_file(c.at("full/ukbench00006.jpg")).unwrap(),
            "@ --descriptors @/photos.fbin",
            &["full: object 1: expected 4 photos, numbers 4 to 7, found 3"],
        ),
        (
            "own",
            |c| c.write("groundtruth.json", "{\"queries\": []}"),
            "@ --descriptors @/photos.npy",
            &["groundtruth.json: expected queries in \"queries\", found an empty list"],
        ),
        (
            "own",
            |c| c.replace("groundtruth.json", "\"good\": [\"b/2.jpg\"]", "\"good\": [\"b/9.jpg\"]"),
            "@ --descriptors @/photos.npy",
            &["groundtruth.json: query 1, good[0]: photo \"b/9.jpg\" is not among the 6 photos"],
        ),
        (
            "matches",
            |c| c.replace("matches.csv", "a/1.jpg,a/3.jpg,1", "a/1.jpg,a/2.jpg,1"),
            MATCHES,
            &["matches.csv:3: of query \"a/1.jpg\": photo \"a/2.jpg\" is there twice"],
        ),
        // Names are whole paths in one's own list; a stem is no name of a photo.
        (
            "matches",
            |c| c.replace("matches.csv", "a/1.jpg,a/3.jpg,1", "a/1.jpg,3.jpg,1"),
            MATCHES,
            &["lacks \"3.jpg\", a positive of query \"a/1.jpg\"", "matches.csv:3"],
        ),
        (
            "matches",
            |_| {},
            "@ --descriptors @/photos.npy --row-names @/photos.txt --names stem",
            &[
                "matches.csv:5: query \"b/1.jpg\" is the photo of query \"a/1.jpg\"",
                "matches.csv:2",
            ],
        ),
        (
            "gldv2",
            |c| c.replace("retrieval_solution_v2.1.csv", ",Private", ",private"),
            GLDV2,
            &["retrieval_solution_v2.1.csv:5: expected Public, Private or Ignored"],
        ),
        (
            "ilias",
            |c| c.write("image_ids/positive_ids.txt", "P000_00.jpg\n"),
            ILIAS,
            &["positive_ids.txt:1: expected an id \"object/…\""],
        ),
        (
            "copydays",
            |c| fs::remove_file(c.at("original/200100.jpg")).unwrap(),
            "@ --descriptors @/originals.npy",
            &["strong/200101.jpg: expected a photo that it is a copy of in original/"],
        ),
        (
            "roxford5k",
            |c| c.write("gnd_roxford5k.pkl", b"\x80\x04cos\nsystem\n\x8c\x04true\x85R."),
            REVISITED,
            &["gnd_roxford5k.pkl"],
        ),
        (
            "instre",
            |c| c.write("gnd_instre.mat", "no file of MATLAB"),
            "@ --descriptors @/features.h5",
            &["gnd_instre.mat"],
        ),
        // Descriptors.
        (
            "oxford5k",
            |c| c.replace("photos.txt", "view_000001.jpg\n", ""),
            OXFORD,
            &["expected as many names as rows, found 7 names (", "photos.txt), and 8 rows ("],
        ),
        (
            "oxford5k",
            |c| c.replace("photos.txt", "gate_000002.jpg\n", "\n"),
            OXFORD,
            &["photos.txt:6: expected a name, found an empty line"],
        ),
        (
            "oxford5k",
            |c| c.replace("photos.txt", "view_000001.jpg", "hall_000002.jpg"),
            OXFORD,
            &["row 1 of ", "row 7 of ", "photos.npy are both named \"hall_000002.jpg\""],
        ),
        (
            "holidays",
            |c| c.write("photos.fvecs", line(&[0.0, 1.0, f32::NAN, 2.0, 7.0])),
            HOLIDAYS,
            &["photos.fvecs", "row 2", "NaN"],
        ),
        (
            "holidays",
            |c| c.write("photos.fvecs", &line(&[0.0, 1.0])[..13]),
            HOLIDAYS,
            &["photos.fvecs"],
        ),
        (
            "paris6k",
            |c| c.write("queries.fvecs", line(&[0.0, 1.0])),
            PARIS,
            &["the queries", "dim"],
        ),
        (
            "paris6k",
            |_| {},
            "@ --descriptors @/photos.fvecs",
            &["photos.fvecs: its 6 rows have no names", "--row-names"],
        ),
        (
            "oxford5k",
            |c| c.replace("queries.txt", "gate_1", "gate_2"),
            OXFORD,
            &["query \"gate_1\"", "gate_1_query.txt:1", "has no descriptor among the 2"],
        ),
        ("paris6k", |_| {}, "@ --descriptors @/paris_120310", &["paris_120310"]),
        (
            "oxford5k",
            |_| {},
            "@ --descriptors @/photos.npy --row-names @/gt_files_170407",
            &["gt_files_170407", "not a regular file"],
        ),
        ("oxford5k", |_| {}, "@", &["nothing is searched: expected descriptors, an index"]),
        // Rankings.
        (
            "disc21",
            |c| c.replace("predictions.csv", "R000005,0.8", "R000005,NaN"),
            DISC21,
            &["predictions.csv: line 3:", "NaN"],
        ),
        (
            "disc21",
            |c| c.replace("predictions.csv", "R000005,0.8", "R000005,high"),
            DISC21,
            &["predictions.csv: line 3: expected a score, found \"high\""],
        ),
        (
            "disc21",
            |c| c.replace("predictions.csv", "R000005,0.8", "R000005"),
            DISC21,
            &["predictions.csv: line 3: expected 3 columns, found 2"],
        ),
        (
            "disc21",
            |c| c.replace("predictions.csv", "R000009", "R000003"),
            DISC21,
            &["predictions.csv: line 6:", "\"R000003\" is named twice, first in line 5"],
        ),
        (
            "disc21",
            |c| c.write("predictions.csv", "Q7,R1,0.5\n"),
            DISC21,
            &["predictions.csv: expected rankings of queries of disc21", "(line 1)"],
        ),
        (
            "disc21",
            |c| c.write("predictions.csv", "id,images\nQ00001,R000001\n"),
            DISC21,
            &["disc21 is judged by µAP, which needs scores"],
        ),
        ("disc21", |c| c.write("predictions.csv", ""), DISC21, &["found an empty file"]),
        (
            "holidays",
            |c| c.replace("results.dat", "1 100001.jpg 2 100100.jpg", "1 100001.jpg 3 100100.jpg"),
            "@ --rankings @/results.dat",
            &["results.dat: line 1:", "expected rank 2, found 3"],
        ),
        (
            "holidays",
            |c| fs::create_dir(c.at("lists")).unwrap(),
            "@ --rankings @/lists",
            &["lists: expected a list NAME.txt for each query"],
        ),
        // What is asked for.
        ("oxford5k", |_| {}, "@ --setup hard", &["no setup \"hard\"; there is official"]),
        (
            "oxford5k",
            |c| c.write("gnd_oxford5k.json", "{\"imlist\": [], \"qimlist\": [], \"gnd\": []}"),
            OXFORD,
            &["found several data sets", "gt_files_170407 has 2", "choose with --protocol FORM"],
        ),
        (
            "oxford5k",
            |c| copy_folder(&c.at("gt_files_170407"), &c.at("more")),
            OXFORD,
            &["found several data sets", "give the path of the one that is meant"],
        ),
        (
            "oxford5k",
            |c| fs::create_dir(c.at("empty")).unwrap(),
            "@/empty",
            &["empty: found no data set; looked for", "*_query.txt", "gnd_*.pkl", "matches.csv"],
        ),
        (
            "oxford5k",
            |_| {},
            "@ --protocol holidays",
            &["form holidays: expected holidays_images.dat"],
        ),
        (
            "oxford5k",
            |_| {},
            "@/photos.txt --protocol oxford",
            &["photos.txt: form oxford: expected a directory"],
        ),
        ("oxford5k", |_| {}, "@/photos.npy", &["photos.npy: expected a directory, or a file"]),
        ("oxford5k", |_| {}, "@/nowhere", &["nowhere", "No such file"]),
        ("oxford5k", |_| {}, "", &["expected a data set"]),
        (
            "matches",
            |_| {},
            "@ --rankings @/photos.txt --expect matchs=0.5±0.1",
            &["matchs=0.5±0.1: data set \"matchs\" was not judged; there is matches"],
        ),
        (
            "roxford5k",
            |_| {},
            "@ --expect roxford5k=0.5±0.1",
            &["it names no setup; there is easy, medium, hard"],
        ),
        // Photos.
        (
            "oxford5k",
            |c| fs::create_dir(c.at("jpg")).unwrap(),
            "@ --photos @/jpg --work %/work -- --weights none",
            &["data set oxford5k: no photos below ", "jpg"],
        ),
        (
            "oxford5k",
            |c| {
                fs::create_dir(c.at("jpg")).unwrap();
                RgbImage::new(8, 8).save(c.at("jpg/hall_000001.jpg")).unwrap();
            },
            "@ --work %/work -- --weights none",
            &["1 of 2 photos are missing: \"gate_000001\" (", "gate_1_query.txt:1"],
        ),
    ];
    let mut wrong = Vec::new();
    for (set, spoil, flags, told) in cases {
        let copy = Copy::of(set);
        spoil(&copy);
        let out = "--out %/o.json --per-query-out %/q.json --page %/p.html";
        let (flags, encode) = flags.split_once(" -- ").unwrap_or((flags, ""));
        let message = fail("ocelli", 1, copy.args(&format!("{flags} {out} -- {encode}")));
        let is_told = told.iter().all(|part| message.contains(part));
        if message.trim().lines().count() != 1 || !is_told || !copy.written().is_empty() {
            wrong.push(format!("{set} {flags}: {told:?}, {:?}: {message}", copy.written()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names of files that cannot be written are refused before anything else.
#[test]
fn results_that_cannot_be_written() {
    for (set, flags, told) in [
        ("oxford5k", format!("{OXFORD} --per-query-out %/q.txt"), ".parquet or .json"),
        ("oxford5k", format!("{OXFORD} --rankings-out %/r.json"), ".csv or .parquet"),
        (
            "oxford5k",
            format!("{OXFORD} --rankings-out %/r.parquet --rankings-form gldv2"),
            ".csv, the challenge's form",
        ),
        (
            "roxford5k",
            format!("{REVISITED} --rankings-out %/r.csv"),
            "choose one (--setup easy, --setup medium, …)",
        ),
        ("oxford5k", format!("{OXFORD} --page %/no/p.html"), "no/p.html"),
        (
            "oxford5k",
            format!("{OXFORD} --page %/p.html --page-query gate_9"),
            "p.html: oxford5k has no query \"gate_9\"",
        ),
    ] {
        let copy = Copy::of(set);
        let message = fail("ocelli", 1, copy.args(&format!("{flags} --out %/o.json")));
        assert_eq!(message.trim().lines().count(), 1, "{message}");
        assert!(message.contains(told), "{message}");
        assert!(copy.written().is_empty(), "{flags}: {:?}", copy.written());
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let copy = Copy::of("oxford5k");
    for flags in [
        "@ --expect oxford5k=0.5",
        "@ --protocol oxford6k",
        "@ --ties both",
        "@ --rankings @/photos.txt --descriptors @/photos.npy",
        "@ --compare @/photos.txt @/photos.txt",
        "--compare @/photos.txt",
        "@ --query-names @/queries.txt",
        "@ --row-names @/photos.txt --rows listed",
        "@ --learn-from @",
        "@ --rankings-form long",
    ] {
        fail("ocelli", 2, copy.args(flags));
    }
}
