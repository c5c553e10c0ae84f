// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Design: a hash map keyed by process and remote end. */
#include "remote.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ROWS);
	__type(key, struct row_key);
	__type(value, struct numbers);
} by_remote SEC(".maps");

static __always_inline int count(struct sock *sk, int ret, int flags, enum direction direction)
{
	struct numbers none = {}, *row;
	struct row_key key;

	if (!counts(sk, ret, flags))
		return 0;
	find_key(&key, sk, bpf_get_current_task_btf()->tgid);
	row = bpf_map_lookup_elem(&by_remote, &key);
	if (!row) {
		bpf_map_update_elem(&by_remote, &key, &none, BPF_NOEXIST);
		row = bpf_map_lookup_elem(&by_remote, &key);
	}
	if (row)
		add_shared(row, direction, ret);
	return 0;
}

DESIGN(count)
