//! The functions that took most, out of what a profiler prints.
//!
//! Pure text.

use crate::fanfare::Tool;

/// Longest line that is shown: names of generic functions have no end.
const LINE_CHARS_MAX: usize = 120;

/// The first `count` functions in the `output` of `tool`'s own report, each behind its share.
pub fn of(tool: Tool, output: &str, count: usize) -> String {
    let function: fn(&str) -> Option<String> = match tool {
        Tool::Perf => of_perf,
        Tool::Callgrind => of_callgrind,
    };
    let cut = |line: String| line.chars().take(LINE_CHARS_MAX).collect::<String>() + "\n";
    output.lines().filter_map(function).take(count).map(cut).collect()
}

/// `    24.67%  fanhost  [.] name`; comments and blank lines stand around.
fn of_perf(line: &str) -> Option<String> {
    let (share, _) = line.trim_start().split_once("%  ")?;
    share.parse::<f64>().ok().map(|_| line.trim_end().to_owned())
}

/// `1,234 (24.67%)  path/file:name [object]`; the total comes first.
fn of_callgrind(line: &str) -> Option<String> {
    let (count, rest) = line.split_once('(')?;
    let (share, place) = rest.split_once("%)  ")?;
    let is_count = count.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    let (path, function) = place.split_once(':').filter(|_| is_count)?;
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = function.split(" [").next().unwrap_or(function);
    Some(format!("{share:>9}%  {file}: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_in_both_reports_in_their_order() {
        let perf = "# Samples: 304  of event 'cpu-clock'\n# Overhead  Command  Symbol\n\n    \
                    24.67%  worker-0  [.] decode   \n     5.26%  fanhost   [k] copy\n\n\
                    #\n# (Tip: 5% of people)\n";
        let expected = "    24.67%  worker-0  [.] decode\n     5.26%  fanhost   [k] copy\n";
        assert_eq!(of(Tool::Perf, perf, 9), expected);
        assert_eq!(of(Tool::Perf, perf, 1).lines().count(), 1);
        let callgrind = "Profile data file 'x'\n1,000 (100.0%)  PROGRAM TOTALS\n----\n\
                         Ir  file:function\n600 (60.00%)  /a/b.rs:x::decode [/bin/x]\n\
                         90 ( 9.00%)  ./c.S:copy [libc]\n";
        let expected = "    60.00%  b.rs: x::decode\n     9.00%  c.S: copy\n";
        assert_eq!(of(Tool::Callgrind, callgrind, 9), expected);
    }
}
