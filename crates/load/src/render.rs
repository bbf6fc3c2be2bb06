//! Rows of words as an aligned table or as Markdown.

/// Rows below a header, all of one width.
pub(crate) struct Table {
    /// The columns' names.
    pub header: Vec<&'static str>,
    /// The cells.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns aligned to the right, two spaces between them.
    pub fn plain(&self) -> String {
        let widths: Vec<usize> = (0..self.header.len()).map(|column| self.width(column)).collect();
        let mut text = line(self.header.iter().copied(), &widths);
        for row in &self.rows {
            text += &line(row.iter().map(String::as_str), &widths);
        }
        text
    }

    /// A Markdown table.
    pub fn markdown(&self) -> String {
        let row = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let mut text = row(self.header.clone());
        text += &row(self.header.iter().map(|_| "---:").collect());
        for cells in &self.rows {
            text += &row(cells.iter().map(String::as_str).collect());
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let header = self.header.get(column).map_or(0, |name| name.chars().count());
        cells.map(|cell| cell.chars().count()).fold(header, usize::max)
    }
}

fn line<'cell>(cells: impl Iterator<Item = &'cell str>, widths: &[usize]) -> String {
    let cells: Vec<String> =
        cells.zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
    cells.join("  ") + "\n"
}

/// Seconds as milliseconds with a sensible number of digits.
pub(crate) fn milliseconds(seconds: f64) -> String {
    let value = seconds * 1e3;
    if value < 10.0 {
        format!("{value:.2}")
    } else if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// Bytes as MiB.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Anything as JSON, indented.
pub(crate) fn json(report: &impl serde::Serialize) -> String {
    // Reports hold numbers, texts and lists only, so this cannot fail; if it does, the reason is better than nothing.
    serde_json::to_string_pretty(report)
        .unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let table = Table {
            header: vec!["clients", "ms"],
            rows: vec![vec!["1".into(), milliseconds(0.001)], vec!["16".into(), milliseconds(1.5)]],
        };
        assert_eq!(table.plain(), "clients    ms\n      1  1.00\n     16  1500\n");
        assert_eq!(
            table.markdown(),
            "| clients | ms |\n| ---: | ---: |\n| 1 | 1.00 |\n| 16 | 1500 |\n"
        );
        assert_eq!(milliseconds(0.0123), "12.3");
        assert_eq!(mebibytes(3 << 19), "1.5 MiB");
    }
}
