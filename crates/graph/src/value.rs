//! Operations on values. Dimensions are named by label; operands meet by label.

mod operators;

use crate::builder::POISON;
use crate::infer::{self, Violation, require};
use crate::ir::{Binary, Direction, DotDimensions, Literal, Op, Reduction, Unary, ValueId};
use crate::{Builder, Dimension, ElementType, Label, TensorType};
use std::fmt;
use std::ops::Range;

/// A tensor of a function under construction; a cheap handle.
#[derive(Clone, Copy)]
pub struct Value<'b> {
    builder: &'b Builder<'b>,
    id: ValueId,
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.builder.info(self.id) {
            Some(info) => write!(f, "%{} {}", info.name, info.ty),
            None => f.write_str("(poisoned)"),
        }
    }
}

impl<'b> Value<'b> {
    pub(crate) fn new(builder: &'b Builder<'b>, id: ValueId) -> Self {
        Self { builder, id }
    }

    pub(crate) fn poisoned(builder: &'b Builder<'b>) -> Self {
        Self { builder, id: POISON }
    }

    pub(crate) fn id(self) -> ValueId {
        self.id
    }

    /// The function this value belongs to.
    pub fn builder(self) -> &'b Builder<'b> {
        self.builder
    }

    pub(crate) fn try_ty(self) -> Option<TensorType> {
        self.builder.info(self.id).map(|info| info.ty)
    }

    /// The type; a scalar of f32 after a mistake.
    pub fn ty(self) -> TensorType {
        self.try_ty().unwrap_or_else(|| TensorType::scalar(ElementType::F32))
    }

    /// The size of the dimension labelled `label`; 0 if there is none.
    pub fn size(self, label: Label) -> usize {
        let ty = self.ty();
        ty.position(label).map_or(0, |n| ty.dimensions[n].size)
    }

    /// Gives the value a readable SSA name within the current scope.
    pub fn named(self, name: &str) -> Self {
        self.builder.rename(self.id, name);
        self
    }

    /// Runs `make` on the operands' types, unless one is poisoned already.
    #[track_caller]
    fn apply(
        self,
        operation: &'static str,
        operands: &[Value<'b>],
        make: impl FnOnce(&[TensorType]) -> Result<(Op, TensorType), Violation>,
    ) -> Value<'b> {
        let Some(types) = operands.iter().map(|v| v.try_ty()).collect::<Option<Vec<_>>>() else {
            return Self::poisoned(self.builder);
        };
        if let Some(violation) = self.builder.foreign(operands) {
            return self.builder.fail(operation, violation, operands);
        }
        match make(&types) {
            Ok((op, ty)) => self.builder.push(operation, op, operands, Ok(ty)),
            Err(violation) => self.builder.fail(operation, violation, operands),
        }
    }

    #[track_caller]
    fn unary(self, operation: &'static str, op: Unary) -> Self {
        self.apply(operation, &[self], |t| Ok((Op::Unary(op), infer::unary(op, &t[0])?)))
    }

    /// Brings both operands to one type: the one whose labels the other lacks is broadcast.
    #[track_caller]
    fn align(self, operation: &'static str, other: Self) -> (Self, Self) {
        let (Some(left), Some(right)) = (self.try_ty(), other.try_ty()) else {
            return (Self::poisoned(self.builder), Self::poisoned(self.builder));
        };
        if left.dimensions == right.dimensions {
            (self, other)
        } else if left.rank() >= right.rank() {
            (self, other.broadcast_for(operation, self, &left.dimensions))
        } else {
            (self.broadcast_for(operation, other, &right.dimensions), other)
        }
    }

