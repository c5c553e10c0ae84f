//! Opening an output file: what happens to one that exists, and who else may write to it.

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
    /// Leave it alone and refuse.
    #[default]
    Refuse,
    /// Start it anew.
    Replace,
    /// Write behind what is there; `repair` cuts off an unfinished end.
    Append {
        /// Cut back to the last whole line.
        repair: bool,
    },
}

/// How long to wait for another recording that writes to the same file. Periodic recordings overlap
/// a little: one begins when the last one is about to end.
const OTHER_MAY_END: Duration = Duration::from_secs(5);

/// No header and no row of ours is longer.
const LONGEST_LINE: usize = 64 << 10;

/// A regular file, open for appending and locked.
#[derive(Debug)]
pub(super) struct Opened {
    /// Removes the file again if it was made here; before `file`, whose end unlocks it.
    pub(super) made: Option<Made>,
    pub(super) file: File,
    /// The length to cut it to before the first write.
    pub(super) cut_to: Option<u64>,
    /// The first line of a file that is appended to.
    pub(super) first_line: Option<Vec<u8>>,
}

/// A new file. Dropping this removes the file.
#[derive(Debug)]
pub(super) struct Made(PathBuf);

impl Made {
    /// Leaves the file where it is.
    pub(super) fn keep(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // The recording never began, and the reason was reported: an empty file would only be
            // in the way of the next one.
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Opens or creates a regular file for appending, with a lock, and changes nothing in it.
///
/// # Errors
///
/// If it exists and must not be touched, is being written by another recording, has an unfinished
/// end that must not be cut off, or cannot be opened.
pub(super) fn open_file(
    path: &Path,
    name: &str,
    existing: Existing,
    lines: Lines,
    compression: Option<Compression>,
) -> Result<Opened, Error> {
    let (mut file, made) = open_locked(path, name, existing)?;
    let mut opened = Opened {
        cut_to: None,
        first_line: None,
        made,
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
        "{name} ends {what} ({bytes} bytes of it)\n\
         --append --force cuts these off; or repair the file by hand"
    ))
}

/// Opens other things than regular files: FIFOs and devices.
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
            // The flag was only for the opening. The description is this program's own, and stays
            // open: a FIFO without a writer would end for its reader.
            let flags = fcntl_getfl(&file).map(|flags| flags - OFlags::NONBLOCK);
            let cleared = flags.and_then(|flags| fcntl_setfl(&file, flags));
            cleared.map_err(|error| unopened(name, &error.into()))?;
            return Ok(file);
        }
        // A FIFO without a reader. Opening it waits for one, and a signal still ends the program.
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
    Error::Failed(format!("{name}: could not be opened for writing: {error}"))
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    Error::Failed(format!("{name}: could not be read: {error}"))
}

/// Opens and locks the file that `path` names then.
fn open_locked(path: &Path, name: &str, existing: Existing) -> Result<(File, Option<Made>), Error> {
    loop {
        let (file, is_new) = open_or_create(path, name, existing)?;
        lock(&file, name)?;
        // Whoever had the lock may have removed the file, and data would go nowhere.
        let ours = file.metadata().map_err(|error| unopened(name, &error))?;
        if fs::metadata(path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()))
        {
            return Ok((file, is_new.then(|| Made(path.to_owned()))));
        }
    }
}

/// Opens `path`, and tells whether it had to be made.
fn open_or_create(path: &Path, name: &str, existing: Existing) -> Result<(File, bool), Error> {
    let reads = matches!(existing, Existing::Append { .. });
    let mut options = OpenOptions::new();
    // Appending even where the file is new: when somebody empties the file (logrotate's
    // copytruncate), the next row is written to its beginning.
    options.read(reads).append(true);
    match options.clone().create_new(true).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unopened(name, &error)),
        Err(_) if existing == Existing::Refuse => Err(exists(name)),
        // Through a link that leads nowhere a file can be made, but not with `create_new`.
        Err(_) => match options.create(true).open(path) {
            Ok(file) => Ok((file, false)),
            Err(error) => Err(unopened(name, &error)),
        },
    }
}

/// The refusal to overwrite something.
pub(super) fn exists(name: &str) -> Error {
    Error::Usage(format!(
        "{name} exists: --force replaces it, --append adds to it"
    ))
}

/// Locks the file for as long as it is open. Two recordings would each write a header and cut off
/// what they take for the other's unfinished end.
fn lock(file: &File, name: &str) -> Result<(), Error> {
    let deadline = Instant::now() + OTHER_MAY_END;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if Instant::now() < deadline => sleep(Duration::from_millis(50)),
            Err(Errno::AGAIN) => {
                return Err(Error::Failed(format!(
                    "{name} is being written by another recording: wait for its end, or choose another file"
                )));
            }
            // A file system without locks.
            Err(_) => return Ok(()),
        }
    }
}

/// What an existing file holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contents {
    /// Bytes up to the end of its last whole line, or member.
    whole: u64,
    /// Bytes behind that.
    unfinished: u64,
    first_line: Option<Vec<u8>>,
}

impl Contents {
    /// Reads it from its beginning: only from there is it known what is within quotes.
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

/// Looks at a whole file, and returns its first bytes.
fn read_all(file: &mut File, ends: &mut LineEnds) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))?;
    let mut start = Vec::new();
    let mut block = vec![0; LONGEST_LINE];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(start),
            Ok(count) => {
                let text = block.get(..count).unwrap_or_default();
                ends.look(text);
                let room = LONGEST_LINE.saturating_sub(start.len());
                start.extend_from_slice(text.get(..room).unwrap_or(text));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
