//! The text of metrics: Prometheus's format 0.0.4, and OpenMetrics 1.0.

use std::fmt::{Display, Write as _};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    pub(in crate::http) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family of series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, from the start of the process.
    Counter,
    /// It is as it is now.
    Gauge,
    /// How many of what is now are how large: no counts that grow.
    Spread,
}

/// A family of series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    /// Its name; that of a counter ends in `_total`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The names of its labels.
    pub(super) labels: &'static [&'static str],
    /// A sentence for people.
    pub(super) help: &'static str,
}

impl Family {
    /// The unit that its name ends in, where it has one.
    fn unit(&self) -> Option<&'static str> {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit))
    }
}

/// Metrics on their way out.
#[derive(Debug)]
pub(super) struct Text {
    format: Format,
    out: String,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Self { format, out: String::new() }
    }

    /// Begins a family; its samples come next.
    pub(super) fn family(&mut self, family: &Family) {
        let Family { name, kind, help, .. } = *family;
        let (name, kind) = match (self.format, kind) {
            (Format::Prometheus, Kind::Counter) => (name, "counter"),
            (Format::OpenMetrics, Kind::Counter) => {
                (name.strip_suffix("_total").unwrap_or(name), "counter")
            }
            (_, Kind::Gauge) => (name, "gauge"),
            (Format::Prometheus, Kind::Spread) => (name, "histogram"),
            (Format::OpenMetrics, Kind::Spread) => (name, "gaugehistogram"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        if let (Format::OpenMetrics, Some(unit)) = (self.format, family.unit()) {
            let _ = writeln!(self.out, "# UNIT {name} {unit}");
        }
    }

    /// A family of one sample without labels.
    pub(super) fn single(&mut self, family: &Family, value: impl Display) {
        self.family(family);
        self.sample(family, &[], value);
    }

    /// A sample of the family that was begun last, with a value for each of its labels.
    pub(super) fn sample(&mut self, family: &Family, values: &[&str], value: impl Display) {
        debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
        let labels: Vec<_> = family.labels.iter().copied().zip(values.iter().copied()).collect();
        self.line(family.name, "", &labels, value);
    }

    /// The samples of a [spread](Kind::Spread): how many of `values` are no larger than each bound, how
    /// many there are, and their sum.
    pub(super) fn spread(&mut self, family: &Family, bounds: &[f64], values: &[f64]) {
        for bound in bounds {
            let below = values.iter().filter(|&value| value <= bound).count();
            self.line(family.name, "_bucket", &[("le", &bound.to_string())], below);
        }
        let (count, sum) = match self.format {
            Format::Prometheus => ("_count", "_sum"),
            Format::OpenMetrics => ("_gcount", "_gsum"),
        };
        self.line(family.name, "_bucket", &[("le", "+Inf")], values.len());
        self.line(family.name, sum, &[], values.iter().sum::<f64>());
        self.line(family.name, count, &[], values.len());
    }

    fn line(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(name);
        self.out.push_str(suffix);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.out, "{before}{label}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.out, "{end} {value}");
    }

    /// All of it.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: Family =
        Family { name: "x_bytes_total", kind: Kind::Counter, labels: &["a", "b"], help: "Some." };
    const RTT: Family =
        Family { name: "rtt_seconds", kind: Kind::Spread, labels: &[], help: "It." };

    fn written(format: Format) -> String {
        let mut text = Text::new(format);
        text.family(&BYTES);
        text.sample(&BYTES, &["1", "\"\\\n"], 7);
        text.family(&RTT);
        text.spread(&RTT, &[0.001, 0.5], &[0.000_976_562_5, 0.25, 0.25, 2.0]);
        text.end()
    }

    #[test]
    fn both_formats() {
        let spread = "rtt_seconds_bucket{le=\"0.001\"} 1\nrtt_seconds_bucket{le=\"0.5\"} 3\n\
                      rtt_seconds_bucket{le=\"+Inf\"} 4\n";
        assert_eq!(
            written(Format::Prometheus),
            format!(
                "# HELP x_bytes_total Some.\n# TYPE x_bytes_total counter\n\
                 x_bytes_total{{a=\"1\",b=\"\\\"\\\\\\n\"}} 7\n\
                 # HELP rtt_seconds It.\n# TYPE rtt_seconds histogram\n{spread}\
                 rtt_seconds_sum 2.5009765625\nrtt_seconds_count 4\n"
            )
        );
        assert_eq!(
            written(Format::OpenMetrics),
            format!(
                "# HELP x_bytes Some.\n# TYPE x_bytes counter\n# UNIT x_bytes bytes\n\
                 x_bytes_total{{a=\"1\",b=\"\\\"\\\\\\n\"}} 7\n\
                 # HELP rtt_seconds It.\n# TYPE rtt_seconds gaugehistogram\n\
                 # UNIT rtt_seconds seconds\n{spread}rtt_seconds_gsum 2.5009765625\nrtt_seconds_gcount 4\n\
                 # EOF\n"
            )
        );
    }
}
