//! Where a parameter's values come from: rows of one or several tensors of the checkpoint.

use std::fmt;

/// Rows of a tensor, seen as a matrix: a vector's elements are its rows, and a stack `[X, O, I]` has
/// `X · O` rows of `I` values. Runs of `length` rows are taken at `start`, `start + period`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The first row.
    pub start: usize,
    /// Rows of a run.
    pub length: usize,
    /// Rows from the beginning of a run to that of the next.
    pub period: usize,
    /// Number of runs.
    pub count: usize,
}

impl Rows {
    /// All `rows` of a tensor.
    pub fn all(rows: usize) -> Self {
        Self { start: 0, length: rows, period: rows, count: 1 }
    }

    /// `length` rows from `start` on.
    pub fn range(start: usize, length: usize) -> Self {
        Self { start, length, period: length, count: 1 }
    }

    /// `count` runs of `length` rows, `period` rows apart: one part of each head where the parts of a
    /// head stand side by side.
    pub fn every(period: usize, count: usize, start: usize, length: usize) -> Self {
        Self { start, length, period, count }
    }

    /// Rows in all.
    pub fn len(&self) -> usize {
        self.length.saturating_mul(self.count)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor's row that is row `n` of these. `n < len()`.
    pub fn at(&self, n: usize) -> usize {
        let run = n / self.length.max(1);
        self.start + run * self.period + n % self.length.max(1)
    }
}

/// Rows of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Name of the tensor in the checkpoint.
    pub tensor: String,
    /// The shape that it must have.
    pub shape: Vec<usize>,
    /// The last two dimensions are exchanged before rows are counted: weights stored `[in, out]`.
    pub transposed: bool,
    /// Which rows.
    pub rows: Rows,
}

impl Piece {
    /// A whole tensor.
    pub fn whole(tensor: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let rows = match shape[..] {
            [] => 1,
            [n] => n,
            [ref outer @ .., _] => outer.iter().fold(1, |a: usize, b| a.saturating_mul(*b)),
        };
        Self { tensor: tensor.into(), shape, transposed: false, rows: Rows::all(rows) }
    }

    /// The tensor, stored as `shape`, with the rows of another shape of as many elements.
    pub fn viewed(
        tensor: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        rows: impl Into<Vec<usize>>,
    ) -> Self {
        Self { shape: shape.into(), ..Self::whole(tensor, rows) }
    }

    /// The tensor `[…, in, out]` read as `[…, out, in]`.
    pub fn transposed(tensor: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        let mut shape = shape.into();
        let stored = shape.clone();
        let rank = shape.len();
        if rank >= 2 {
            shape.swap(rank - 2, rank - 1);
        }
        Self { shape: stored, transposed: true, ..Self::whole(tensor, shape) }
    }

    /// Some of the rows.
    pub fn only(self, rows: Rows) -> Self {
        Self { rows, ..self }
    }

    /// Whether the piece is the tensor as it stands.
    pub fn is_whole(&self) -> bool {
        !self.transposed && self.rows == Self::whole("", self.shape.clone()).rows
    }
}

/// `name [256, 64] rows 0+8·n..+4, transposed`: for messages and descriptions.
impl fmt::Display for Piece {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {:?}", self.tensor, self.shape)?;
        if self.is_whole() {
            return Ok(());
        }
        let Rows { start, length, period, count } = self.rows;
        if self.transposed {
            write!(formatter, " transposed")?;
        }
        if count == 1 {
            write!(formatter, " rows {start}..{}", start.saturating_add(length))
        } else {
            write!(formatter, " {count} runs of {length} rows from {start} every {period}")
        }
    }
}

/// One way in which a checkpoint may hold a parameter: its rows are those of the pieces in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(pub Vec<Piece>);

impl From<Piece> for Layout {
    fn from(piece: Piece) -> Self {
        Self(vec![piece])
    }
}

