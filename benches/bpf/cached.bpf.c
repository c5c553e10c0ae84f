// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * Design: slots of each CPU, by thread id, before task storage. A thread that finds its slot
 * taken by another goes to task storage.
 */
#include "bench.h"
#include "blocks.h"

struct cached {
	__u64 owner;
	struct numbers numbers;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct cached);
} cache SEC(".maps");

static __attribute__((noinline)) int elsewhere(struct task_struct *task, enum direction direction,
					       __u64 bytes)
{
	struct numbers *block =
		bpf_task_storage_get(&blocks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (block)
		add(block, direction, bytes);
	return 0;
}

static __always_inline int count(struct sock *sk, int ret, int flags, enum direction direction)
{
	struct task_struct *task;
	struct cached *place;
	__u32 key;

	if (!counts(sk, ret, flags))
		return 0;
	task = bpf_get_current_task_btf();
	key = task->pid & 255;
	place = bpf_map_lookup_elem(&cache, &key);
	if (!place)
		return 0;
	if (place->owner == (__u64)task || place->owner == 0) {
		place->owner = (__u64)task;
		add(&place->numbers, direction, ret);
		return 0;
	}
	return elsewhere(task, direction, ret);
}

DESIGN(count)
