//! How vectors are written down.

use std::env;
use std::fmt::{Display, Write};
use std::fs;
use std::path::Path;

/// The text of a file of vectors.
pub(crate) struct Vectors(String);

impl Vectors {
    pub(crate) fn new(about: &str) -> Self {
        let lines: Vec<_> = about.lines().map(|line| format!("# {line}\n")).collect();
        Self(lines.concat())
    }

    pub(crate) fn block(&mut self, name: &str, about: &str) {
        if !about.is_empty() {
            write!(self.0, "\n# {about}").expect("a string grows");
        }
        write!(self.0, "\nvector {name}\n").expect("a string grows");
    }

    /// A field of bytes: `name 0x...`.
    pub(crate) fn bytes(&mut self, name: &str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.word(name, &format_args!("0x{hex}"));
    }

    /// A number in decimal, or a word.
    pub(crate) fn word(&mut self, name: &str, value: &dyn Display) {
        writeln!(self.0, "{name} {value}").expect("a string grows");
    }

    /// Compares with what is checked in, or writes it.
    pub(crate) fn check(self, file: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors").join(file);
        if env::var_os("ACTON_WRITE_VECTORS").is_some() {
            return fs::write(&path, &self.0).expect("the file can be written");
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        for (number, (made, there)) in self.0.lines().zip(there.lines()).enumerate() {
            assert_eq!(made, there, "{file}, line {}", number + 1);
        }
        assert_eq!(self.0.lines().count(), there.lines().count(), "lines of {file}");
    }
}