    #[track_caller]
    fn broadcast_for(self, operation: &'static str, other: Self, to: &[Dimension]) -> Self {
        let ty = self.ty();
        let axes: Option<Vec<usize>> =
            ty.dimensions.iter().map(|d| to.iter().position(|t| t == d)).collect();
        let Some(axes) = axes.filter(|axes| axes.is_sorted()) else {
            let to = TensorType::new(ty.element, to);
            let message = format!("{ty} does not broadcast by label to {to}");
            let violation = Violation { constraint: "labels", message };
            return self.builder.fail(operation, violation, &[other, self]);
        };
        self.apply("broadcast", &[self], |t| {
            let ty = infer::broadcast_in_dim(&t[0], to, &axes)?;
            Ok((Op::Broadcast(axes), ty))
        })
    }

    #[track_caller]
    fn binary(self, operation: &'static str, op: Binary, other: Self) -> Self {
        let (left, right) = self.align(operation, other);
        self.apply(operation, &[left, right], |t| {
            Ok((Op::Binary(op), infer::binary(op, &t[0], &t[1])?))
        })
    }

    /// A scalar of this value's element type.
    #[track_caller]
    fn like(self, value: f64) -> Self {
        let Some(ty) = self.try_ty() else { return self };
        let scalar = TensorType::scalar(ty.element);
        if ty.element.is_float() {
            return self.builder.constant(Literal::Float(vec![value as f32]), scalar);
        }
        if value.fract() != 0.0 {
            let message = format!("{value} is not a value of {}", ty.element);
            return self.builder.fail("constant", Violation { constraint: "C1", message }, &[self]);
        }
        self.builder.constant(Literal::Integer(vec![value as i64]), scalar)
    }

    /// A scalar of this value's element type, an integer.
    #[track_caller]
    fn whole(self, value: i64) -> Self {
        let scalar = TensorType::scalar(self.ty().element);
        self.builder.constant(Literal::Integer(vec![value]), scalar)
    }

    /// Element-wise comparison, as `i1`.
    #[track_caller]
    pub fn compare(self, direction: Direction, other: Self) -> Self {
        let (left, right) = self.align("compare", other);
        self.apply("compare", &[left, right], |t| {
            Ok((Op::Compare(direction), infer::compare(&t[0], &t[1])?))
        })
    }

    /// Where `self` (`i1`) holds `on_true`, elsewhere `on_false`; all three meet by label.
    #[track_caller]
    pub fn select(self, on_true: Self, on_false: Self) -> Self {
        let (on_true, on_false) = on_true.align("select", on_false);
        let (predicate, on_true) = self.align("select", on_true);
        let (_, on_false) = predicate.align("select", on_false);
        self.apply("select", &[predicate, on_true, on_false], |t| {
            Ok((Op::Select, infer::select(&t[0], &t[1], &t[2])?))
        })
    }

    /// The same values as another element type; nothing if it is that already.
    #[track_caller]
    pub fn convert(self, element: ElementType) -> Self {
        if self.try_ty().is_none_or(|ty| ty.element == element) {
            return self;
        }
        self.apply("convert", &[self], |t| Ok((Op::Convert, infer::convert(&t[0], element)?)))
    }

    /// The same bits as another element type of the same width.
    #[track_caller]
    pub fn bitcast(self, element: ElementType) -> Self {
        self.apply("bitcast_convert", &[self], |t| {
            Ok((Op::BitcastConvert, infer::bitcast_convert(&t[0], element)?))
        })
    }

    /// The same value, computed on its own: no compiler fuses what is before with what is after.
    #[track_caller]
    pub fn barrier(self) -> Self {
        self.apply("barrier", &[self], |t| Ok((Op::Barrier, t[0].clone())))
    }

    /// Bits moved to higher places.
    #[track_caller]
    pub fn shift_left(self, places: i32) -> Self {
        self.binary("shift_left", Binary::ShiftLeft, self.like(places.into()))
    }

    /// Bits moved to lower places, zeros entering at the top; as many places as `places` says, element-wise.
    #[track_caller]
    pub fn shift_right(self, places: Self) -> Self {
        self.binary("shift_right", Binary::ShiftRightLogical, places)
    }

    /// The larger of two, element-wise.
    #[track_caller]
    pub fn maximum(self, other: Self) -> Self {
        self.binary("maximum", Binary::Maximum, other)
    }

