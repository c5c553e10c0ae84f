// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Design: an array of slots indexed by thread id, each owned by the thread that claimed
 * it first; task storage where the slot is another's.
 */
#include "bench.h"
#include "blocks.h"

#ifndef SLOT_FLAGS
#define SLOT_FLAGS 0
#endif

enum { SLOTS = 1 << 16 };

struct slot {
	__u64 owner;
	struct numbers numbers;
	__u64 id;
	__u64 exited;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, SLOT_FLAGS);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

static __always_inline int count(struct sock *sk, int ret, int flags, enum direction direction)
{
	struct task_struct *task;
	struct slot *slot;
	__u32 key;

	if (!counts(sk, ret, flags))
		return 0;
	task = bpf_get_current_task_btf();
	key = task->pid & (SLOTS - 1);
	slot = bpf_map_lookup_elem(&slots, &key);
	if (!slot)
		return 0;
	if (slot->owner == (__u64)task) {
		add(&slot->numbers, direction, ret);
		return 0;
	}
	if (__sync_val_compare_and_swap(&slot->owner, 0, (__u64)task) == 0) {
		add(&slot->numbers, direction, ret);
		return 0;
	}
	return in_storage(bpf_get_current_task_btf(), direction, ret);
}

DESIGN(count)
