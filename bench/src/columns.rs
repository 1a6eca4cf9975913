//! Text in columns: the tables of the demo and of the measurements.

/// Columns as wide as their widest cell; numbers to the right, words to the left.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |line: &'_ Vec<String>, column: usize| line.get(column).cloned().unwrap_or_default();
    let width = |column: usize| {
        lines.iter().map(|line| cell(line, column).chars().count()).max().unwrap_or(0)
    };
    let is_number = |column: usize| {
        lines.len() > 1
            && lines[1..].iter().all(|line| {
                let cell = cell(line, column);
                cell == "-" || cell.starts_with(|first: char| first.is_ascii_digit())
            })
    };
    let shape: Vec<(usize, bool)> =
        (0..columns).map(|column| (width(column), is_number(column))).collect();
    let mut text = String::new();
    for line in lines {
        let cells = shape.iter().enumerate().map(|(column, (width, is_number))| {
            let cell = cell(line, column);
            if *is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let line = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines =
            [line(["who", "seconds", "how"]), line(["a", "1.5", "x"]), line(["bcde", "12.5", ""])];
        assert_eq!(aligned(&lines), "who   seconds  how\na         1.5  x\nbcde     12.5\n");
    }
}
