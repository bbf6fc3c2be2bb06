//! The graph in memory. Printing it is [`print`](crate::print)'s work.

use crate::{Attribute, Kernel, TensorType};

/// Functions, in the order they are printed: public ones first.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// Symbol of the module.
    pub name: String,
    /// Entry points, then decompositions.
    pub functions: Vec<Function>,
}

impl Module {
    /// The public function called `name`.
    pub fn entry(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|f| f.public && f.name == name)
    }
}

/// One function: arguments, operations in order, results.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Symbol.
    pub name: String,
    /// Whether callers outside the module see it.
    pub public: bool,
    /// Arguments in order.
    pub arguments: Vec<Argument>,
    /// Operations, each after those it uses.
    pub operations: Vec<Operation>,
    /// All values, indexed by [`ValueId`].
    pub values: Vec<ValueInfo>,
    /// Named results in order.
    pub results: Vec<(String, ValueId)>,
}

impl Function {
    /// All operations, those of regions after the operation that has the region.
    pub fn all_operations(&self) -> Vec<&Operation> {
        let mut all = Vec::new();
        self.operations.iter().for_each(|operation| operation.collect(&mut all));
        all
    }
}

/// Index of a value within its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueId(pub u32);

/// Name and type of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueInfo {
    /// SSA name without `%`, unique in the function.
    pub name: String,
    /// Type.
    pub ty: TensorType,
}

/// An argument of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    /// The value it defines.
    pub value: ValueId,
    /// The result that may reuse (overwrite) this argument's memory.
    pub alias: Option<usize>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// What is computed.
    pub op: Op,
    /// Inputs in order.
    pub operands: Vec<ValueId>,
    /// Outputs in order; one for everything except kernels and loops.
    pub results: Vec<ValueId>,
}

/// StableHLO operations used by models, with their static parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `constant`.
    Constant(Literal),
    /// `iota` along a dimension.
    Iota(usize),
    /// Element-wise operations of one operand.
    Unary(Unary),
    /// Element-wise operations of two operands.
    Binary(Binary),
    /// `compare`.
    Compare(Direction),
    /// `select`: predicate, on true, on false.
    Select,
    /// `convert` to the result's element type.
    Convert,
    /// `bitcast_convert` to the result's element type, which has as many bits.
    BitcastConvert,
    /// `optimization_barrier`: the operand, computed before anything that uses it.
    Barrier,
    /// `broadcast_in_dim` with these dimensions.
    Broadcast(Vec<usize>),
    /// `reshape`.
    Reshape,
    /// `transpose` by this permutation.
    Transpose(Vec<usize>),
    /// `slice` with stride 1: first and one-past-last index per dimension.
    Slice(Vec<(usize, usize)>),
    /// `concatenate` along a dimension.
    Concatenate(usize),
    /// `dot_general`.
    DotGeneral(DotDimensions),
    /// `reduce` over these dimensions; operands: input, initial value.
    Reduce(Reduction, Vec<usize>),
    /// `gather` of whole slices along this dimension; operands: table, indices.
    Take(usize),
    /// `scatter` overwriting whole slices of the leading dimensions; operands: input,
    /// indices `[…, N]` of the `N` leading dimensions, updates.
    Put(usize),
    /// `composite`: a kernel with its decomposition, a private function of the module.
    Composite {
        /// Name and attributes.
        kernel: Kernel,
        /// Symbol of the decomposition.
        decomposition: String,
    },
    /// `while`; operands: the initial values.
    While(Box<Loop>),
}

/// The regions of a `while`. They see the function's values; nothing outside sees theirs.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// Arguments of both regions: the values that an iteration hands to the next one.
    pub arguments: Vec<ValueId>,
    /// Results: whether there is another iteration, a scalar `i1`.
    pub condition: Region,
    /// Results: the arguments of the next iteration.
    pub body: Region,
}

/// Operations inside of an operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Region {
    /// Operations, each after those it uses.
    pub operations: Vec<Operation>,
    /// Results in order.
    pub results: Vec<ValueId>,
}

impl Operation {
    /// The operation's regions, in the order they are printed.
    pub fn regions(&self) -> Vec<&Region> {
        match &self.op {
            Op::While(inner) => vec![&inner.condition, &inner.body],
            _ => Vec::new(),
        }
    }

    /// Appends the operation and, in order, all operations of its regions.
    fn collect<'o>(&'o self, all: &mut Vec<&'o Operation>) {
        all.push(self);
        for operation in self.regions().into_iter().flat_map(|region| &region.operations) {
            operation.collect(all);
        }
    }
}

/// Element-wise operations of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the StableHLO operations")]
pub enum Unary {
    Abs,
    Cosine,
    Exponential,
    Floor,
    Log,
    Logistic,
    Negate,
    RoundNearestEven,
    Rsqrt,
    Sine,
    Sqrt,
    Tanh,
}

/// Element-wise operations of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the StableHLO operations")]
pub enum Binary {
    Add,
    And,
    Divide,
    Maximum,
    Minimum,
    Multiply,
    Or,
    Power,
    Remainder,
    ShiftLeft,
    ShiftRightLogical,
    Subtract,
}

/// Directions of `compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the StableHLO directions")]
pub enum Direction {
    Eq,
    Ne,
    Ge,
    Gt,
    Le,
    Lt,
}

/// Bodies of `reduce`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the StableHLO operations")]
pub enum Reduction {
    Add,
    Maximum,
    Minimum,
}

/// Dimension numbers of `dot_general`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the StableHLO attributes")]
pub struct DotDimensions {
    pub lhs_batching: Vec<usize>,
    pub rhs_batching: Vec<usize>,
    pub lhs_contracting: Vec<usize>,
    pub rhs_contracting: Vec<usize>,
}

/// Values of a `constant`; one value fills the whole tensor.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "named after the element kinds")]
pub enum Literal {
    Float(Vec<f32>),
    Integer(Vec<i64>),
    Boolean(Vec<bool>),
}

impl Literal {
    /// Number of values listed.
    pub fn len(&self) -> usize {
        match self {
            Self::Float(values) => values.len(),
            Self::Integer(values) => values.len(),
            Self::Boolean(values) => values.len(),
        }
    }

    /// Whether no value is listed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Kernel {
    /// The value of an attribute, as the native kernels and tests read it.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}
