//! rten on the exported graph, which it optimises by itself; weights packed once.

use std::path::Path;
use std::sync::Arc;

use rten::{Model as Graph, ModelOptions, NodeId, RunOptions, ThreadPool};
use rten_tensor::NdTensor;

use crate::{Batch, Model, Result};

pub struct Onnx {
    graph: Graph,
    inputs: [NodeId; 2],
    output: NodeId,
    options: RunOptions,
}

impl Onnx {
    pub fn load(folder: &Path, kind: &str, threads: usize) -> Result<Self> {
        let mut options = ModelOptions::with_all_ops();
        let path = folder.join(format!("plain-{kind}.onnx"));
        let graph = options.prepack_weights(true).load_file(path)?;
        let inputs = [graph.node_id("input_ids")?, graph.node_id("attention_mask")?];
        let output = graph.node_id("logits")?;
        let pool = ThreadPool::with_num_threads(threads);
        let options = RunOptions::default().with_thread_pool(Some(Arc::new(pool)));
        Ok(Onnx { graph, inputs, output, options })
    }
}

impl Model for Onnx {
    fn logits(&self, batch: &Batch) -> Result<Vec<f32>> {
        let shape = [batch.rows, batch.width];
        let ids = NdTensor::from_data(shape, batch.ids.clone());
        let mask = NdTensor::from_data(shape, batch.mask.clone());
        let inputs = vec![(self.inputs[0], ids.into()), (self.inputs[1], mask.into())];
        let [logits] = self.graph.run_n(inputs, [self.output], Some(self.options.clone()))?;
        let (_, values) = logits.into_shape_vec::<f32, 2>()?;
        Ok(values)
    }
}
