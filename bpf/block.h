/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Finding the block of a thread wherever it is, and making it a first one. */
#ifndef NETATOP_BLOCK_H
#define NETATOP_BLOCK_H

/* The block of a thread that had to go without slot and task storage, or NULL. */
static __always_inline struct block *spare_block(struct task_struct *task)
{
	__u64 key = (__u64)task;

	/* Nobody ever needed one: spare everybody the look-up. */
	if (!losses.spared)
		return NULL;
	return bpf_map_lookup_elem(&spare, &key);
}

static __always_inline struct block *stored_block(struct task_struct *task)
{
	if (!losses.stored)
		return NULL;
	return bpf_task_storage_get(&blocks, task, NULL, 0);
}

/*
 * For the first event of a thread, or one of a thread that could get no block so far. The
 * best place is tried first each time: a shortage that has passed costs nothing. NULL if
 * there is no memory for it anywhere.
 */
static __noinline struct counters *make_block(struct task_struct *task)
{
	__u64 address = address_of(task), key = (__u64)task;
	struct slot_set *set = set_of(address);
	struct block fresh = {};
	struct counters *counters;
	struct block *block;

	counters = set ? take_slot(set, address) : NULL;
	if (counters)
		return counters;
	block = bpf_task_storage_get(&blocks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (block) {
		block->id = new_block_id();
		__sync_fetch_and_add(&losses.stored, 1);
		return &block->counters;
	}
	block = spare_block(task);
	if (block)
		return &block->counters;
	fresh.id = new_block_id();
	__sync_fetch_and_add(&losses.spared, 1);
	if (bpf_map_update_elem(&spare, &key, &fresh, BPF_NOEXIST))
		__sync_fetch_and_add(&losses.outside_gone, 1);
	block = bpf_map_lookup_elem(&spare, &key);
	return block ? &block->counters : NULL;
}

#endif
