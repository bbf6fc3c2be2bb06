//! What modules are compiled for.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::host;

/// What a module is compiled for.
///
/// As text (on the command line): `host`, `llvm-cpu[:[triple/]cpu]`, `vmvx`, `cuda[:architecture]`,
/// `vulkan-spirv[:target]`, `rocm[:architecture]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The processor of this machine with all its features. The module runs on its like only.
    Host,
    /// A processor by name.
    Cpu {
        /// LLVM's target triple; none is this machine's.
        triple: Option<String>,
        /// LLVM's name of the processor; `generic` runs on every processor of the triple.
        cpu: String,
    },
    /// IREE's portable bytecode: slow, for tests.
    Vmvx,
    /// NVIDIA GPUs.
    Cuda {
        /// The compute capability, such as `sm_80`. (IREE 3.13 knows no `sm_90`; the driver runs code
        /// for older ones.)
        architecture: String,
    },
    /// GPUs through Vulkan.
    Vulkan {
        /// IREE's name of the device or its family, such as `ampere` or `rdna3`.
        target: String,
    },
    /// AMD GPUs.
    Rocm {
        /// LLVM's name of the architecture, such as `gfx942`.
        architecture: String,
    },
}

/// The processor for `llvm-cpu` without a name.
const DEFAULT_CPU: &str = "generic";
/// The architecture for `cuda` without one: Ampere, the oldest in wide use.
const DEFAULT_CUDA: &str = "sm_80";
/// The target for `vulkan-spirv` without one (IREE's own default compiles too little).
const DEFAULT_VULKAN: &str = "ampere";
/// The architecture for `rocm` without one: MI300.
const DEFAULT_ROCM: &str = "gfx942";

impl Target {
    /// The compiler's flags.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        match self {
            Self::Host => {
                local(&mut flags, "llvm-cpu", Some((None, "host")));
                // The text is checked as it is read. To check it again after each of some hundred passes takes a third
                // of the time that somebody waits for; for the other targets, nobody waits.
                flags.push("--verify=false".to_owned());
            }
            Self::Cpu { triple, cpu } => {
                local(&mut flags, "llvm-cpu", Some((triple.as_deref(), cpu)));
            }
            Self::Vmvx => local(&mut flags, "vmvx", None),
            Self::Cuda { architecture } => {
                device(&mut flags, "cuda", "iree-cuda-target", architecture);
            }
            Self::Vulkan { target } => {
                device(&mut flags, "vulkan", "iree-vulkan-target", target);
            }
            Self::Rocm { architecture } => {
                device(&mut flags, "hip", "iree-rocm-target", architecture);
            }
        }
        // By default f64 silently becomes f32. What asks for f64 shall get it, or an error.
        flags.push("--iree-input-demote-f64-to-f32=false".to_owned());
        flags
    }

    /// What the compiled module depends on besides text, compiler and flags.
    pub(crate) fn environment(&self) -> crate::Result<String> {
        match self {
            Self::Host => host::processor(),
            // Without a triple, it is this machine's.
            Self::Cpu { triple: None, .. } => Ok(std::env::consts::ARCH.to_owned()),
            _ => Ok(String::new()),
        }
    }
}

/// Flags for code that runs in this process' address space.
fn local(flags: &mut Vec<String>, backend: &str, cpu: Option<(Option<&str>, &str)>) {
    flags.push("--iree-hal-target-device=local".to_owned());
    flags.push(format!("--iree-hal-local-target-device-backends={backend}"));
    let Some((triple, cpu)) = cpu else {
        return;
    };
    if let Some(triple) = triple {
        flags.push(format!("--iree-llvmcpu-target-triple={triple}"));
    }
    flags.push(format!("--iree-llvmcpu-target-cpu={cpu}"));
    flags.push("--iree-opt-level=O3".to_owned());
    // Weights are arguments: with data tiling they would be packed anew on every call.
    flags.push("--iree-opt-data-tiling=false".to_owned());
    // What depends on constants only is computed when a module is loaded, not by the compiler: it does not
    // have the native kernels.
    flags.push("--iree-opt-const-eval=false".to_owned());
    // Some fused reductions need a little more than the default of 32 KiB. Our threads have 1 MiB.
    flags.push("--iree-llvmcpu-stack-allocation-limit=262144".to_owned());
}

