//! Splits lines of CSV into fields.
//!
//! A recording can have many gigabytes, and `csv-core` looks at one byte after the other. So lines
//! without quotes are split here, eight bytes at a time. `csv-core` splits all others.

use csv_core::{ReadRecordResult, Reader};

use super::fields::SEPARATOR;
use super::schema::MOST_COLUMNS;

/// A bit at the top of each byte.
const TOPS: u64 = 0x8080_8080_8080_8080;
const COMMAS: u64 = u64::from_ne_bytes([b','; 8]);

/// Finds where the fields of a line end. The line has no quotes and no line end.
pub(super) fn split(line: &[u8], ends: &mut Vec<u32>) {
    ends.clear();
    let (words, rest) = line.as_chunks::<8>();
    let mut base = 0;
    for word in words {
        // A byte of `other` is 0 where the word has a comma. Adding 0x7f to its lower seven bits
        // sets the top bit of every other byte, and never carries into the next one.
        let other = u64::from_le_bytes(*word) ^ COMMAS;
        let mut found = !(((other & !TOPS) + !TOPS) | other) & TOPS;
        while found != 0 {
            ends.push(base + found.trailing_zeros() / 8);
            found &= found - 1;
        }
        base += 8;
    }
    for byte in rest {
        if *byte == b',' {
            ends.push(base);
        }
        base += 1;
    }
    ends.push(base);
}

/// Splits records that contain quotes.
pub(super) struct Quoted {
    reader: Reader,
    output: Vec<u8>,
    fields: Vec<usize>,
}

/// The result of [`Quoted::split`].
pub(super) enum Taken {
    /// A record was split; this many bytes belong to it.
    Record(usize),
    /// The record does not end in the text.
    Unfinished,
    /// The record has more fields than a recording can have.
    TooMany,
}

impl Quoted {
    pub(super) fn new() -> Self {
        Self {
            reader: Reader::new(),
            output: Vec::new(),
            fields: vec![0; MOST_COLUMNS + 1],
        }
    }

    /// Splits the first record of `input`. Its fields become `text`, with separators in between.
    pub(super) fn split(&mut self, input: &[u8], text: &mut Vec<u8>, ends: &mut Vec<u32>) -> Taken {
        // Fields without their quotes are never longer than the input.
        self.output.resize(input.len(), 0);
        self.reader.reset();
        let (result, taken, _, count) =
            self.reader
                .read_record(input, &mut self.output, &mut self.fields);
        match result {
            ReadRecordResult::Record => {}
            ReadRecordResult::OutputEndsFull => return Taken::TooMany,
            ReadRecordResult::InputEmpty | ReadRecordResult::OutputFull | ReadRecordResult::End => {
                return Taken::Unfinished;
            }
        }
        text.clear();
        ends.clear();
        let mut begin = 0;
        for &end in self.fields.iter().take(count) {
            if !ends.is_empty() {
                text.push(SEPARATOR);
            }
            text.extend_from_slice(self.output.get(begin..end).unwrap_or_default());
            ends.push(text.len() as u32);
            begin = end;
        }
        Taken::Record(taken)
    }
}
