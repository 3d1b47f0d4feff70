//! How well descriptors find photos that were not trained on.

/// The mean average precision of descriptors (n, `dim`) of length 1: each photo that has another
/// one of its class asks for it among all others. n² · dim products, on one thread. Of each query
/// it is the mean of the precisions at its positives; `ocelli eval retrieval` has the protocols of
/// the field. None where no class has two photos.
#[must_use]
pub fn mean_average_precision(descriptors: &[f32], dim: usize, classes: &[u32]) -> Option<f64> {
    let row = |at: usize| descriptors.get(at * dim..(at + 1) * dim).unwrap_or_default();
    let (mut sum, mut queries) = (0.0, 0u32);
    for (query, class) in classes.iter().enumerate() {
        let others = (0..classes.len()).filter(|&other| other != query);
        let score =
            |other: usize| -> f32 { row(query).iter().zip(row(other)).map(|(a, b)| a * b).sum() };
        let mut ranked: Vec<(f32, bool)> =
            others.map(|other| (score(other), classes.get(other) == Some(class))).collect();
        // Of equal scores the wrong ones come first.
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let places = ranked.iter().enumerate().filter(|(_, (_, right))| *right);
        let precisions: Vec<f64> = (1u32..)
            .zip(places)
            .map(|(found, (place, _))| f64::from(found) / (place + 1) as f64)
            .collect();
        if !precisions.is_empty() {
            sum += precisions.iter().sum::<f64>() / precisions.len() as f64;
            queries += 1;
        }
    }
    (queries > 0).then(|| sum / f64::from(queries))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: four photos on a circle, and one whose class has no other.
    #[test]
    fn precisions_are_means() {
        let at = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
        let rows: Vec<f32> = [0.0, 10.0, 25.0, 45.0, 70.0].into_iter().flat_map(at).collect();
        // Nearest first: of 0: 1 2 3 4; of 1: 0 2 3 4; of 2: 1 3 0 4; of 3: 2 4 1 0.
        let map = mean_average_precision(&rows, 2, &[5, 6, 5, 6, 7]).unwrap();
        let (first, second) = (1.0 / 2.0, 1.0 / 3.0);
        let (third, fourth) = (1.0 / 3.0, 1.0 / 3.0);
        assert!((map - (first + second + third + fourth) / 4.0).abs() < 1e-9, "{map}");
        let map = mean_average_precision(&rows, 2, &[5, 5, 5, 6, 7]).unwrap();
        let (first, second, third) = (1.0, 1.0, (1.0 + 2.0 / 3.0) / 2.0);
        assert!((map - (first + second + third) / 3.0).abs() < 1e-9, "{map}");
        assert_eq!(mean_average_precision(&rows, 2, &[1, 2, 3, 4, 5]), None);
        // Equal scores count against.
        let equal = mean_average_precision(&[1.0, 0.0].repeat(3), 2, &[1, 1, 2]).unwrap();
        assert_eq!(equal, 0.5);
    }
}
