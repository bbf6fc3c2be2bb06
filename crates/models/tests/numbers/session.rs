//! A fixture's model with its cache: what an engine does around a step, without an engine.

use crate::interpreter::{Data, Tensor, run};
use stablemate_checkpoint::RawConfig;
use stablemate_fixtures::{Case, Dtype, TensorSpec};
use stablemate_graph::{ElementType, Module, TensorType};
use stablemate_models::{
    BLOCK_LENGTH, Bucket, CacheElement, Decoder, EntryPoint, HEAD, ModelError, Output, ParamEntry,
    StepArgument,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Blocks that a sequence may have; more than any sequence here needs.
const PAGES: usize = 8;
/// Blocks of the pools.
const BLOCKS: usize = 2 * PAGES + 3;

/// A token of a step.
#[derive(Clone, Copy)]
pub struct Token {
    pub id: u32,
    /// Position in its sequence; -1 marks padding.
    pub position: i32,
    /// Row of the block tables.
    pub sequence: usize,
    /// Length of the sequence the token was given with.
    pub length: usize,
}

impl Token {
    pub const PADDING: Self = Self { id: 0, position: -1, sequence: 0, length: 0 };

    /// All tokens of a prompt.
    pub fn prompt(ids: &[u32], sequence: usize) -> Vec<Self> {
        let token = |(position, id): (usize, &u32)| Self {
            id: *id,
            position: position as i32,
            sequence,
            length: ids.len(),
        };
        ids.iter().enumerate().map(token).collect()
    }

    /// A generated token.
    pub fn generated(id: u32, position: usize, sequence: usize) -> Self {
        Self { id, position: position as i32, sequence, length: position + 1 }
    }
}

/// A model, its parameters and the state of its cache.
pub struct Session {
    pub decoder: Decoder,
    pub parameters: Vec<Arc<Tensor>>,
    states: Vec<Arc<Tensor>>,
    modules: HashMap<(Bucket, Output), Module>,
    free: Vec<i32>,
}

impl Session {
    pub fn new(case: &Case) -> Self {
        Self::with_cache(case, CacheElement::F32)
    }

    pub fn with_cache(case: &Case, cache: CacheElement) -> Self {
        let path = case.directory.join("config.json");
        let config = RawConfig::from_json(&case.config_text().unwrap(), &path).unwrap();
        let mut decoder = Decoder::describe(&config).unwrap();
        decoder.set_cache_element(cache);
        let tensors = &case.expected.tensors;
        let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        decoder.params.choose_root(|name| find(name).is_some());
        // The reference uses a head that the checkpoint holds, whatever the configuration says.
        if decoder.tied() && find(&decoder.params.outer(HEAD)).is_some() {
            decoder.untie();
        }
        let known = |name: &str| -> Result<_, ModelError> {
            Ok(find(name).map(|tensor| (tensor.shape.clone(), element(tensor).into())))
        };
        decoder.params.bind(&path, known).unwrap();
        let parameter = |entry: &ParamEntry| Arc::new(parameter(entry, find));
        let parameters = decoder.params.entries().iter().map(parameter).collect();
        // What a pool holds before anything is written must not matter.
        let garbage = |ty: TensorType| {
            let count = ty.elements().unwrap();
            let data = match ty.element {
                ElementType::F32 => Data::Float(vec![-1000.0; count]),
                ElementType::I16 => Data::Integer(vec![0x6BD0; count]),
                _ => Data::Integer(vec![0x47; count]),
            };
            Arc::new(Tensor::new(&ty, data))
        };
        let pools = Bucket { blocks: BLOCKS, slots: BLOCKS, ..Bucket::prefill(1, 1) };
        let types = decoder.state_types(&pools);
        let states = types.into_iter().map(garbage).collect();
        // Blocks in no order, without the reserved one.
        let mut free: Vec<i32> = (1..BLOCKS as i32).collect();
        free.sort_by_key(|block| block.wrapping_mul(0x61C8_8647));
        Self { decoder, parameters, states, modules: HashMap::new(), free }
    }

    /// A new sequence's row of the block tables, long enough for `length` tokens. The number of its
    /// first block is the number of its state slot, too.
    pub fn sequence(&mut self, length: usize) -> Vec<i32> {
        let used = length.div_ceil(BLOCK_LENGTH);
        assert!(used < PAGES, "the last entry is to stay unused");
        let blocks = (0..PAGES).map(|n| if n < used { self.free.pop().unwrap() } else { 0 });
        blocks.collect()
    }

    /// Runs a step; the logits (or the ids) of `rows`, of which `usize::MAX` marks padding.
    pub fn step(
        &mut self,
        output: Output,
        tables: &[&[i32]],
        tokens: &[Token],
        rows: &[usize],
    ) -> Arc<Tensor> {
        let (sequences, rows_count) = (tables.len(), rows.len());
        let bucket = Bucket {
            tokens: tokens.len(),
            sequences,
            rows: rows_count,
            pages: PAGES,
            blocks: BLOCKS,
            slots: BLOCKS,
        };
        let input = |argument: StepArgument| {
            let of = |value: fn(&Token) -> i32| tokens.iter().map(value).collect();
            let values: Vec<i32> = match argument {
                StepArgument::Tokens => of(|token| token.id as i32),
                StepArgument::Positions => of(|token| token.position),
                StepArgument::Sequences => of(|token| token.sequence as i32),
                StepArgument::Lengths => of(|token| token.length as i32),
                StepArgument::BlockTables => tables.concat(),
                StepArgument::Slots => tables.iter().map(|table| table[0]).collect(),
                StepArgument::Rows => {
                    rows.iter().map(|row| i32::try_from(*row).unwrap_or(-1)).collect()
                }
            };
            Arc::new(Tensor::new(&argument.ty(&bucket), Data::Integer(values)))
        };
        let inputs: Vec<_> = StepArgument::of(&self.decoder).into_iter().map(input).collect();
        let arguments = [inputs, self.states.clone(), self.parameters.clone()].concat();
        let entry = || EntryPoint { name: "step".to_string(), bucket, output };
        let module = self.modules.entry((bucket, output));
        let module = module.or_insert_with(|| self.decoder.module(&[entry()]).unwrap());
        let mut results = run(module, "step", &arguments);
        self.states = results.split_off(1);
        results.remove(0)
    }

    /// The logits of one row.
    pub fn logits(&mut self, table: &[i32], tokens: &[Token], row: usize) -> Vec<f32> {
        self.step(Output::Logits, &[table], tokens, &[row]).floats().to_vec()
    }
}

/// As the loader does: matrices keep half precision, vectors are widened.
fn element(tensor: &TensorSpec) -> ElementType {
    match tensor.dtype {
        _ if tensor.shape.len() == 1 => ElementType::F32,
        Dtype::Float32 => ElementType::F32,
        Dtype::Bfloat16 => ElementType::Bf16,
        Dtype::Float16 => ElementType::F16,
        Dtype::Uint8 => panic!("{}: packed weights", tensor.name),
    }
}

/// The rows of the parameter's layout, one after the other.
fn parameter<'t>(entry: &ParamEntry, find: impl Fn(&str) -> Option<&'t TensorSpec>) -> Tensor {
    let sizes = entry.ty.sizes();
    let columns = if sizes.len() < 2 { 1 } else { *sizes.last().unwrap() };
    let mut values = Vec::new();
    for piece in &entry.layout().0 {
        let all = find(&piece.tensor).unwrap().values();
        let all = if piece.transposed { transposed(&all, &piece.shape) } else { all };
        for n in 0..piece.rows.len() {
            let row = piece.rows.at(n);
            values.extend_from_slice(&all[row * columns..(row + 1) * columns]);
        }
    }
    let ty = entry.argument();
    match ty.element {
        ElementType::F32 => Tensor::new(&ty, Data::Float(values)),
        _ => stored(&ty, &values, find(&entry.layout().0[0].tensor).unwrap().dtype),
    }
}

/// The last two dimensions exchanged.
fn transposed(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let [.., inner, outer] = *shape else { panic!("{shape:?} has no two dimensions") };
    let matrix = |matrix: &[f32]| -> Vec<f32> {
        let at = |n: usize| matrix[n % inner * outer + n / inner];
        (0..inner * outer).map(at).collect()
    };
    values.chunks(inner * outer).flat_map(matrix).collect()
}

/// Values in half precision, as their bits.
fn stored(ty: &TensorType, values: &[f32], dtype: Dtype) -> Tensor {
    let bytes = dtype.bytes(values);
    let bits = bytes.chunks(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]).into());
    Tensor::new(ty, Data::Integer(bits.collect()))
}
