//! Rows of tables: word embeddings, and positions with token types.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::tape::{Node, Tape};
use super::{values, with_values};

/// `table` (V, C) -> (T, C): the rows `ids`.
pub fn rows(tape: &Tape, table: &Node, ids: &[u32]) -> Result<Node> {
    tape.apply1(Rows { ids: ids.to_vec() }, table)
}

/// `positions` (P, C), `types` (S, C) -> (T, C): the rows `places` of `positions`, each with the row
/// of `types` added that `kinds` says.
pub fn places(
    tape: &Tape,
    positions: &Node,
    types: &Node,
    (places, kinds): (&[u32], &[u32]),
) -> Result<Node> {
    tape.apply2(Places { places: places.to_vec(), kinds: kinds.to_vec() }, [positions, types])
}

struct Rows {
    ids: Vec<u32>,
}

struct Places {
    places: Vec<u32>,
    kinds: Vec<u32>,
}

fn gather(table: &[f32], (count, width): (usize, usize), ids: &[u32]) -> Result<Vec<f32>> {
    let mut out = Vec::with_capacity(ids.len() * width);
    for &id in ids {
        let id = id as usize;
        if id >= count {
            bail!("row {id} of a table of {count}");
        }
        out.extend_from_slice(&table[id * width..(id + 1) * width]);
    }
    Ok(out)
}

fn scatter(dy: &Tensor, (count, width): (usize, usize), ids: &[u32]) -> Result<Tensor> {
    let mut table = vec![0f32; count * width];
    with_values(dy, |dy| {
        for (dy, &id) in dy.chunks_exact(width).zip(ids) {
            let row = &mut table[id as usize * width..(id as usize + 1) * width];
            row.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
        }
        Ok(())
    })?;
    Tensor::from_vec(table, (count, width), dy.device())
}

impl CustomOp1 for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let size = layout.shape().dims2()?;
        let out = gather(values(table, layout)?, size, &self.ids)?;
        Ok((CpuStorage::F32(out), (self.ids.len(), size.1).into()))
    }

    fn bwd(&self, table: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        scatter(dy, table.dims2()?, &self.ids).map(Some)
    }
}

impl CustomOp2 for Places {
    fn name(&self) -> &'static str {
        "places"
    }

    fn cpu_fwd(
        &self,
        positions: &CpuStorage,
        positions_layout: &Layout,
        types: &CpuStorage,
        types_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let size = positions_layout.shape().dims2()?;
        let mut out = gather(values(positions, positions_layout)?, size, &self.places)?;
        let types_size = types_layout.shape().dims2()?;
        let kinds = gather(values(types, types_layout)?, types_size, &self.kinds)?;
        out.iter_mut().zip(kinds).for_each(|(value, kind)| *value += kind);
        Ok((CpuStorage::F32(out), (self.places.len(), size.1).into()))
    }

    fn bwd(
        &self,
        positions: &Tensor,
        types: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dpositions = scatter(dy, positions.dims2()?, &self.places)?;
        Ok((Some(dpositions), Some(scatter(dy, types.dims2()?, &self.kinds)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradients, random};
    use super::*;

    #[test]
    fn gradients_match_differences_with_rows_used_twice() -> Result<()> {
        check_gradients(&[random((5, 3), 1)?], |tape, a| rows(tape, &a[0], &[4, 0, 4, 2]))?;
        let tables = [random((5, 3), 1)?, random((2, 3), 2)?];
        check_gradients(&tables, |tape, a| {
            places(tape, &a[0], &a[1], (&[0, 1, 0, 1, 2], &[0, 0, 1, 0, 1]))
        })
    }

    #[test]
    fn a_row_beyond_the_table_is_an_error() -> Result<()> {
        let tape = Tape::forgetting();
        assert!(rows(&tape, &tape.leaf(&random((5, 3), 1)?), &[5]).is_err());
        Ok(())
    }
}
