use super::*;

/// Files that SciPy and h5py wrote, see `index/golden/make.py`: row i is 3i, 3i + 1, 3i + 2,
/// quartered.
#[test]
fn files_of_other_programs_are_read() {
    let x: Vec<f32> = (0..15).map(|i| i as f32 / 4.0).collect();
    let names: Vec<String> = (0..5).map(|i| format!("Q{i:05}")).collect();
    let given = Some(RowNames::Given(names.clone(), "the list".to_owned()));
    for (file, variable, given) in [
        ("hdf5/fixed.h5", None, None),
        ("hdf5/chunked.h5", None, None),
        ("hdf5/latest.hdf5", Some("g/half"), given.clone()),
        ("hdf5/v73.mat", None, given.clone()),
        ("matlab/plain.mat", None, given.clone()),
        ("matlab/compressed.mat", Some("X"), given),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../index/golden").join(file);
        let variable = variable.map(str::to_owned);
        let reading = Reading { variable, names: given, role: Role::Database };
        let vectors = Vectors::open(&[path], &reading).unwrap();
        assert_eq!((vectors.keys, vectors.rows), (names.clone(), x.clone()), "{file}");
    }
}
