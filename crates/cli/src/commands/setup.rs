//! `stablemate setup`

use crate::arguments::SetupArguments;
use crate::environment::Environment;
use crate::output;
use stablemate::Progress;
use stablemate::runtime::{self, Toolchain};

pub fn run(arguments: &SetupArguments, environment: &Environment) -> anyhow::Result<()> {
    let data = &environment.folders.data;
    if arguments.wheel.is_none()
        && let Ok(toolchain) = Toolchain::at(data)
        && toolchain.verify().is_ok()
    {
        let folder = toolchain.folder().display();
        return output::write(&format!("the compiler is installed already: {folder}\n"));
    }
    let downloads = data.join("downloads");
    let wheel = match &arguments.wheel {
        Some(wheel) => wheel.clone(),
        None => {
            output::write(&format!("downloading {} with pip\n", runtime::download::REQUIREMENT))?;
            runtime::download::fetch_wheel(&arguments.python, &downloads)?
        }
    };
    let sink = environment.bars.sink();
    let toolchain = Toolchain::install(&wheel, data, &mut |progress| match progress {
        runtime::Progress::Unpacking { done, total } => {
            sink(Progress::Install { done, total });
        }
        runtime::Progress::Checking => {}
    });
    environment.bars.clear();
    let toolchain = toolchain?;
    if arguments.wheel.is_none() {
        // 84 MB that nobody needs again; a next set-up would download them again.
        std::fs::remove_dir_all(&downloads)?;
    }
    output::write(&format!("installed the compiler: {}\n", toolchain.folder().display()))
}
