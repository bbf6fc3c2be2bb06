//! StableHLO text of a module.

use crate::ir::{
    Binary, Direction, Function, Literal, Loop, Module, Op, Operation, Reduction, Region, Unary,
    ValueId,
};
use crate::{ElementType, TensorType};
use std::fmt::{self, Write};

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "module @{} {{", self.name)?;
        for function in &self.functions {
            print_function(f, function)?;
        }
        writeln!(f, "}}")
    }
}

pub(crate) fn print_function(out: &mut impl Write, function: &Function) -> fmt::Result {
    print_head(out, function)?;
    print_operations(out, function, &function.operations, "    ")?;
    print_return(out, function)
}

/// Operations one by one, each on lines that begin with `margin`.
fn print_operations(
    out: &mut impl Write,
    function: &Function,
    operations: &[Operation],
    margin: &str,
) -> fmt::Result {
    for operation in operations {
        let mut text = String::new();
        print_operation(&mut text, function, operation)?;
        writeln!(out, "{margin}{}", text.replace('\n', &format!("\n{margin}")))?;
    }
    Ok(())
}

/// The declaration, up to the brace that opens the body.
pub(crate) fn print_head(out: &mut impl Write, function: &Function) -> fmt::Result {
    let visibility = if function.public { "public" } else { "private" };
    writeln!(out, "  func.func {visibility} @{}(", function.name)?;
    for (n, argument) in function.arguments.iter().enumerate() {
        let comma = if n + 1 == function.arguments.len() { "" } else { "," };
        let info = &function.values[argument.value.0 as usize];
        write!(out, "      %{}: {}", info.name, info.ty.text())?;
        if let Some(result) = argument.alias {
            // The form XLA defines; IREE translates it to its own `iree.abi.output`.
            write!(out, " {{tf.aliasing_output = {result} : i32}}")?;
        }
        writeln!(out, "{comma}")?;
    }
    let types: Vec<String> = function
        .results
        .iter()
        .map(|(name, id)| {
            let ty = ty(function, *id).text();
            if function.public { format!("{ty} {{jax.result_info = {name:?}}}") } else { ty }
        })
        .collect();
    writeln!(out, "  ) -> ({}) {{", types.join(", "))
}

/// The last operation and the brace that closes the body.
fn print_return(out: &mut impl Write, function: &Function) -> fmt::Result {
    let ids: Vec<ValueId> = function.results.iter().map(|(_, id)| *id).collect();
    let types: Vec<String> = ids.iter().map(|id| ty(function, *id).text()).collect();
    if ids.is_empty() {
        writeln!(out, "    return")?;
    } else {
        writeln!(out, "    return {} : {}", names(function, &ids), types.join(", "))?;
    }
    writeln!(out, "  }}")
}

pub(crate) fn ty(function: &Function, id: ValueId) -> &TensorType {
    &function.values[id.0 as usize].ty
}

pub(crate) fn names(function: &Function, ids: &[ValueId]) -> String {
    let names: Vec<String> =
        ids.iter().map(|id| format!("%{}", function.values[id.0 as usize].name)).collect();
    names.join(", ")
}

/// The types of these values, separated by commas.
fn types(function: &Function, ids: &[ValueId]) -> String {
    let types: Vec<String> = ids.iter().map(|id| ty(function, *id).text()).collect();
    types.join(", ")
}

/// `(operand types) -> result types`.
fn signature(function: &Function, operation: &Operation) -> String {
    let results = types(function, &operation.results);
    let results = if operation.results.len() == 1 { results } else { format!("({results})") };
    format!("({}) -> {results}", types(function, &operation.operands))
}

