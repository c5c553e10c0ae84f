/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Task storage, for the designs that use it, alone or behind something else. */
#ifndef NETATOP_BENCH_BLOCKS_H
#define NETATOP_BENCH_BLOCKS_H

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct numbers);
} blocks SEC(".maps");

/* For who has no better place. */
static __attribute__((noinline, unused)) int in_storage(struct task_struct *task,
							enum direction direction, __u64 bytes)
{
	struct numbers *block =
		bpf_task_storage_get(&blocks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (block)
		add(block, direction, bytes);
	return 0;
}

#endif
