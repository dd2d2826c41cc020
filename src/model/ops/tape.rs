//! Reverse-mode differentiation over the operations of this module.
//!
//! Candle's own `backward` first zeroes a gradient for every tensor and then adds to it, which for
//! the weights alone walks 20 M values twice a step, on a spinning thread pool that competes with
//! rayon's for the cores. Here a first gradient is moved into place, and only a second is added.

use std::cell::{Cell, RefCell};

use candle_core::{CustomOp1, CustomOp2, CustomOp3, Result, Tensor, bail};
use rayon::prelude::*;

use super::{vectorised, with_values};

/// Values that one task adds up.
const BLOCK: usize = 64 * 1024;

/// A tensor on a tape.
#[derive(Clone)]
pub struct Node {
    id: usize,
    /// What it holds.
    pub value: Tensor,
}

enum Step {
    One(Box<dyn CustomOp1>, Node, Node),
    Two(Box<dyn CustomOp2>, [Node; 2], Node),
    Three(Box<dyn CustomOp3>, [Node; 3], Node),
}

/// What was computed, in order, so that it can be walked backwards.
pub struct Tape {
    steps: Option<RefCell<Vec<Step>>>,
    nodes: Cell<usize>,
}

/// Gradients by node; only those that something was derived from have one.
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// The gradient of a node.
    pub fn get(&self, node: &Node) -> Option<&Tensor> {
        self.0.get(node.id).and_then(Option::as_ref)
    }

    /// Takes the gradient of a node out.
    pub fn take(&mut self, node: &Node) -> Option<Tensor> {
        self.0.get_mut(node.id).and_then(Option::take)
    }

    fn add(&mut self, node: &Node, gradient: Option<Tensor>) -> Result<()> {
        let Some(gradient) = gradient else { return Ok(()) };
        let Some(slot) = self.0.get_mut(node.id) else { bail!("node of another tape") };
        *slot = Some(match slot.take() {
            None => gradient,
            Some(before) => add(&before, &gradient)?,
        });
        Ok(())
    }
}

impl Tape {
    /// A tape that remembers, for training.
    pub fn recording() -> Self {
        Tape { steps: Some(RefCell::default()), nodes: Cell::new(0) }
    }

    /// A tape that forgets at once, for inference.
    pub fn forgetting() -> Self {
        Tape { steps: None, nodes: Cell::new(0) }
    }

    /// Takes a tensor onto the tape.
    pub fn leaf(&self, value: &Tensor) -> Node {
        self.node(value.clone())
    }

    fn node(&self, value: Tensor) -> Node {
        let id = self.nodes.replace(self.nodes.get() + 1);
        Node { id, value }
    }

    fn record(&self, step: impl FnOnce() -> Step) {
        if let Some(steps) = &self.steps {
            steps.borrow_mut().push(step());
        }
    }

    pub(super) fn apply1(&self, op: impl CustomOp1 + 'static, a: &Node) -> Result<Node> {
        let y = self.node(a.value.apply_op1_no_bwd(&op)?);
        self.record(|| Step::One(Box::new(op), a.clone(), y.clone()));
        Ok(y)
    }

    pub(super) fn apply2(&self, op: impl CustomOp2 + 'static, [a, b]: [&Node; 2]) -> Result<Node> {
        let y = self.node(a.value.apply_op2_no_bwd(&b.value, &op)?);
        self.record(|| Step::Two(Box::new(op), [a.clone(), b.clone()], y.clone()));
        Ok(y)
    }

    pub(super) fn apply3(
        &self,
        op: impl CustomOp3 + 'static,
        [a, b, c]: [&Node; 3],
    ) -> Result<Node> {
        let y = self.node(a.value.apply_op3_no_bwd(&b.value, &c.value, &op)?);
        self.record(|| Step::Three(Box::new(op), [a.clone(), b.clone(), c.clone()], y.clone()));
        Ok(y)
    }

    /// Puts a differentiable operation of another module on the tape.
    ///
    /// # Errors
    /// As the operation has it.
    pub fn custom(&self, op: impl CustomOp1 + 'static, a: &Node) -> Result<Node> {
        self.apply1(op, a)
    }

    /// Gradients of `loss`, a scalar, with respect to everything on the tape. Each step's tensors
    /// are let go of as soon as it has been walked.
    ///
    /// # Errors
    /// Where the tape did not record, or an operation fails.
    pub fn backward(self, loss: &Node) -> Result<Gradients> {
        let Some(steps) = self.steps else { bail!("this tape does not record") };
        let mut gradients = Gradients(vec![None; self.nodes.get()]);
        gradients.add(loss, Some(loss.value.ones_like()?))?;
        for step in steps.into_inner().into_iter().rev() {
            let (Step::One(_, _, y) | Step::Two(_, _, y) | Step::Three(_, _, y)) = &step;
            // Taken, not borrowed: what lies behind needs it no more.
            let Some(dy) = gradients.0[y.id].take() else { continue };
            match step {
                Step::One(op, a, y) => {
                    gradients.add(&a, op.bwd(&a.value, &y.value, &dy)?)?;
                }
                Step::Two(op, [a, b], y) => {
                    let (da, db) = op.bwd(&a.value, &b.value, &y.value, &dy)?;
                    gradients.add(&a, da)?;
                    gradients.add(&b, db)?;
                }
                Step::Three(op, [a, b, c], y) => {
                    let (da, db, dc) = op.bwd(&a.value, &b.value, &c.value, &y.value, &dy)?;
                    gradients.add(&a, da)?;
                    gradients.add(&b, db)?;
                    gradients.add(&c, dc)?;
                }
            }
        }
        Ok(gradients)
    }
}

/// The sum of two gradients of one shape.
///
/// # Errors
/// Where they differ in size.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let mut total = with_values(a, |a| Ok(a.to_vec()))?;
    with_values(b, |b| {
        if b.len() != total.len() {
            bail!("gradients of one node differ in shape");
        }
        total.par_chunks_mut(BLOCK).zip(b.par_chunks(BLOCK)).for_each(|(total, b)| {
            vectorised(|| total.iter_mut().zip(b).for_each(|(total, b)| *total += b));
        });
        Ok(())
    })?;
    Tensor::from_vec(total, a.shape(), a.device())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradients, random};
    use super::super::{Products, add_norm, gelu, linear};
    use super::*;

    #[test]
    fn adds_up_what_comes_back_by_several_ways() -> Result<()> {
        // x feeds the product, the residual, and (tied) the weight is used twice.
        let inputs = [random((3, 4), 1)?, random((4, 4), 2)?, random(4, 3)?, random((2, 4), 4)?];
        check_gradients(&inputs, |tape, a| {
            let once = gelu(tape, &linear(tape, &a[0], &a[1], &a[2], &Products::F32)?)?;
            let twice = linear(tape, &once, &a[1], &a[2], &Products::F32)?;
            add_norm(tape, &twice, &a[0], &a[3], 1e-5)
        })
    }

    #[test]
    fn a_forgetting_tape_gives_no_gradients() -> Result<()> {
        let tape = Tape::forgetting();
        let y = gelu(&tape, &tape.leaf(&random(3, 1)?))?;
        assert!(tape.backward(&y).is_err());
        Ok(())
    }
}
