//! Tests of output files: existing files, files changed by other programs, and write errors.

mod compressed;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Existing, Flushed, Lines, Sink};
use crate::error::Error;

const HEADER: &[u8] = b"head\n";
const APPEND: Existing = Existing::Append { repair: false };
const REPAIR: Existing = Existing::Append { repair: true };

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place(name: &str) -> Place {
    let dir = tempfile::tempdir().expect("tempdir");
    Place {
        path: dir.path().join(name),
        _dir: dir,
    }
}

fn open(path: &Path, existing: Existing) -> Result<Sink, Error> {
    Sink::open(path, existing, Lines::Quoted, None)
}

fn begun(path: &Path, existing: Existing) -> Sink {
    let mut sink = open(path, existing).expect("open");
    sink.begin(HEADER).expect("begin");
    sink
}

fn write(sink: &mut Sink, text: &[u8]) -> Result<(), Error> {
    sink.text().extend_from_slice(text);
    assert_eq!(sink.flush()?, Flushed::All);
    assert_eq!(sink.end_interval()?, Flushed::All);
    Ok(())
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("read")
}

fn refused(sink: Result<Sink, Error>) -> Error {
    sink.err().expect("refused")
}

#[test]
fn an_existing_file_is_refused_replaced_or_continued() {
    let place = place("out.csv");
    let path = &place.path;
    write(&mut begun(path, Existing::Refuse), b"a\n").expect("write");
    let error = refused(open(path, Existing::Refuse));
    assert_eq!(error.status(), 2);
    assert!(error.to_string().contains("--append"));
    let mut sink = begun(path, APPEND);
    assert_eq!(sink.first_line(), Some(HEADER));
    write(&mut sink, b"b\n").expect("write");
    assert_eq!(read(path), b"head\na\nb\n");
    drop(sink);
    write(&mut begun(path, Existing::Replace), b"c\n").expect("write");
    assert_eq!(read(path), b"head\nc\n");
}

#[test]
fn an_empty_file_gets_a_header_when_it_is_appended_to() {
    let place = place("out.csv");
    fs::write(&place.path, "").expect("write");
    write(&mut begun(&place.path, APPEND), b"a\n").expect("write");
    assert_eq!(read(&place.path), b"head\na\n");
}

#[test]
fn half_a_line_is_told_and_cut_off_only_when_asked() {
    let place = place("out.csv");
    let long = format!("head\n{}", "x".repeat(200_000));
    fs::write(&place.path, &long).expect("write");
    let told = refused(open(&place.path, APPEND)).to_string();
    assert!(told.contains("200000 bytes"), "{told}");
    assert_eq!(read(&place.path), long.as_bytes());
    write(&mut begun(&place.path, REPAIR), b"next\n").expect("write");
    assert_eq!(read(&place.path), b"head\nnext\n");
}

/// A process can call itself "a\nb", with or without quotes in it.
#[test]
fn a_line_end_within_a_quoted_name_ends_no_row() {
    let place = place("out.csv");
    let path = &place.path;
    for (text, half) in [
        ("head\n1,\"a\nb\",2\n", 0),
        ("head\n1,\"a\"\"\nb\",2\n", 0),
        ("head\n1,\"a\n", 5),
        ("head\n1,\"a\"\"\n", 7),
        ("head\n1,\"a\nb\",2", 9),
    ] {
        fs::write(path, text).expect("write");
        let told = open(path, APPEND).err().map(|error| error.to_string());
        match half {
            0 => assert_eq!(told, None, "{text:?}"),
            half => assert!(
                told.is_some_and(|told| told.contains(&format!("({half} bytes"))),
                "{text:?}"
            ),
        }
        write(&mut begun(path, REPAIR), b"next\n").expect("write");
        let (whole, _) = text.split_at(text.len() - half);
        assert_eq!(read(path), format!("{whole}next\n").as_bytes());
    }
}

#[test]
fn nothing_is_changed_by_a_recording_that_never_begins() {
    let place = place("out.csv");
    let path = &place.path;
    drop(open(path, Existing::Refuse).expect("open"));
    assert!(!path.exists());
    drop(open(path, APPEND).expect("open"));
    assert!(!path.exists());
    fs::write(path, "precious\nhalf").expect("write");
    drop(open(path, Existing::Replace).expect("open"));
    drop(open(path, REPAIR).expect("open"));
    assert_eq!(read(path), b"precious\nhalf");
}

#[test]
fn a_file_that_cannot_be_made_is_named() {
    for path in ["/nonexistent/out.csv", "/"] {
        for existing in [Existing::Refuse, Existing::Replace, APPEND] {
            let error = refused(open(Path::new(path), existing));
            assert_eq!(error.status(), 1);
            assert!(error.to_string().starts_with(path), "{error}");
        }
    }
}

/// Files are emptied by `logrotate` with `copytruncate`, and by `: > out.csv`.
#[test]
fn a_file_that_is_emptied_goes_on_with_a_header_and_without_a_gap() {
    for existing in [Existing::Refuse, Existing::Replace, APPEND] {
        let place = place("out.csv");
        let path = &place.path;
        let mut sink = begun(path, existing);
        write(&mut sink, b"a\n").expect("write");
        for _ in 0..2 {
            fs::write(path, "").expect("empty it");
            write(&mut sink, b"b\n").expect("write");
            assert_eq!(read(path), b"head\nb\n");
        }
        // Without rows, the file gets only the header.
        fs::write(path, "").expect("empty it");
        write(&mut sink, b"").expect("write");
        assert_eq!(read(path), b"head\n");
    }
}

