// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Design: typed tracepoints, and a per-CPU hash table keyed by process. */
#include "bench.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 40960);
	__type(key, __u32);
	__type(value, struct numbers);
} counts_by_process SEC(".maps");

static __always_inline int count(struct sock *sk, int ret, int flags, enum direction direction)
{
	struct numbers first = {}, *found;
	__u32 tgid;

	if (!counts(sk, ret, flags))
		return 0;
	tgid = bpf_get_current_task_btf()->tgid;
	found = bpf_map_lookup_elem(&counts_by_process, &tgid);
	if (found) {
		add(found, direction, ret);
	} else {
		add(&first, direction, ret);
		bpf_map_update_elem(&counts_by_process, &tgid, &first, BPF_ANY);
	}
	return 0;
}

DESIGN(count)
