//! Opens output files. Handles existing files, and locks the file against other recordings.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, fcntl_setfl, flock};
use rustix::io::Errno;

use super::compress::{self, Compression};
use super::lines::{LineEnds, Lines};
use crate::error::Error;
use crate::text::to_stderr;

/// What to do about an output file that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Report an error, and leave the file unchanged.
    #[default]
    Refuse,
    /// Replace the contents.
    Replace,
    /// Write after the existing contents.
    Append {
        /// Whether to cut off an unfinished line at the end.
        repair: bool,
    },
}

/// How long to wait for another recording that writes to the same file. Periodic recordings can
/// overlap a little: one begins while the one before is about to end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// An upper limit for the length of a header or a row, in bytes.
const LONGEST_LINE: usize = 64 << 10;

/// A regular file, open for appending and locked.
#[derive(Debug)]
pub(super) struct Opened {
    /// Removes a new file on drop. The field is declared before `file`, because dropping `file`
    /// releases the lock.
    pub(super) new_file: Option<NewFile>,
    pub(super) file: File,
    /// The length to truncate the file to before the first write.
    pub(super) cut_to: Option<u64>,
    /// The first line of a file that is appended to.
    pub(super) first_line: Option<Vec<u8>>,
}

/// A new file. Dropping this removes the file.
#[derive(Debug)]
pub(super) struct NewFile(PathBuf);

impl NewFile {
    /// Keeps the file.
    pub(super) fn keep(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // The recording never began, and the reason was reported. An empty file would make the
            // next recording fail.
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Opens or creates a regular file for appending, with a lock, and changes nothing in it.
///
/// # Errors
///
/// If the file exists and must not be changed, is being written by another recording, has an
/// unfinished end that must not be cut off, or cannot be opened.
pub(super) fn open_file(
    path: &Path,
    name: &str,
    existing: Existing,
    lines: Lines,
    compression: Option<Compression>,
) -> Result<Opened, Error> {
    let (mut file, new_file) = open_locked(path, name, existing)?;
    let mut opened = Opened {
        cut_to: None,
        first_line: None,
        new_file,
        file: file.try_clone().map_err(|error| unreadable(name, &error))?,
    };
    match existing {
        Existing::Refuse => {}
        Existing::Replace => opened.cut_to = Some(0),
        Existing::Append { repair } => {
            let contents = Contents::of(&mut file, lines, compression)
                .map_err(|error| unreadable(name, &error))?;
            if contents.unfinished > 0 {
                if !repair {
                    return Err(unfinished(name, contents.unfinished, compression));
                }
                opened.cut_to = Some(contents.whole);
            }
            opened.first_line = contents.first_line;
        }
    }
    Ok(opened)
}

fn unfinished(name: &str, bytes: u64, compression: Option<Compression>) -> Error {
    let what = match compression {
        None => "in the middle of a line",
        Some(_) => "in an unfinished part",
    };
    Error::Usage(format!(
        "{name} ends {what} ({bytes} bytes)\n\
         --append --force removes these bytes; or repair the file by hand"
    ))
}

/// Opens a FIFO or a device.
///
/// # Errors
///
/// If they cannot be opened for writing.
pub(super) fn open_other(path: &Path, name: &str) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.write(true);
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    match options.clone().custom_flags(raw(flags)).open(path) {
        Ok(file) => {
            // The flag was needed only for opening. The open file description is not shared. It
            // stays open, since the reader of a FIFO without a writer would see the end of the file.
            let flags = fcntl_getfl(&file).map(|flags| flags - OFlags::NONBLOCK);
            let cleared = flags.and_then(|flags| fcntl_setfl(&file, flags));
            cleared.map_err(|error| unopened(name, &error.into()))?;
            return Ok(file);
        }
        // A FIFO without a reader. Opening the FIFO waits for a reader; a signal still ends the
        // program.
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            if fs::metadata(path).is_ok_and(|data| data.file_type().is_socket()) {
                return Err(Error::Usage(format!(
                    "{name} is a socket: give a file or a FIFO, or connect a program to standard output"
                )));
            }
            to_stderr(format!("netatop: {name}: waiting for a reader"));
        }
        Err(error) => return Err(unopened(name, &error)),
    }
    options
        .custom_flags(raw(OFlags::NOCTTY))
        .open(path)
        .map_err(|error| unopened(name, &error))
}