/// A file that a shell opened with `>` is not in append mode, and shares its position.
#[test]
fn a_redirected_file_that_is_emptied_has_no_gap_either() {
    let place = place("out.csv");
    let path = &place.path;
    let mut shell = File::create(path).expect("create");
    let fd = shell.try_clone().expect("dup").into();
    let mut sink = Sink::descriptor("standard output", fd, Lines::Quoted, None).expect("open");
    sink.begin(HEADER).expect("begin");
    write(&mut sink, b"a\n").expect("write");
    fs::write(path, "").expect("empty it");
    write(&mut sink, b"b\n").expect("write");
    shell.write_all(b"the shell's\n").expect("write");
    assert_eq!(read(path), b"head\nb\nthe shell's\n");
}

#[test]
fn a_file_that_is_deleted_is_an_error_at_the_next_interval_with_rows_or_without() {
    for rows in [b"b\n".as_slice(), b""] {
        let place = place("out.csv");
        let mut sink = begun(&place.path, Existing::Refuse);
        write(&mut sink, b"a\n").expect("write");
        fs::remove_file(&place.path).expect("remove");
        let error = write(&mut sink, rows).expect_err("nowhere to go");
        assert_eq!(error.status(), 1);
        assert!(error.to_string().contains("out.csv was deleted"), "{error}");
    }
}

#[test]
fn a_file_that_is_renamed_goes_on_under_its_new_name() {
    let place = place("out.csv");
    let mut sink = begun(&place.path, Existing::Refuse);
    let moved = place.path.with_extension("1");
    fs::rename(&place.path, &moved).expect("rename");
    write(&mut sink, b"a\n").expect("write");
    assert_eq!(read(&moved), b"head\na\n");
}

#[test]
fn a_second_recording_to_the_same_file_is_refused_while_the_first_one_writes() {
    let place = place("out.csv");
    let first = begun(&place.path, APPEND);
    // Run all attempts at once, since each attempt waits for a while.
    let seconds = [APPEND, REPAIR, Existing::Replace].map(|existing| {
        let path = place.path.clone();
        std::thread::spawn(move || refused(open(&path, existing)))
    });
    for second in seconds {
        let error = second.join().expect("an answer");
        assert_eq!(error.status(), 1);
        assert!(error.to_string().contains("another recording"), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
    drop(first);
    drop(open(&place.path, APPEND).expect("it has ended"));
}

/// Periodic recordings can overlap a little.
#[test]
fn a_second_recording_waits_for_the_first_one_and_sees_what_that_wrote_last() {
    let place = place("out.csv");
    let mut first = begun(&place.path, APPEND);
    first.flush().expect("the header");
    let path = place.path.clone();
    let second = std::thread::spawn(move || {
        let mut sink = begun(&path, APPEND);
        write(&mut sink, b"b\n").expect("write");
    });
    write(&mut first, b"a\n").expect("write");
    drop(first);
    second.join().expect("it begins");
    assert_eq!(read(&place.path), b"head\na\nb\n");
}

/// The recording that created the file never begins, and removes the file.
#[test]
fn a_second_recording_does_not_write_to_a_file_that_was_removed_while_it_waited() {
    let place = place("out.csv");
    let first = open(&place.path, Existing::Refuse).expect("open");
    let path = place.path.clone();
    let second = std::thread::spawn(move || {
        let mut sink = begun(&path, APPEND);
        write(&mut sink, b"b\n").expect("write");
    });
    let open_now = || {
        let descriptors = fs::read_dir("/proc/self/fd").expect("/proc").flatten();
        let links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        links.filter(|link| *link == place.path).count()
    };
    // The file is open twice, or the second recording has already begun.
    while open_now() < 2 && !second.is_finished() {
        std::thread::yield_now();
    }
    drop(first);
    second.join().expect("it begins");
    assert_eq!(read(&place.path), b"head\nb\n");
}

#[test]
fn devices_and_pipes_need_no_force() {
    for path in ["/dev/null", "/dev/full"] {
        drop(open(Path::new(path), Existing::Refuse).expect(path));
    }
    let place = place("fifo.csv");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &place.path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("mkfifo");
    let path = place.path.clone();
    let reader = std::thread::spawn(move || fs::read(path).expect("read"));
    let mut sink = begun(&place.path, Existing::Refuse);
    write(&mut sink, b"a\n").expect("write");
    drop(sink);
    assert_eq!(reader.join().expect("a reader"), b"head\na\n");
    assert!(place.path.exists(), "not ours to remove");
}

#[test]
fn a_socket_cannot_be_opened_and_that_is_said_in_one_line() {
    let place = place("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&place.path).expect("bind");
    let error = refused(open(&place.path, Existing::Refuse));
    assert!(error.to_string().contains("is a socket"), "{error}");
    assert_eq!(error.to_string().lines().count(), 1);
}

#[test]
fn what_is_open_for_reading_only_is_refused_before_anything_is_counted() {
    let fd = File::open("/dev/null").expect("open").into();
    let error = refused(Sink::descriptor("standard output", fd, Lines::Plain, None));
    assert_eq!(error.status(), 1);
    assert!(error.to_string().contains("not open for writing"));
}
