//! `stablemate compile`

use crate::arguments::CompileArguments;
use crate::environment::Environment;
use crate::output;
use stablemate::Progress;

pub fn run(arguments: &CompileArguments, environment: &Environment) -> anyhow::Result<()> {
    let target = arguments.target.parse()?;
    let opened = stablemate::open(&environment.resolve(&arguments.model)?)?;
    let options = super::emit::options(&arguments.entries, &opened);
    let what = format!("for {target}");
    let sink = environment.bars.sink();
    sink(Progress::CompileBegin { what: what.clone() });
    let written =
        stablemate::compile_to(&opened, &options, &target, &environment.folders, &arguments.output);
    sink(Progress::CompileEnd { what });
    let written = written?;
    output::write(&format!(
        "{}\n{}\n{}\n",
        written.text.display(),
        written.program.display(),
        written.manifest.display()
    ))
}
