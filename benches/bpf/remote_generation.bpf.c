// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Design: a hash map keyed by process and remote end, reached through an outer map. User space puts
 * another hash map into the outer map. The system call returns when no program uses the first one
 * any more, so user space reads each row once and drops it, while counting goes on.
 */
#include "remote.h"

struct generation {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ROWS);
	__type(key, struct row_key);
	__type(value, struct numbers);
} first_generation SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct generation);
} current SEC(".maps") = {.values = {&first_generation}};

/* Events without a row: the map was full. By direction: messages, bytes. */
struct numbers without_row;

static __always_inline int count(struct sock *sk, int ret, int flags, enum direction direction)
{
	struct numbers none = {}, *row;
	struct row_key key;
	__u32 zero = 0;
	void *map;

	if (!counts(sk, ret, flags))
		return 0;
	map = bpf_map_lookup_elem(&current, &zero);
	if (!map)
		return 0;
	find_key(&key, sk, bpf_get_current_task_btf()->tgid);
	row = bpf_map_lookup_elem(map, &key);
	if (!row) {
		bpf_map_update_elem(map, &key, &none, BPF_NOEXIST);
		row = bpf_map_lookup_elem(map, &key);
	}
	add_shared(row ? row : &without_row, direction, ret);
	return 0;
}

DESIGN(count)
