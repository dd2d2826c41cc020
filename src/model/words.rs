//! Word embeddings, in f32 or in int8 by row. Depends on nothing in the crate.

/// The word embedding table, (V, C).
#[derive(Clone, PartialEq)]
pub enum Words {
    /// Row-major values.
    Full(Vec<f32>),
    /// `value[v][c] = scale[v] · data[v][c]`.
    Rows { data: Vec<i8>, scales: Vec<f32> },
}

impl Words {
    /// Writes row `id` to `row` (C).
    #[inline]
    pub fn copy_row(&self, id: usize, row: &mut [f32]) {
        let range = id * row.len()..(id + 1) * row.len();
        match self {
            Words::Full(values) => row.copy_from_slice(&values[range]),
            Words::Rows { data, scales } => {
                for (value, &weight) in row.iter_mut().zip(&data[range]) {
                    *value = f32::from(weight) * scales[id];
                }
            }
        }
    }

    /// All values, row-major.
    pub fn to_full(&self, width: usize) -> Vec<f32> {
        match self {
            Words::Full(values) => values.clone(),
            Words::Rows { data, .. } => {
                let mut values = vec![0f32; data.len()];
                for (id, row) in values.chunks_exact_mut(width).enumerate() {
                    self.copy_row(id, row);
                }
                values
            }
        }
    }

    /// Symmetric int8 by row: the largest magnitude of a row becomes 127.
    pub fn to_rows(&self, width: usize) -> Words {
        let Words::Full(values) = self else { return self.clone() };
        let (mut data, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
        for row in values.chunks_exact(width) {
            let largest = row.iter().fold(0f32, |most, value| most.max(value.abs()));
            let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
            data.extend(row.iter().map(|value| (value / scale).round() as i8));
            scales.push(scale);
        }
        Words::Rows { data, scales }
    }
}
