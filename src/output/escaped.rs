//! Escapes control characters in the output of another format, for a terminal.

use super::Format;
use crate::model::Report;
use crate::text::escaped;

/// Another format with control characters escaped. A name with a line feed still spans two lines.
pub struct Escaped(pub Box<dyn Format>);

impl Escaped {
    fn append(out: &mut Vec<u8>, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        out.extend_from_slice(escaped(&text, &['\n']).as_bytes());
    }
}

impl Format for Escaped {
    fn names_cgroups(&self) -> bool {
        self.0.names_cgroups()
    }

    fn rows_are_independent(&self) -> bool {
        self.0.rows_are_independent()
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        let mut text = Vec::new();
        self.0.begin(&mut text);
        Self::append(out, &text);
    }

    fn report(&mut self, report: &Report, out: &mut Vec<u8>) {
        let mut text = Vec::new();
        self.0.report(report, &mut text);
        Self::append(out, &text);
    }
}
