//! The options of a scenario, reading standard input, and errors.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use nix::errno::Errno;
use nix::libc;

use crate::truth::Truth;

/// A result with any error. Only the message of the error matters.
pub type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// An error that is not a failure: this kernel or host does not support the scenario.
#[derive(Debug)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unavailable {}

/// An [`Unavailable`] as a boxed error.
pub fn unavailable(what: &str, errno: Errno) -> Box<dyn Error + Send + Sync> {
    Box::new(Unavailable(format!("{what}: {errno}")))
}

/// All options, so that misspelt options are refused.
const OPTIONS: &[&str] = &[
    "carry",
    "delay-go",
    "depth",
    "exec",
    "files",
    "hex",
    "hold",
    "limit",
    "list",
    "n",
    "parallel",
    "pauses",
    "port",
    "processes",
    "rate",
    "size",
    "threads",
    "via",
];

/// The options of one call.
pub struct Call {
    options: BTreeMap<String, String>,
}

impl Call {
    /// Reads `key=value` arguments.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = BTreeMap::new();
        for argument in arguments {
            let (key, value) = argument
                .split_once('=')
                .ok_or_else(|| format!("'{argument}' is not KEY=VALUE"))?;
            if !OPTIONS.contains(&key) {
                return Err(format!("there is no option '{key}'").into());
            }
            options.insert(key.to_owned(), value.to_owned());
        }
        Ok(Self { options })
    }

    /// The text of an option.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    /// A number, or `default` if the option was not given.
    pub fn number(&self, key: &str, default: usize) -> Result<usize> {
        match self.text(key) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("{key}={text} is not a number").into()),
        }
    }

    /// A switch, given as `key=1`.
    pub fn flag(&self, key: &str) -> bool {
        self.text(key) == Some("1")
    }

    /// The tally of this process before its last exec.
    pub fn carried(&self) -> Result<Truth> {
        self.text("carry")
            .map_or_else(|| Ok(Truth::default()), Truth::from_argument)
    }

    /// With `hold=1`, waits here until standard input ends.
    pub fn hold(&self) -> Result {
        if self.flag("hold") {
            wait_for_end_of_input()?;
        }
        Ok(())
    }
}

/// Waits for a line on standard input, or its end.
pub fn wait_for_line() -> Result {
    // Read byte by byte: bytes after the line belong to a later reader.
    while !matches!(next_byte()?, None | Some(b'\n')) {}
    Ok(())
}

/// The next line of standard input, without the line feed; `None` at the end.
pub fn next_line() -> Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        match next_byte()? {
            None => return Ok(None),
            Some(b'\n') => return Ok(Some(String::from_utf8(line)?)),
            Some(byte) => line.push(byte),
        }
    }
}

/// Waits until standard input ends.
pub fn wait_for_end_of_input() -> Result {
    while next_byte()?.is_some() {}
    Ok(())
}

fn next_byte() -> Result<Option<u8>> {
    let mut byte = [0];
    loop {
        match nix::unistd::read(std::io::stdin(), &mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(byte[0])),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(format!("standard input: {errno}").into()),
        }
    }
}

/// The name of the calling thread in the kernel.
pub fn own_name() -> Result<String> {
    Ok(String::from_utf8_lossy(&own_name_bytes()?).into_owned())
}

/// The name in bytes: a name need not be UTF-8.
pub fn own_name_bytes() -> Result<Vec<u8>> {
    let mut name = [0_u8; 16];
    // SAFETY: the kernel writes up to 16 bytes.
    let got = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    Errno::result(got)?;
    Ok(name.into_iter().take_while(|byte| *byte != 0).collect())
}
