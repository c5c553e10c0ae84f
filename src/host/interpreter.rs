//! How interpreters find their script.
//!
//! An option that is not in the tables below ends the search: its value could be taken for the script.
//! The interpreter has no script then.

use std::borrow::Cow;

/// The longest base name, in bytes (`NAME_MAX` of include/uapi/linux/limits.h).
const NAME_MAX: usize = 255;

/// How an interpreter finds its script.
pub(super) struct Interpreter {
    /// Base names, without a version such as `3.11`.
    names: &'static [&'static str],
    /// Letters of options without a value. They can be combined.
    flags: &'static str,
    /// Letters of options with a value, which is the rest of the argument or the next one.
    valued: &'static str,
    /// The letters of options whose value is the script or the module.
    program: &'static str,
    /// Long options without a value, and beginnings of options that contain their value. A long
    /// option with `=` contains it too.
    long: &'static [&'static str],
    /// Long options whose value is the next argument.
    long_valued: &'static [&'static str],
    /// Long options whose value is the script or the module.
    long_program: &'static [&'static str],
}

/// From the manual of each: python(1), perlrun(1), ruby(1), php(1), node(1), java(1), bash(1), dash(1),
/// zshoptions(1), lua(1), Rscript(1).
const INTERPRETERS: [Interpreter; 8] = [
    Interpreter {
        names: &["python", "pypy"],
        flags: "bBdEiIOPqRsSuvVxh",
        valued: "WX",
        program: "m",
        long: &[],
        long_valued: &["--check-hash-based-pycs"],
        long_program: &[],
    },
    Interpreter {
        names: &["perl"],
        flags: "acfnpstTuUvwWX",
        valued: "I",
        program: "",
        long: &["-M", "-m"],
        long_valued: &[],
        long_program: &[],
    },
    Interpreter {
        names: &["ruby", "jruby"],
        flags: "alnpsSvw",
        valued: "ICEr",
        program: "",
        long: &["--yjit", "--disable-gems", "--enable-frozen-string-literal"],
        long_valued: &[],
        long_program: &[],
    },
    Interpreter {
        names: &["php"],
        flags: "nqeC",
        valued: "cdz",
        program: "fF",
        long: &[],
        long_valued: &["--php-ini", "--define"],
        long_program: &["--file"],
    },
    Interpreter {
        names: &["node", "nodejs"],
        flags: "",
        valued: "rC",
        program: "",
        long: &[
            "--enable-source-maps",
            "--expose-gc",
            "--expose_gc",
            "--inspect",
            "--inspect-brk",
            "--no-deprecation",
            "--no-warnings",
            "--preserve-symlinks",
            "--trace-deprecation",
            "--trace-warnings",
        ],
        long_valued: &["--conditions", "--import", "--loader", "--require"],
        long_program: &[],
    },
    Interpreter {
        names: &["java"],
        flags: "",
        valued: "",
        program: "",
        long: &[
            "-D",
            "-X",
            "-agentlib:",
            "-agentpath:",
            "-client",
            "-d64",
            "-da",
            "-disableassertions",
            "-dsa",
            "-ea",
            "-enableassertions",
            "-esa",
            "-javaagent:",
            "-server",
            "-showversion",
            "-verbose",
            "--enable-preview",
        ],
        long_valued: &[
            "-cp",
            "-classpath",
            "--class-path",
            "-p",
            "--module-path",
            "--upgrade-module-path",
            "--add-exports",
            "--add-modules",
            "--add-opens",
            "--add-reads",
            "--enable-native-access",
            "--limit-modules",
            "--patch-module",
        ],
        long_program: &["-jar", "-m", "--module"],
    },
    Interpreter {
        names: &["sh", "bash", "dash", "ash", "ksh", "mksh", "zsh"],
        flags: "aefhilmnpruvxBCEHPT",
        valued: "oO",
        program: "",
        long: &["--login", "--norc", "--noprofile", "--posix"],
        long_valued: &["--rcfile", "--init-file"],
        long_program: &[],
    },
    Interpreter {
        names: &["lua", "luajit", "Rscript", "tclsh", "dotnet", "mono"],
        flags: "",
        valued: "",
        program: "",
        long: &["--vanilla"],
        long_valued: &[],
        long_program: &[],
    },
];

/// The interpreter that has this base name.
pub(super) fn interpreter(program: &str) -> Option<&'static Interpreter> {
    INTERPRETERS.iter().find(|known| known.is(program))
}

impl Interpreter {
    fn is(&self, program: &str) -> bool {
        let is_version = |c: char| c.is_ascii_digit() || c == '.';
        self.names.contains(&program.trim_end_matches(is_version))
    }

    /// The script, module, class or archive that the arguments after the program name. `None` if they
    /// contain the code itself, if it comes from standard input, or if it is not known.
    pub(super) fn script<'a>(&self, arguments: &'a [Cow<'_, str>]) -> Option<&'a str> {
        let mut arguments = arguments.iter().map(AsRef::as_ref);
        loop {
            let argument: &str = arguments.next()?;
            if argument == "--" {
                return file(arguments.next()?);
            }
            let Some(letters) = argument.strip_prefix(['-', '+']) else {
                return file(argument);
            };
            if self.long_program.contains(&argument) {
                return file(arguments.next()?);
            }
            if self.long_valued.contains(&argument) {
                arguments.next()?;
                continue;
            }
            let has_value = argument.starts_with("--") && argument.contains('=');
            if has_value || self.is_long(argument) {
                continue;
            }
            let mut letters = letters.chars();
            // `-` alone is standard input.
            let mut letter = letters.next()?;
            while self.flags.contains(letter) {
                match letters.next() {
                    Some(next) => letter = next,
                    None => break,
                }
            }
            let rest = letters.as_str();
            if self.program.contains(letter) {
                return file(if rest.is_empty() {
                    arguments.next()?
                } else {
                    rest
                });
            }
            if self.valued.contains(letter) {
                if rest.is_empty() {
                    arguments.next()?;
                }
            } else if !self.flags.contains(letter) {
                return None;
            }
        }
    }

    fn is_long(&self, argument: &str) -> bool {
        let is_same = |known: &&str| match known.starts_with("--") {
            true => argument == *known,
            false => argument.starts_with(known),
        };
        self.long.iter().any(is_same)
    }
}

/// The base name of a path. `None` if there is none, or if it is too long for the name of a file.
pub(super) fn base(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    (!name.is_empty() && name.len() <= NAME_MAX).then_some(name)
}

/// The name of a script. Files of devices and of processes are no scripts that people know:
/// `/dev/stdin`, `/dev/fd/63`.
fn file(path: &str) -> Option<&str> {
    let is_pipe = path.starts_with("/dev/") || path.starts_with("/proc/");
    let is_option = path.starts_with(['-', '@']);
    if is_pipe || is_option {
        return None;
    }
    base(path)
}
