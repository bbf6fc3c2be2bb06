//! Tests of the whole crate, on a few labels that mean nothing.

mod builder;
mod composites;
mod inference;
mod loops;
mod native;
mod operands;
mod print;
mod properties;

use crate::{Builder, Dimension, ElementType, GraphError, Label, ModuleBuilder, TensorType, Value};

const A: Label = Label("A");
const B: Label = Label("B");
const C: Label = Label("C");
const D: Label = Label("D");

const ELEMENTS: [ElementType; 8] = [
    ElementType::F32,
    ElementType::F16,
    ElementType::Bf16,
    ElementType::I1,
    ElementType::I8,
    ElementType::I16,
    ElementType::I32,
    ElementType::I64,
];

fn f32s(dimensions: impl Into<Vec<Dimension>>) -> TensorType {
    TensorType::new(ElementType::F32, dimensions)
}

fn i32s(dimensions: impl Into<Vec<Dimension>>) -> TensorType {
    TensorType::new(ElementType::I32, dimensions)
}

/// The operations of `@main` with arguments `x`, `y`, … of these types, one per line as printed.
fn lines(
    arguments: &[TensorType],
    build: impl for<'b> FnOnce(&'b Builder<'b>, &[Value<'b>]) -> Value<'b>,
) -> String {
    let text = text(arguments, build).unwrap_or_else(|error| panic!("{error}"));
    let body = text.split_once("  ) -> (").unwrap().1.split_once("{\n").unwrap().1;
    let body = body.split_once("    return ").unwrap().0;
    body.lines()
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The text of a module whose function `@main` has arguments `x`, `y`, … and one result.
fn text(
    arguments: &[TensorType],
    build: impl for<'b> FnOnce(&'b Builder<'b>, &[Value<'b>]) -> Value<'b>,
) -> Result<String, GraphError> {
    let module = ModuleBuilder::new("test");
    let main = module.function("main");
    let names = ["x", "y", "z", "u", "v"];
    let values: Vec<Value<'_>> =
        arguments.iter().zip(names).map(|(ty, name)| main.argument(name, ty.clone())).collect();
    let result = build(&main, &values);
    main.finish(&[("result", result)])?;
    Ok(module.finish()?.to_string())
}

/// The error of such a function.
fn error(
    arguments: &[TensorType],
    build: impl for<'b> FnOnce(&'b Builder<'b>, &[Value<'b>]) -> Value<'b>,
) -> GraphError {
    match text(arguments, build) {
        Ok(text) => panic!("accepted:\n{text}"),
        Err(error) => error,
    }
}
