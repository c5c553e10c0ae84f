//! Opens a recording, decompresses it, and passes it on in blocks that end with a line.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::error::Error;
use crate::text::shown_path;

/// The longest line, in bytes. Lines of recordings have some hundred.
pub const MOST_BYTES: usize = 256 << 10;

/// How many blocks wait between the two threads.
const WAITING: usize = 4;

/// A recording that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Input {
    /// The input that an argument names; `-` is standard input.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.as_os_str() == "-" {
            true => Self::Stdin,
            false => Self::File(path.to_owned()),
        }
    }

    /// The name for messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => shown_path(path),
        }
    }

    /// Whether the input can be read twice.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        match self {
            Self::Stdin => false,
            Self::File(path) => path.metadata().is_ok_and(|metadata| metadata.is_file()),
        }
    }

    /// Whether `path` is the file that is read. Two names can mean the same file.
    #[must_use]
    pub fn is_file(&self, path: &Path) -> bool {
        let own = match self {
            Self::Stdin => Path::new("/dev/stdin"),
            Self::File(path) => path,
        };
        match (own.metadata(), path.metadata()) {
            (Ok(own), Ok(other)) => {
                own.is_file() && (own.dev(), own.ino()) == (other.dev(), other.ino())
            }
            _ => false,
        }
    }

    pub(super) fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        let path = match self {
            Self::Stdin => return Ok(Box::new(io::stdin())),
            Self::File(path) => path,
        };
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Usage(format!("{}: {error}", self.name())),
            _ => Error::failed(self.name(), error),
        })?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Error::Usage(format!("{} is a directory", self.name())));
        }
        Ok(Box::new(file))
    }
}

/// A part of a recording.
pub(super) enum Part {
    /// Whole lines, as far as a line feed ends a line.
    Lines(Vec<u8>),
    /// The end: text without a line end, and whether compressed data was cut off.
    End {
        /// Text after the last line end.
        rest: Vec<u8>,
        /// Whether the last member of a compressed file is incomplete.
        is_cut: bool,
    },
    /// A line is longer than [`MOST_BYTES`].
    TooLong,
    /// The file cannot be read or decompressed.
    Failed(io::Error),
}

/// The parts of a recording. A second thread reads and decompresses them.
pub(super) struct Parts {
    parts: Receiver<Part>,
    spare: Sender<Vec<u8>>,
}

impl Parts {
    pub(super) fn new(input: Box<dyn Read + Send>) -> Result<Self, Error> {
        let (sender, parts) = sync_channel(WAITING);
        let (spare, spares) = channel();
        thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || send(input, &sender, &spares))
            .map_err(|error| Error::failed("a thread could not be started", error))?;
        Ok(Self { parts, spare })
    }

    /// The next part. `None` only after the end or an error.
    pub(super) fn next(&self) -> Option<Part> {
        self.parts.recv().ok()
    }

    /// Takes back the memory of a block.
    pub(super) fn recycle(&self, block: Vec<u8>) {
        // The other thread may have ended.
        let _ = self.spare.send(block);
    }
}

fn send(input: Box<dyn Read + Send>, sender: &SyncSender<Part>, spares: &Receiver<Vec<u8>>) {
    let mut decoder = match decoder(input) {
        Ok(decoder) => decoder,
        Err(error) => {
            let _ = sender.send(Part::Failed(error));
            return;
        }
    };
    let mut rest = Vec::new();
    loop {
        let mut block = spares.try_recv().unwrap_or_default();
        block.clear();
        block.reserve_exact(MOST_BYTES);
        block.extend_from_slice(&rest);
        let room = MOST_BYTES - block.len();
        let read = decoder.by_ref().take(room as u64).read_to_end(&mut block);
        let is_full = block.len() == MOST_BYTES;
        let whole = memchr::memrchr(b'\n', &block).map_or(0, |at| at + 1);
        rest.clear();
        rest.extend_from_slice(block.get(whole..).unwrap_or_default());
        block.truncate(whole);
        let last = match read {
            Ok(_) if is_full && whole == 0 => Some(Part::TooLong),
            Ok(_) if is_full => None,
            Ok(_) => Some(Part::End {
                rest: std::mem::take(&mut rest),
                is_cut: false,
            }),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Some(Part::End {
                rest: std::mem::take(&mut rest),
                is_cut: true,
            }),
            Err(error) => Some(Part::Failed(error)),
        };
        // An error of the channel means that the reader needs no more.
        if !block.is_empty() && sender.send(Part::Lines(block)).is_err() {
            return;
        }
        if let Some(last) = last {
            let _ = sender.send(last);
            return;
        }
    }
}

/// Finds out by the first bytes whether the input is compressed.
fn decoder(mut input: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut head = Vec::new();
    input.by_ref().take(4).read_to_end(&mut head)?;
    let kind = head.clone();
    let whole = Cursor::new(head).chain(input);
    Ok(match kind.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(
            BufReader::with_capacity(64 << 10, whole),
        )),
        // A frame of Zstandard, or one without data, with which some programs begin.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            Box::new(zstd::stream::read::Decoder::new(whole)?)
        }
        _ => Box::new(whole),
    })
}
