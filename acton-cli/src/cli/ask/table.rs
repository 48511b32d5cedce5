//! Tables for terminals: columns as wide as their widest cell, two blanks between.

/// A table in the making.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns whose cells stand at the right, as numbers do.
    right: Vec<usize>,
}

impl Table {
    /// A table of these columns, of which some hold numbers.
    pub(super) fn new(heads: &[&str], right: &[usize]) -> Self {
        let heads = heads.iter().map(|&head| head.to_owned()).collect();
        Self { rows: vec![heads], right: right.to_vec() }
    }

    /// Adds a row. The last cell of a short one is as long as it likes.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines, without blanks at their ends.
    pub(super) fn lines(&self) -> Vec<String> {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            // What runs over the other columns makes none of them wider.
            let is_cell = |row: &&Vec<String>| row.len() == columns || column + 1 < row.len();
            let rows = self.rows.iter().filter(is_cell);
            rows.filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        self.rows.iter().map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = widths[column].saturating_sub(cell.chars().count());
            let pad = " ".repeat(pad);
            if column > 0 {
                line.push_str("  ");
            }
            let runs_over = row.len() < widths.len() && column + 1 == row.len();
            if self.right.contains(&column) && !runs_over {
                line.push_str(&pad);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&pad);
            }
        }
        line.trim_end().to_owned()
    }
}

/// `text` in lines of at most `width` characters, broken between words.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_need_be() {
        let mut table = Table::new(&["NAME", "COUNT", "WHY"], &[1]);
        table.row(["a".to_owned(), "1,000,000".to_owned(), "x".to_owned()]);
        table.row(["longer".to_owned(), "runs over all that follows".to_owned()]);
        let lines = [
            "NAME        COUNT  WHY",
            "a       1,000,000  x",
            "longer  runs over all that follows",
        ];
        assert_eq!(table.lines(), lines);
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable", 4), ["unbreakable"]);
        assert!(wrap("", 4).is_empty());
    }
}
