//! The network in f32 on candle: BERT (Devlin et al. 2019, <https://arxiv.org/abs/1810.04805>),
//! post-norm, mean pooling, and one affine head of eight logits.
//!
//! It trains, and it is the oracle that faster engines are held against. Its eight logits are, in
//! order: the four intents, the three sentiments, urgent. May depend on: `model::{base, joined, labels,
//! ops, weights}`.

use candle_core::{CustomOp1, Device, Result, Tensor};
use rayon::prelude::*;

use super::base::Architecture;
use super::joined::Joined;
use super::labels::LOGITS;
use super::ops::{self, Dropout, Gradients, Node, PackedWeight, Tape};
use super::weights::{WORDS, Weights, WeightsError, Words};

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

/// How a network is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For verdicts: weights packed once for the product kernel.
    Inference,
    /// For training; word embeddings follow only if asked to.
    Training { words: bool },
}

/// A parameter by its place in the list.
type Index = usize;

struct Affine {
    weight: Index,
    bias: Index,
    packed: Option<PackedWeight>,
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
}

/// Builds parameters one by one.
struct Builder<'a> {
    weights: &'a Weights,
    mode: Mode,
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
        let packed = match self.mode {
            Mode::Inference => Some(PackedWeight::new(&self.parameters[weight].tensor)?),
            Mode::Training { .. } => None,
        };
        Ok(Affine { weight, bias, packed })
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
        let mut make = Builder { weights, mode, parameters: Vec::new() };
        let words = match mode {
            Mode::Training { words: true } => {
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
        Ok(Net { architecture, words, positions, types, norm, layers, head, parameters })
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
        let mut tensors = std::collections::BTreeMap::new();
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

    /// Logits of each message: (B, [`LOGITS`]).
    ///
    /// # Errors
    /// Where the tensor library fails, as for an id beyond the vocabulary.
    pub fn forward(&self, batch: &Joined) -> Result<Tensor> {
        let tape = Tape::forgetting();
        let run = Run { net: self, tape: &tape, dropout: None, parameters: self.leaves(&tape) };
        Ok(run.logits(batch)?.value)
    }

    /// Hidden states after the embeddings and after each layer, (T, C) each.
    ///
    /// # Errors
    /// As [`Net::forward`].
    pub fn hidden_states(&self, batch: &Joined) -> Result<Vec<Vec<f32>>> {
        let tape = Tape::forgetting();
        let run = Run { net: self, tape: &tape, dropout: None, parameters: self.leaves(&tape) };
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
        let run = Run { net: self, tape: &tape, dropout: None, parameters: self.leaves(&tape) };
        Ok(run.pooled(batch)?.value)
    }

    /// The loss that `loss` makes of the logits, and the gradient of each parameter, in their order.
    ///
    /// # Errors
    /// As [`Net::forward`].
    pub fn gradients(
        &self,
        batch: &Joined,
        dropout: &Dropout,
        loss: impl CustomOp1 + 'static,
    ) -> Result<(f32, Vec<Option<Tensor>>)> {
        let tape = Tape::recording();
        let run =
            Run { net: self, tape: &tape, dropout: Some(dropout), parameters: self.leaves(&tape) };
        let loss = tape.custom(loss, &run.logits(batch)?)?;
        let parameters = run.parameters;
        let mut gradients: Gradients = tape.backward(&loss)?;
        let gradients = parameters.iter().map(|node| gradients.take(node)).collect();
        Ok((loss.value.to_scalar()?, gradients))
    }

    fn leaves(&self, tape: &Tape) -> Vec<Node> {
        self.parameters.iter().map(|parameter| tape.leaf(&parameter.tensor)).collect()
    }
}

/// One pass through the network.
struct Run<'a> {
    net: &'a Net,
    tape: &'a Tape,
    dropout: Option<&'a Dropout>,
    parameters: Vec<Node>,
}

impl Run<'_> {
    fn affine(&self, layer: &Affine, x: &Node) -> Result<Node> {
        let (weight, bias) = (&self.parameters[layer.weight], &self.parameters[layer.bias]);
        ops::linear(self.tape, x, weight, bias, layer.packed.as_ref())
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
