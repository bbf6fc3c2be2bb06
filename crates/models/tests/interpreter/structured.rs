//! Operations that move or combine elements.

use super::elementwise::maximum;
use super::{Data, Tensor};
use stablemate_graph::{DotDimensions, ElementType, Reduction, TensorType};
use std::sync::Arc;

pub fn iota(ty: &TensorType, dimension: usize) -> Tensor {
    let length = i32::try_from(ty.sizes()[dimension]).expect("small");
    let line = Tensor {
        element: ElementType::I32,
        sizes: vec![length as usize],
        data: Data::Integer((0..length).collect()),
    };
    broadcast(&line, &ty.sizes(), &[dimension])
}

pub fn broadcast(x: &Tensor, sizes: &[usize], axes: &[usize]) -> Tensor {
    let mut strides = vec![0; sizes.len()];
    for ((axis, stride), size) in axes.iter().zip(x.strides()).zip(&x.sizes) {
        strides[*axis] = if *size == 1 { 0 } else { stride };
    }
    x.view(sizes, &strides, 0)
}

pub fn transpose(x: &Tensor, permutation: &[usize]) -> Tensor {
    let strides = x.strides();
    let sizes: Vec<usize> = permutation.iter().map(|axis| x.sizes[*axis]).collect();
    let strides: Vec<usize> = permutation.iter().map(|axis| strides[*axis]).collect();
    x.view(&sizes, &strides, 0)
}

pub fn slice(x: &Tensor, bounds: &[(usize, usize)]) -> Tensor {
    let strides = x.strides();
    let first = bounds.iter().zip(&strides).map(|((start, _), stride)| start * stride).sum();
    let sizes: Vec<usize> = bounds.iter().map(|(start, limit)| limit - start).collect();
    x.view(&sizes, &strides, first)
}

pub fn concatenate(parts: &[Arc<Tensor>], dimension: usize) -> Tensor {
    let mut sizes = parts[0].sizes.clone();
    sizes[dimension] = parts.iter().map(|part| part.sizes[dimension]).sum();
    let outer: usize = sizes[..dimension].iter().product();
    fn join<'t, T: Copy + 't>(
        parts: impl Iterator<Item = &'t [T]> + Clone,
        outer: usize,
    ) -> Vec<T> {
        let rows = |n| parts.clone().flat_map(move |part| row(part, n, outer).iter().copied());
        (0..outer).flat_map(rows).collect()
    }
    let data = match &parts[0].data {
        Data::Float(_) => Data::Float(join(parts.iter().map(|part| part.floats()), outer)),
        Data::Integer(_) => Data::Integer(join(parts.iter().map(|part| part.integers()), outer)),
    };
    Tensor { element: parts[0].element, sizes, data }
}

/// Row `n` of `count`.
fn row<T>(values: &[T], n: usize, count: usize) -> &[T] {
    let length = values.len() / count;
    &values[n * length..(n + 1) * length]
}

pub fn dot_general(left: &Tensor, right: &Tensor, numbers: &DotDimensions) -> Tensor {
    let (batch, left) = arrange(left, &numbers.lhs_batching, &numbers.lhs_contracting);
    let (_, right) = arrange(right, &numbers.rhs_batching, &numbers.rhs_contracting);
    let batches: usize = batch.iter().product();
    let mut result = Vec::new();
    for n in 0..batches {
        for a in row(&left.values, n, batches).chunks(left.length) {
            for b in row(&right.values, n, batches).chunks(right.length) {
                let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
                result.push(products.sum::<f64>() as f32);
            }
        }
    }
    let sizes = [batch, left.free, right.free].concat();
    Tensor { element: ElementType::F32, sizes, data: Data::Float(result) }
}

/// An operand with its dimensions in the order batch, free, contracted.
struct Arranged {
    free: Vec<usize>,
    /// Product of the contracted sizes.
    length: usize,
    values: Vec<f32>,
}

