// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Design: a thread's slot remembers the key and the index of the row of its last event. */
#include "remote_rows.h"

struct slot {
	__u64 owner;
	struct row_key key;
	__u32 index;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ROWS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

static __always_inline int count(struct sock *sk, int ret, int flags, enum direction direction)
{
	struct task_struct *task;
	struct row_key key;
	struct slot *slot;
	__u32 at;

	if (!counts(sk, ret, flags))
		return 0;
	task = bpf_get_current_task_btf();
	find_key(&key, sk, task->tgid);
	at = task->pid & (ROWS - 1);
	slot = bpf_map_lookup_elem(&slots, &at);
	if (!slot)
		return 0;
	if (slot->owner != (__u64)task || !same(&slot->key, &key)) {
		slot->owner = (__u64)task;
		slot->key = key;
		slot->index = index_of(&key);
	}
	add_to_row(slot->index, direction, ret);
	return 0;
}

DESIGN(count)
