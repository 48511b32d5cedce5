//! The figures as a chart: SVG that is legible on a light and on a dark page.

use std::fmt::Write;

use super::Report;
use crate::contender;
use crate::measure::Quantity;
use crate::world::Underlay;

/// What is charted, side by side, and the decimals of its figures.
const PANELS: [(Quantity, &str, usize); 4] = [
    (Quantity::TcpToServer, "TCP, one stream, Gbit/s", 2),
    (Quantity::Frames, "64-byte frames, thousands/s", 0),
    (Quantity::Rtt, "ping, idle, us (less is better)", 0),
    (Quantity::RttLoaded, "ping beside TCP, us (less is better)", 0),
];

// Pixels.
const NAMES: usize = 140;
const PANEL: usize = 225;
/// What the figure takes behind the longest bar, and the gap to the next panel.
const FIGURE: usize = 46;
const HEAD: usize = 66;
const BAR: usize = 9;
const ROW: usize = 2 * BAR + 8;

const STYLE: &str = "\
text{font:11px system-ui,sans-serif;fill:#57606a}.title{font-weight:600}.figure{font-size:9px}
.through{fill:#a9b8c8}.wire{fill:#6e8096}.own .through{fill:#7fa7d9}.own .wire{fill:#2f6fb5}
.own .name{font-weight:700}.band{fill:#8080801a}
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
    for (column, (_, title, _)) in PANELS.into_iter().enumerate() {
        let x = NAMES + column * PANEL;
        line(&mut svg, &format!("<text class=\"title\" x=\"{x}\" y=\"50\">{title}</text>"));
    }
    for (index, name) in names.iter().enumerate() {
        row(&mut svg, report, name, index);
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String) {
    let meanings = [
        (Underlay::Through, "super-frames cross whole"),
        (Underlay::Wire, "MTU-size packets cross"),
    ];
    for (index, (underlay, meaning)) in meanings.into_iter().enumerate() {
        let (class, x) = (underlay.name(), NAMES + index * PANEL);
        line(
            svg,
            &format!("<rect class=\"{class}\" x=\"{x}\" y=\"10\" width=\"18\" height=\"{BAR}\"/>"),
        );
        line(svg, &format!("<text x=\"{}\" y=\"18\">{class}: {meaning}</text>", x + 24));
    }
}

/// A contender's name, and its bars in each panel; every other row has a shade behind it.
fn row(svg: &mut String, report: &Report, name: &str, index: usize) {
    let top = HEAD + index * ROW;
    let own = name.starts_with("acton") && name != contender::PREDECESSOR;
    let class = if own { " class=\"own\"" } else { "" };
    line(svg, &format!("<g{class}>"));
    if index.is_multiple_of(2) {
        let (y, width) = (top - 4, NAMES + PANELS.len() * PANEL);
        line(svg, &format!("<rect class=\"band\" y=\"{y}\" width=\"{width}\" height=\"{ROW}\"/>"));
    }
    let (x, y) = (NAMES - 8, top + BAR + 4);
    line(
        svg,
        &format!("<text class=\"name\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{name}</text>"),
    );
    for (column, (quantity, _, decimals)) in PANELS.into_iter().enumerate() {
        let left = NAMES + column * PANEL;
        let largest = report.rows.iter().filter_map(|row| row.median(quantity)).fold(0.0, f64::max);
        for (bar, underlay) in Underlay::ALL.into_iter().enumerate() {
            let Some(value) = median(report, name, underlay, quantity) else { continue };
            // Half a pixel shows that there is something.
            let length = ((PANEL - FIGURE) as f64 * value / largest).max(0.5);
            let (class, y, height) = (underlay.name(), top + bar * BAR, BAR - 1);
            line(
                svg,
                &format!(
                    "<rect class=\"{class}\" x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" \
                     height=\"{height}\"/>"
                ),
            );
            let (x, y) = (left as f64 + length + 3.0, y + height);
            line(
                svg,
                &format!("<text class=\"figure\" x=\"{x:.1}\" y=\"{y}\">{value:.decimals$}</text>"),
            );
        }
    }
    line(svg, "</g>");
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
