//! candle as its users run it: candle-transformers' `BertModel`, padded batches, a mask.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear};
use candle_transformers::models::bert::{BertModel, Config};

use crate::{Batch, LOGITS, Model, Result};

pub struct Bert {
    bert: BertModel,
    head: Linear,
}

impl Bert {
    pub fn load(folder: &Path, threads: usize) -> Result<Self> {
        // candle asks rayon's global pool how many threads there are.
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
        let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        let bytes = std::fs::read(folder.join("pytorch.safetensors"))?;
        let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu)?;
        let head = linear(config.hidden_size, LOGITS, weights.pp("classifier"))?;
        Ok(Bert { bert: BertModel::load(weights, &config)?, head })
    }
}

impl Model for Bert {
    fn logits(&self, batch: &Batch) -> Result<Vec<f32>> {
        let shape = (batch.rows, batch.width);
        let ids: Vec<u32> = batch.ids.iter().map(|&id| id as u32).collect();
        let mask: Vec<f32> = batch.mask.iter().map(|&on| on as f32).collect();
        let ids = Tensor::from_vec(ids, shape, &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let hidden = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let sums = hidden.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?;
        let mean = sums.broadcast_div(&mask.sum_keepdim(1)?)?;
        Ok(self.head.forward(&mean)?.flatten_all()?.to_vec1()?)
    }
}
