//! Composites with a state per sequence as kernels' parameters, and their calls.

use super::operation::{first, split, written};
use stablemate_graph::NativeSite;
use stablemate_kernels::{
    Convolution, DeltaRule, DeltaRuleOperands, KernelError, Kernels, Scan, ScanOperands,
    StateAddresses,
};
use stablemate_runtime::Binding;

/// Such a composite's kernel and its sizes. Operands: the pool, which the last result overwrites,
/// then the kernel's own, then positions, sequences and slots.
#[derive(Clone, Debug)]
pub(super) enum Recurrent {
    /// `x, weight`.
    Convolve(Convolution),
    /// `query, key, value, decay, beta`.
    DeltaRule(DeltaRule),
    /// `x, dt, a, b, c`.
    Scan(Scan),
}

impl Recurrent {
    /// Reads a composite; none if it is of another kind. Their table is in
    /// `stablemate_models::kernels`.
    pub(super) fn read(site: &NativeSite<'_>) -> Option<Self> {
        let sizes: Vec<Vec<usize>> = site.operands.iter().map(|ty| ty.sizes()).collect();
        let pool = sizes.first()?;
        match site.kernel.short_name() {
            "convolve" => {
                let [_, tail, channels] = pool[..] else { return None };
                Some(Self::Convolve(Convolution { channels, taps: tail + 1 }))
            }
            "delta_rule" => {
                let [_, key_heads, group, key_width, value_width] = pool[..] else { return None };
                let per_channel = sizes.get(4)?.len() == 4;
                let rule = DeltaRule { key_heads, group, key_width, value_width, per_channel };
                Some(Self::DeltaRule(rule))
            }
            "scan" => {
                let (heads, width, states) = match pool[..] {
                    [_, heads, width, states] => (heads, width, states),
                    [_, heads, states] => (heads, 1, states),
                    _ => return None,
                };
                let per_state = sizes.get(3)?.len() == 2;
                let groups = match sizes.get(4)?[..] {
                    [_, groups, _] => groups,
                    _ => 1,
                };
                Some(Self::Scan(Scan { heads, width, groups, states, per_state }))
            }
            _ => None,
        }
    }

    /// Results that overwrite operands.
    pub(super) fn tied(&self) -> Vec<(usize, usize)> {
        vec![(1, 0)]
    }

    /// For messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Convolve(convolution) => format!("convolve {convolution:?}"),
            Self::DeltaRule(rule) => format!("delta_rule {rule:?}"),
            Self::Scan(scan) => format!("scan {scan:?}"),
        }
    }

    /// Runs the kernel on a step's memory.
    pub(super) fn run(
        &self,
        kernels: &Kernels,
        bindings: &mut [Binding<'_>],
    ) -> Result<Result<(), KernelError>, String> {
        let count = match self {
            Self::Convolve(_) => 2,
            Self::DeltaRule(_) | Self::Scan(_) => 5,
        };
        let (pool, rest) = bindings.split_first_mut().ok_or("it has no pool")?;
        let pool = written(pool)?;
        let (operands, results) = split(rest, count + 3)?;
        let addresses = StateAddresses {
            positions: operands.integers(count)?,
            sequences: operands.integers(count + 1)?,
            slots: operands.integers(count + 2)?,
        };
        let out = first(results)?;
        Ok(match self {
            Self::Convolve(convolution) => {
                let (x, weight) = (operands.floats(0)?, operands.floats(1)?);
                kernels.convolve(convolution, pool, x, weight, &addresses, out)
            }
            Self::DeltaRule(rule) => {
                let operands = DeltaRuleOperands {
                    query: operands.floats(0)?,
                    key: operands.floats(1)?,
                    value: operands.floats(2)?,
                    decay: operands.floats(3)?,
                    beta: operands.floats(4)?,
                };
                kernels.delta_rule(rule, pool, &operands, &addresses, out)
            }
            Self::Scan(scan) => {
                let operands = ScanOperands {
                    x: operands.floats(0)?,
                    dt: operands.floats(1)?,
                    a: operands.floats(2)?,
                    b: operands.floats(3)?,
                    c: operands.floats(4)?,
                };
                kernels.scan(scan, pool, &operands, &addresses, out)
            }
        })
    }
}
