//! The figures as a chart: SVG that is legible on a light and on a dark page.

use std::fmt::Write;

use super::Report;
use crate::contender;
use crate::measure::Quantity;
use crate::world::Underlay;

/// What is charted, side by side, and the factor from the table's unit to the chart's.
const PANELS: [(Quantity, &str, f64, usize); 3] = [
    (Quantity::TcpToServer, "TCP, one stream, Gbit/s", 1.0, 2),
    (Quantity::Frames, "64-byte frames, thousands a second", 1.0, 0),
    (Quantity::RttLoaded, "ping beside a transfer, ms (less is better)", 1e-3, 2),
];

// Pixels.
const NAMES: usize = 160;
const PANEL: usize = 270;
/// What the figure takes behind the longest bar.
const FIGURE: usize = 44;
const HEAD: usize = 64;
const BAR: usize = 9;
const ROW: usize = 2 * BAR + 8;

const STYLE: &str = "\
text{font:11px system-ui,sans-serif;fill:#57606a}.title{font-weight:600}.figure{font-size:9px}
.through{fill:#7fa7d9}.wire{fill:#2f6fb5}.own{font-weight:700}
@media(prefers-color-scheme:dark){text{fill:#a8b1bb}}";

/// A row for each contender, a bar in it for each underlay.
pub(super) fn render(report: &Report) -> String {
    let names: Vec<_> = contender::ALL
        .map(|(name, _)| name)
        .into_iter()
        .filter(|name| Underlay::ALL.iter().any(|&underlay| has(report, name, underlay)))
        .collect();
    let (width, height) = (NAMES + PANELS.len() * PANEL, HEAD + names.len() * ROW + 8);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>acton and its peers</title>\n\
         <style>{STYLE}</style>\n"
    );
    legend(&mut svg);
    for (index, name) in names.iter().enumerate() {
        let class = if name.starts_with("acton") { " class=\"own\"" } else { "" };
        let (x, y) = (NAMES - 8, HEAD + index * ROW + BAR + 4);
        line(
            &mut svg,
            &format!("<text{class} x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{name}</text>"),
        );
    }
    for (column, panel) in PANELS.into_iter().enumerate() {
        draw(&mut svg, report, &names, NAMES + column * PANEL, panel);
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String) {
    let meanings = [
        (Underlay::Through, "super-frames cross whole"),
        (Underlay::Wire, "MTU-size packets cross"),
    ];
    for (index, (underlay, meaning)) in meanings.into_iter().enumerate() {
        let (class, x) = (underlay.name(), NAMES + index * 220);
        line(
            svg,
            &format!("<rect class=\"{class}\" x=\"{x}\" y=\"10\" width=\"18\" height=\"{BAR}\"/>"),
        );
        line(svg, &format!("<text x=\"{}\" y=\"18\">{class}: {meaning}</text>", x + 24));
    }
}

fn draw(
    svg: &mut String,
    report: &Report,
    names: &[&str],
    left: usize,
    (quantity, title, factor, decimals): (Quantity, &str, f64, usize),
) {
    line(svg, &format!("<text class=\"title\" x=\"{left}\" y=\"48\">{title}</text>"));
    let largest = report.rows.iter().filter_map(|row| row.median(quantity)).fold(0.0, f64::max);
    for (index, name) in names.iter().enumerate() {
        for (bar, underlay) in Underlay::ALL.into_iter().enumerate() {
            let Some(value) = median(report, name, underlay, quantity) else { continue };
            let y = HEAD + index * ROW + bar * BAR;
            // Half a pixel shows that there is something.
            let length = ((PANEL - FIGURE) as f64 * value / largest).max(0.5);
            let class = underlay.name();
            line(
                svg,
                &format!(
                    "<rect class=\"{class}\" x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" \
                     height=\"{}\"/>",
                    BAR - 1
                ),
            );
            let x = left as f64 + length + 3.0;
            let value = value * factor;
            line(
                svg,
                &format!(
                    "<text class=\"figure\" x=\"{x:.1}\" y=\"{}\">{value:.decimals$}</text>",
                    y + BAR - 1
                ),
            );
        }
    }
}

fn has(report: &Report, name: &str, underlay: Underlay) -> bool {
    report.on(underlay).any(|row| row.name == name)
}

fn median(report: &Report, name: &str, underlay: Underlay, quantity: Quantity) -> Option<f64> {
    report.on(underlay).find(|row| row.name == name)?.median(quantity)
}

fn line(svg: &mut String, element: &str) {
    writeln!(svg, "{element}").expect("a string takes all there is");
}
