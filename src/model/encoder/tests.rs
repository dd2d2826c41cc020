//! The int8 product against its definition.

use super::*;

/// A product against the definition, at sizes below, at and above tiles and depth blocks.
#[test]
fn products_are_exact_whatever_the_size_and_the_zeros() {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 24
    };
    for (tokens, inputs, outputs) in
        [(2, 32, 16), (13, 384, 64), (14, 1024, 33), (31, 1536, 384), (65, 1536, 48)]
    {
        let values = (0..tokens * inputs).map(|_| next() as u8).collect();
        let rows = (0..tokens).map(|_| RowScale { scale: 1.0, zero: next() as u8 }).collect();
        let x = Quantised { values, rows };
        // Sums stay below 2^24, so that they are exact in f32 too.
        let w: Vec<f32> = (0..outputs * inputs).map(|_| next() as f32 / 8.0 - 16.0).collect();
        let w: Vec<f32> = w.iter().map(|w| w.round()).collect();
        let mut tensors = std::collections::BTreeMap::new();
        // A last column of the full range keeps the scale at a whole number.
        let mut w = w;
        w.iter_mut().step_by(inputs).for_each(|w| *w = 127.0);
        tensors.insert("a.weight".to_owned(), (vec![outputs, inputs], w.clone()));
        tensors.insert("a.bias".to_owned(), (vec![outputs], vec![0.5; outputs]));
        let weights = Weights { words: Words::Full(Vec::new()), tensors };
        let affine = Affine::new(&weights, &["a".into()], (outputs, inputs)).unwrap();
        let mut sums = Vec::new();
        let acc = affine.product(&x, &mut sums).unwrap();
        let mut found = vec![0f32; outputs];
        for t in 0..tokens {
            let own = &acc[t * outputs..(t + 1) * outputs];
            rows::affine(own, x.rows[t], &affine.columns, &mut found);
            for (o, found) in found.iter().enumerate() {
                let term = |i: usize| {
                    let q = i32::from(x.values[t * inputs + i]) - i32::from(x.rows[t].zero);
                    q * w[o * inputs + i] as i32
                };
                let exact = (0..inputs).map(term).sum::<i32>() as f32 + 0.5;
                let scale = affine.columns.scales[o];
                assert!(scale == 1.0 || scale > 1.9, "{scale}: this CPU has another range");
                let slack = if scale == 1.0 { 0.0 } else { 4096.0 * scale * inputs as f32 };
                let gap = (found - exact).abs();
                assert!(gap <= slack, "{tokens} x {inputs} x {outputs} at {t}, {o}: {gap}");
            }
        }
    }
}
