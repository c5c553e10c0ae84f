//! Tests of compressed output files.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use proptest::prelude::*;

use super::{APPEND, HEADER, REPAIR, place, read, refused, write};
use crate::error::Error;
use crate::output::{Compression, Existing, Lines, Sink};

fn decompressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    match compression {
        Compression::Gzip => {
            MultiGzDecoder::new(bytes)
                .read_to_end(&mut text)
                .expect("whole members");
        }
        Compression::Zstd => text = zstd::decode_all(bytes).expect("whole frames"),
    }
    text
}

const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

fn compressed(path: &Path, existing: Existing, compression: Compression) -> Result<Sink, Error> {
    let mut sink = Sink::open(path, existing, Lines::Quoted, Some(compression))?;
    sink.begin(HEADER)?;
    Ok(sink)
}

#[test]
fn every_finished_interval_can_be_decompressed_at_once() {
    for compression in BOTH {
        let place = place("out");
        let mut sink = compressed(&place.path, Existing::Refuse, compression).expect("open");
        let mut wanted = HEADER.to_vec();
        for text in [b"1,\"a\nb\"\n".as_slice(), b"", b"2,x\n"] {
            // Write in parts, as a session does.
            for part in text.split_inclusive(|byte| *byte == b',') {
                sink.text().extend_from_slice(part);
                sink.flush().expect("flush");
            }
            sink.end_interval().expect("end");
            wanted.extend_from_slice(text);
            assert_eq!(decompressed(compression, &read(&place.path)), wanted);
        }
    }
}

#[test]
fn a_compressed_file_is_continued_cut_back_and_checked_like_another() {
    for compression in BOTH {
        let place = place("out");
        let path = &place.path;
        write(
            &mut compressed(path, APPEND, compression).expect("open"),
            b"a\n",
        )
        .expect("write");
        let whole = read(path);
        let mut sink = compressed(path, APPEND, compression).expect("open");
        assert_eq!(sink.first_line(), Some(HEADER));
        write(&mut sink, b"b\n").expect("write");
        drop(sink);
        let both = read(path);
        // The last member is truncated.
        fs::write(path, &both[..both.len() - 3]).expect("cut");
        let told = refused(compressed(path, APPEND, compression)).to_string();
        let left = both.len() - 3 - whole.len();
        assert!(told.contains(&format!("({left} bytes")), "{told}");
        write(
            &mut compressed(path, REPAIR, compression).expect("open"),
            b"c\n",
        )
        .expect("write");
        assert_eq!(decompressed(compression, &read(path)), b"head\na\nc\n");
        // No part of the file is whole, so it starts again with a header.
        fs::write(path, &whole[..5]).expect("cut");
        write(
            &mut compressed(path, REPAIR, compression).expect("open"),
            b"d\n",
        )
        .expect("write");
        assert_eq!(decompressed(compression, &read(path)), b"head\nd\n");
    }
}

#[test]
fn a_compressed_file_that_is_emptied_goes_on_with_a_header() {
    for compression in BOTH {
        let place = place("out");
        let mut sink = compressed(&place.path, Existing::Refuse, compression).expect("open");
        write(&mut sink, b"a\n").expect("write");
        fs::write(&place.path, "").expect("empty it");
        write(&mut sink, b"b\n").expect("write");
        assert_eq!(decompressed(compression, &read(&place.path)), b"head\nb\n");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// The file contains a header and all rows since it was last emptied, with any division of the
    /// text into parts.
    #[test]
    fn the_file_holds_the_rows_since_it_was_emptied(
        steps in prop::collection::vec((prop::collection::vec("[a-z,]{0,30}\n", 0..5), any::<bool>()), 1..8),
        compression in prop::option::of(prop::sample::select(&BOTH[..])),
    ) {
        let place = place("out");
        let mut sink = Sink::open(&place.path, APPEND, Lines::Quoted, compression).expect("open");
        sink.begin(HEADER).expect("begin");
        sink.end_interval().expect("end");
        let mut wanted = HEADER.to_vec();
        for (rows, empties) in steps {
            if empties {
                fs::write(&place.path, "").expect("empty it");
                wanted = HEADER.to_vec();
            }
            for row in rows {
                sink.text().extend_from_slice(row.as_bytes());
                sink.flush().expect("flush");
                wanted.extend_from_slice(row.as_bytes());
            }
            sink.end_interval().expect("end");
            let file = read(&place.path);
            let text = match compression {
                Some(compression) => decompressed(compression, &file),
                None => file,
            };
            prop_assert_eq!(&text, &wanted);
        }
    }
}
