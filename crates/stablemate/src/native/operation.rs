//! A composite as a kernel's parameters, and its call.

use super::experts::Experts;
use stablemate_encodings::Float;
use stablemate_graph::{Attribute, ElementType, NativeSite, TensorType};
use stablemate_kernels as kernels;
use stablemate_kernels::{
    Activation, Addresses, AttentionOperands, CacheElement, CacheShape, Kernels, Matrix, Product,
    Weight,
};
use stablemate_models::Storage;
use stablemate_models::kernels::storages;
use stablemate_runtime::Binding;

/// A composite's kernel and everything static about it.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// `x, live, weights …[, residual]` to as many products.
    Linear { columns: usize, weights: Vec<(Storage, usize)>, residual: bool },
    /// `x, live, gate, up` to one result.
    Gated { columns: usize, rows: usize, gate: Storage, up: Storage, activation: Activation },
    /// `x, live, chosen, weights, stacks …[, biases …][, residual]` to one result.
    Experts(Experts),
    /// `table, tokens` to rows.
    Embed { table: Storage, rows: usize, columns: usize },
    /// `pool, slots, update` to the pool.
    WriteCache(CacheShape),
    /// `query, keys, values, positions, sequences, block tables[, sinks]` to the mixed values.
    Attention {
        parameters: kernels::Attention,
        sinks: bool,
        block_length: usize,
        tables: [usize; 2],
    },
    /// A kernel with a state per sequence.
    Recurrent(super::recurrent::Recurrent),
}

impl Operation {
    /// What a composite computes, if it is one of ours. Its table is in `stablemate_models::kernels`.
    pub(super) fn read(site: &NativeSite<'_>) -> Option<Self> {
        let sizes = |types: &[&TensorType]| -> Vec<Vec<usize>> {
            types.iter().map(|ty| ty.sizes()).collect()
        };
        let (operands, results) = (sizes(&site.operands), sizes(&site.results));
        let size = |operand: usize, axis: usize| operands.get(operand)?.get(axis).copied();
        match site.kernel.short_name() {
            "linear" => {
                let rows = results.iter().map(|result| result.get(1).copied());
                let weights = storages(site.kernel).ok()?.into_iter().zip(rows);
                Some(Self::Linear {
                    columns: size(0, 1)?,
                    weights: weights
                        .map(|(storage, rows)| Some((storage, rows?)))
                        .collect::<Option<_>>()?,
                    residual: integer(site, "residual")? == 1,
                })
            }
            "gated" => {
                let [gate, up] = *storages(site.kernel).ok()? else { return None };
                let activation = activation(text(site, "activation")?)?;
                let rows = *results.first()?.get(1)?;
                Some(Self::Gated { columns: size(0, 1)?, rows, gate, up, activation })
            }
            "experts" => Some(Self::Experts(Experts::read(site)?)),
            "embed" => {
                let [table] = *storages(site.kernel).ok()? else { return None };
                let rows = match table {
                    Storage::Dense(_) => size(0, 0)?,
                    // The table's last tile may have fewer rows; ids beyond them are never asked for.
                    Storage::Packed(_) => size(0, 0)? * stablemate_encodings::LANES,
                };
                Some(Self::Embed { table, rows, columns: *results.first()?.get(1)? })
            }
            "write_cache" => Some(Self::WriteCache(CacheShape {
                element: cache_element(site.operands.first()?.element)?,
                heads: size(2, 1)?,
                width: size(2, 2)?,
                block_length: size(0, 1)?,
            })),
            "attention" => Some(Self::Attention {
                parameters: kernels::Attention {
                    scale: float(site, "scale")?,
                    window: integer(site, "window")?,
                    softcap: float(site, "softcap")?,
                    kv_heads: size(0, 1)?,
                    group: size(0, 2)?,
                    key_width: size(0, 3)?,
                    value_width: *results.first()?.get(3)?,
                    element: cache_element(site.operands.get(1)?.element)?,
                },
                sinks: integer(site, "sinks")? == 1,
                block_length: size(1, 1)?,
                tables: [size(5, 0)?, size(5, 1)?],
            }),
            "convolve" | "delta_rule" | "scan" => {
                super::recurrent::Recurrent::read(site).map(Self::Recurrent)
            }
            _ => None,
        }
    }

