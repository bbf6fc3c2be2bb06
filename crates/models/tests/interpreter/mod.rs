//! A reference interpreter of graphs: what StableHLO's specification says, by plain loops.
//!
//! Stricter than the specification where a graph should not rely on it: an index outside its
//! dimension or an integer overflow is a failure. More exact where it leaves freedom: products are
//! summed in f64, transcendental functions are rounded once.

mod elementwise;
mod structured;
mod tensor;

pub use tensor::{Data, Tensor};

use stablemate_graph::{Function, Loop, Module, Op, Operation, Region, ValueId};
use std::sync::Arc;

/// The values of a function that are defined so far, by number.
type Values = Vec<Option<Arc<Tensor>>>;

/// Runs a function of a module.
pub fn run(module: &Module, name: &str, arguments: &[Arc<Tensor>]) -> Vec<Arc<Tensor>> {
    let function = module.functions.iter().find(|function| function.name == name);
    let function = function.unwrap_or_else(|| panic!("no function @{name}"));
    assert_eq!(arguments.len(), function.arguments.len(), "arguments of @{name}");
    let mut values: Values = vec![None; function.values.len()];
    for (argument, tensor) in function.arguments.iter().zip(arguments) {
        store(function, &mut values, argument.value.0, Arc::clone(tensor));
    }
    execute(module, function, &function.operations, &mut values);
    let results: Vec<ValueId> = function.results.iter().map(|(_, id)| *id).collect();
    read(&values, &results)
}

fn read(values: &Values, ids: &[ValueId]) -> Vec<Arc<Tensor>> {
    let value = |id: &ValueId| values[id.0 as usize].clone().expect("defined before its use");
    ids.iter().map(value).collect()
}

fn execute(module: &Module, function: &Function, operations: &[Operation], values: &mut Values) {
    for operation in operations {
        let operands = read(values, &operation.operands);
        let results = match &operation.op {
            Op::While(inner) => iterate(module, function, inner, operands, values),
            _ => evaluate(module, function, operation, &operands),
        };
        assert_eq!(results.len(), operation.results.len());
        for (id, tensor) in operation.results.iter().zip(results) {
            store(function, values, id.0, tensor);
        }
    }
}

/// Runs a loop. Each run of a region sees the values outside and its own, but none of another run.
fn iterate(
    module: &Module,
    function: &Function,
    inner: &Loop,
    mut carried: Vec<Arc<Tensor>>,
    values: &Values,
) -> Vec<Arc<Tensor>> {
    let run = |region: &Region, carried: &[Arc<Tensor>]| {
        let mut values = values.clone();
        for (argument, tensor) in inner.arguments.iter().zip(carried) {
            store(function, &mut values, argument.0, Arc::clone(tensor));
        }
        execute(module, function, &region.operations, &mut values);
        read(&values, &region.results)
    };
    while run(&inner.condition, &carried)[0].integers() == [1] {
        carried = run(&inner.body, &carried);
    }
    carried
}

/// Keeps a value, which must be of the type that was inferred for it.
fn store(function: &Function, values: &mut Values, id: u32, tensor: Arc<Tensor>) {
    let info = &function.values[id as usize];
    let found = (tensor.element, &tensor.sizes);
    let expected = (info.ty.element, &info.ty.sizes());
    assert_eq!(found, expected, "%{} of @{}", info.name, function.name);
    assert!(values[id as usize].replace(tensor).is_none(), "%{} is defined twice", info.name);
}

fn evaluate(
    module: &Module,
    function: &Function,
    operation: &Operation,
    operands: &[Arc<Tensor>],
) -> Vec<Arc<Tensor>> {
    let ty = &function.values[operation.results[0].0 as usize].ty;
    let result = match &operation.op {
        Op::Composite { decomposition, .. } => return run(module, decomposition, operands),
        Op::Constant(literal) => Tensor::constant(literal, ty),
        Op::Iota(dimension) => structured::iota(ty, *dimension),
        Op::Unary(op) => elementwise::unary(*op, &operands[0]),
        Op::Binary(op) => elementwise::binary(*op, &operands[0], &operands[1]),
        Op::Compare(direction) => elementwise::compare(*direction, &operands[0], &operands[1]),
        Op::Select => elementwise::select(&operands[0], &operands[1], &operands[2]),
        Op::Barrier => Tensor::clone(&operands[0]),
        Op::Convert => elementwise::convert(&operands[0], ty.element),
        Op::BitcastConvert => elementwise::bitcast(&operands[0], ty.element),
        Op::Reshape => Tensor { sizes: ty.sizes(), ..Tensor::clone(&operands[0]) },
        Op::Broadcast(axes) => structured::broadcast(&operands[0], &ty.sizes(), axes),
        Op::Transpose(permutation) => structured::transpose(&operands[0], permutation),
        Op::Slice(bounds) => structured::slice(&operands[0], bounds),
        Op::Concatenate(dimension) => structured::concatenate(operands, *dimension),
        Op::DotGeneral(numbers) => structured::dot_general(&operands[0], &operands[1], numbers),
        Op::Reduce(kind, axes) => structured::reduce(&operands[0], &operands[1], *kind, axes),
        Op::Take(axis) => structured::take(&operands[0], &operands[1], *axis),
        Op::Put(leading) => structured::put(&operands[0], &operands[1], &operands[2], *leading),
        Op::While(_) => unreachable!("loops need the values around them"),
    };
    vec![Arc::new(result)]
}
