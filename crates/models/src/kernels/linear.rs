//! Products with weights.

use super::{Weight, one, weights_attribute};
use crate::dimensions::TOKEN;
use crate::parts::Activation;
use stablemate_graph::{ElementType, Kernel, TensorType, Value};

/// `x [T, I] · weight [O, I] → [T, O]`, in f32 whatever the weight is stored in; added to the
/// `residual [T, O]` if there is one. `live [T]` is negative for rows whose results nobody reads.
pub fn linear<'b>(
    x: Value<'b>,
    live: Value<'b>,
    weight: Weight<'b>,
    residual: Option<Value<'b>>,
) -> Value<'b> {
    one(products(x, live, &[weight], residual))
}

/// Products of the same `x` with several weights.
pub fn linears<'b>(x: Value<'b>, live: Value<'b>, weights: &[Weight<'b>]) -> Vec<Value<'b>> {
    products(x, live, weights, None)
}

fn products<'b>(
    x: Value<'b>,
    live: Value<'b>,
    weights: &[Weight<'b>],
    residual: Option<Value<'b>>,
) -> Vec<Value<'b>> {
    let kernel = Kernel::new("stablemate.linear")
        .with("weights", weights_attribute(weights))
        .with("residual", usize::from(residual.is_some()));
    let mut operands = vec![x, live];
    operands.extend(weights.iter().map(|weight| weight.value));
    operands.extend(residual);
    let results: Vec<TensorType> = weights.iter().map(|weight| result(x, weight)).collect();
    x.builder().composite_with_results(kernel, &operands, &results, |_, operands| {
        let [x, _, rest @ ..] = operands else { return Vec::new() };
        let inside = weights.iter().zip(rest).map(|(weight, value)| weight.inside(*value));
        let products = inside.map(|weight| product(*x, weight));
        match rest.get(weights.len()) {
            Some(residual) => products.map(|product| *residual + product).collect(),
            None => products.collect(),
        }
    })
}

/// `activation(x · gate) · (x · up)`: `x [T, I]`, weights gate and up `[O, I]` → `[T, O]`.
pub fn gated<'b>(
    x: Value<'b>,
    live: Value<'b>,
    weights: [Weight<'b>; 2],
    activation: Activation,
) -> Value<'b> {
    let [gate, up] = weights;
    let kernel = Kernel::new("stablemate.gated")
        .with("weights", weights_attribute(&weights))
        .with("activation", activation.symbol());
    let operands = [x, live, gate.value, up.value];
    let results = [result(x, &gate)];
    one(x.builder().composite_with_results(kernel, &operands, &results, |_, operands| {
        let [x, _, gate_value, up_value] = *operands else { return Vec::new() };
        let gate = product(x, gate.inside(gate_value)).named("gate");
        let up = product(x, up.inside(up_value)).named("up");
        vec![activation.apply(gate) * up]
    }))
}

fn product<'b>(x: Value<'b>, weight: Weight<'b>) -> Value<'b> {
    x.contract(weight.dense(), &[weight.columns.label])
}

/// Type of the product.
fn result(x: Value<'_>, weight: &Weight<'_>) -> TensorType {
    let rows = x.ty().dimensions.first().copied().unwrap_or(TOKEN.of(0));
    TensorType::new(ElementType::F32, [rows, weight.rows])
}
