/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Finds the blocks of a thread outside of the slots, and makes new blocks. */
#ifndef NETATOP_BLOCK_H
#define NETATOP_BLOCK_H

/* The block of a thread in the spare map; NULL if it has none there. */
static __always_inline struct block *spare_block(struct task_struct *task)
{
	__u64 key = (__u64)task;

	/* Skip the lookup until the first spare block exists. */
	if (!losses.spared)
		return NULL;
	return bpf_map_lookup_elem(&spare, &key);
}

/* The block of a thread in task storage; NULL if it has none there. */
static __always_inline struct block *stored_block(struct task_struct *task)
{
	if (!losses.stored)
		return NULL;
	return bpf_task_storage_get(&blocks, task, NULL, 0);
}

/* Whether a thread has a block. With --pid or a command, only such threads are counted. */
static __always_inline bool is_tracked(struct task_struct *task)
{
	return find_slot(address_of(task)) < SLOTS_IN_SET || stored_block(task) ||
	       spare_block(task);
}

/*
 * Gives a block in task storage its id, and counts the block. Two CPUs can create the block of
 * one task at the same time and then have the same one, which counts once.
 */
static __always_inline void name_stored(struct block *block)
{
	if (give_id(&block->id))
		__sync_fetch_and_add(&losses.stored, 1);
}

/* A new entry of the spare map. Not on the stack, of which some callers have little left. */
static const volatile __u64 no_block[sizeof(struct block) / sizeof(__u64)] = {};

/*
 * Makes a block for a thread that has none, or only one in the spare map. It tries the best place
 * first each time, since a shortage may have passed. NULL if no place can be had.
 */
static __noinline struct counters *make_block(struct task_struct *task)
{
	__u64 address = address_of(task), key = (__u64)task;
	struct slot_set *set = set_of(address);
	struct counters *counters;
	struct block *block;

	counters = set ? take_slot(set, address) : NULL;
	if (counters)
		return counters;
	block = bpf_task_storage_get(&blocks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (block) {
		name_stored(block);
		return &block->counters;
	}
	block = spare_block(task);
	if (block)
		return &block->counters;
	__sync_fetch_and_add(&losses.spared, 1);
	if (bpf_map_update_elem(&spare, &key, (void *)no_block, BPF_NOEXIST))
		__sync_fetch_and_add(&losses.outside_gone, 1);
	block = bpf_map_lookup_elem(&spare, &key);
	if (!block)
		return NULL;
	give_id(&block->id);
	return &block->counters;
}

#endif
