//! Each protocol on its fixture.

use super::*;

#[test]
fn oxford_and_paris() {
    judged(
        "oxford5k",
        OXFORD,
        "oxford5k: protocol oxford, because gt_files_170407 has 2 files *_query.txt, with photos \
         named oxc1_…",
        &[("oxford5k", 203.0 / 360.0), ("oxford5k:mP@1", 0.5), ("oxford5k:MRR", 0.75)],
    );
    judged(
        "paris6k",
        PARIS,
        "paris6k: protocol oxford, because paris_120310 has 2 files *_query.txt",
        &[("paris6k/official", 29.0 / 48.0)],
    );
    let copy = Copy::of("paris6k");
    let report = copy.report(PARIS);
    assert_eq!((&report["damaged"], &report["images"]), (&1.into(), &6.into()), "{report}");
    let text = succeed("ocelli", copy.args(PARIS));
    let told = "taken out of every ranking: 1 photo that is published as damaged";
    assert!(text.contains(told), "{text}");
}

#[test]
fn revisited_oxford() {
    judged(
        "roxford5k",
        REVISITED,
        "roxford5k: protocol lists, because gnd_roxford5k.pkl is there",
        &[
            ("roxford5k/easy", 19.0 / 24.0),
            ("roxford5k/medium", 441.0 / 720.0),
            ("roxford5k/hard", 128.0 / 360.0),
            // 3 of the first 4, as the last positive is the fourth; 3 of the first 5.
            ("roxford5k/medium:mP@5", (3.0 / 4.0 + 3.0 / 5.0) / 2.0),
        ],
    );
    let copy = Copy::of("roxford5k");
    let easy = &copy.report(&format!("{REVISITED} --setup easy"))["setups"][0];
    assert_eq!(easy["without_positives"], serde_json::json!(["gate_000002"]));
    assert_eq!(easy["queries"].as_array().unwrap().len(), 1);
}

#[test]
fn holidays_ukbench_and_instre() {
    let header = "holidays: protocol holidays, because holidays_images.dat is there";
    for flags in [HOLIDAYS, "@ --rankings @/results.dat"] {
        judged("holidays", flags, header, &[("holidays", 11.0 / 24.0)]);
    }
    judged(
        "ukbench",
        "@ --descriptors @/photos.fbin",
        "ukbench: protocol ukbench, because 8 of 8 photos are named ukbench00000.jpg and so on",
        &[("ukbench", 2.5), ("ukbench/n-s:N-S", 2.5)],
    );
    judged(
        "instre",
        "@ --descriptors @/features.h5 --queries @/features.h5 --similarity inner-product",
        "instre: protocol instre, because gnd_instre.mat has imlist, qimlist and gnd",
        &[("instre", 2.0 / 3.0)],
    );
}

#[test]
fn google_landmarks_and_ilias() {
    judged(
        "gldv2",
        GLDV2,
        "gldv2: protocol gldv2, because retrieval_solution_v2.1.csv has the columns id and images",
        &[("gldv2/public", 2.0 / 3.0), ("gldv2/private:mAP@100", 0.5), ("gldv2/all", 11.0 / 18.0)],
    );
    judged(
        "ilias",
        ILIAS,
        "ilias: protocol ilias, because image_ids has image_query_ids.txt and positive_ids.txt",
        &[("ilias:mAP@1k", 7.0 / 12.0)],
    );
}

#[test]
fn copies() {
    judged(
        "copydays",
        "@ --descriptors @/originals.npy --queries @/copies.npy --query-names @/copies.txt",
        "copydays: protocol copydays, because original/ is there, with strong/, jpegqual/, crops/",
        &[
            ("copydays/strong", 5.0 / 8.0),
            ("copydays/original", 1.0),
            ("copydays/jpegqual/75", 1.0),
            ("copydays/crops/80", 1.0 / 6.0),
        ],
    );
    let header = "disc21: protocol disc21, because dev_ground_truth.csv has pairs of query and \
                  reference";
    let figures = [("disc21", 17.0 / 30.0), ("disc21:uAP", 17.0 / 30.0), ("disc21:R@P90", 0.25)];
    judged("disc21", DISC21, header, &figures);
    judged("disc21", &format!("{DISC21} --ties for"), header, &[("disc21:µAP", 29.0 / 48.0)]);
    // As the data set is published: another name, no header, and the final pairs beside.
    let copy = Copy::of("disc21");
    let pairs = fs::read_to_string(copy.at("dev_ground_truth.csv")).unwrap();
    fs::remove_file(copy.at("dev_ground_truth.csv")).unwrap();
    copy.write("dev_queries_groundtruth.csv", pairs.split_once('\n').unwrap().1);
    copy.write("test_queries_groundtruth.csv", "Q50000,R000001\n");
    is_about(copy.value(DISC21), 17.0 / 30.0);
    let setup = &Copy::of("disc21").report(DISC21)["setups"][0];
    assert_eq!(setup["without_positives"], serde_json::json!(["Q00000"]));
    assert_eq!(setup["unranked"], serde_json::json!(["Q00004"]));
    assert_eq!((&setup["short"], &setup["tied_queries"]), (&serde_json::json!([]), &1.into()));
}

#[test]
fn own_ground_truth() {
    judged(
        "own",
        "@ --descriptors @/photos.npy",
        "own: protocol json, because groundtruth.json is there",
        &[("own/official", 107.0 / 240.0), ("own/leave-one-out", 237.0 / 600.0)],
    );
    judged(
        "matches",
        MATCHES,
        "matches: protocol matches, because matches.csv has the columns query and match",
        &[
            ("matches", 31.0 / 60.0),
            ("matches:recall@1", 0.5),
            ("matches:recall@5", 1.0),
            ("matches:mP@5", 13.0 / 30.0),
            ("matches:MRR", 0.6),
            ("matches:µAP", 379.0 / 1716.0),
        ],
    );
    let text = succeed("ocelli", Copy::of("matches").args(MATCHES));
    let apart = "matches: queries without a positive, left out of the means, 1: c.jpg";
    assert!(text.contains(apart), "{text}");
}