/// The sizes of the batch dimensions, and the rest.
fn arrange(x: &Tensor, batching: &[usize], contracting: &[usize]) -> (Vec<usize>, Arranged) {
    let free = (0..x.sizes.len()).filter(|n| !batching.contains(n) && !contracting.contains(n));
    let free: Vec<usize> = free.collect();
    let sizes = |axes: &[usize]| -> Vec<usize> { axes.iter().map(|axis| x.sizes[*axis]).collect() };
    let order = [batching, &free[..], contracting].concat();
    let values = transpose(x, &order).floats().to_vec();
    let length = sizes(contracting).iter().product();
    (sizes(batching), Arranged { free: sizes(&free), length, values })
}

pub fn reduce(x: &Tensor, initial: &Tensor, kind: Reduction, axes: &[usize]) -> Tensor {
    let kept: Vec<usize> = (0..x.sizes.len()).filter(|axis| !axes.contains(axis)).collect();
    let sizes: Vec<usize> = kept.iter().map(|axis| x.sizes[*axis]).collect();
    let length: usize = axes.iter().map(|axis| x.sizes[*axis]).product();
    let x = transpose(x, &[&kept[..], axes].concat());
    let data = match (&x.data, &initial.data) {
        (Data::Float(values), Data::Float(initial)) => {
            let of = |part: &[f32]| match kind {
                Reduction::Add => {
                    let sum: f64 = part.iter().map(|x| f64::from(*x)).sum();
                    (f64::from(initial[0]) + sum) as f32
                }
                Reduction::Maximum => part.iter().fold(initial[0], |a, b| maximum(a, *b)),
                Reduction::Minimum => part.iter().fold(initial[0], |a, b| -maximum(-a, -b)),
            };
            Data::Float(values.chunks(length).map(of).collect())
        }
        (Data::Integer(values), Data::Integer(initial)) => {
            let of = |part: &[i32]| {
                part.iter().fold(initial[0], |a, b| match kind {
                    Reduction::Add => a.checked_add(*b).expect("no overflow"),
                    Reduction::Maximum => a.max(*b),
                    Reduction::Minimum => a.min(*b),
                })
            };
            Data::Integer(values.chunks(length).map(of).collect())
        }
        _ => panic!("the initial value is of another kind"),
    };
    Tensor { element: x.element, sizes, data }
}

/// An index, which must lie inside.
fn inside(index: i32, size: usize) -> usize {
    let found = usize::try_from(index).ok().filter(|index| *index < size);
    found.unwrap_or_else(|| panic!("index {index} of {size}"))
}

pub fn take(table: &Tensor, indices: &Tensor, axis: usize) -> Tensor {
    let inner: usize = table.sizes[axis + 1..].iter().product();
    let outer: usize = table.sizes[..axis].iter().product();
    let size = table.sizes[axis];
    let mut places = Vec::new();
    for n in 0..outer {
        for index in indices.integers() {
            let first = (n * size + inside(*index, size)) * inner;
            places.extend(first..first + inner);
        }
    }
    let sizes = [&table.sizes[..axis], &indices.sizes, &table.sizes[axis + 1..]].concat();
    table.pick(&sizes, &places)
}

pub fn put(x: &Tensor, indices: &Tensor, updates: &Tensor, leading: usize) -> Tensor {
    let inner: usize = x.sizes[leading..].iter().product();
    let mut places: Vec<usize> = (0..x.sizes.iter().product()).collect();
    let old = places.len();
    for (n, index) in indices.integers().chunks(leading).enumerate() {
        let slice = index.iter().zip(&x.sizes).fold(0, |n, (i, size)| n * size + inside(*i, *size));
        for m in 0..inner {
            places[slice * inner + m] = old + n * inner + m;
        }
    }
    let data = match (&x.data, &updates.data) {
        (Data::Float(a), Data::Float(b)) => Data::Float([&a[..], b].concat()),
        (Data::Integer(a), Data::Integer(b)) => Data::Integer([&a[..], b].concat()),
        _ => panic!("updates of another kind"),
    };
    Tensor { data, ..x.clone() }.pick(&x.sizes, &places)
}