fn raw(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

fn unopened(name: &str, error: &io::Error) -> Error {
    Error::Failed(format!("{name}: cannot open for writing: {error}"))
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    Error::Failed(format!("{name}: cannot read: {error}"))
}

/// Opens and locks the file. When this returns, `path` still names the locked file.
fn open_locked(
    path: &Path,
    name: &str,
    existing: Existing,
) -> Result<(File, Option<NewFile>), Error> {
    loop {
        let (file, is_new) = open_or_create(path, name, existing)?;
        lock(&file, name)?;
        // The previous holder of the lock may have removed the file. Data would be lost then.
        let ours = file.metadata().map_err(|error| unopened(name, &error))?;
        if fs::metadata(path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()))
        {
            return Ok((file, is_new.then(|| NewFile(path.to_owned()))));
        }
    }
}

/// Opens or creates `path`. Also returns whether the file is new.
fn open_or_create(path: &Path, name: &str, existing: Existing) -> Result<(File, bool), Error> {
    let reads = matches!(existing, Existing::Append { .. });
    let mut options = OpenOptions::new();
    // Use append mode for new files too. If another program empties the file (logrotate's
    // copytruncate), the next row is then written at the beginning.
    options.read(reads).append(true);
    match options.clone().create_new(true).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unopened(name, &error)),
        Err(_) if existing == Existing::Refuse => Err(exists(name)),
        // `create_new` refuses a dangling symbolic link, but `create` makes its target.
        Err(_) => match options.create(true).open(path) {
            Ok(file) => Ok((file, false)),
            Err(error) => Err(unopened(name, &error)),
        },
    }
}

/// The error for a file that exists and must not be overwritten.
pub(super) fn exists(name: &str) -> Error {
    Error::Usage(format!(
        "{name} exists: --force replaces it, --append adds to it"
    ))
}

/// Locks the file as long as it is open. Without the lock, two recordings would each write a header
/// and could cut off the other's unfinished line.
fn lock(file: &File, name: &str) -> Result<(), Error> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if Instant::now() < deadline => sleep(Duration::from_millis(50)),
            Err(Errno::AGAIN) => {
                return Err(Error::Failed(format!(
                    "{name} is being written by another recording: wait until the other recording ends, or choose another file"
                )));
            }
            // The file system has no locks.
            Err(_) => return Ok(()),
        }
    }
}

/// The contents of an existing file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contents {
    /// Bytes up to the end of the last whole line or member.
    whole: u64,
    /// Bytes after that.
    unfinished: u64,
    first_line: Option<Vec<u8>>,
}

impl Contents {
    /// Reads the file from the beginning, which is needed to know which line ends are quoted.
    fn of(file: &mut File, lines: Lines, compression: Option<Compression>) -> io::Result<Self> {
        let (whole, start) = match compression {
            Some(compression) => {
                let scanned = compress::scan(file, compression, lines, LONGEST_LINE)?;
                (scanned.whole, scanned.start)
            }
            None => {
                let mut ends = LineEnds::new(lines);
                let start = read_all(file, &mut ends)?;
                (ends.whole(), start)
            }
        };
        let length = file.metadata()?.len();
        let first = start.split_inclusive(|byte| *byte == b'\n').next();
        Ok(Self {
            whole,
            unfinished: length.saturating_sub(whole),
            first_line: first
                .filter(|line| line.ends_with(b"\n") || line.len() == LONGEST_LINE)
                .map(<[u8]>::to_vec),
        })
    }
}

/// Scans a whole file for line ends, and returns its first bytes.
fn read_all(file: &mut File, ends: &mut LineEnds) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))?;
    let mut start = Vec::new();
    let mut block = vec![0; LONGEST_LINE];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(start),
            Ok(count) => {
                let text = block.get(..count).unwrap_or_default();
                ends.scan(text);
                let room = LONGEST_LINE.saturating_sub(start.len());
                start.extend_from_slice(text.get(..room).unwrap_or(text));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
