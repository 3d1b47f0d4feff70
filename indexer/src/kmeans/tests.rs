//! k-means gives the same bits whatever the threads and the level, and valid centroids where data
//! degenerate. A test of `ocelli-quantizer` compares it with FAISS's.

use ocelli_test_support::mixture;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::two_level::two_level;
use super::*;

const OPTIONS: KmeansOptions =
    KmeansOptions { niter: 10, seeding: Seeding::Rows, seed: 7, max_points_per_centroid: 256 };
const PLUS_PLUS: KmeansOptions = KmeansOptions { seeding: Seeding::PlusPlus, ..OPTIONS };
const TWO: TwoLevelOptions = TwoLevelOptions { kmeans: OPTIONS, neighbours: 4, rounds: 3 };

fn on<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn mse(x: &[f32], d: usize, centroids: &[f32]) -> f64 {
    let found = assign(x, d, centroids).unwrap();
    found.iter().map(|f| f64::from(f.1)).sum::<f64>() / found.len() as f64
}

#[test]
fn equal_bits_whatever_the_threads_and_the_level() {
    for (n, d, k) in [(3000, 8, 64), (2500, 24, 70), (2000, 3, 16), (900, 40, 256), (5000, 9, 1030)]
    {
        let x = mixture(n, d, 1);
        let want = on(1, || lloyd(Simd::detect(), &x, d, k, &OPTIONS, &|_| ()));
        let want_seeded = on(1, || lloyd(Simd::detect(), &x, d, k, &PLUS_PLUS, &|_| ()));
        assert_ne!(want_seeded, want);
        let want_two = on(1, || two_level(Simd::detect(), &x, d, k, &TWO, &|_| ()));
        for simd in Simd::all() {
            let what = format!("{}, n {n}, d {d}, k {k}", simd.level());
            assert_eq!(on(3, || lloyd(simd, &x, d, k, &OPTIONS, &|_| ())), want, "{what}");
            let seeded = on(3, || lloyd(simd, &x, d, k, &PLUS_PLUS, &|_| ()));
            assert_eq!(seeded, want_seeded, "{what}");
            assert_eq!(on(3, || two_level(simd, &x, d, k, &TWO, &|_| ())), want_two, "{what}");
        }
    }
}

/// Where data have long tails, in few dimensions, random rows leave these without centroids for
/// long.
#[test]
fn careful_seeding_pays_in_few_dimensions() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut laplace = || {
        let x: f32 = rng.random_range(-1.0..1.0);
        -x.signum() * (1.0 - x.abs()).ln()
    };
    let x: Vec<f32> = (0..40_000).map(|_| laplace()).collect();
    let error = |seeding| {
        let options = KmeansOptions { seeding, ..KmeansOptions::default() };
        mse(&x, 2, &kmeans(&x, 20_000, 2, 256, &options, &|_| ()).unwrap())
    };
    let (rows, careful) = (error(Seeding::Rows), error(Seeding::of_codebook(2)));
    assert!(careful < 0.93 * rows, "{careful} from careful seeds, {rows} from random rows");
}

/// Rows that are far from everything are drawn, and rows that are drawn already are not.
#[test]
fn seeds_are_where_the_distances_are() {
    // 997 rows near zero, each of its own, and three far away.
    let x: Vec<f32> = (0..1000)
        .flat_map(|i| {
            let (near, far) = (i as f32 * 1e-6, [90.0, -70.0, 80.0]);
            [if i % 400 == 133 { far[i / 400] } else { near }, -near]
        })
        .collect();
    for seed in 0..20 {
        let centroids = Seeding::PlusPlus.centroids(&x, 2, 16, &mut SplitMix64::new(seed));
        let mut firsts: Vec<f32> = centroids.chunks_exact(2).map(|c| c[0]).collect();
        firsts.sort_by(f32::total_cmp);
        firsts.dedup();
        assert_eq!(firsts.len(), 16);
        assert_eq!((firsts[0], &firsts[14..]), (-70.0, &[80.0, 90.0][..]));
    }
}

