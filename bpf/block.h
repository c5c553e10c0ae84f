/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Finding the block of the thread that runs, and making it a first one. */
#ifndef NETATOP_BLOCK_H
#define NETATOP_BLOCK_H

static __always_inline __u64 new_block_id(void)
{
	return __sync_add_and_fetch(&losses.last_block, 1);
}

/* The block of a thread that had to go without task storage, or NULL. */
static __always_inline struct block *spare_block(struct task_struct *task)
{
	__u64 key = (__u64)task;

	/* Nobody ever needed one: spare everybody the look-up. */
	if (!losses.spared)
		return NULL;
	return bpf_map_lookup_elem(&spare, &key);
}

/*
 * For the first event of a thread, or one of a thread that could not get task storage so
 * far. The storage is tried first each time: a shortage that has passed costs nothing.
 * NULL if there is no memory for it anywhere.
 */
static __noinline struct block *make_block(struct task_struct *task)
{
	struct block fresh = {};
	struct block *block;
	__u64 key = (__u64)task;

	block = bpf_task_storage_get(&blocks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (block) {
		block->id = new_block_id();
		return block;
	}
	block = spare_block(task);
	if (block)
		return block;
	fresh.id = new_block_id();
	__sync_fetch_and_add(&losses.spared, 1);
	bpf_map_update_elem(&spare, &key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&spare, &key);
}

#endif