/// Flags for a GPU.
fn device(flags: &mut Vec<String>, device: &str, flag: &str, value: &str) {
    flags.push(format!("--iree-hal-target-device={device}"));
    flags.push(format!("--{flag}={value}"));
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Cpu { triple: Some(triple), cpu } => write!(f, "llvm-cpu:{triple}/{cpu}"),
            Self::Cpu { triple: None, cpu } => write!(f, "llvm-cpu:{cpu}"),
            Self::Vmvx => f.write_str("vmvx"),
            Self::Cuda { architecture } => write!(f, "cuda:{architecture}"),
            Self::Vulkan { target } => write!(f, "vulkan-spirv:{target}"),
            Self::Rocm { architecture } => write!(f, "rocm:{architecture}"),
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong =
            |reason: &str| Error::Target { given: text.to_owned(), reason: reason.to_owned() };
        let (kind, detail) = match text.split_once(':') {
            Some((kind, detail)) => (kind, Some(detail)),
            None => (text, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.+".contains(c);
        if let Some(detail) = detail
            && !detail.split('/').all(|part| !part.is_empty() && part.chars().all(plain))
        {
            return Err(wrong("what follows the colon is letters, digits and _-.+"));
        }
        let or = |default: &str| detail.unwrap_or(default).to_owned();
        let target = match kind {
            "host" | "vmvx" if detail.is_some() => {
                return Err(wrong("nothing can follow this name"));
            }
            "host" => return Ok(Self::Host),
            "vmvx" => return Ok(Self::Vmvx),
            "llvm-cpu" => match detail.and_then(|detail| detail.split_once('/')) {
                Some((triple, cpu)) if !cpu.contains('/') => {
                    return Ok(Self::Cpu { triple: Some(triple.to_owned()), cpu: cpu.to_owned() });
                }
                _ => Self::Cpu { triple: None, cpu: or(DEFAULT_CPU) },
            },
            "cuda" => Self::Cuda { architecture: or(DEFAULT_CUDA) },
            "vulkan-spirv" => Self::Vulkan { target: or(DEFAULT_VULKAN) },
            "rocm" => Self::Rocm { architecture: or(DEFAULT_ROCM) },
            _ => {
                return Err(wrong(
                    "there are host, llvm-cpu[:[triple/]cpu], vmvx, cuda[:sm_80], vulkan-spirv[:ampere], rocm[:gfx942]",
                ));
            }
        };
        match detail {
            Some(detail) if detail.contains('/') => {
                Err(wrong("only llvm-cpu takes a slash, and one"))
            }
            _ => Ok(target),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_and_back() {
        for (text, canonical) in [
            ("host", "host"),
            ("vmvx", "vmvx"),
            ("llvm-cpu", "llvm-cpu:generic"),
            ("llvm-cpu:znver4", "llvm-cpu:znver4"),
            (
                "llvm-cpu:aarch64-unknown-linux-gnu/generic",
                "llvm-cpu:aarch64-unknown-linux-gnu/generic",
            ),
            ("cuda", "cuda:sm_80"),
            ("cuda:sm_89", "cuda:sm_89"),
            ("vulkan-spirv", "vulkan-spirv:ampere"),
            ("rocm", "rocm:gfx942"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), canonical);
            assert_eq!(canonical.parse::<Target>().unwrap(), target);
        }
    }

    #[test]
    fn wrong_texts() {
        for text in [
            "",
            "Host",
            "host:x",
            "vmvx:",
            "cuda:",
            "cuda:a b",
            "cuda:a/b",
            "llvm-cpu:a/b/c",
            "llvm-cpu:/b",
            "tpu",
            "rocm:gfx942 --x",
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn host_flags() {
        assert_eq!(
            Target::Host.flags(),
            [
                "--iree-hal-target-device=local",
                "--iree-hal-local-target-device-backends=llvm-cpu",
                "--iree-llvmcpu-target-cpu=host",
                "--iree-opt-level=O3",
                "--iree-opt-data-tiling=false",
                "--iree-opt-const-eval=false",
                "--iree-llvmcpu-stack-allocation-limit=262144",
                "--verify=false",
                "--iree-input-demote-f64-to-f32=false",
            ]
        );
    }

    proptest! {
        #[test]
        fn flags_are_flags(text in "(cuda|rocm|vulkan-spirv|llvm-cpu):[ -~]{0,12}") {
            if let Ok(target) = text.parse::<Target>() {
                for flag in target.flags() {
                    prop_assert!(flag.starts_with("--iree-") && !flag.contains(' '));
                }
                prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
            }
        }
    }
}
