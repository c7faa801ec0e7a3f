//! Plain tables: columns two blanks apart, numbers to the right, no lines, no colour.

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table in the making.
#[derive(Debug)]
pub(crate) struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    pub(crate) fn new(heads: &[(&str, Align)]) -> Self {
        let titles = heads.iter().map(|(title, _)| (*title).to_owned()).collect();
        Self { aligns: heads.iter().map(|(_, align)| *align).collect(), rows: vec![titles] }
    }

    /// A table without column heads.
    pub(crate) fn headless(aligns: &[Align]) -> Self {
        Self { aligns: aligns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text, every line behind `indent` blanks and with a line end.
    pub(crate) fn render(&self, indent: usize) -> String {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = " ".repeat(indent);
            for ((cell, align), width) in row.iter().zip(&self.aligns).zip(&widths) {
                let blanks = " ".repeat(width - cell.chars().count());
                match align {
                    Align::Left => line.extend([cell.as_str(), &blanks]),
                    Align::Right => line.extend([blanks.as_str(), cell]),
                }
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_below_each_other_and_no_line_ends_in_blanks() {
        let mut table = Table::new(&[("flow", Align::Left), ("objects", Align::Right), ("note", Align::Left)]);
        table.row(["äöü-long".into(), "7".into(), String::new()]);
        table.row(["b".into(), "1,234".into(), "x".into()]);
        assert_eq!(table.render(1), " flow      objects  note\n äöü-long        7\n b           1,234  x\n");
    }
}