impl Layout {
    /// The tensor that the parameter is, if it is exactly one.
    pub fn tensor(&self) -> Option<&str> {
        match &self.0[..] {
            [piece] if piece.is_whole() => Some(&piece.tensor),
            _ => None,
        }
    }

    /// Names of all tensors.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|piece| piece.tensor.as_str())
    }
}

/// Where a checkpoint keeps the names of a model. Descriptions use those of the first root; a
/// checkpoint of another one has `model` and `outer` in their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Before the names of the model's own tensors: `model.`.
    pub model: String,
    /// Before the names of tensors beside the model: the head.
    pub outer: String,
}

impl Root {
    /// A root.
    pub fn new(model: &str, outer: &str) -> Self {
        Self { model: model.to_string(), outer: outer.to_string() }
    }

    /// `name`, which is spelled for `self`, spelled for `other`.
    pub fn respell(&self, other: &Self, name: &str) -> String {
        match (name.strip_prefix(&self.model), name.strip_prefix(&self.outer)) {
            (Some(rest), _) if !self.model.is_empty() => format!("{}{rest}", other.model),
            (_, Some(rest)) => format!("{}{rest}", other.outer),
            _ => name.to_string(),
        }
    }
}

/// Whether `name` matches `pattern`, in which `*` stands for any characters, also none.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            rest.is_empty()
                || tail.char_indices().any(|(n, _)| matches(rest, &tail[n..]))
                || matches(rest, "")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_runs() {
        // Of three heads of four rows each, the last two rows.
        let rows = Rows::every(4, 3, 2, 2);
        let all: Vec<usize> = (0..rows.len()).map(|n| rows.at(n)).collect();
        assert_eq!(all, [2, 3, 6, 7, 10, 11]);
        let range = Rows::range(5, 3);
        assert_eq!((0..range.len()).map(|n| range.at(n)).collect::<Vec<_>>(), [5, 6, 7]);
        assert!(Rows::all(0).is_empty());
    }

    #[test]
    fn pieces_count_rows_of_vectors_matrices_and_stacks() {
        assert_eq!(Piece::whole("bias", [7]).rows.len(), 7);
        assert_eq!(Piece::whole("weight", [7, 3]).rows.len(), 7);
        assert_eq!(Piece::whole("stack", [2, 7, 3]).rows.len(), 14);
        let transposed = Piece::transposed("conv1d", [3, 7]);
        assert_eq!((transposed.rows.len(), transposed.is_whole()), (7, false));
        assert_eq!(Piece::transposed("stack", [2, 3, 7]).rows.len(), 14);
        let some = Piece::whole("qkv", [12, 3]).only(Rows::range(4, 4));
        assert_eq!(some.to_string(), "qkv [12, 3] rows 4..8");
    }

    #[test]
    fn names_are_spelled_for_another_root() {
        let (plain, wrapped) = (Root::new("model.", ""), Root::new("model.language_model.", ""));
        assert_eq!(
            plain.respell(&wrapped, "model.norm.weight"),
            "model.language_model.norm.weight"
        );
        assert_eq!(plain.respell(&wrapped, "lm_head.weight"), "lm_head.weight");
        let outer = Root::new("language_model.model.", "language_model.");
        assert_eq!(plain.respell(&outer, "lm_head.weight"), "language_model.lm_head.weight");
        let bare = Root::new("", "");
        let styled = Root::new("transformer.", "");
        assert_eq!(styled.respell(&bare, "transformer.h.0.ln_1.weight"), "h.0.ln_1.weight");
    }

    #[test]
    fn patterns_have_stars() {
        for (pattern, name, expected) in [
            ("mtp.*", "mtp.fc.weight", true),
            ("mtp.*", "model.mtp.fc.weight", false),
            ("*.attn.bias", "h.3.attn.bias", true),
            ("*.attn.bias", "h.3.attn.bias2", false),
            ("h.*.attn.*bias", "h.3.attn.masked_bias", true),
            ("lm_head.weight", "lm_head.weight", true),
            ("lm_head.weight", "lm_head.weight2", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
