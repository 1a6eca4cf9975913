//! The figures of a comparison as a plot (SVG): goodput above, bytes on the wire below.
//!
//! Pure text, written by hand: boxes, lines and words are all that it needs.

use std::fmt::{self, Write};

use super::report::{CellReport, Entry};

/// Width of one bar.
const BAR: f64 = 22.0;
/// Space between the groups of two cells, and beside the plot.
const GAP: f64 = 26.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 64.0;
/// Height of the two panels, and the space between them with the names of the cells.
const GOODPUT: f64 = 260.0;
const WIRE: f64 = 140.0;
const BETWEEN: f64 = 70.0;
const BOTTOM: f64 = 16.0;
/// Ends of the axis of goodput, in bits per second; it is logarithmic.
const BITS: (f64, f64) = (1e6, 1e11);
/// Ends of the axis of bytes on the wire over the file's length; longer bars are cut.
const SHARE: (f64, f64) = (1.0, 2.0);
/// Colours that people tell apart who do not see red and green (Okabe and Ito).
const COLOURS: [&str; 5] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"];
const INK: &str = "#222";
const FAINT: &str = "#ccc";

/// One plot of cells of one kind; `title` says which.
pub fn svg(cells: &[CellReport], title: &str) -> String {
    let names = contestants(cells);
    let plot = Plot::new(cells, names.len());
    let mut canvas = Canvas::default();
    canvas.text(LEFT, 22.0, 15.0, "start", title);
    let mut x = LEFT;
    for (index, name) in names.iter().enumerate() {
        canvas.rect(x, 34.0, 12.0, 12.0, COLOURS[index % COLOURS.len()]);
        canvas.text(x + 18.0, 45.0, 12.0, "start", name);
        x += 40.0 + 8.0 * name.chars().count() as f64;
    }
    canvas.line(x, 40.0, x + 14.0, 40.0, INK);
    canvas.text(x + 20.0, 45.0, 12.0, "start", "raw ceiling");
    plot.axes(&mut canvas);
    for (index, cell) in cells.iter().enumerate() {
        plot.cell(&mut canvas, index, cell, &names);
    }
    canvas.finish(plot.width(), plot.height())
}

/// Names of all that took part, in their order.
fn contestants(cells: &[CellReport]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for entry in cells.iter().flat_map(|cell| &cell.entries) {
        if !names.contains(&entry.name.as_str()) {
            names.push(&entry.name);
        }
    }
    names
}

struct Plot {
    cells: usize,
    group: f64,
}

impl Plot {
    fn new(cells: &[CellReport], contestants: usize) -> Self {
        Self { cells: cells.len(), group: BAR * contestants as f64 + GAP }
    }

    fn width(&self) -> f64 {
        // Not narrower than the title and the legend.
        (LEFT + self.group * self.cells as f64 + RIGHT).max(620.0)
    }

    fn height(&self) -> f64 {
        self.wire_base() + BOTTOM
    }

    fn goodput_base(&self) -> f64 {
        TOP + GOODPUT
    }

    fn wire_base(&self) -> f64 {
        self.goodput_base() + BETWEEN + WIRE
    }

    fn axes(&self, canvas: &mut Canvas) {
        let right = self.width() - RIGHT;
        for (bits, label) in [
            (1e6, "1"),
            (1e7, "10"),
            (1e8, "100"),
            (1e9, "1,000"),
            (1e10, "10,000"),
            (1e11, "100,000"),
        ] {
            let y = self.goodput_base() - goodput_height(bits);
            canvas.line(LEFT, y, right, y, FAINT);
            canvas.text(LEFT - 6.0, y + 4.0, 11.0, "end", label);
        }
        canvas.text(LEFT - 6.0, TOP - 8.0, 11.0, "end", "Mbit/s");
        for tenths in [10.0, 12.0, 14.0, 16.0, 18.0, 20.0] {
            let share = tenths / 10.0;
            let y = self.wire_base() - wire_height(share);
            canvas.line(LEFT, y, right, y, FAINT);
            canvas.text(LEFT - 6.0, y + 4.0, 11.0, "end", &format!("{share:.1}"));
        }
        let y = self.wire_base() - WIRE - 10.0;
        canvas.text(LEFT - 6.0, y, 11.0, "end", "wire ÷ file");
    }