    /// Results that overwrite operands.
    pub(super) fn tied(&self) -> Vec<(usize, usize)> {
        match self {
            Self::WriteCache(_) => vec![(0, 0)],
            Self::Recurrent(recurrent) => recurrent.tied(),
            _ => Vec::new(),
        }
    }

    /// For messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Linear { columns, weights, .. } => {
                let weights: Vec<String> = weights
                    .iter()
                    .map(|(storage, rows)| format!("[{rows}, {columns}] {storage}"))
                    .collect();
                format!("linear {}", weights.join(", "))
            }
            Self::Gated { columns, rows, gate, .. } => format!("gated [{rows}, {columns}] {gate}"),
            Self::Experts(experts) => experts.describe(),
            Self::Embed { table, rows, columns } => format!("embed [{rows}, {columns}] {table}"),
            Self::WriteCache(shape) => format!("write_cache {shape:?}"),
            Self::Attention { parameters, .. } => format!("attention {parameters:?}"),
            Self::Recurrent(recurrent) => recurrent.describe(),
        }
    }

    /// Runs the kernel on a step's memory.
    pub(super) fn run(
        &self,
        kernels: &Kernels,
        bindings: &mut [Binding<'_>],
    ) -> Result<(), String> {
        let done = match self {
            Self::Linear { columns, weights, residual } => {
                let (operands, results) =
                    split(bindings, 2 + weights.len() + usize::from(*residual))?;
                let residual = residual.then(|| operands.floats(2 + weights.len())).transpose()?;
                let mut products = Vec::with_capacity(weights.len());
                for ((n, (storage, rows)), out) in weights.iter().enumerate().zip(results) {
                    let matrix = matrix(*storage, operands.bytes(2 + n)?, *rows, *columns)?;
                    products.push(Product { matrix, residual, out: written(out)? });
                }
                kernels.linear(operands.floats(0)?, operands.integers(1)?, &mut products)
            }
            Self::Gated { columns, rows, gate, up, activation } => {
                let (operands, results) = split(bindings, 4)?;
                let gate = matrix(*gate, operands.bytes(2)?, *rows, *columns)?;
                let up = matrix(*up, operands.bytes(3)?, *rows, *columns)?;
                let (x, live) = (operands.floats(0)?, operands.integers(1)?);
                kernels.gated(x, live, gate, up, *activation, first(results)?)
            }
            Self::Experts(experts) => experts.run(kernels, bindings)?,
            Self::Embed { table, rows, columns } => {
                let (operands, results) = split(bindings, 2)?;
                let table = matrix(*table, operands.bytes(0)?, *rows, *columns)?;
                kernels.embed(table, operands.integers(1)?, first(results)?)
            }
            Self::WriteCache(shape) => {
                let (pool, operands) = bindings.split_first_mut().ok_or("it has no pool")?;
                let Binding::Write(pool) = pool else { return Err("its pool is read-only".into()) };
                let operands = Operands(operands);
                kernels.write_cache(*shape, pool, operands.integers(0)?, operands.floats(1)?)
            }
            Self::Attention { parameters, sinks, block_length, tables } => {
                let (operands, results) = split(bindings, 6 + usize::from(*sinks))?;
                let addresses = Addresses {
                    positions: operands.integers(3)?,
                    sequences: operands.integers(4)?,
                    block_tables: operands.integers(5)?,
                    sequences_count: tables[0],
                    pages: tables[1],
                    block_length: *block_length,
                };
                let inputs = AttentionOperands {
                    query: operands.floats(0)?,
                    keys: operands.bytes(1)?,
                    values: operands.bytes(2)?,
                    sinks: sinks.then(|| operands.floats(6)).transpose()?,
                };
                kernels.attention(parameters, &inputs, &addresses, first(results)?)
            }
            Self::Recurrent(recurrent) => recurrent.run(kernels, bindings)?,
        };
        done.map_err(|error| error.to_string())
    }
}

/// The activation that a symbol of the graph stands for.
pub(super) fn activation(symbol: &str) -> Option<Activation> {
    match symbol {
        "silu" => Some(Activation::Silu),
        "gelu_tanh" => Some(Activation::GeluTanh),
        "gelu" => Some(Activation::Gelu),
        "relu" => Some(Activation::Relu),
        "relu2" => Some(Activation::Relu2),
        _ => None,
    }
}

