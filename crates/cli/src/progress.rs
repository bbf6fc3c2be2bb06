//! Progress bars, on a terminal only.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use stablemate::{Progress, ProgressSink};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The bars that are shown now. Nothing is drawn unless standard error is a terminal.
#[derive(Clone)]
pub struct Bars {
    all: MultiProgress,
    by_name: Arc<Mutex<HashMap<String, ProgressBar>>>,
}

impl Bars {
    pub fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { all, by_name: Arc::default() }
    }

    /// Where the library reports to.
    pub fn sink(&self) -> ProgressSink {
        let bars = self.clone();
        Arc::new(move |progress| bars.show(progress))
    }

    /// Removes all bars.
    pub fn clear(&self) {
        for (_, bar) in self.lock().drain() {
            bar.finish_and_clear();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, ProgressBar>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, progress: Progress) {
        match progress {
            Progress::Download { file, done, total } => {
                self.bytes(&format!("download {file}"), done, total)
            }
            Progress::Install { done, total } => self.bytes("unpack", done, total),
            Progress::Load { done, total } => self.bytes("load weights", done, total),
            Progress::CompileBegin { what } => {
                let bar = self.all.add(ProgressBar::new_spinner());
                bar.set_message(format!("compile {what}"));
                bar.enable_steady_tick(Duration::from_millis(100));
                self.lock().insert(what, bar);
            }
            Progress::CompileEnd { what } => {
                if let Some(bar) = self.lock().remove(&what) {
                    bar.finish_and_clear();
                }
            }
        }
    }

    /// Shows how many of `total` things are done; 0 where that is not known.
    pub fn count(&self, name: &str, done: usize, total: usize) {
        let template =
            if total > 0 { "{msg} {bar:30} {pos} of {len} ({eta})" } else { "{msg} {pos}" };
        self.bar(name, template, done as u64, total as u64);
    }

    fn bytes(&self, name: &str, done: u64, total: u64) {
        let template = "{msg} {bar:30} {binary_bytes} of {binary_total_bytes} ({eta})";
        self.bar(name, template, done, total);
    }

    fn bar(&self, name: &str, template: &str, done: u64, total: u64) {
        let mut bars = self.lock();
        let bar = bars.entry(name.to_string()).or_insert_with(|| {
            let style = ProgressStyle::with_template(template);
            let bar = self.all.add(ProgressBar::new(total));
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar.set_message(name.to_string());
            bar
        });
        bar.set_length(total);
        bar.set_position(done);
        if total > 0 && done >= total {
            bar.finish_and_clear();
            bars.remove(name);
        }
    }
}