    /// The smaller of two, element-wise.
    #[track_caller]
    pub fn minimum(self, other: Self) -> Self {
        self.binary("minimum", Binary::Minimum, other)
    }

    /// `self` to the power of `other`.
    #[track_caller]
    pub fn power(self, other: Self) -> Self {
        self.binary("power", Binary::Power, other)
    }

    /// The remainder of a division, with the dividend's sign.
    #[track_caller]
    pub fn remainder(self, other: Self) -> Self {
        self.binary("remainder", Binary::Remainder, other)
    }

    /// Broadcast to these dimensions, by label.
    #[track_caller]
    pub fn broadcast(self, to: &[Dimension]) -> Self {
        if self.try_ty().is_none_or(|ty| ty.dimensions == to) {
            return self;
        }
        self.broadcast_for("broadcast", self, to)
    }

    #[track_caller]
    fn reduce(self, operation: &'static str, kind: Reduction, initial: f32, label: Label) -> Self {
        let Some(ty) = self.try_ty() else { return self };
        let initial = match (ty.element.integers(), kind) {
            (Some((lowest, _)), Reduction::Maximum) => self.whole(lowest),
            (Some((_, highest)), Reduction::Minimum) => self.whole(highest),
            _ => self.like(initial.into()),
        };
        self.apply(operation, &[self, initial], |t| {
            let axes = vec![find(&t[0], label)?];
            let ty = infer::reduce(&t[0], &t[1], &axes)?;
            Ok((Op::Reduce(kind, axes), ty))
        })
    }

    /// Sum over a dimension.
    #[track_caller]
    pub fn sum(self, over: Label) -> Self {
        self.reduce("sum", Reduction::Add, 0.0, over)
    }

    /// Arithmetic mean over a dimension.
    #[track_caller]
    pub fn mean(self, over: Label) -> Self {
        self.sum(over) / (self.size(over) as f64)
    }

    /// Largest element over a dimension.
    #[track_caller]
    pub fn max(self, over: Label) -> Self {
        self.reduce("max", Reduction::Maximum, f32::NEG_INFINITY, over)
    }

    /// Smallest element over a dimension.
    #[track_caller]
    pub fn min(self, over: Label) -> Self {
        self.reduce("min", Reduction::Minimum, f32::INFINITY, over)
    }

    /// Sum of products over the labels `over`; labels both operands have besides are batches.
    /// `x [T, I] · w [O, I]` over `I` → `[T, O]`.
    #[track_caller]
    pub fn contract(self, other: Self, over: &[Label]) -> Self {
        self.apply("dot_general", &[self, other], |t| {
            let (left, right) = (&t[0], &t[1]);
            let mut numbers = DotDimensions::default();
            for &label in over {
                numbers.lhs_contracting.push(find(left, label)?);
                numbers.rhs_contracting.push(find(right, label)?);
            }
            for (n, dimension) in left.dimensions.iter().enumerate() {
                if let Some(m) = right.position(dimension.label)
                    && !over.contains(&dimension.label)
                {
                    numbers.lhs_batching.push(n);
                    numbers.rhs_batching.push(m);
                }
            }
            let ty = infer::dot_general(left, right, &numbers)?;
            Ok((Op::DotGeneral(numbers), ty))
        })
    }

    #[track_caller]
    fn reshape(
        self,
        dimensions: impl FnOnce(&TensorType) -> Result<Vec<Dimension>, Violation>,
    ) -> Self {
        self.apply("reshape", &[self], |t| {
            let ty = infer::reshape(&t[0], &dimensions(&t[0])?)?;
            Ok((Op::Reshape, ty))
        })
    }

    /// Splits a dimension into several, outermost first.
    #[track_caller]
    pub fn split(self, label: Label, into: &[Dimension]) -> Self {
        self.reshape(|ty| {
            let n = find(ty, label)?;
            let mut dimensions = ty.dimensions.clone();
            dimensions.splice(n..=n, into.iter().copied());
            Ok(dimensions)
        })
    }

