//! How far a training run is, on a terminal or in a log. May depend on: `train::fit`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::train::fit::Event;

/// A bar on a terminal, a line now and then elsewhere.
pub(super) struct Progress {
    bar: ProgressBar,
    plain: bool,
    begun: Instant,
    said: Instant,
    loss: f32,
    messages: usize,
    done: usize,
    total: usize,
}

impl Progress {
    pub fn new() -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(0) };
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} eta {eta}") {
            bar.set_style(style);
        }
        let now = Instant::now();
        Progress { bar, plain, begun: now, said: now, loss: 0.0, messages: 0, done: 0, total: 0 }
    }

    pub fn tell(&mut self, event: Event) {
        match event {
            Event::Start { steps, done } => {
                (self.total, self.done, self.begun) = (steps, done, Instant::now());
                self.bar.set_length(steps as u64);
                self.bar.set_position(done as u64);
            }
            Event::Step { loss, messages } => {
                self.done += 1;
                self.messages += messages;
                let pace = 0.02f32.max(1.0 / self.done as f32);
                self.loss += pace * (loss - self.loss);
                let rate = self.messages as f64 / self.begun.elapsed().as_secs_f64();
                self.bar.set_message(format!("loss {:.3}, {rate:.0} messages/s", self.loss));
                self.bar.inc(1);
                if self.plain && self.said.elapsed() > Duration::from_secs(20) {
                    self.said = Instant::now();
                    let (done, total, loss) = (self.done, self.total, self.loss);
                    eprintln!("step {done}/{total}: loss {loss:.3}, {rate:.1} messages/s");
                }
            }
            Event::Epoch { epoch, scores, mean, best } => {
                let each: Vec<String> = scores
                    .iter()
                    .map(|(name, intents, sentiment)| {
                        format!("{name} intents {intents:.3} sentiment {sentiment:.3}")
                    })
                    .collect();
                let mark = if best { " (best)" } else { "" };
                let line = format!("epoch {epoch}: dev {mean:.4}{mark}; {}", each.join("; "));
                self.bar.suspend(|| eprintln!("{line}"));
            }
        }
    }
}
