// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * A stand-in for a tracer of the usual build: programs on classic tracepoints, and a
 * per-CPU hash table keyed by process, allocated in advance.
 */
#include "bench.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 40960);
	__type(key, __u32);
	__type(value, struct numbers);
} counts_by_process SEC(".maps");

/* The record of both tracepoints; their format files in tracefs describe it. */
struct record {
	__u64 common;
	void *sk;
	__u16 family;
	__u16 protocol;
	int ret;
	int flags;
};

static __always_inline int count(struct record *r, enum direction direction)
{
	struct numbers first = {}, *found;
	__u32 tgid;

	if (r->ret < 0 || (r->family != AF_INET && r->family != AF_INET6) ||
	    (r->protocol != IPPROTO_TCP && r->protocol != IPPROTO_UDP))
		return 0;
	tgid = bpf_get_current_pid_tgid() >> 32;
	found = bpf_map_lookup_elem(&counts_by_process, &tgid);
	if (found) {
		add(found, direction, r->ret);
	} else {
		add(&first, direction, r->ret);
		bpf_map_update_elem(&counts_by_process, &tgid, &first, BPF_ANY);
	}
	return 0;
}

SEC("tracepoint/sock/sock_send_length")
int on_send(struct record *r)
{
	return count(r, SEND);
}

SEC("tracepoint/sock/sock_recv_length")
int on_recv(struct record *r)
{
	return count(r, RECV);
}