    /// Merges neighbouring dimensions, given outermost first, into one.
    #[track_caller]
    pub fn merge(self, labels: &[Label], into: Label) -> Self {
        self.reshape(|ty| {
            let first = find(ty, *labels.first().unwrap_or(&into))?;
            let range = first..first + labels.len();
            let neighbours = ty.dimensions.get(range.clone()).unwrap_or_default();
            require(
                neighbours.iter().map(|d| d.label).eq(labels.iter().copied()),
                "labels",
                || format!("{labels:?} are not neighbours in this order in {ty}"),
            )?;
            let size = neighbours.iter().try_fold(1usize, |n, d| n.checked_mul(d.size));
            require(size.is_some(), "C2", || format!("the size of {into} overflows"))?;
            let mut dimensions = ty.dimensions.clone();
            dimensions.splice(range, [into.of(size.unwrap_or(0))]);
            Ok(dimensions)
        })
    }

    /// The same tensor with one dimension ranging over something else.
    #[track_caller]
    pub fn relabel(self, from: Label, to: Label) -> Self {
        self.reshape(|ty| {
            let mut dimensions = ty.dimensions.clone();
            dimensions[find(ty, from)?].label = to;
            Ok(dimensions)
        })
    }

    /// Adds a dimension of size 1 at the end.
    #[track_caller]
    pub fn append(self, label: Label) -> Self {
        self.reshape(|ty| Ok([&ty.dimensions[..], &[label.of(1)]].concat()))
    }

    /// Dimensions in the order of `labels`.
    #[track_caller]
    pub fn transpose(self, labels: &[Label]) -> Self {
        self.apply("transpose", &[self], |t| {
            let permutation =
                labels.iter().map(|&label| find(&t[0], label)).collect::<Result<Vec<_>, _>>()?;
            let ty = infer::transpose(&t[0], &permutation)?;
            Ok((Op::Transpose(permutation), ty))
        })
    }

    /// The elements `range` of a dimension.
    #[track_caller]
    pub fn slice(self, label: Label, range: Range<usize>) -> Self {
        self.apply("slice", &[self], |t| {
            let n = find(&t[0], label)?;
            let mut bounds: Vec<_> = t[0].dimensions.iter().map(|d| (0, d.size)).collect();
            bounds[n] = (range.start, range.end);
            let ty = infer::slice(&t[0], &bounds)?;
            Ok((Op::Slice(bounds), ty))
        })
    }

    /// This tensor, then `others`, along a dimension.
    #[track_caller]
    pub fn concatenate(self, others: &[Self], label: Label) -> Self {
        let operands = [&[self], others].concat();
        self.apply("concatenate", &operands, |t| {
            let n = find(&t[0], label)?;
            let ty = infer::concatenate(t, n)?;
            Ok((Op::Concatenate(n), ty))
        })
    }

    /// The slices along `label` that `indices` (i32) name; their dimensions take its place.
    #[track_caller]
    pub fn take(self, label: Label, indices: Self) -> Self {
        self.apply("gather", &[self, indices], |t| {
            let n = find(&t[0], label)?;
            let ty = infer::take(&t[0], &t[1], n)?;
            Ok((Op::Take(n), ty))
        })
    }

    /// This tensor with the slices at `indices [.., N]` of its `N` leading dimensions overwritten by
    /// `updates`. Where indices repeat, one of the updates stays.
    #[track_caller]
    pub fn put(self, indices: Self, updates: Self) -> Self {
        self.apply("scatter", &[self, indices, updates], |t| {
            let leading = t[1].dimensions.last().map_or(0, |d| d.size);
            let ty = infer::put(&t[0], &t[1], &t[2], leading)?;
            Ok((Op::Put(leading), ty))
        })
    }
}

fn find(ty: &TensorType, label: Label) -> Result<usize, Violation> {
    ty.position(label).ok_or_else(|| Violation {
        constraint: "labels",
        message: format!("{ty} has no dimension {label}"),
    })
}
