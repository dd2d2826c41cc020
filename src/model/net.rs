//! The network in f32 on candle: BERT (Devlin et al. 2019, <https://arxiv.org/abs/1810.04805>),
//! post-norm, mean pooling, and one affine head of eight logits.
//!
//! It trains, and it is the oracle that faster engines are held against. Its eight logits are, in
//! order: the four intents, the three sentiments, urgent. May depend on: `machine`, `model::{base, joined, labels,
//! ops, weights}`.

mod pass;

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::base::Architecture;
use super::labels::LOGITS;
use super::ops::{PackedWeight, Products, RoundedWeight};
use super::weights::{WORDS, Weights, WeightsError, Words};
use crate::machine::bf16::Bf16;

/// What a parameter belongs to; learning rates differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Embedding tables.
    Embeddings,
    /// A layer, counted from the embeddings on.
    Layer(usize),
    /// The classification head.
    Head,
}

/// A tensor of the network and the named weights that it is stacked from.
pub struct Parameter {
    /// Names in the weights file; each holds an equal share, in order.
    pub names: Vec<String>,
    /// Shape of each named share.
    pub share: Vec<usize>,
    /// The values, shares stacked along the first dimension.
    pub tensor: Tensor,
    pub part: Part,
}

/// What the products of training are made in; weights, sums and everything else are f32 all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F32,
    /// Factors rounded to bf16: faster, on CPUs that have the instructions.
    Bf16(Bf16),
}

/// How a network is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For verdicts: weights packed once for the product kernel.
    Inference,
    /// For training; word embeddings follow only if asked to.
    Training { words: bool, precision: Precision },
}

/// A parameter by its place in the list.
type Index = usize;

struct Affine {
    weight: Index,
    bias: Index,
}

struct Layer {
    qkv: Affine,
    attention_out: Affine,
    attention_norm: Index,
    ffn_in: Affine,
    ffn_out: Affine,
    ffn_norm: Index,
}

enum WordTable {
    Frozen(Words),
    Trained(Index),
}

/// The network with its weights.
pub struct Net {
    architecture: Architecture,
    words: WordTable,
    positions: Index,
    types: Index,
    norm: Index,
    layers: Vec<Layer>,
    head: Affine,
    parameters: Vec<Parameter>,
    mode: Mode,
    /// For verdicts, where weights do not change.
    laid_out: LaidOut,
}

/// How each parameter that is a layer's weight multiplies, by its place in the list.
#[derive(Default)]
pub struct LaidOut(BTreeMap<Index, Products>);

/// Builds parameters one by one.
struct Builder<'a> {
    weights: &'a Weights,
    parameters: Vec<Parameter>,
}

impl Builder<'_> {
    /// Stacks the named weights, each of shape `share`, into a tensor of `shape`.
    fn take(
        &mut self,
        names: &[String],
        share: &[usize],
        shape: &[usize],
        part: Part,
    ) -> std::result::Result<Index, NetError> {
        // Shapes are checked before anything is allocated: sizes come from a file.
        let shares = names.iter().map(|name| self.weights.get(name, share));
        let values = shares.collect::<std::result::Result<Vec<_>, _>>()?.concat();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        let (names, share) = (names.to_vec(), share.to_vec());
        Ok(self.push(Parameter { names, share, tensor, part }))
    }

    fn push(&mut self, parameter: Parameter) -> Index {
        self.parameters.push(parameter);
        self.parameters.len() - 1
    }

    fn affine(
        &mut self,
        names: &[String],
        (outputs, inputs): (usize, usize),
        part: Part,
    ) -> std::result::Result<Affine, NetError> {
        let of = |kind: &str| names.iter().map(|n| format!("{n}.{kind}")).collect::<Vec<_>>();
        let all = names.len() * outputs;
        let weight = self.take(&of("weight"), &[outputs, inputs], &[all, inputs], part)?;
        let bias = self.take(&of("bias"), &[outputs], &[all], part)?;
        Ok(Affine { weight, bias })
    }

    fn norm(
        &mut self,
        name: &str,
        width: usize,
        part: Part,
    ) -> std::result::Result<Index, NetError> {
        let names = [format!("{name}.weight"), format!("{name}.bias")];
        self.take(&names, &[width], &[2, width], part)
    }
}