    fn cell(&self, canvas: &mut Canvas, index: usize, cell: &CellReport, names: &[&str]) {
        let left = LEFT + GAP / 2.0 + self.group * index as f64;
        let right = left + self.group - GAP;
        for entry in &cell.entries {
            let Some(nth) = names.iter().position(|name| *name == entry.name) else { continue };
            let (x, colour) = (left + BAR * nth as f64, COLOURS[nth % COLOURS.len()]);
            self.bars(canvas, x, colour, cell, entry);
        }
        if let Some(ceiling) = cell.ceiling() {
            let y = self.goodput_base() - goodput_height(ceiling);
            canvas.line(left, y, right, y, INK);
        }
        let (middle, hosts) = (f64::midpoint(left, right), cell.cell.hosts);
        let plural = if hosts == 1 { "" } else { "s" };
        let base = self.goodput_base();
        canvas.text(middle, base + 18.0, 12.0, "middle", &format!("{hosts} host{plural}"));
        let loss = format!("{} % loss", cell.cell.loss_percent());
        canvas.text(middle, base + 33.0, 12.0, "middle", &loss);
    }

    fn bars(&self, canvas: &mut Canvas, x: f64, colour: &str, cell: &CellReport, entry: &Entry) {
        let middle = x + BAR / 2.0;
        match cell.goodput(entry) {
            Some(bits) => {
                let (base, height) = (self.goodput_base(), goodput_height(bits));
                canvas.rect(x, base - height, BAR - 2.0, height, colour);
                let label = format!("{:.0}", bits / 1e6);
                canvas.text(middle, base - height - 4.0, 9.0, "middle", &label);
            }
            None => canvas.text(middle, self.goodput_base() - 4.0, 14.0, "middle", "×"),
        }
        if let Some(share) = cell.wire_ratio(entry) {
            let (base, height) = (self.wire_base(), wire_height(share));
            canvas.rect(x, base - height, BAR - 2.0, height, colour);
            canvas.text(middle, base - height - 4.0, 9.0, "middle", &format!("{share:.2}"));
        }
    }
}

fn goodput_height(bits: f64) -> f64 {
    let (low, high) = BITS;
    (bits / low).log10().clamp(0.0, (high / low).log10()) / (high / low).log10() * GOODPUT
}

fn wire_height(share: f64) -> f64 {
    let (low, high) = SHARE;
    (share.clamp(low, high) - low) / (high - low) * WIRE
}

/// What has been drawn.
#[derive(Default)]
struct Canvas(String);

impl Canvas {
    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        self.draw(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{colour}\"/>"
        ));
    }

    fn line(&mut self, x1: f64, y1: f64, x2: f64, y2: f64, colour: &str) {
        self.draw(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" \
             stroke=\"{colour}\"/>"
        ));
    }

    fn text(&mut self, x: f64, y: f64, size: f64, anchor: &str, words: &str) {
        let words = words.replace('&', "&amp;").replace('<', "&lt;");
        self.draw(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" \
             fill=\"{INK}\">{words}</text>"
        ));
    }

    fn draw(&mut self, element: fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("a string takes everything");
    }

    fn finish(self, width: f64, height: f64) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
            self.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::cell_report;
    use super::*;

    #[test]
    fn heights_follow_their_axes_and_stay_within() {
        assert_eq!(goodput_height(1e6), 0.0);
        assert_eq!(goodput_height(1e7), GOODPUT / 5.0);
        assert_eq!(goodput_height(1e12), GOODPUT);
        assert_eq!((goodput_height(0.0), goodput_height(1.0)), (0.0, 0.0));
        assert_eq!((wire_height(0.9), wire_height(1.5), wire_height(9.0)), (0.0, 70.0, 140.0));
    }

    #[test]
    fn every_cell_has_a_bar_for_each_that_finished_and_a_cross_for_others() {
        let cells = [cell_report(0), cell_report(50)];
        let svg = svg(&cells, "a < b & c");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(">a &lt; b &amp; c</text>"), "{svg}");
        // A white ground, three names, and in each cell two bars in each panel.
        assert_eq!(svg.matches("<rect ").count(), 1 + 3 + 2 * 4);
        assert_eq!(svg.matches(">×</text>").count(), 2);
        assert_eq!(
            (svg.matches(">500</text>").count(), svg.matches(">250</text>").count()),
            (2, 2)
        );
        assert_eq!(svg.matches(">1.10</text>").count(), 2);
        assert_eq!(svg.matches(">8 hosts</text>").count(), 2);
        assert_eq!(svg.matches(">5 % loss</text>").count(), 1);
        // The ceilings and the legend's line.
        assert_eq!(svg.matches(&format!("stroke=\"{INK}\"")).count(), 3);
    }

    #[test]
    fn every_opened_element_is_closed() {
        let svg = svg(&[cell_report(0)], "t");
        let open = svg.matches("<text").count();
        assert_eq!(open, svg.matches("</text>").count());
        let all = svg.matches('<').count();
        let closed = svg.matches("/>").count() + 2 * open + 2;
        assert_eq!(all, closed, "{svg}");
    }
}
