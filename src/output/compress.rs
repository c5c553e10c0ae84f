//! Compressed output in gzip or Zstandard format.
//!
//! Each interval is one gzip member or Zstandard frame. Both formats may be concatenated, so a file
//! is complete after each interval. All finished intervals can be read without an error during the
//! recording, or after netatop was killed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use flate2::write::GzEncoder;

use super::lines::{LineEnds, Lines};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// The default levels of zlib and Zstandard.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Compresses text into members. The encoder holds no buffers between members.
pub(super) struct Encoder {
    compression: Compression,
    member: Option<Member>,
}

enum Member {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    pub(super) fn new(compression: Compression) -> Self {
        Self {
            compression,
            member: None,
        }
    }

    /// Adds text to the member in progress.
    pub(super) fn push(&mut self, text: &[u8]) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let member = match self.member.take() {
            Some(member) => member,
            None => Member::new(self.compression)?,
        };
        match self.member.insert(member) {
            Member::Gzip(encoder) => encoder.write_all(text),
            Member::Zstd(encoder) => encoder.write_all(text),
        }
    }

    /// Compresses `text` as a separate member. The member in progress is unaffected.
    pub(super) fn separate_member(&self, text: &[u8]) -> io::Result<Vec<u8>> {
        let mut other = Self {
            compression: self.compression,
            member: Some(Member::new(self.compression)?),
        };
        other.push(text)?;
        other.finish()
    }

    /// Ends and returns the member in progress; empty if there is none.
    pub(super) fn finish(&mut self) -> io::Result<Vec<u8>> {
        match self.member.take() {
            None => Ok(Vec::new()),
            Some(Member::Gzip(encoder)) => encoder.finish(),
            Some(Member::Zstd(encoder)) => encoder.finish(),
        }
    }
}

impl Member {
    fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Gzip => Self::Gzip(GzEncoder::new(
                Vec::new(),
                flate2::Compression::new(GZIP_LEVEL),
            )),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                // The checksum detects damaged frames; gzip always has one.
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }
}

/// A reader that counts consumed bytes, and remembers an error of the underlying reader.
struct Counted<R> {
    reader: R,
    consumed: u64,
    failed: Option<io::ErrorKind>,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), available.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let failed = &mut self.failed;
        self.reader
            .fill_buf()
            .inspect_err(|error| *failed = Some(error.kind()))
    }

    fn consume(&mut self, count: usize) {
        self.consumed += count as u64;
        self.reader.consume(count);
    }
}

/// The result of scanning a compressed file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Bytes of the file up to the last member after which the text ends in a whole line.
    pub(super) whole: u64,
    /// The first bytes of the text, up to the limit.
    pub(super) start: Vec<u8>,
}

/// Decompresses a file from the beginning up to the first damaged or incomplete member. Returns the
/// first `limit` bytes of the text.
///
/// # Errors
///
/// If the file cannot be read. Data that cannot be decompressed is not an error: the file counts
/// as whole up to that point.
pub(super) fn scan(
    file: &mut File,
    compression: Compression,
    lines: Lines,
    limit: usize,
) -> io::Result<Scanned> {
    file.seek(SeekFrom::Start(0))?;
    scan_from(BufReader::new(file), compression, lines, limit)
}

/// Like [`scan`], from any reader.
pub(crate) fn scan_from(
    reader: impl BufRead,
    compression: Compression,
    lines: Lines,
    limit: usize,
) -> io::Result<Scanned> {
    let mut reader = Counted {
        reader,
        consumed: 0,
        failed: None,
    };
    let mut ends = LineEnds::new(lines);
    let mut scanned = Scanned::default();
    loop {
        match reader.fill_buf() {
            Ok([]) => return Ok(scanned),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let before = reader.consumed;
        let mut take = |text: &[u8]| {
            ends.scan(text);
            let room = limit.saturating_sub(scanned.start.len());
            scanned
                .start
                .extend_from_slice(text.get(..room).unwrap_or(text));
        };
        let done = match compression {
            Compression::Gzip => {
                each_block(flate2::bufread::GzDecoder::new(&mut reader), &mut take)
            }
            Compression::Zstd => zstd::stream::read::Decoder::with_buffer(&mut reader)
                .and_then(|decoder| each_block(decoder.single_frame(), &mut take)),
        };
        if let Some(kind) = reader.failed {
            return Err(kind.into());
        }
        if done.is_err() || reader.consumed == before {
            return Ok(scanned);
        }
        if ends.unfinished() == 0 {
            scanned.whole = reader.consumed;
        }
    }
}

fn each_block(mut decoder: impl Read, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let mut block = vec![0; 64 << 10];
    loop {
        match decoder.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(count) => take(block.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

    fn member(compression: Compression, text: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(compression);
        for part in text.chunks(7) {
            encoder.push(part).expect("in memory");
        }
        encoder.finish().expect("in memory")
    }

    #[test]
    fn empty_text_makes_no_member() {
        for compression in BOTH {
            assert_eq!(member(compression, b""), b"");
        }
    }

    #[test]
    fn a_file_is_whole_up_to_its_last_whole_member() {
        for compression in BOTH {
            let first = member(compression, b"header\n");
            let second = member(compression, b"1,\"a\nb\"\n");
            let half = member(compression, b"2,x");
            let whole = (first.len() + second.len()) as u64;
            for tail in [
                Vec::new(),
                half.clone(),
                second[..second.len() - 1].to_vec(),
                second[..1].to_vec(),
                b"noise".to_vec(),
                vec![0; 100],
            ] {
                let file = [first.as_slice(), &second, &tail].concat();
                let scanned =
                    scan_from(file.as_slice(), compression, Lines::Quoted, 9).expect("in memory");
                assert_eq!(scanned.whole, whole, "{compression:?} {tail:?}");
                assert_eq!(scanned.start, b"header\n1,");
            }
        }
    }

    proptest! {
        #[test]
        fn noise_is_never_whole_and_never_a_panic(noise in prop::collection::vec(any::<u8>(), 0..2000)) {
            for compression in BOTH {
                let scanned =
                    scan_from(noise.as_slice(), compression, Lines::Quoted, 100).expect("in memory");
                prop_assert!(scanned.whole <= noise.len() as u64);
            }
        }

        #[test]
        fn a_truncated_file_is_whole_up_to_a_member(cut in 0.0..1.0_f64) {
            for compression in BOTH {
                let members: Vec<_> = (0..4)
                    .map(|n| member(compression, format!("{n},{}\n", "y".repeat(n * 50)).as_bytes()))
                    .collect();
                let mut ends = vec![0];
                for member in &members {
                    ends.push(ends.last().expect("one") + member.len());
                }
                let file = members.concat();
                let length = (file.len() as f64 * cut) as usize;
                let scanned =
                    scan_from(&file[..length], compression, Lines::Plain, 0).expect("in memory");
                let wanted = ends.iter().rfind(|end| **end <= length).expect("0 at least");
                prop_assert_eq!(scanned.whole, *wanted as u64);
            }
        }
    }
}
