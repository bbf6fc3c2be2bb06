//! `stablemate doctor`

use crate::environment::Environment;
use crate::output;
use stablemate::{Finding, Health};
use std::process::ExitCode;

pub fn run(environment: &Environment) -> anyhow::Result<ExitCode> {
    let findings = stablemate::examine(&environment.folders);
    for Finding { subject, health, message } in &findings {
        let mark = match health {
            Health::Good => "ok     ",
            Health::Missing => "MISSING",
            Health::Damaged => "DAMAGED",
        };
        output::write(&format!("{mark}  {subject:10} {message}\n"))?;
    }
    let well = findings.iter().all(|finding| finding.health == Health::Good);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
