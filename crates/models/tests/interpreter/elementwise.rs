//! Element-wise operations.

use super::{Data, Tensor};
use stablemate_graph::{Binary, Direction, ElementType, Unary};

fn with(like: &Tensor, element: ElementType, data: Data) -> Tensor {
    Tensor { element, sizes: like.sizes.clone(), data }
}

pub fn unary(op: Unary, x: &Tensor) -> Tensor {
    if x.element == ElementType::I32 {
        let of = |x: &i32| match op {
            Unary::Abs => x.checked_abs().expect("no overflow"),
            Unary::Negate => x.checked_neg().expect("no overflow"),
            _ => panic!("{op:?} of integers"),
        };
        return with(x, x.element, Data::Integer(x.integers().iter().map(of).collect()));
    }
    let of = |x: &f32| {
        let x = f64::from(*x);
        let y = match op {
            Unary::Abs => x.abs(),
            Unary::Cosine => x.cos(),
            Unary::Exponential => x.exp(),
            Unary::Floor => x.floor(),
            Unary::Log => x.ln(),
            Unary::Logistic => 1.0 / (1.0 + (-x).exp()),
            Unary::Negate => -x,
            Unary::RoundNearestEven => x.round_ties_even(),
            Unary::Rsqrt => 1.0 / x.sqrt(),
            Unary::Sine => x.sin(),
            Unary::Sqrt => x.sqrt(),
            Unary::Tanh => x.tanh(),
        };
        y as f32
    };
    with(x, x.element, Data::Float(x.floats().iter().map(of).collect()))
}

pub fn binary(op: Binary, left: &Tensor, right: &Tensor) -> Tensor {
    assert_eq!(left.sizes, right.sizes);
    let data = match (&left.data, &right.data) {
        (Data::Float(left), Data::Float(right)) => {
            let pairs = left.iter().zip(right);
            Data::Float(pairs.map(|(left, right)| of_floats(op, *left, *right)).collect())
        }
        (Data::Integer(a), Data::Integer(b)) => {
            assert!(matches!(left.element, ElementType::I32 | ElementType::I1), "{}", left.element);
            Data::Integer(a.iter().zip(b).map(|(a, b)| of_integers(op, *a, *b)).collect())
        }
        _ => panic!("{op:?} of {} and {}", left.element, right.element),
    };
    with(left, left.element, data)
}

fn of_floats(op: Binary, a: f32, b: f32) -> f32 {
    match op {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        Binary::Remainder => a % b,
        Binary::Power => f64::from(a).powf(f64::from(b)) as f32,
        Binary::Maximum => maximum(a, b),
        Binary::Minimum => -maximum(-a, -b),
        Binary::And | Binary::Or | Binary::ShiftLeft | Binary::ShiftRightLogical => {
            panic!("{op:?} of floats")
        }
    }
}

/// NaN if either is, unlike Rust's.
pub fn maximum(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}

fn of_integers(op: Binary, a: i32, b: i32) -> i32 {
    let checked = match op {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        // Rounds towards zero, and the remainder has the dividend's sign: as in Rust.
        Binary::Divide => a.checked_div(b),
        Binary::Remainder => a.checked_rem(b),
        Binary::Maximum => Some(a.max(b)),
        Binary::Minimum => Some(a.min(b)),
        Binary::And => Some(a & b),
        Binary::Or => Some(a | b),
        // Bits that leave at the top are lost.
        Binary::ShiftLeft => u32::try_from(b).ok().and_then(|b| a.checked_shl(b)),
        Binary::ShiftRightLogical => {
            u32::try_from(b).ok().and_then(|b| (a as u32).checked_shr(b)).map(|a| a as i32)
        }
        Binary::Power => None,
    };
    checked.unwrap_or_else(|| panic!("{op:?} of {a} and {b}"))
}

pub fn compare(direction: Direction, left: &Tensor, right: &Tensor) -> Tensor {
    assert_eq!(left.sizes, right.sizes);
    fn of<T: PartialOrd>(direction: Direction, (a, b): (&T, &T)) -> i32 {
        i32::from(match direction {
            Direction::Eq => a == b,
            Direction::Ne => a != b,
            Direction::Ge => a >= b,
            Direction::Gt => a > b,
            Direction::Le => a <= b,
            Direction::Lt => a < b,
        })
    }
    let held: Vec<i32> = match (&left.data, &right.data) {
        (Data::Float(a), Data::Float(b)) => {
            a.iter().zip(b).map(|pair| of(direction, pair)).collect()
        }
        (Data::Integer(a), Data::Integer(b)) => {
            a.iter().zip(b).map(|pair| of(direction, pair)).collect()
        }
        _ => panic!("{} compared with {}", left.element, right.element),
    };
    with(left, ElementType::I1, Data::Integer(held))
}

pub fn select(predicate: &Tensor, on_true: &Tensor, on_false: &Tensor) -> Tensor {
    assert_eq!(on_true.sizes, on_false.sizes);
    let held = predicate.integers();
    assert!(held.len() == 1 || predicate.sizes == on_true.sizes);
    let holds = |n: usize| held[if held.len() == 1 { 0 } else { n }] != 0;
    fn choose<T: Copy>(holds: impl Fn(usize) -> bool, a: &[T], b: &[T]) -> Vec<T> {
        (0..a.len()).map(|n| if holds(n) { a[n] } else { b[n] }).collect()
    }
    let data = match (&on_true.data, &on_false.data) {
        (Data::Float(a), Data::Float(b)) => Data::Float(choose(holds, a, b)),
        (Data::Integer(a), Data::Integer(b)) => Data::Integer(choose(holds, a, b)),
        _ => panic!("a choice between {} and {}", on_true.element, on_false.element),
    };
    with(on_true, on_true.element, data)
}

pub fn convert(x: &Tensor, element: ElementType) -> Tensor {
    let data = match (x.element, element) {
        (ElementType::I1 | ElementType::I8 | ElementType::I16, ElementType::I32) => x.data.clone(),
        (ElementType::I32, ElementType::I8 | ElementType::I16) => {
            let bound = if element == ElementType::I8 { 1 << 7 } else { 1 << 15 };
            let outside = x.integers().iter().find(|x| !(-bound..bound).contains(*x));
            assert_eq!(outside, None, "not an {element}");
            x.data.clone()
        }
        (ElementType::I1 | ElementType::I8 | ElementType::I32, ElementType::F32) => {
            Data::Float(x.integers().iter().map(|x| *x as f32).collect())
        }
        (ElementType::F32, ElementType::I32) => {
            let whole = |x: &f32| {
                let inside = (-2_147_483_648.0..2_147_483_648.0).contains(x);
                assert!(inside, "{x} as i32 is not defined");
                x.trunc() as i32
            };
            Data::Integer(x.floats().iter().map(whole).collect())
        }
        (from, to) => panic!("convert from {from} to {to}"),
    };
    with(x, element, data)
}

pub fn bitcast(x: &Tensor, element: ElementType) -> Tensor {
    use ElementType::{Bf16, F16, F32, I16, I32};
    let data = match (x.element, element) {
        (F32, I32) => Data::Integer(x.floats().iter().map(|x| x.to_bits() as i32).collect()),
        (I32, F32) => Data::Float(x.integers().iter().map(|x| f32::from_bits(*x as u32)).collect()),
        // Sixteen bits are held with their sign extended, whatever they mean.
        (F16 | Bf16 | I16, F16 | Bf16 | I16) => x.data.clone(),
        (from, to) => panic!("bitcast from {from} to {to}"),
    };
    with(x, element, data)
}
