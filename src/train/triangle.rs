//! Triangular factors of symmetric matrices. Depends on rayon only.

use rayon::prelude::*;

/// The upper triangular U with `Uᵀ U = H⁻¹`, for `h` (N, N) symmetric and positive definite; `None`
/// where it is not.
///
/// H = R Rᵀ with R upper triangular (Cholesky's factor from the last row up), so U = R⁻¹.
pub fn inverse_factor(mut h: Vec<f64>, n: usize) -> Option<Vec<f32>> {
    // Turned around, so that rows come in the usual order: H' = L Lᵀ.
    h.reverse();
    for i in 0..n {
        let (above, row) = h.split_at_mut(i * n);
        for j in 0..i {
            let other = &above[j * n..(j + 1) * n];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let left = row[i] - dot(&row[..i], &row[..i]);
        // Written so that what is not a number fails too.
        if !(left > 0.0 && left.is_finite()) {
            return None;
        }
        row[i] = left.sqrt();
    }
    // Columns of L⁻¹, each by itself: L y = e.
    let columns: Vec<Vec<f64>> = (0..n)
        .into_par_iter()
        .map(|c| {
            let mut y = vec![0f64; n];
            y[c] = 1.0 / h[c * n + c];
            for i in c + 1..n {
                let row = &h[i * n..(i + 1) * n];
                y[i] = -dot(&row[c..i], &y[c..i]) / row[i];
            }
            y
        })
        .collect();
    // Turned back: U[i][j] = L⁻¹[n-1-i][n-1-j].
    let at = |index: usize| columns[n - 1 - index % n][n - 1 - index / n] as f32;
    Some((0..n * n).map(at).collect())
}

/// Sum of products, in lanes, so that it vectorises.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0f64; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn its_square_is_the_inverse(n in 1usize..24, seed in prop::collection::vec(-1f64..1.0, 24 * 24)) {
            // A Aᵀ + I is positive definite.
            let mut h = vec![0f64; n * n];
            for i in 0..n {
                for j in 0..n {
                    let sum: f64 = (0..n).map(|k| seed[i * 24 + k] * seed[j * 24 + k]).sum();
                    h[i * n + j] = sum + f64::from(u8::from(i == j));
                }
            }
            let u = inverse_factor(h.clone(), n).unwrap();
            let u = |i: usize, j: usize| f64::from(u[i * n + j]);
            for i in 0..n {
                prop_assert!((0..i).all(|j| u(i, j) == 0.0), "upper triangular");
                for j in 0..n {
                    // (H Uᵀ U)[i][j]
                    let of = |k: usize| (0..n).map(|m| u(m, k) * u(m, j)).sum::<f64>();
                    let found: f64 = (0..n).map(|k| h[i * n + k] * of(k)).sum();
                    let expected = f64::from(u8::from(i == j));
                    prop_assert!((found - expected).abs() < 1e-4, "{} {}: {}", i, j, found);
                }
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_none() {
        assert!(inverse_factor(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(inverse_factor(vec![f64::NAN], 1).is_none());
        assert_eq!(inverse_factor(vec![4.0], 1), Some(vec![0.5]));
    }
}
