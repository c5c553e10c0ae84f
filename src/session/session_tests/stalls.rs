//! Tests with readers of the output that stall for a while, or for ever.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::ioctl_fionread;

use super::scripted::*;
use crate::error::Error;
use crate::output::{Lines, Sink};
use crate::rollup::Rows;
use crate::session::{ReaderWait, Woken};
use crate::source::Sample;

/// A pipe with room for only a header and some rows.
fn nearly_full_pipe() -> (File, Sink, usize) {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let filling = [b'\n'; 4096];
    let room = rustix::pipe::fcntl_getpipe_size(&writer).expect("a size");
    let filled = room - 3 * filling.len();
    for _ in 0..filled / filling.len() {
        rustix::io::write(&writer, &filling).expect("room");
    }
    let sink = Sink::descriptor("the pipe", writer, Lines::Quoted, None).expect("the pipe");
    (File::from(reader), sink, filled)
}

/// A source with enough rows to fill the pipe, and one exit record that is read during the stall.
fn crowd_and_one_exit(
    time: &Time,
) -> Scripted<impl FnMut(std::time::Duration) -> Result<Sample, Error>> {
    let mut source = Scripted::new(time, |now: std::time::Duration| {
        let living = (1..=100).map(|n| thread(n, n as u32, n as u32, sent(now.as_secs())));
        Ok(Sample {
            living: living.collect(),
            ..Sample::default()
        })
    });
    let mut exit = thread(200, 200, 200, sent(77));
    (exit.exited, exit.group_dead) = (true, true);
    source.drains = [vec![exit]].into();
    source
}

#[test]
fn exit_records_are_read_while_the_reader_stalls() {
    let (reader, mut sink, filled) = nearly_full_pipe();
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    // On the second wait, the reader continues, and reads to the end.
    let mut own = Some(reader.try_clone().expect("dup"));
    let text = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let kept = text.clone();
    clock.stalls.push_back(Box::new(|| ReaderWait::Records));
    for _ in 0..100 {
        let mut reader = own.take().or_else(|| reader.try_clone().ok()).expect("dup");
        let kept = kept.clone();
        clock.stalls.push_back(Box::new(move || {
            let available = ioctl_fionread(&reader).expect("a pipe") as usize;
            let mut taken = vec![0; available];
            reader.read_exact(&mut taken).expect("there");
            kept.borrow_mut().extend(taken);
            ReaderWait::Writable
        }));
    }
    let mut source = crowd_and_one_exit(&time);
    write_csv(
        &mut source,
        &mut clock,
        &mut sink,
        Rows {
            top: None,
            ..rows()
        },
        schedule(Some(2_000), Some(1_000)),
    )
    .expect("the reader reads on");
    drop(sink);
    let mut rest = Vec::new();
    let mut reader = reader;
    reader.read_to_end(&mut rest).expect("the end");
    text.borrow_mut().extend(rest);
    let text = String::from_utf8(text.borrow()[filled..].to_vec()).expect("UTF-8");
    // A header, two intervals, and the process that ended during the stall.
    assert_eq!(text.lines().count(), 1 + 2 * 100 + 1, "{text}");
    let exited: Vec<_> = text.lines().filter(|line| line.contains(",200,")).collect();
    assert_eq!(exited.len(), 1);
    assert!(exited[0].contains("exited,77,77"), "{exited:?}");
}

#[test]
fn a_reader_that_stalls_for_good_gets_whole_lines_and_an_error_that_names_the_output() {
    let (mut reader, mut sink, filled) = nearly_full_pipe();
    let time = Time::new();
    let mut clock = FakeClock::new(&time, [(1_500, Woken::Stopped)]);
    let mut source = crowd_and_one_exit(&time);
    let error = write_csv(
        &mut source,
        &mut clock,
        &mut sink,
        rows(),
        schedule(None, Some(1_000)),
    )
    .expect_err("it is too late");
    assert_eq!(error.status(), 1);
    let told = error.to_string();
    assert!(
        told.starts_with("the pipe: ") && told.lines().count() == 1,
        "{told}"
    );
    drop(sink);
    let mut text = Vec::new();
    reader.read_to_end(&mut text).expect("the end");
    let text = String::from_utf8(text[filled..].to_vec()).expect("UTF-8");
    assert!(text.ends_with('\n') && text.lines().count() > 1, "{text}");
    let commas = |line: &str| line.matches(',').count();
    assert!(
        text.lines()
            .all(|line| commas(line) == commas(text.lines().next().expect("a header")))
    );
}

#[test]
fn an_output_is_compared_by_its_file() {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let sink = Sink::descriptor("a pipe", writer, Lines::Plain, None).expect("a pipe");
    assert!(sink.is_same_as(reader.as_fd()), "both ends are one pipe");
    let other: OwnedFd = File::open("/dev/null").expect("/dev/null").into();
    assert!(!sink.is_same_as(other));
}