/// k-means as it is defined: means of exact assignments, from the same rows.
fn by_definition(x: &[f32], d: usize, k: usize, options: &KmeansOptions) -> Vec<f32> {
    let mut centroids = options.seeding.centroids(x, d, k, &mut SplitMix64::new(options.seed));
    for _ in 0..options.niter {
        let mut sums = vec![0f64; k * d];
        let mut counts = vec![0f64; k];
        for (row, (label, _)) in x.chunks_exact(d).zip(assign(x, d, &centroids).unwrap()) {
            let label = label as usize;
            counts[label] += 1.0;
            sums[label * d..][..d].iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        for (i, (centroid, sum)) in centroids.iter_mut().zip(&sums).enumerate() {
            if counts[i / d] > 0.0 {
                *centroid = (sum / counts[i / d]) as f32;
            }
        }
    }
    centroids
}

/// Comparing with a quarter of the centroids loses nearly nothing.
#[test]
fn near_centroids_are_nearly_as_good_as_all() {
    let (n, d, k) = (40_000, 16, 1024);
    assert!(k >= near::FEWEST, "only so many are chosen from");
    let x = mixture(n, d, 6);
    let options = KmeansOptions::default();
    let all = mse(&x, d, &by_definition(&x, d, k, &options));
    let near = mse(&x, d, &kmeans(&x, n, d, k, &options, &|_| ()).unwrap());
    assert!(near < 1.003 * all, "{near} with those nearby, {all} with all");
}

/// Where iterations end early, no row has a nearer centroid among all of them.
#[test]
fn an_early_end_is_one_for_all_centroids() {
    let (n, d, k) = (3000, 4, near::FEWEST);
    let x = mixture(n, d, 7);
    let last = std::sync::atomic::AtomicU64::new(0);
    let options = KmeansOptions { niter: 1000, ..OPTIONS };
    let step = |done| last.store(done, std::sync::atomic::Ordering::Relaxed);
    let mut centroids = kmeans(&x, n, d, k, &options, &step).unwrap();
    assert!(last.into_inner() < 900, "an early end");
    let before = centroids.clone();
    let labels: Vec<u32> = assign(&x, d, &centroids).unwrap().iter().map(|f| f.0).collect();
    update(simd(), &x, d, &Lists::new(&labels, k), &mut centroids);
    assert!(before == centroids, "one more iteration moves nothing");
}

/// Neighbours against distances in float64, with rows that lie upon each other.
#[test]
fn neighbours_are_the_nearest() {
    let (k, d, count) = (90, 3, 20);
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let x: Vec<f32> = (0..k * d).map(|_| rng.random_range(-3i32..4) as f32).collect();
    for simd in Simd::all() {
        let near = neighbours(simd, &x, d, count);
        for (own, near) in near.chunks_exact(count).enumerate() {
            let to = |other: usize| -> f64 {
                (0..d).map(|i| f64::from(x[own * d + i] - x[other * d + i]).powi(2)).sum()
            };
            let mut others: Vec<usize> = (0..k).filter(|&other| other != own).collect();
            others.sort_by(|&a, &b| to(a).total_cmp(&to(b)));
            let want: Vec<u32> =
                [own].iter().chain(&others[..count - 1]).map(|&i| i as u32).collect();
            assert_eq!(near, want);
        }
        assert_eq!(neighbours(simd, &x, d, 1), (0..k as u32).collect::<Vec<u32>>());
        assert_eq!(neighbours(simd, &x, d, k).len(), k * k);
    }
}

/// Two levels cost little quality, and the rounds of the last step are worth their time.
#[test]
fn two_levels_are_nearly_as_good_as_one() {
    let (n, d, k) = (20_000, 16, 900);
    let x = mixture(n, d, 3);
    let flat = mse(&x, d, &kmeans(&x, n, d, k, &KmeansOptions::default(), &|_| ()).unwrap());
    let two = |rounds| {
        let options = TwoLevelOptions { rounds, ..TwoLevelOptions::default() };
        let centroids = two_level_kmeans(&x, n, d, k, &options, &|_| ()).unwrap();
        assert_eq!(centroids.len(), k * d);
        mse(&x, d, &centroids)
    };
    let (without, with) = (two(0), two(4));
    assert!(with < without && with < 1.03 * flat, "flat {flat}, {without}, with rounds {with}");
}

/// Fewer distinct rows than centroids, fewer rows than centroids, zeros: finite and of the right
/// shape.
#[test]
fn degenerate_rows_make_valid_centroids() {
    let same = [0.25f32, -1.0].repeat(500);
    let zeros = vec![0f32; 1000];
    for x in [&same[..], &zeros[..], &same[..6]] {
        let n = x.len() / 2;
        for k in [1, 16, 37] {
            for centroids in [
                kmeans(x, n, 2, k, &OPTIONS, &|_| ()).unwrap(),
                kmeans(x, n, 2, k, &PLUS_PLUS, &|_| ()).unwrap(),
                two_level_kmeans(x, n, 2, k, &TWO, &|_| ()).unwrap(),
            ] {
                assert_eq!(centroids.len(), 2 * k);
                assert!(centroids.iter().all(|v| v.is_finite()));
                // Where rows repeat, the halves of a split are off by a factor of 1/1024 a time.
                assert!(mse(x, 2, &centroids) < 1e-3);
            }
        }
    }
}

#[test]
fn refusals_name_the_place() {
    let mut x = mixture(400, 4, 4);
    x[4 * 17 + 2] = f32::NAN;
    let error = kmeans(&x, 400, 4, 4, &OPTIONS, &|_| ()).unwrap_err().to_string();
    assert_eq!(error, "k-means: row 17 holds NaN");
    let error = two_level_kmeans(&x, 399, 4, 4, &TWO, &|_| ()).unwrap_err().to_string();
    assert_eq!(error, "k-means: expected 399 x 4 values, found 1600");
    assert!(kmeans(&x[..8], 2, 4, 0, &OPTIONS, &|_| ()).is_err());
    assert!(assign(&x[..8], 4, &[]).is_err());
}

/// A sample is taken, and depends on the seed alone.
#[test]
fn samples_follow_the_seed() {
    let x = mixture(5000, 4, 5);
    let run = |seed| {
        let options = KmeansOptions { seed, max_points_per_centroid: 50, ..OPTIONS };
        kmeans(&x, 5000, 4, 8, &options, &|_| ()).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
