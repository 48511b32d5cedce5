//! A picture of a screen, for the documentation.

use std::fmt::Write as _;
use std::{env, fs};

use vt100::{Color, Parser};

/// Width and height of a character, and where its base line is, in units of the picture.
const CELL: (u32, u32, u32) = (8, 17, 13);
const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d5d8df";
/// The first eight colours of a terminal, then the bright ones.
const PALETTE: [&str; 16] = [
    "#16181d", "#f2777a", "#99cc99", "#ffcc66", "#6699cc", "#cc99cc", "#66cccc", "#d5d8df",
    "#7d828c", "#f2777a", "#99cc99", "#ffcc66", "#6699cc", "#cc99cc", "#66cccc", "#ffffff",
];

/// Whether a picture is to be made: SNAPSHOTS=write.
pub(crate) fn is_asked() -> bool {
    env::var_os("SNAPSHOTS").is_some_and(|it| it == "write")
}

/// Writes docs/top.svg.
pub(crate) fn write(parser: &Parser) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/top.svg");
    fs::write(path, svg(parser)).unwrap();
}

fn svg(parser: &Parser) -> String {
    let screen = parser.screen();
    let (rows, columns) = screen.size();
    let (width, height, base) = CELL;
    let (whole_width, whole_height) =
        (u32::from(columns) * width + 16, u32::from(rows) * height + 16);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole_width} {whole_height}\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"13.28\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n"
    );
    for row in 0..rows {
        let mut column = 0;
        while column < columns {
            let style =
                |at| screen.cell(row, at).map(|cell| (color(cell), cell.inverse(), cell.bold()));
            let is = style(column);
            let run = (column..columns).take_while(|&at| style(at) == is).count() as u16;
            let letters: String = (column..column + run)
                .map(|at| match screen.cell(row, at).map(|cell| cell.contents().to_owned()) {
                    Some(letter) if !letter.is_empty() => letter,
                    _ => " ".to_owned(),
                })
                .collect();
            let (x, y) = (8 + u32::from(column) * width, 8 + u32::from(row) * height);
            let ((color, inverse, bold), length) = (is.unwrap(), u32::from(run) * width);
            if inverse {
                writeln!(
                    text,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{length}\" height=\"{height}\" fill=\"{color}\"/>"
                )
                .unwrap();
            }
            if !letters.trim().is_empty() {
                let fill = if inverse { BACKGROUND } else { color };
                let weight = if bold { " font-weight=\"bold\"" } else { "" };
                let letters = letters.replace('&', "&amp;").replace('<', "&lt;");
                writeln!(
                    text,
                    "<text x=\"{x}\" y=\"{}\" fill=\"{fill}\"{weight} textLength=\"{length}\" \
                     xml:space=\"preserve\">{letters}</text>",
                    y + base
                )
                .unwrap();
            }
            column += run;
        }
    }
    text.push_str("</svg>\n");
    text
}

fn color(cell: &vt100::Cell) -> &'static str {
    match cell.fgcolor() {
        Color::Idx(index @ 0..16) => PALETTE[usize::from(index)],
        _ => FOREGROUND,
    }
}
