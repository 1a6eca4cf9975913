//! Text in columns: the tables of the demo and of the measurements.

/// Columns as wide as their widest cell; numbers to the right, words to the left.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let shape = shape(lines);
    let mut text = String::new();
    for line in lines {
        text.push_str(padded(line, &shape).join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The same as a table of Markdown, whose first line has the headings: to be read as it stands and
/// to be pasted into a document.
pub fn markdown(lines: &[Vec<String>]) -> String {
    let shape = shape(lines);
    let bordered = |line: &Vec<String>| format!("| {} |\n", padded(line, &shape).join(" | "));
    let rule = shape.iter().map(|(width, is_number)| {
        let dashes = "-".repeat((*width).max(3) - usize::from(*is_number));
        if *is_number { dashes + ":" } else { dashes }
    });
    let rule = format!("| {} |\n", rule.collect::<Vec<_>>().join(" | "));
    let (head, body) = lines.split_at(lines.len().min(1));
    let head: String = head.iter().map(bordered).collect();
    head + &rule + &body.iter().map(bordered).collect::<String>()
}

/// Width of each column, and whether it holds numbers.
fn shape(lines: &[Vec<String>]) -> Vec<(usize, bool)> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().map(|line| cell(line, column).chars().count()).max();
    let is_number = |column: usize| {
        lines.len() > 1
            && lines[1..].iter().all(|line| {
                let cell = cell(line, column);
                cell == "-" || cell.starts_with(|first: char| first.is_ascii_digit())
            })
    };
    (0..columns).map(|column| (width(column).unwrap_or(0), is_number(column))).collect()
}

fn padded(line: &[String], shape: &[(usize, bool)]) -> Vec<String> {
    let cells = shape.iter().enumerate().map(|(column, (width, is_number))| {
        let cell = cell(line, column);
        if *is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    });
    cells.collect()
}

fn cell(line: &[String], column: usize) -> &str {
    line.get(column).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> [Vec<String>; 3] {
        let line = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        [line(["who", "seconds", "how"]), line(["a", "1.5", "x"]), line(["bcde", "12.5", ""])]
    }

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        assert_eq!(aligned(&lines()), "who   seconds  how\na         1.5  x\nbcde     12.5\n");
    }

    #[test]
    fn a_table_of_markdown_has_borders_and_a_rule_below_its_headings() {
        let expected = "| who  | seconds | how |\n\
                        | ---- | ------: | --- |\n\
                        | a    |     1.5 | x   |\n\
                        | bcde |    12.5 |     |\n";
        assert_eq!(markdown(&lines()), expected);
    }
}
