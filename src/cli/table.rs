//! Aligned columns, as every verb that lists things prints them.
//!
//! Widths are those of the terminal (unicode-width), cells are escaped by
//! [`printable`](super::text::printable), and the last column is never padded.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr as _;

use super::text::printable;

/// Between two columns.
const GAP: &str = "  ";

/// Rows under an optional line of headings. Each row becomes exactly one line.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    header: bool,
}

impl Table {
    /// A table with these headings; none for one without.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let header = !headings.is_empty();
        let rows = if header {
            vec![headings.iter().map(|&h| h.to_owned()).collect()]
        } else {
            Vec::new()
        };
        Self { rows, header }
    }

    /// Add a row. Cells may be fewer than the headings, and are escaped here.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| match printable(&cell) {
                    Cow::Owned(escaped) => escaped,
                    Cow::Borrowed(_) => cell,
                })
                .collect(),
        );
    }

    /// Whether there is no row besides the headings.
    #[allow(dead_code, reason = "for the verbs that list images and containers")]
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == usize::from(self.header)
    }

    /// One line a row, each ended by a newline.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(widest).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, most) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', most - width(cell)));
                line.push_str(GAP);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// In columns of the terminal. Nearly all cells are ASCII, and then it is their length.
fn width(cell: &str) -> usize {
    match cell.is_ascii() {
        true => cell.len(),
        false => cell.width(),
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    fn cells(row: &[&str]) -> Vec<String> {
        row.iter().map(|&c| c.to_owned()).collect()
    }

    #[test]
    fn columns_are_aligned_by_what_the_terminal_shows() {
        let mut table = Table::new(&["NAME", "TAG", "SIZE"]);
        assert!(table.is_empty());
        table.row(cells(&["名前", "latest", "1 MB"]));
        table.row(cells(&["a-long-name", "", "2 MB"]));
        table.row(cells(&["short"]));
        assert!(!table.is_empty());
        assert_eq!(
            table.render(),
            "NAME         TAG     SIZE\n\
             名前         latest  1 MB\n\
             a-long-name          2 MB\n\
             short\n"
        );
    }

    #[test]
    fn a_cell_of_a_strangers_making_is_one_line_and_harmless() {
        let mut table = Table::new(&[]);
        assert!(table.is_empty());
        table.row(cells(&["a\nb\u{1b}[31m", "x"]));
        table.row(cells(&["c", "x"]));
        let out = table.render();
        assert_eq!(out.lines().count(), 2);
        assert!(!out.contains('\u{1b}'));
        let at: Vec<_> = out.lines().map(|l| l.rfind('x')).collect();
        assert_eq!(at[0], at[1]);
    }
}
