//! Passes through the network: forward for what it makes of messages, backward for gradients.
//!
//! May depend on what `net` does.

use candle_core::{CustomOp1, Device, Result, Tensor};
use rayon::prelude::*;

use super::{Affine, Index, LaidOut, Net, WordTable};
use crate::model::base::Architecture;
use crate::model::joined::Joined;
use crate::model::ops::{self, Dropout, Gradients, Node, Products, Tape};

impl Net {
    /// Logits of each message: (B, [`LOGITS`](crate::model::labels::LOGITS)).
    ///
    /// # Errors
    /// Where the tensor library fails, as for an id beyond the vocabulary.
    pub fn forward(&self, batch: &Joined) -> Result<Tensor> {
        let tape = Tape::forgetting();
        let run = self.run(&tape, None, &self.laid_out);
        Ok(run.logits(batch)?.value)
    }

    /// Hidden states after the embeddings and after each layer, (T, C) each.
    ///
    /// # Errors
    /// As [`Net::forward`].
    pub fn hidden_states(&self, batch: &Joined) -> Result<Vec<Vec<f32>>> {
        let tape = Tape::forgetting();
        let run = self.run(&tape, None, &self.laid_out);
        let mut states = Vec::new();
        run.encode(batch, |x| states.push(x.value.clone()))?;
        states.iter().map(|x| x.flatten_all()?.to_vec1()).collect()
    }

    /// Mean of the hidden states of each message's own tokens: (B, C).
    ///
    /// # Errors
    /// As [`Net::forward`].
    pub fn embed(&self, batch: &Joined) -> Result<Tensor> {
        let tape = Tape::forgetting();
        let run = self.run(&tape, None, &self.laid_out);
        Ok(run.pooled(batch)?.value)
    }

    /// The loss that `loss` makes of the logits, and the gradient of each parameter, in their order;
    /// `laid_out` are the weights as they are now.
    ///
    /// # Errors
    /// As [`Net::forward`].
    pub fn gradients(
        &self,
        laid_out: &LaidOut,
        batch: &Joined,
        dropout: &Dropout,
        loss: impl CustomOp1 + 'static,
    ) -> Result<(f32, Vec<Option<Tensor>>)> {
        let tape = Tape::recording();
        let run = self.run(&tape, Some(dropout), laid_out);
        let loss = tape.custom(loss, &run.logits(batch)?)?;
        let parameters = run.parameters;
        let mut gradients: Gradients = tape.backward(&loss)?;
        let gradients = parameters.iter().map(|node| gradients.take(node)).collect();
        Ok((loss.value.to_scalar()?, gradients))
    }

    fn run<'a>(
        &'a self,
        tape: &'a Tape,
        dropout: Option<&'a Dropout>,
        laid_out: &'a LaidOut,
    ) -> Run<'a> {
        let parameters = self.parameters.iter().map(|p| tape.leaf(&p.tensor)).collect();
        Run { net: self, tape, dropout, parameters, laid_out }
    }
}

/// One pass through the network.
struct Run<'a> {
    net: &'a Net,
    tape: &'a Tape,
    dropout: Option<&'a Dropout>,
    parameters: Vec<Node>,
    laid_out: &'a LaidOut,
}

impl Run<'_> {
    fn affine(&self, layer: &Affine, x: &Node) -> Result<Node> {
        let (weight, bias) = (&self.parameters[layer.weight], &self.parameters[layer.bias]);
        let products = self.laid_out.0.get(&layer.weight).unwrap_or(&Products::F32);
        ops::linear(self.tape, x, weight, bias, products)
    }

    fn add_norm(&self, x: &Node, residual: &Node, norm: Index) -> Result<Node> {
        let norm = &self.parameters[norm];
        ops::add_norm(self.tape, x, residual, norm, self.net.architecture.epsilon)
    }

    fn drop(&self, x: Node) -> Result<Node> {
        match self.dropout {
            Some(dropout) => dropout.apply(self.tape, &x),
            None => Ok(x),
        }
    }

    /// Hidden states of every token: (T, C). `seen` gets those after the embeddings and each layer.
    fn encode(&self, batch: &Joined, mut seen: impl FnMut(&Node)) -> Result<Node> {
        let (net, tape) = (self.net, self.tape);
        let (positions, types) = (&self.parameters[net.positions], &self.parameters[net.types]);
        let last_type = net.architecture.token_types as u32 - 1;
        let kinds: Vec<u32> = batch.types.iter().map(|&kind| kind.min(last_type)).collect();
        let places = ops::places(tape, positions, types, (&batch.positions, &kinds))?;
        let words = self.words(&batch.ids)?;
        let mut x = self.drop(self.add_norm(&words, &places, net.norm)?)?;
        seen(&x);
        for layer in &net.layers {
            let qkv = self.affine(&layer.qkv, &x)?;
            let mixed = ops::attention(tape, &qkv, net.architecture.heads, &batch.segments)?;
            let mixed = self.drop(self.affine(&layer.attention_out, &mixed)?)?;
            x = self.add_norm(&mixed, &x, layer.attention_norm)?;
            let inner = ops::gelu(tape, &self.affine(&layer.ffn_in, &x)?)?;
            let inner = self.drop(self.affine(&layer.ffn_out, &inner)?)?;
            x = self.add_norm(&inner, &x, layer.ffn_norm)?;
            seen(&x);
        }
        Ok(x)
    }

    fn pooled(&self, batch: &Joined) -> Result<Node> {
        ops::mean_pool(self.tape, &self.encode(batch, |_| ())?, &batch.own)
    }

    fn logits(&self, batch: &Joined) -> Result<Node> {
        self.affine(&self.net.head, &self.pooled(batch)?)
    }

    fn words(&self, ids: &[u32]) -> Result<Node> {
        let Architecture { hidden, vocabulary, .. } = self.net.architecture;
        if ids.iter().any(|&id| id as usize >= vocabulary) {
            candle_core::bail!("a token id is beyond the vocabulary of {vocabulary}");
        }
        let words = match &self.net.words {
            WordTable::Trained(table) => {
                return ops::rows(self.tape, &self.parameters[*table], ids);
            }
            WordTable::Frozen(words) => words,
        };
        let mut rows = vec![0f32; ids.len() * hidden];
        rows.par_chunks_mut(hidden)
            .zip(ids)
            .for_each(|(row, &id)| words.copy_row(id as usize, row));
        Ok(self.tape.leaf(&Tensor::from_vec(rows, (ids.len(), hidden), &Device::Cpu)?))
    }
}
