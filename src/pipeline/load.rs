//! From a model on disk to a pipeline that serves. May depend on the pipeline and on `model`.

use std::path::Path;
use std::sync::Arc;

use rayon::ThreadPoolBuildError;

use super::{ModelInfo, Pipeline, Room};
use crate::model::bundle::{Bundle, BundleError};
use crate::model::encoder::{Encoder, EncoderError};
use crate::model::engine::Engine;
use crate::model::kernel::Kernel;
use crate::model::net::{Mode, Net, NetError};

/// Why a pipeline cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The model's files are missing or wrong.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The network cannot be made of them.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The int8 encoder cannot be made of them.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The CPU lacks what was asked for.
    #[error("this CPU or system has no kernel {asked}; it has {}", list(.available))]
    NoKernel { asked: String, available: Vec<Kernel> },
    /// The system gives no threads.
    #[error("cannot start threads: {0}")]
    Threads(#[from] std::io::Error),
    /// The system gives no threads to tokenise on.
    #[error("cannot start threads: {0}")]
    Pool(#[from] ThreadPoolBuildError),
}

/// Arithmetic of the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// Products in int8, the rest in f32.
    #[default]
    Int8,
    /// The network as it can be trained, to compare with.
    F32,
}

/// How the model is to be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arithmetic {
    /// Arithmetic of the layers.
    pub precision: Precision,
    /// What does the int8 products; the fastest where not said.
    pub kernel: Option<Kernel>,
}

impl Pipeline {
    /// Loads the model in `dir` (or the one that comes with the program) and starts the threads.
    ///
    /// # Errors
    /// [`LoadError`] saying which file is wrong and what to do.
    pub fn load(dir: Option<&Path>) -> Result<Self, LoadError> {
        Self::load_with(dir, Arithmetic::default(), Room::default())
    }

    /// As [`Pipeline::load`], with the arithmetic and the room chosen.
    ///
    /// # Errors
    /// As [`Pipeline::load`].
    pub fn load_with(
        dir: Option<&Path>,
        arithmetic: Arithmetic,
        room: Room,
    ) -> Result<Self, LoadError> {
        Self::load_by(Bundle::load, dir, arithmetic, room)
    }

    /// As [`Pipeline::load_with`], for a model whose files may be changed meanwhile: they are read, not mapped, which
    /// takes a moment and as much memory.
    ///
    /// # Errors
    /// As [`Pipeline::load`].
    pub fn reload_with(
        dir: Option<&Path>,
        arithmetic: Arithmetic,
        room: Room,
    ) -> Result<Self, LoadError> {
        Self::load_by(Bundle::load_apart, dir, arithmetic, room)
    }

    fn load_by(
        load: impl Fn(&Path) -> Result<Bundle, BundleError>,
        dir: Option<&Path>,
        arithmetic: Arithmetic,
        room: Room,
    ) -> Result<Self, LoadError> {
        let dir = Bundle::find(dir)?;
        let bundle = load(&dir)?.classifier(&dir)?;
        let Bundle { manifest, id, weights, tokeniser, .. } = bundle;
        let architecture = manifest.architecture;
        let kernel = arithmetic.kernel.unwrap_or_else(Kernel::best);
        let available = Kernel::available();
        if !available.contains(&kernel) {
            return Err(LoadError::NoKernel { asked: spelt(kernel), available });
        }
        let engine: Arc<dyn Engine> = match arithmetic.precision {
            Precision::F32 => {
                Arc::new(Net::new(architecture, &weights.to_full(), Mode::Inference)?)
            }
            Precision::Int8 => {
                let encoder = Encoder::with_kernel(architecture, &weights, kernel)?;
                tracing::info!(kernel = encoder.kernel().name(), "int8 encoder");
                Arc::new(encoder)
            }
        };
        drop(weights);
        let name = match arithmetic.precision {
            Precision::F32 => "f32".to_owned(),
            Precision::Int8 => kernel.name(),
        };
        let info = ModelInfo::new(&manifest, &id, name);
        Self::start_within(room, engine, tokeniser, manifest.calibration, info)
    }
}

/// A kernel as the command line has it.
fn spelt(kernel: Kernel) -> String {
    let value = clap::ValueEnum::to_possible_value(&kernel);
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

fn list(kernels: &[Kernel]) -> String {
    kernels.iter().copied().map(spelt).collect::<Vec<_>>().join(", ")
}
