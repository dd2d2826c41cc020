//! Buffers of the encoder, kept from batch to batch. May depend on: `machine`, `model::{attend, kernel, rows}`.

use super::attend;
use super::kernel::ROWS;
use super::rows::{Quantised, RowScale};
use crate::machine::Lines;

/// Rows quantised each by itself, in whole tiles.
#[derive(Default)]
pub(super) struct Buffer {
    pub values: Lines<u8>,
    pub scales: Vec<RowScale>,
    pub width: usize,
}

impl Buffer {
    /// Makes room for `rows` of `width`.
    pub(super) fn reset(&mut self, rows: usize, width: usize) {
        self.width = width;
        self.values.sized(rows.next_multiple_of(ROWS) * width);
        self.scales.clear();
        self.scales.resize(rows, RowScale::default());
    }

    /// The rows from `start` on, to be written as the next product, whose inputs are multiplied by `smooth` (C), wants them.
    pub(super) fn rows_mut<'a>(
        &'a mut self,
        (start, rows): (usize, usize),
        smooth: &'a [f32],
    ) -> Quantised<'a> {
        let values = self.values.sized((start + rows) * self.width);
        Quantised {
            smooth,
            values: &mut values[start * self.width..],
            scales: &mut self.scales[start..start + rows],
        }
    }
}

#[derive(Default)]
pub(super) struct Scratch {
    /// Hidden states, (T, C), and the same quantised.
    pub x: Vec<f32>,
    pub hidden: Buffer,
    /// Queries, keys and values, (T, 3C), and what attention makes of them, (T, C).
    pub qkv: Vec<f32>,
    pub mixed: Vec<f32>,
    pub attend: attend::Work,
    /// Of one chunk.
    pub sums: Lines<i32>,
    pub middle: Buffer,
    pub wide: Buffer,
    /// A row or two.
    pub row: Vec<f32>,
}

/// A buffer of exactly `size`, its contents unspecified.
pub(super) fn sized(buffer: &mut Vec<f32>, size: usize) -> &mut [f32] {
    if buffer.len() < size {
        buffer.resize(size, 0.0);
    }
    &mut buffer[..size]
}
