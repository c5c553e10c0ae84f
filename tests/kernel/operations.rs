//! Each socket operation in a separate process: checks which operations are counted.

use super::outcome::{exact, exact_split};

macro_rules! operations {
    ($($test:ident: $scenario:literal,)*) => {
        $(#[test]
        fn $test() {
            exact(&[$scenario]);
        })*

        /// The same, when rows are split by remote end.
        mod by_remote_end {
            $(#[test]
            fn $test() {
                super::exact_split(&[$scenario]);
            })*
        }
    };
}

operations! {
    tcp_over_ipv4: "tcp",
    tcp_over_ipv6: "tcp6",
    ipv4_mapped_into_ipv6: "mapped",
    udp_over_ipv4: "udp",
    udp_over_ipv6: "udp6",
    connected_udp: "udp-connected",
    failed_calls_count_nothing: "errors",
    peeks_count_nothing: "peek",
    the_error_queue_counts_nothing: "errqueue",
    end_of_stream_counts_nothing: "eof",
    an_empty_datagram_is_a_message: "empty-datagram",
    receiving_after_a_shutdown_counts_nothing: "udp-shutdown",
    a_short_buffer_counts_what_was_copied: "short-buffer",
    truncation_counts_what_the_call_returned: "trunc",
    sendmmsg_and_recvmmsg_count_each_message: "mmsg",
    segmentation_offload_is_one_message: "gso",
    sendfile_counts_its_bytes: "sendfile",
    splice_into_a_socket_counts_its_bytes: "splice-in",
    splice_out_of_a_socket_is_invisible: "splice-out",
    zero_copy_sends_count: "zerocopy-send",
    zero_copy_receives_are_invisible: "zerocopy-receive",
    io_uring_counts: "io-uring",
    mptcp_counts_once: "mptcp",
    raw_sockets_count_nothing: "raw",
    unix_sockets_count_nothing: "unix",
    every_kind_of_write_and_read_counts: "writev",
    out_of_band_data: "oob",
    a_large_transfer_in_partial_writes: "tcp-nonblock-big",
}
