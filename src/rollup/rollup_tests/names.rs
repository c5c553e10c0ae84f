//! Groups by unit and by container: they add up to the processes, those without such a name included.

use std::collections::BTreeMap;

use super::{bytes, interval, rows, sum, sum_of, usage};
use crate::host::{Cgroups, Known};
use crate::model::{GroupBy, Usage, Who};
use crate::rollup::Pending;

#[test]
fn processes_without_a_unit_or_container_are_one_group() {
    let known: Known = Cgroups::of_test([
        (1, "/system.slice/nginx.service"),
        (2, "/system.slice/nginx.service/workers"),
        (3, "/lxc.payload.web"),
        (4, "/lxc.payload.web/system.slice/nginx.service"),
        (5, "/"),
    ])
    .into();
    // One more has a cgroup that is not known.
    let part: Vec<Usage> = (1..=6)
        .map(|number| {
            let mut usage = usage(number, number, None, bytes(1 << number));
            usage.last.cgroup = number.into();
            usage
        })
        .collect();
    let keys = |by, room| {
        let rows = rows(by, false, false, None);
        let mut pending = Pending::with_room(room);
        for _ in 0..4 {
            pending.add(&rows, interval(part.clone()), &known, |_| false);
        }
        let made = pending.take(&rows, interval(Vec::new()), &known);
        let sum_of_rows = sum(&made);
        assert_eq!(sum_of_rows.bytes(), 4 * sum_of(&part).bytes());
        let made = made.into_iter().map(|row| match row.who {
            Who::Group { key, processes } => (key, (processes, row.counters.bytes() / 4)),
            who => panic!("{who:?}"),
        });
        made.collect::<BTreeMap<_, _>>()
    };
    let expected = |name: &str, named, others| {
        BTreeMap::from([(name.to_owned(), named), (String::new(), others)])
    };
    for room in [0, 1000] {
        let units = expected("nginx.service", (2, 0b110), (4, 0b111_1000));
        assert_eq!(keys(GroupBy::Unit, room), units);
        let containers = expected("web", (2, 0b1_1000), (4, 0b110_0110));
        assert_eq!(keys(GroupBy::Container, room), containers);
    }
}