fn print_operation(out: &mut String, function: &Function, operation: &Operation) -> fmt::Result {
    let operands = names(function, &operation.operands);
    let result = ty(function, operation.results[0]);
    let signature = signature(function, operation);
    write!(out, "{} = ", names(function, &operation.results))?;
    match &operation.op {
        Op::Constant(value) => {
            write!(out, "stablehlo.constant {} : {}", literal(value, result), result.text())
        }
        Op::Iota(dimension) => write!(out, "stablehlo.iota dim = {dimension} : {}", result.text()),
        Op::Unary(op) => {
            write!(out, "stablehlo.{} {operands} : {}", unary_name(*op), result.text())
        }
        Op::Binary(op) => {
            write!(out, "stablehlo.{} {operands} : {}", binary_name(*op), result.text())
        }
        Op::Compare(direction) => {
            let kind = match ty(function, operation.operands[0]).element {
                element if element.is_float() => "FLOAT",
                ElementType::I1 => "UNSIGNED",
                _ => "SIGNED",
            };
            let direction = direction_name(*direction);
            write!(out, "stablehlo.compare {direction}, {operands}, {kind} : {signature}")
        }
        Op::Select => {
            let predicate = ty(function, operation.operands[0]).text();
            write!(out, "stablehlo.select {operands} : {predicate}, {}", result.text())
        }
        Op::Convert => write!(out, "stablehlo.convert {operands} : {signature}"),
        Op::BitcastConvert => write!(out, "stablehlo.bitcast_convert {operands} : {signature}"),
        Op::Barrier => {
            write!(out, "stablehlo.optimization_barrier {operands} : {}", result.text())
        }
        Op::Reshape => write!(out, "stablehlo.reshape {operands} : {signature}"),
        Op::Broadcast(dimensions) => {
            write!(
                out,
                "stablehlo.broadcast_in_dim {operands}, dims = {dimensions:?} : {signature}"
            )
        }
        Op::Transpose(permutation) => {
            write!(out, "stablehlo.transpose {operands}, dims = {permutation:?} : {signature}")
        }
        Op::Slice(bounds) => {
            let bounds: Vec<String> = bounds.iter().map(|(a, b)| format!("{a}:{b}")).collect();
            write!(out, "stablehlo.slice {operands} [{}] : {signature}", bounds.join(", "))
        }
        Op::Concatenate(dimension) => {
            write!(out, "stablehlo.concatenate {operands}, dim = {dimension} : {signature}")
        }
        _ => print_structured(out, function, operation, &operands, &signature),
    }
}

fn print_structured(
    out: &mut String,
    function: &Function,
    operation: &Operation,
    operands: &str,
    signature: &str,
) -> fmt::Result {
    match &operation.op {
        Op::DotGeneral(d) => {
            write!(out, "stablehlo.dot_general {operands}, ")?;
            if !d.lhs_batching.is_empty() {
                write!(out, "batching_dims = {:?} x {:?}, ", d.lhs_batching, d.rhs_batching)?;
            }
            // Without HIGHEST, XLA may round f32 operands to bf16 or tf32 on accelerators.
            write!(
                out,
                "contracting_dims = {:?} x {:?}, precision = [HIGHEST, HIGHEST] : {signature}",
                d.lhs_contracting, d.rhs_contracting
            )
        }
        Op::Reduce(reduction, dimensions) => {
            let ids = &operation.operands;
            let (input, initial) = (names(function, &ids[..1]), names(function, &ids[1..]));
            let body = match reduction {
                Reduction::Add => "add",
                Reduction::Maximum => "maximum",
                Reduction::Minimum => "minimum",
            };
            write!(
                out,
                "stablehlo.reduce({input} init: {initial}) applies stablehlo.{body} across dimensions = {dimensions:?} : {signature}"
            )
        }
        Op::Take(axis) => print_take(out, function, operation, *axis, operands, signature),
        Op::Put(leading) => print_put(out, function, operation, *leading, operands, signature),
        Op::Composite { kernel, decomposition } => {
            let attributes: Vec<String> =
                kernel.attributes.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            write!(out, "stablehlo.composite {:?} {operands} {{", kernel.name)?;
            if !attributes.is_empty() {
                write!(out, "composite_attributes = {{{}}}, ", attributes.join(", "))?;
            }
            write!(out, "decomposition = @{decomposition}, version = 1 : i32}} : {signature}")
        }
        Op::While(inner) => print_while(out, function, operation, inner),
        _ => Err(fmt::Error),
    }
}

fn print_while(
    out: &mut String,
    function: &Function,
    operation: &Operation,
    inner: &Loop,
) -> fmt::Result {
    let pairs = inner.arguments.iter().zip(&operation.operands);
    let pairs: Vec<String> = pairs
        .map(|(argument, operand)| {
            names(function, &[*argument]) + " = " + &names(function, &[*operand])
        })
        .collect();
    writeln!(
        out,
        "stablehlo.while({}) : {}",
        pairs.join(", "),
        types(function, &operation.operands)
    )?;
    write!(out, "cond ")?;
    print_region(out, function, &inner.condition)?;
    write!(out, " do ")?;
    print_region(out, function, &inner.body)
}

fn print_region(out: &mut String, function: &Function, region: &Region) -> fmt::Result {
    writeln!(out, "{{")?;
    print_operations(out, function, &region.operations, "  ")?;
    let results = &region.results;
    write!(
        out,
        "  stablehlo.return {} : {}\n}}",
        names(function, results),
        types(function, results)
    )
}

fn print_take(
    out: &mut impl Write,
    function: &Function,
    operation: &Operation,
    axis: usize,
    operands: &str,
    signature: &str,
) -> fmt::Result {
    let table = ty(function, operation.operands[0]);
    let batch = ty(function, operation.operands[1]).rank();
    let rank = ty(function, operation.results[0]).rank();
    let offsets: Vec<usize> = (0..rank).filter(|n| !(axis..axis + batch).contains(n)).collect();
    let mut sizes = table.sizes();
    sizes[axis] = 1;
    write!(
        out,
        "\"stablehlo.gather\"({operands}) <{{dimension_numbers = #stablehlo.gather<offset_dims = {offsets:?}, \
         collapsed_slice_dims = [{axis}], start_index_map = [{axis}], index_vector_dim = {batch}>, \
         slice_sizes = array<i64: {}>, indices_are_sorted = false}}> : {signature}",
        list(&sizes)
    )
}

