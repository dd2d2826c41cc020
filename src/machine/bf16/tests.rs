//! bf16 products against the definition, in f64.

use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn random(n: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    (0..n).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// `a` (R, D) times `b` (D, C) of rounded values, in f64.
fn exact(a: &[f32], b: &[f32], (rows, depth, columns): (usize, usize, usize)) -> Vec<f64> {
    let round = |x: f32| bf16::from_f32(x).to_f64();
    let one = |r: usize, c: usize| {
        (0..depth).map(|d| round(a[r * depth + d]) * round(b[d * columns + c])).sum()
    };
    (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))).map(|(r, c)| one(r, c)).collect()
}

fn transpose(data: &[f32], columns: usize) -> Vec<f32> {
    let rows = data.len() / columns;
    (0..data.len()).map(|i| data[i % rows * columns + i / rows]).collect()
}

fn close(found: &[f32], exact: &[f64], what: &str) {
    assert_eq!(found.len(), exact.len(), "{what}");
    for (found, exact) in found.iter().zip(exact) {
        assert!((f64::from(*found) - exact).abs() < 1e-4, "{what}: {found} {exact}");
    }
}

#[test]
fn sums_are_those_of_the_definition() {
    let Some(bf16) = Bf16::new() else {
        eprintln!("skipped: this machine has no AVX-512 BF16");
        return;
    };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (rows, depth, columns) in [
        (1, 2, 64),
        (2, 384, 128),
        (5, 6, 64),
        (6, 40, 192),
        (7, 64, 64),
        (97, 34, 128),
        (200, 384, 64),
    ] {
        let what = format!("{rows} x {depth} x {columns}");
        let (a, b) = (random(rows * depth, &mut rng), random(depth * columns, &mut rng));
        let bias = random(columns, &mut rng);
        let right = exact(&a, &b, (rows, depth, columns));
        let left = Rows::new(bf16, &a, depth).unwrap();
        let panels = Panels::new(bf16, &b, columns).unwrap();
        close(&panels.product(&left, None).unwrap(), &right, &what);
        let turned = Panels::transposed(bf16, &transpose(&b, columns), depth).unwrap();
        let with_bias: Vec<f64> =
            right.iter().enumerate().map(|(i, x)| x + f64::from(bias[i % columns])).collect();
        close(&turned.product(&left, Some(&bias)).unwrap(), &with_bias, &what);
    }
}

/// As a gradient needs it: the depth is the number of tokens, which may be odd.
#[test]
fn a_transposed_left_side_gives_the_same() {
    let Some(bf16) = Bf16::new() else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for depth in [1, 2, 7, 64, 511] {
        let (rows, columns) = (128, 192);
        let (a, b) = (random(depth * rows, &mut rng), random(depth * columns, &mut rng));
        let right = exact(&transpose(&a, rows), &b, (rows, depth, columns));
        let (left, panels) =
            (Panels::new(bf16, &a, rows).unwrap(), Panels::new(bf16, &b, columns).unwrap());
        close(&panels.product_transposed(&left).unwrap(), &right, &format!("depth {depth}"));
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let Some(bf16) = Bf16::new() else { return };
    assert!(Rows::new(bf16, &[0.0; 9], 3).is_none() && Rows::new(bf16, &[], 0).is_none());
    assert!(Panels::new(bf16, &[0.0; 63 * 2], 63).is_none());
    assert!(Panels::transposed(bf16, &[0.0; 64 * 3], 3).is_none());
    assert!(Panels::transposed(bf16, &[0.0; 63 * 2], 2).is_none());
    let panels = Panels::new(bf16, &[0.0; 64 * 4], 64).unwrap();
    assert!(panels.product(&Rows::new(bf16, &[0.0; 6], 6).unwrap(), None).is_none());
    assert!(panels.product_transposed(&Panels::new(bf16, &[0.0; 64 * 6], 64).unwrap()).is_none());
    assert_eq!(panels.product(&Rows::new(bf16, &[], 4).unwrap(), None), Some(Vec::new()));
}
