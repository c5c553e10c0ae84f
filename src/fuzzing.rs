//! All parsers of bytes from outside, by name: for `fuzz/`, and for the test that replays the kept
//! inputs. Not an interface; it can change at any time.

use std::ffi::OsString;
use std::hint::black_box;
use std::io::Cursor;
use std::os::unix::ffi::OsStringExt;

use clap::Parser;

use crate::cli::Cli;
use crate::output::{Compression, Lines, parsers::LineEnds};
use crate::{host, kernel, output, record, recording, report, serve, text};

/// A parser: its name, and a function that calls it and ignores the result.
pub type Target = (&'static str, fn(&[u8]));

/// All parsers.
#[must_use]
pub fn targets() -> Vec<Target> {
    vec![
        ("command_line", |bytes| {
            let words = bytes.split(|byte| *byte == 0);
            let words = words.map(|word| OsString::from_vec(word.to_vec()));
            for command in ["record", "report"] {
                let netatop = ["netatop", command].into_iter().map(Into::into);
                let _ = Cli::try_parse_from(netatop.chain(words.clone()));
            }
        }),
        ("thread_record", |bytes| {
            // benches/rows.rs measures this one, so the result must not be optimised away.
            black_box(kernel::parsers::thread_record(bytes));
        }),
        ("cgroup", |bytes| {
            let _ = kernel::parsers::cgroup(bytes);
        }),
        ("command_record", |bytes| {
            let _ = kernel::parsers::command(bytes);
        }),
        ("container_files", host::parsers::container_files),
        ("process_arguments", |bytes| {
            let command = host::CommandLine::new(bytes, bytes.len() % 2 == 1);
            let _ = (command.line(), command.program());
        }),
        ("remote_row", |bytes| {
            let (key, counters) = bytes.split_at(bytes.len().min(64));
            let _ = kernel::parsers::row(key, counters);
        }),
        ("tcp_row", |bytes| {
            let (key, row) = bytes.split_at(bytes.len().min(64));
            let _ = kernel::parsers::tcp_row(key, row);
        }),
        ("losses", |bytes| {
            let _ = kernel::parsers::losses(bytes);
        }),
        ("proc_stat", |bytes| {
            let _ = host::parsers::parse_stat(&lossy(bytes));
        }),
        ("proc_status", |bytes| {
            let _ = host::parsers::parse_status(&lossy(bytes));
        }),
        ("line_ends", |bytes| {
            for lines in [Lines::Plain, Lines::Quoted] {
                let mut ends = LineEnds::new(lines);
                ends.scan(bytes);
                let _ = ends.unfinished();
            }
        }),
        ("compressed", |bytes| {
            for compression in [Compression::Gzip, Compression::Zstd] {
                let _ = output::parsers::scan_from(bytes, compression, Lines::Quoted, 4096);
            }
        }),
        ("shown", |bytes| {
            let _ = text::shown(&lossy(bytes));
        }),
        ("glob", |bytes| {
            let text = lossy(bytes);
            for glob in [
                text::Glob::parse(&text),
                text::Glob::parse_without_escapes(&text),
            ] {
                if let Ok(automaton) = glob.map(|glob| kernel::Automaton::of_names(&[glob])) {
                    let _ = black_box(automaton.map(|automaton| automaton.matches(bytes)));
                }
            }
        }),
        ("escaped", |bytes| {
            let _ = text::escaped(&lossy(bytes), &['\n']);
        }),
        ("json_keys", |bytes| {
            let _ = record::parsers::keys(bytes);
        }),
        ("recording", |bytes| {
            let input = Box::new(Cursor::new(bytes.to_vec()));
            let _ = recording::parsers::read_from(input, "", &mut |_| Ok(()));
        }),
        ("report", report::parsers::every_report),
        ("moment", |bytes| {
            let _ = report::parsers::Moment::parse(&lossy(bytes));
        }),
        ("mountinfo", |bytes| {
            host::parsers::find_mounts(&lossy(bytes)).for_each(drop);
        }),
        ("cgroup_path", |bytes| {
            let cgroup = host::Cgroup::new(lossy(bytes));
            black_box((cgroup.unit(), cgroup.container()));
        }),
        ("client_stream", |bytes| {
            // An error means that the kernel refused a socket, which is not what is tested.
            let _ = serve::parsers::drive(bytes);
        }),
        ("timens_offsets", |bytes| {
            let _ = host::parsers::parse_clock_offset(&lossy(bytes));
        }),
        ("loadavg", |bytes| {
            let _ = host::parsers::parse_loadavg(&lossy(bytes));
        }),
    ]
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
