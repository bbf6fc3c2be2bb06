//! `stablemate doctor`

use crate::environment::Environment;
use std::process::ExitCode;

pub fn run(environment: &Environment) -> anyhow::Result<ExitCode> {
    todo!("{:?}", environment.folders)
}