fn print_put(
    out: &mut impl Write,
    function: &Function,
    operation: &Operation,
    leading: usize,
    operands: &str,
    signature: &str,
) -> fmt::Result {
    let input = ty(function, operation.operands[0]);
    let batch = ty(function, operation.operands[1]).rank() - 1;
    let window: Vec<usize> = (batch..batch + input.rank() - leading).collect();
    let leading: Vec<usize> = (0..leading).collect();
    let scalar = TensorType::scalar(input.element).text();
    write!(
        out,
        "\"stablehlo.scatter\"({operands}) <{{scatter_dimension_numbers = #stablehlo.scatter<\
         update_window_dims = {window:?}, inserted_window_dims = {leading:?}, \
         scatter_dims_to_operand_dims = {leading:?}, index_vector_dim = {batch}>, \
         indices_are_sorted = false, unique_indices = false}}> ({{\n\
         ^bb0(%old: {scalar}, %new: {scalar}):\n  stablehlo.return %new : {scalar}\n}}) : {signature}"
    )
}

fn list(values: &[usize]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    values.join(", ")
}

fn literal(literal: &Literal, ty: &TensorType) -> String {
    let values: Vec<String> = match literal {
        Literal::Float(values) => values.iter().map(|v| float_of(*v, ty.element)).collect(),
        Literal::Integer(values) => values.iter().map(ToString::to_string).collect(),
        Literal::Boolean(values) => values.iter().map(ToString::to_string).collect(),
    };
    if values.len() == 1 {
        return format!("dense<{}>", values[0]);
    }
    format!("dense<{}>", nested(&values, &ty.sizes()))
}

/// Values as nested lists of the given sizes.
fn nested(values: &[String], sizes: &[usize]) -> String {
    match sizes {
        [] | [_] => format!("[{}]", values.join(", ")),
        [_, rest @ ..] => {
            let inner = rest.iter().product::<usize>().max(1);
            let parts: Vec<String> = values.chunks(inner).map(|part| nested(part, rest)).collect();
            format!("[{}]", parts.join(", "))
        }
    }
}

/// Decimal text that reads back as exactly this value; bits in hexadecimal where there is none.
pub(crate) fn float(value: f32) -> String {
    float_of(value, ElementType::F32)
}

fn float_of(value: f32, element: ElementType) -> String {
    if !value.is_finite() {
        let bits = value.to_bits();
        return match element {
            ElementType::F16 if value.is_nan() => "0x7E00".to_string(),
            // Cut off, the bits of a NaN may be those of an infinity.
            ElementType::Bf16 if value.is_nan() => "0x7FC0".to_string(),
            ElementType::F16 => if value > 0.0 { "0x7C00" } else { "0xFC00" }.to_string(),
            ElementType::Bf16 => format!("0x{:04X}", bits >> 16),
            _ => format!("0x{bits:08X}"),
        };
    }
    // MLIR wants a decimal point before the exponent.
    let text = format!("{:e}", f64::from(value));
    match text.split_once('e') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0e{exponent}"),
        _ => text,
    }
}

fn unary_name(op: Unary) -> &'static str {
    match op {
        Unary::Abs => "abs",
        Unary::Cosine => "cosine",
        Unary::Exponential => "exponential",
        Unary::Floor => "floor",
        Unary::Log => "log",
        Unary::Logistic => "logistic",
        Unary::Negate => "negate",
        Unary::RoundNearestEven => "round_nearest_even",
        Unary::Rsqrt => "rsqrt",
        Unary::Sine => "sine",
        Unary::Sqrt => "sqrt",
        Unary::Tanh => "tanh",
    }
}

fn binary_name(op: Binary) -> &'static str {
    match op {
        Binary::Add => "add",
        Binary::And => "and",
        Binary::Divide => "divide",
        Binary::Maximum => "maximum",
        Binary::Minimum => "minimum",
        Binary::Multiply => "multiply",
        Binary::Or => "or",
        Binary::Power => "power",
        Binary::Remainder => "remainder",
        Binary::ShiftLeft => "shift_left",
        Binary::ShiftRightLogical => "shift_right_logical",
        Binary::Subtract => "subtract",
    }
}

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Eq => "EQ",
        Direction::Ne => "NE",
        Direction::Ge => "GE",
        Direction::Gt => "GT",
        Direction::Le => "LE",
        Direction::Lt => "LT",
    }
}
