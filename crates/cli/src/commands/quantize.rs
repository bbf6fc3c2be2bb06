//! `stablemate quantize`

use crate::arguments::QuantizeArguments;
use crate::environment::Environment;
use crate::output;
use stablemate::Progress;
use stablemate::checkpoint::{Checkpoint, QuantizeOptions, quantize_directory};

pub fn run(arguments: &QuantizeArguments, environment: &Environment) -> anyhow::Result<()> {
    let path = environment.resolve(&arguments.model)?;
    let source = Checkpoint::open(&path)?;
    let options = QuantizeOptions { bits: arguments.bits, group_size: arguments.group_size };
    let progress = environment.bars.sink();
    let written = quantize_directory(&source, &arguments.output, &options, &mut |done, total| {
        progress(Progress::Load { done, total });
    });
    environment.bars.clear();
    let written = written?;
    output::write(&format!("{written}\n"))
}
