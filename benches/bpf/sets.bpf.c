// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Design: netatop's. Sets of slots, found by the address of the task; task storage for
 * whoever finds all slots of its set taken.
 */
#include "bench.h"
#include "blocks.h"

static __u64 (*bpf_get_current_task)(void) = (void *)35;

enum { SETS = 1 << 10, IN_SET = 16 };

struct set {
	__u64 owner[IN_SET];
	struct numbers numbers[IN_SET];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SETS);
	__type(key, __u32);
	__type(value, struct set);
} sets SEC(".maps");

static __attribute__((noinline)) int elsewhere(struct set *set, __u64 task,
					       enum direction direction, __u64 bytes)
{
	struct numbers *block;

	for (__u32 at = 0; at < IN_SET; at++) {
		if (__sync_val_compare_and_swap(&set->owner[at], 0, task) == 0) {
			add(&set->numbers[at], direction, bytes);
			return 0;
		}
	}
	block = bpf_task_storage_get(&blocks, bpf_get_current_task_btf(), NULL,
				     BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (block)
		add(block, direction, bytes);
	return 0;
}

static __always_inline int count(struct sock *sk, int ret, int flags, enum direction direction)
{
	struct set *set;
	__u64 task;
	__u32 key, at;

	if (!counts(sk, ret, flags))
		return 0;
	task = bpf_get_current_task();
	key = (task * 0x9e3779b97f4a7c15ULL) >> 40 & (SETS - 1);
	set = bpf_map_lookup_elem(&sets, &key);
	if (!set)
		return 0;
#pragma unroll
	for (at = 0; at < IN_SET; at++) {
		if (set->owner[at] == task)
			break;
	}
	if (at < IN_SET)
		add(&set->numbers[at], direction, ret);
	else
		elsewhere(set, task, direction, ret);
	return 0;
}

DESIGN(count)
