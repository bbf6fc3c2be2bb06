//! Orders of rows that llama.cpp's converter changes, and how a row is found again.

/// Where the rows of a tensor stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// Each of this many heads alternates between the first and the second half of its rows: stored
    /// row `2j + t` of a head is row `t * half + j`. ggml rotates neighbours, transformers halves.
    InterleavedHeads(usize),
    /// All query heads, then all key heads, then all value heads, where Hugging Face's tensor has
    /// `groups` times (`queries` query heads, one key head, one value head): falcon's fused rows.
    QueriesKeysValues {
        /// The number of key–value heads.
        groups: usize,
        /// Query heads in a group.
        queries: usize,
    },
    /// Only every second stored row belongs to the tensor, from the `first` on: gate or up of gpt-oss.
    EverySecond {
        /// 0 or 1.
        first: usize,
    },
}

impl RowOrder {
    /// Whether `rows` rows can have this order.
    pub(crate) fn divides(self, rows: usize) -> bool {
        let parts = match self {
            Self::InterleavedHeads(heads) => heads.checked_mul(2),
            Self::QueriesKeysValues { groups, queries } => {
                queries.checked_add(2).and_then(|heads| heads.checked_mul(groups))
            }
            Self::EverySecond { .. } => Some(1),
        };
        parts.is_some_and(|parts| parts > 0 && rows.is_multiple_of(parts))
    }

    /// The stored row that is row `row` of `rows` to the outside. The order divides the rows.
    pub(crate) fn stored(self, row: usize, rows: usize) -> usize {
        match self {
            Self::InterleavedHeads(heads) => {
                let head_rows = rows / heads.max(1);
                let half = (head_rows / 2).max(1);
                let within = row % head_rows.max(1);
                row - within + 2 * (within % half) + within / half
            }
            Self::QueriesKeysValues { groups, queries } => {
                let head_rows = (rows / (groups * (queries + 2)).max(1)).max(1);
                let (head, within) = (row / head_rows, row % head_rows);
                let (group, place) = (head / (queries + 2), head % (queries + 2));
                let head = match place.checked_sub(queries) {
                    None => group * queries + place,
                    Some(kind) => groups * (queries + kind) + group,
                };
                head * head_rows + within
            }
            Self::EverySecond { first } => 2 * row + first,
        }
    }

    /// Rows in the file for each row of the tensor.
    pub(crate) fn spread(self) -> usize {
        match self {
            Self::InterleavedHeads(_) | Self::QueriesKeysValues { .. } => 1,
            Self::EverySecond { .. } => 2,
        }
    }

    /// The size of aligned groups of rows that stay together in the file; `None` if there are none.
    pub(crate) fn local(self, rows: usize) -> Option<usize> {
        match self {
            Self::InterleavedHeads(heads) => Some((rows / heads.max(1)).max(1)),
            Self::QueriesKeysValues { .. } | Self::EverySecond { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RowOrder;

    #[test]
    fn heads_are_interleaved() {
        // Two heads of six rows: the stored order of (first half, second half) pairs.
        let order = RowOrder::InterleavedHeads(2);
        let stored: Vec<usize> = (0..12).map(|row| order.stored(row, 12)).collect();
        assert_eq!(stored, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        assert_eq!(order.local(12), Some(6));
        assert!(
            order.divides(12) && !order.divides(6) && !RowOrder::InterleavedHeads(0).divides(0)
        );
    }

    #[test]
    fn every_second_row() {
        let order = RowOrder::EverySecond { first: 1 };
        assert_eq!([0, 1, 2].map(|row| order.stored(row, 3)), [1, 3, 5]);
        assert_eq!((order.spread(), order.local(3)), (2, None));
    }

    #[test]
    fn groups_are_separated() {
        // Two groups of two query heads, a key and a value head, each of two rows; the file has
        // queries 0–7, keys 8–11, values 12–15.
        let order = RowOrder::QueriesKeysValues { groups: 2, queries: 2 };
        let stored: Vec<usize> = (0..16).map(|row| order.stored(row, 16)).collect();
        assert_eq!(stored, [0, 1, 2, 3, 8, 9, 12, 13, 4, 5, 6, 7, 10, 11, 14, 15]);
        assert!(order.divides(16) && !order.divides(12) && order.local(16).is_none());
        // One group: nothing moves.
        let one = RowOrder::QueriesKeysValues { groups: 1, queries: 3 };
        assert!((0..20).all(|row| one.stored(row, 20) == row));
    }
}
