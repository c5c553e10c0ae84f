// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Design: task storage alone. What it is measured for is the one look-up. */
#include "bench.h"
#include "blocks.h"

static __always_inline int count(struct sock *sk, int ret, int flags, enum direction direction)
{
	struct task_struct *task;
	struct numbers *block;

	if (!counts(sk, ret, flags))
		return 0;
	task = bpf_get_current_task_btf();
	block = bpf_task_storage_get(&blocks, task, NULL, 0);
	if (!block)
		block = bpf_task_storage_get(&blocks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (block)
		add(block, direction, ret);
	return 0;
}

DESIGN(count)