/// Why a network cannot be made or run.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Its weights do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tensor library failed.
    #[error("the tensor library failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl Net {
    /// Makes the network of these sizes from `weights`, which must have heads.
    ///
    /// # Errors
    /// [`NetError::Weights`] naming the tensor that is missing or of another shape.
    pub fn new(
        architecture: Architecture,
        weights: &Weights,
        mode: Mode,
    ) -> std::result::Result<Self, NetError> {
        let Architecture { hidden, ffn, vocabulary, positions, token_types, .. } = architecture;
        let mut make = Builder { weights, parameters: Vec::new() };
        let words = match mode {
            Mode::Training { words: true, .. } => {
                let values = weights.words.to_full(hidden);
                let tensor = Tensor::from_vec(values, (vocabulary, hidden), &Device::Cpu)?;
                let (names, share) = (vec![WORDS.into()], vec![vocabulary, hidden]);
                let part = Part::Embeddings;
                WordTable::Trained(make.push(Parameter { names, share, tensor, part }))
            }
            _ => WordTable::Frozen(weights.words.clone()),
        };
        let table = |name: &str| [format!("embeddings.{name}_embeddings.weight")];
        let shape = [positions, hidden];
        let positions = make.take(&table("position"), &shape, &shape, Part::Embeddings)?;
        let shape = [token_types, hidden];
        let types = make.take(&table("token_type"), &shape, &shape, Part::Embeddings)?;
        let norm = make.norm("embeddings.LayerNorm", hidden, Part::Embeddings)?;
        let mut layers = Vec::new();
        for layer in 0..architecture.layers {
            let name = |rest: &str| format!("encoder.layer.{layer}.{rest}");
            let qkv = ["query", "key", "value"].map(|n| name(&format!("attention.self.{n}")));
            let body = Part::Layer(layer);
            layers.push(Layer {
                qkv: make.affine(&qkv, (hidden, hidden), body)?,
                attention_out: make.affine(
                    &[name("attention.output.dense")],
                    (hidden, hidden),
                    body,
                )?,
                attention_norm: make.norm(&name("attention.output.LayerNorm"), hidden, body)?,
                ffn_in: make.affine(&[name("intermediate.dense")], (ffn, hidden), body)?,
                ffn_out: make.affine(&[name("output.dense")], (hidden, ffn), body)?,
                ffn_norm: make.norm(&name("output.LayerNorm"), hidden, body)?,
            });
        }
        let head = make.affine(&["classifier".into()], (LOGITS, hidden), Part::Head)?;
        let parameters = make.parameters;
        let used = |name: &String| parameters.iter().any(|p| p.names.contains(name));
        if let Some(name) = weights.tensors.keys().find(|name| !used(name)) {
            return Err(WeightsError::Unexpected(name.clone()).into());
        }
        let laid_out = LaidOut::default();
        let mut net = Net {
            architecture,
            words,
            positions,
            types,
            norm,
            layers,
            head,
            parameters,
            mode,
            laid_out,
        };
        if mode == Mode::Inference {
            net.laid_out = net.lay_out()?;
        }
        Ok(net)
    }

    /// Its weights as they are now, laid out for the products of one step.
    ///
    /// # Errors
    /// Where the tensor library fails.
    pub fn lay_out(&self) -> Result<LaidOut> {
        let inner =
            self.layers.iter().flat_map(|l| [&l.qkv, &l.attention_out, &l.ffn_in, &l.ffn_out]);
        let all: Vec<Index> = inner.chain([&self.head]).map(|affine| affine.weight).collect();
        let one = |&index: &Index| -> Result<_> {
            let weight = &self.parameters[index].tensor;
            let products = match self.mode {
                Mode::Inference => Products::Packed(PackedWeight::new(weight)?),
                Mode::Training { precision: Precision::F32, .. } => Products::F32,
                Mode::Training { precision: Precision::Bf16(bf16), .. } => {
                    RoundedWeight::new(bf16, weight)?.map_or(Products::F32, Products::Bf16)
                }
            };
            Ok((index, products))
        };
        all.par_iter().map(one).collect::<Result<_>>().map(LaidOut)
    }

    /// Its trained tensors.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Its weights as they are now.
    ///
    /// # Errors
    /// Where the tensor library fails.
    pub fn weights(&self) -> Result<Weights> {
        let all = self.parameters.iter();
        let values = all.map(|p| p.tensor.flatten_all()?.to_vec1()).collect::<Result<Vec<_>>>()?;
        Ok(self.weights_of(&values))
    }

    /// Weights with these values for its parameters, in their order.
    pub fn weights_of(&self, values: &[Vec<f32>]) -> Weights {
        let mut words = match &self.words {
            WordTable::Frozen(words) => words.clone(),
            WordTable::Trained(_) => Words::Full(Vec::new()),
        };
        let mut tensors = BTreeMap::new();
        for (parameter, values) in self.parameters.iter().zip(values) {
            if parameter.names[0] == WORDS {
                words = Words::Full(values.clone());
                continue;
            }
            let share = parameter.share.iter().product();
            for (name, values) in parameter.names.iter().zip(values.chunks_exact(share)) {
                tensors.insert(name.clone(), (parameter.share.clone(), values.to_vec()));
            }
        }
        Weights { words, ints: Default::default(), tensors }
    }
}
