//! Rows with TCP's own account.

use netatop::model::{GroupBy, Layout, RemoteMode, Report, Row, Tcp};
use proptest::prelude::*;
use serde_json::Value;

use super::remote::{WEB, client, server, with};
use super::reports::{group, number, process, report, row, unattributed};
use super::{PLAIN, assert_golden, columns, csv, json, table};

const fn health(group_by: GroupBy, remote: Option<RemoteMode>) -> Layout {
    Layout {
        group_by,
        threads: false,
        remote,
        names: false,
        tcp: true,
        cmdline: false,
        depth: None,
    }
}

const PROCESSES: Layout = health(GroupBy::Process, None);
const SERVICE: Layout = health(GroupBy::Process, Some(RemoteMode::Service));
const GROUPED: Layout = health(GroupBy::Comm, None);

/// Every number is another one, in the order of the columns.
const SEVERAL: Tcp = Tcp {
    out_segs: 1001,
    in_segs: 2002,
    retrans_segs: 33,
    retrans_bytes: 40_404,
    out_bytes: 5_005_005,
    in_bytes: 606_606,
    active_opens: 7,
    passive_opens: 8,
    attempt_fails: 9,
    estab_resets: 10,
    refused: 4,
    timed_out: 3,
    unreachable: 2,
    connects: 2,
    connect_us: 24_000,
    connect_us_max: 13_000,
    rtt_weight: 100,
    rtt_us: 4_200_000,
    rtt_us_min: 150,
    rtt_us_max: 1_700_000,
};

fn healthy(row: Row, tcp: Tcp) -> Row {
    Row {
        tcp: tcp.into(),
        ..row
    }
}

fn of_processes() -> Report {
    let few = Tcp {
        retrans_segs: 1,
        attempt_fails: 0,
        ..SEVERAL
    };
    let attempt = Tcp {
        out_segs: 2,
        active_opens: 2,
        attempt_fails: 2,
        timed_out: 2,
        retrans_segs: 2,
        ..Tcp::default()
    };
    let exactly_one_percent = Tcp {
        out_segs: 99,
        retrans_segs: 1,
        ..Tcp::default()
    };
    report(vec![
        healthy(
            row(
                process(1234, b"nginx: worker"),
                [200, 5_005_005, 30, 606_606, 0, 0, 0, 0],
            ),
            SEVERAL,
        ),
        healthy(
            row(
                process(4_194_303, b"postgres"),
                [20, 5_005, 3, 606, 0, 0, 0, 0],
            ),
            few,
        ),
        healthy(row(process(77, b"haproxy"), [0; 8]), exactly_one_percent),
        healthy(row(process(78, b"curl"), [0; 8]), attempt),
        row(process(79, b"named"), [0, 0, 0, 0, 9, 360, 9, 1_200]),
        healthy(unattributed([0; 8]), few),
    ])
}

fn by_service() -> Report {
    report(vec![
        with(
            healthy(
                row(
                    process(1234, b"nginx: worker"),
                    [200, 5_005_005, 30, 606_606, 0, 0, 0, 0],
                ),
                SEVERAL,
            ),
            server(WEB, 443),
        ),
        with(
            healthy(row(process(1234, b"nginx: worker"), [0; 8]), SEVERAL),
            client("10.0.3.9", 5432),
        ),
    ])
}

#[test]
fn the_account_is_columns_in_csv_and_json() {
    assert_golden("tcp.csv", &csv(PROCESSES, &[of_processes()]));
    assert_golden("tcp.jsonl", &json(PROCESSES, &[of_processes()]));
    assert_golden("tcp_service.csv", &csv(SERVICE, &[by_service()]));
}

#[test]
fn a_table_shows_what_needs_attention_before_bandwidth() {
    let processes = |style| table(PROCESSES, style, of_processes());
    assert_golden("tcp.table", &processes(PLAIN));
    assert_golden("tcp_60.table", &processes(columns(60)));
    assert_golden("tcp_80.table", &processes(columns(80)));
    assert_golden("tcp_120.table", &processes(columns(120)));
    assert_golden("tcp_200.table", &processes(columns(200)));
    let service = |width| table(SERVICE, columns(width), by_service());
    assert_golden("tcp_service_60.table", &service(60));
    assert_golden("tcp_service_80.table", &service(80));
    assert_golden("tcp_service_120.table", &service(120));
    assert_golden("tcp_service_200.table", &service(200));
    let groups = report(vec![healthy(group("nginx", 3, [0; 8]), SEVERAL)]);
    assert_golden(
        "tcp_grouped_120.table",
        &table(GROUPED, columns(120), groups),
    );
}

/// TCP's own account, empty unless rows have it.
pub fn tcp(there: bool) -> BoxedStrategy<Tcp> {
    if !there {
        return Just(Tcp::default()).boxed();
    }
    let numbers = prop::array::uniform20(number());
    let some = numbers.prop_map(|n| Tcp {
        out_segs: n[0],
        in_segs: n[1],
        retrans_segs: n[2],
        retrans_bytes: n[3],
        out_bytes: n[4],
        in_bytes: n[5],
        active_opens: n[6],
        passive_opens: n[7],
        attempt_fails: n[8],
        estab_resets: n[9],
        refused: n[10],
        timed_out: n[11],
        unreachable: n[12],
        connects: n[13],
        connect_us: n[14],
        connect_us_max: n[15],
        rtt_weight: n[16],
        rtt_us: n[17],
        rtt_us_min: n[18],
        rtt_us_max: n[19],
    });
    prop_oneof![some, Just(Tcp::default())].boxed()
}

/// The expected values of TCP's own account.
pub fn tcp_values(tcp: &Tcp) -> [(&'static str, Value); 15] {
    let rtt = |value: u64| match tcp.rtt_weight {
        0 => Value::Null,
        _ => value.into(),
    };
    let connect = |value: u64| match tcp.connects {
        0 => Value::Null,
        _ => value.into(),
    };
    [
        ("tcp_out_segs", tcp.out_segs.into()),
        ("tcp_in_segs", tcp.in_segs.into()),
        ("tcp_retrans_segs", tcp.retrans_segs.into()),
        ("tcp_retrans_bytes", tcp.retrans_bytes.into()),
        ("tcp_out_bytes", tcp.out_bytes.into()),
        ("tcp_in_bytes", tcp.in_bytes.into()),
        ("tcp_active_opens", tcp.active_opens.into()),
        ("tcp_passive_opens", tcp.passive_opens.into()),
        ("tcp_attempt_fails", tcp.attempt_fails.into()),
        ("tcp_estab_resets", tcp.estab_resets.into()),
        ("tcp_rtt_us_min", rtt(tcp.rtt_us_min)),
        ("tcp_rtt_us_avg", rtt(tcp.rtt_us / tcp.rtt_weight.max(1))),
        ("tcp_rtt_us_max", rtt(tcp.rtt_us_max)),
        (
            "tcp_connect_us_avg",
            connect(tcp.connect_us / tcp.connects.max(1)),
        ),
        ("tcp_connect_us_max", connect(tcp.connect_us_max)),
    ]
}
