//! `stablemate setup`

use crate::arguments::SetupArguments;
use crate::environment::Environment;
use crate::output;

pub fn run(arguments: &SetupArguments, environment: &Environment) -> anyhow::Result<()> {
    todo!("{arguments:?} {:?}", (environment.folders.data.clone(), output::write("")))
}
