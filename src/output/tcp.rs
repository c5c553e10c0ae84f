//! The columns of TCP's own account.

use super::column::{Column, Context, Value};
use crate::model::Tcp;

macro_rules! sum {
    ($name:literal, $field:ident, $unit:literal, $doc:literal) => {
        Column::new($name, $unit, $doc, |c| {
            Value::Unsigned(c.row.tcp.get().map_or(0, |tcp| tcp.$field))
        })
    };
}

/// The columns of TCP's own account, in order. Rows have them with `Layout::tcp`.
pub const TCP: [Column; 15] = [
    sum!(
        "tcp_out_segs",
        out_segs,
        "segments",
        "TCP segments sent, without those that only repeat data: OutSegs of /proc/net/snmp"
    ),
    sum!(
        "tcp_in_segs",
        in_segs,
        "segments",
        "TCP segments received; where network card or kernel have joined some, each of them"
    ),
    sum!(
        "tcp_retrans_segs",
        retrans_segs,
        "segments",
        "TCP segments sent again: RetransSegs of /proc/net/snmp"
    ),
    sum!(
        "tcp_retrans_bytes",
        retrans_bytes,
        "bytes",
        "payload sent again"
    ),
    sum!(
        "tcp_out_bytes",
        out_bytes,
        "bytes",
        "payload that the other end has confirmed"
    ),
    sum!(
        "tcp_in_bytes",
        in_bytes,
        "bytes",
        "payload that has arrived, in whatever way the process reads it, and if it does not"
    ),
    sum!(
        "tcp_active_opens",
        active_opens,
        "connections",
        "connections that the process began"
    ),
    sum!(
        "tcp_passive_opens",
        passive_opens,
        "connections",
        "connections that the kernel accepted for the process"
    ),
    sum!(
        "tcp_attempt_fails",
        attempt_fails,
        "connections",
        "connections that failed before they were established"
    ),
    sum!(
        "tcp_estab_resets",
        estab_resets,
        "connections",
        "established connections that ended with a reset, by either end"
    ),
    Column::new(
        "tcp_rtt_us_min",
        "microseconds",
        "smallest round trip of the last five minutes, of the connections with traffic; \
         absent if no segment was confirmed",
        |c| some(c, |tcp| (tcp.rtt_weight > 0).then_some(tcp.rtt_us_min)),
    ),
    Column::new(
        "tcp_rtt_us_avg",
        "microseconds",
        "average round trip: the kernel's smoothed estimate, weighted by the segments that were \
         confirmed, so a busy connection counts more than an idle one; absent if none was",
        |c| some(c, Tcp::rtt_us_avg),
    ),
    Column::new(
        "tcp_rtt_us_max",
        "microseconds",
        "largest smoothed round trip that a connection had at a sample or at its end; \
         absent if no segment was confirmed",
        |c| some(c, |tcp| (tcp.rtt_weight > 0).then_some(tcp.rtt_us_max)),
    ),
    Column::new(
        "tcp_connect_us_avg",
        "microseconds",
        "average time from the SYN to the established connection, of those that the process \
         began; absent if none was established",
        |c| some(c, Tcp::connect_us_avg),
    ),
    Column::new(
        "tcp_connect_us_max",
        "microseconds",
        "longest of these times; absent if none was established",
        |c| some(c, |tcp| (tcp.connects > 0).then_some(tcp.connect_us_max)),
    ),
];

/// A value that not every account has.
fn some<'a>(context: &Context<'a>, value: impl FnOnce(&Tcp) -> Option<u64>) -> Value<'a> {
    let value = context.row.tcp.get().and_then(value);
    value.map_or(Value::Absent, Value::Unsigned)
}
