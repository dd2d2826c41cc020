//! The pipeline that serves now. Another can take its place: what began on the old one ends on it.
//! May depend on the pipeline.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Pipeline;

/// A place for a pipeline, shared by all clones.
#[derive(Clone)]
pub struct Live(Arc<ArcSwap<Pipeline>>);

impl Live {
    /// The one that serves now. Ask anew for each message, and hold on to it for as long as that takes.
    pub fn now(&self) -> Arc<Pipeline> {
        self.0.load_full()
    }

    /// Puts another in its place. The old one's threads end with the last work that began on it.
    pub fn replace(&self, pipeline: Pipeline) {
        self.0.store(Arc::new(pipeline));
    }
}

impl From<Pipeline> for Live {
    fn from(pipeline: Pipeline) -> Self {
        Live(Arc::new(ArcSwap::from_pointee(pipeline)))
    }
}