/// Memory that a kernel reads.
pub(super) struct Operands<'b, 'a>(&'b [Binding<'a>]);

impl<'b> Operands<'b, '_> {
    pub(super) fn bytes(&self, n: usize) -> Result<&'b [u8], String> {
        match self.0.get(n) {
            Some(Binding::Read(bytes)) => Ok(bytes),
            Some(Binding::Write(_)) => Err(format!("its operand {n} is to be written")),
            None => Err(format!("its operand {n} is missing")),
        }
    }

    pub(super) fn floats(&self, n: usize) -> Result<&'b [f32], String> {
        bytemuck::try_cast_slice(self.bytes(n)?).map_err(|error| format!("operand {n}: {error}"))
    }

    pub(super) fn integers(&self, n: usize) -> Result<&'b [i32], String> {
        bytemuck::try_cast_slice(self.bytes(n)?).map_err(|error| format!("operand {n}: {error}"))
    }
}

/// `count` operands, and the results.
pub(super) fn split<'b, 'a>(
    bindings: &'b mut [Binding<'a>],
    count: usize,
) -> Result<(Operands<'b, 'a>, &'b mut [Binding<'a>]), String> {
    let found = bindings.len();
    let (operands, results) = bindings
        .split_at_mut_checked(count)
        .ok_or_else(|| format!("it has {found} bindings, and needs {count} operands"))?;
    Ok((Operands(operands), results))
}

pub(super) fn first<'b>(results: &'b mut [Binding<'_>]) -> Result<&'b mut [f32], String> {
    written(results.first_mut().ok_or("it has no result")?)
}

pub(super) fn written<'b>(result: &'b mut Binding<'_>) -> Result<&'b mut [f32], String> {
    match result {
        Binding::Write(bytes) => {
            bytemuck::try_cast_slice_mut(bytes).map_err(|error| format!("result: {error}"))
        }
        Binding::Read(_) => Err("its result is read-only".to_string()),
    }
}

fn matrix(
    storage: Storage,
    bytes: &[u8],
    rows: usize,
    columns: usize,
) -> Result<Matrix<'_>, String> {
    Ok(Matrix { weight: weight(storage, bytes)?, rows, columns })
}

/// A weight, or a stack of them, as it is stored.
pub(super) fn weight(storage: Storage, bytes: &[u8]) -> Result<Weight<'_>, String> {
    match storage {
        Storage::Dense(element) => Ok(Weight::Dense { float: float_of(element)?, bytes }),
        Storage::Packed(packing) => {
            let words = bytemuck::try_cast_slice(bytes);
            let words = words.map_err(|error| format!("a weight: {error}"))?;
            Ok(Weight::Packed { packing, words })
        }
    }
}

fn float_of(element: ElementType) -> Result<Float, String> {
    match element {
        ElementType::F32 => Ok(Float::F32),
        ElementType::F16 => Ok(Float::F16),
        ElementType::Bf16 => Ok(Float::Bf16),
        other => Err(format!("weights of {other}")),
    }
}

/// As `stablemate_models::CacheElement::element` says: f16 is passed as its bits.
fn cache_element(element: ElementType) -> Option<CacheElement> {
    match element {
        ElementType::F32 => Some(CacheElement::F32),
        ElementType::I16 => Some(CacheElement::F16),
        ElementType::I8 => Some(CacheElement::Q8),
        _ => None,
    }
}

fn attribute<'s>(site: &NativeSite<'s>, name: &str) -> Option<&'s Attribute> {
    let found = site.kernel.attributes.iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| value)
}

pub(super) fn integer(site: &NativeSite<'_>, name: &str) -> Option<usize> {
    match attribute(site, name)? {
        Attribute::Integer(value) => usize::try_from(*value).ok(),
        _ => None,
    }
}

pub(super) fn float(site: &NativeSite<'_>, name: &str) -> Option<f32> {
    match attribute(site, name)? {
        Attribute::Float(value) => Some(*value),
        _ => None,
    }
}

pub(super) fn text<'s>(site: &NativeSite<'s>, name: &str) -> Option<&'s str> {
    match attribute(site, name)? {
        Attribute::Text(value) => Some(value),
        _ => None,
    }
}
