//! Names of remote ends, which can become known at any time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::scripted::*;
use crate::host::Cgroups;
use crate::model::{End, Layout, Protocol, Remote, RemoteMode, RemoteRecord};
use crate::rollup::Rows;
use crate::session::Session;
use crate::source::Sample;

fn remote(last: u8) -> Remote {
    Remote {
        protocol: Protocol::Tcp,
        role: None,
        local_address: None,
        local_port: None,
        remote: End {
            address: [192, 0, 2, last].into(),
            scope: 0,
            port: None,
        },
        netns: None,
    }
}

/// A sample of a process that sends `bytes` to each remote end.
fn sample(bytes: impl IntoIterator<Item = (u8, u64)>) -> Sample {
    let living = vec![thread(1, 10, 10, sent(0))];
    let process = living[0].identity.process;
    let rows = bytes.into_iter().map(|(last, bytes)| RemoteRecord {
        process,
        tid: None,
        remote: remote(last),
        counters: sent(bytes),
    });
    Sample {
        remotes: rows.collect(),
        living,
        ..Sample::default()
    }
}

/// What was asked, with the time, and the names in each report.
type Recorded = (Vec<(Duration, u8)>, Vec<Vec<Option<String>>>);

/// Records, with a resolver that knows a name `delay` after it was asked for it.
fn recorded(delay: Duration, duration: u64, interval: Option<u64>) -> Recorded {
    let time = Time::new();
    let mut clock = FakeClock::new(&time, []);
    let mut source = Scripted::new(&time, |_| Ok(sample([(1, 5), (2, 7)])));
    source.alive = |_| true;
    let (mut kept, mut sink) = (Kept::default(), nowhere());
    let asked: Rc<RefCell<Vec<(Duration, u8)>>> = Rc::default();
    let (asks, start) = (asked.clone(), time.start);
    let names = move |remote: &Remote, now: std::time::Instant| {
        let now = now - start;
        let std::net::IpAddr::V4(address) = remote.remote.address else {
            panic!("not IPv4");
        };
        let last = address.octets()[3];
        let first = asks.borrow().iter().find(|(_, one)| *one == last).copied();
        asks.borrow_mut().push((now, last));
        first.and_then(|(at, _)| (at + delay <= now).then(|| format!("host-{last}").into()))
    };
    let rows = Rows {
        layout: Layout {
            remote: Some(RemoteMode::Address),
            names: true,
            ..Layout::default()
        },
        ..rows()
    };
    let cgroups = Cgroups::default();
    Session::new(&mut source, &mut clock, &mut kept, &mut sink, rows, cgroups)
        .with_names(Some(Box::new(names)))
        .run(schedule(Some(duration), interval))
        .expect("no error");
    let names = kept.0.iter().map(|report| {
        let names = report.rows.iter().map(|row| row.remote_name.as_deref());
        names.map(|name| name.map(str::to_owned)).collect()
    });
    (asked.take(), names.collect())
}

fn known() -> Vec<Option<String>> {
    ["host-2", "host-1"]
        .map(|name| Some(name.to_owned()))
        .into()
}

/// Otherwise the names would not be known when the only rows are written.
#[test]
fn names_are_looked_up_long_before_the_only_rows_are_written() {
    for duration in [50, 500, 10_000] {
        let (asked, names) = recorded(ms(20), duration, None);
        assert_eq!(names, [known()], "{duration}");
        // The busiest first.
        assert_eq!(asked[..2], [(ms(20), 2), (ms(20), 1)]);
    }
}

#[test]
fn rows_do_not_wait_for_names() {
    let none = || vec![None, None];
    let (_, names) = recorded(ms(2_200), 4_000, Some(1_000));
    assert_eq!(names, [none(), none(), known(), known()]);
    let (_, names) = recorded(Duration::MAX / 2, 2_000, Some(1_000));
    assert_eq!(names, [none(), none()]);
}
