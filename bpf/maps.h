/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Where counts live, and how they leave. Sizes are set by user space before loading. */
#ifndef NETATOP_MAPS_H
#define NETATOP_MAPS_H

/*
 * A block is a thread's counters and the id of that account. It is in a slot, found by the
 * address of the task: the quickest way there is, and it can be read without going to
 * every task of the host. Where all slots of the set are taken it is in task storage, which
 * has no limit but memory; where that cannot be had, in the spare table. Only the thread
 * itself adds to its counters, so that is not atomic.
 */
enum { SLOTS_IN_SET = 16 };

/* Set in the owner of a slot that is being handed over. No task has an odd address. */
enum { LEAVING = 1 };

/* What belongs together in an event lies together: the owners, and one slot's counters. */
struct slot_set {
	/*
	 * Address of the task that a slot belongs to; 0 for a free one. The lowest bit, LEAVING,
	 * is set while the block is handed over at the end of the task.
	 */
	__u64 owner[SLOTS_IN_SET];
	struct counters counters[SLOTS_IN_SET];
	/* Block ids; 0 while a slot is free, or is being taken or given back. */
	__u64 id[SLOTS_IN_SET];
	/* The block, and the sum of its counters, that a snapshot had last: the dump's alone. */
	__u64 shown_id[SLOTS_IN_SET];
	__u64 shown_sum[SLOTS_IN_SET];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	/* Nobody maps it: but such a map begins at a page, so that a slot is one cache line. */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slot_set);
} slots SEC(".maps");

/* The number of sets, less one: they are a power of two. */
const volatile __u32 slot_sets_mask = 0;

/* Where the block of a thread in task storage is in its life. */
enum block_state {
	/* Counts. */
	BLOCK_LIVE,
	/* One CPU is handing it over. Nothing is added any more, and snapshots still show it. */
	BLOCK_LEAVING,
	/* Handed over. It waits for the kernel to free it with the thread. */
	BLOCK_GONE,
};

/* A block outside of the slots. */
struct block {
	struct counters counters;
	__u64 id;
	enum block_state state;
	__u32 _pad;
};

/* The kernel frees it with the thread: there is nothing to size and nothing to clean up. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct block);
} blocks SEC(".maps");

/*
 * Blocks of threads that have no slot, and whose task storage could not be created (the
 * memory cgroup is at its limit, or two creations met on a CPU). The key is the address
 * of the task: it stays the same over exec, where the thread's id does not, and the entry
 * goes when the thread ends, before the address can be used again (if the kernel does not miss
 * the program at its end, which is counted).
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct block);
} spare SEC(".maps");

/* Final counters of threads that have ended: struct thread_record. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} exits SEC(".maps");

/* As a trie wants it: the number of bits, and right behind it a block's id. */
struct overflow_key {
	__u32 bits;
	__u32 block[2];
};

/*
 * Exit records that did not fit into the ring, by block. An entry is written once and
 * whole, so that taking it out can race with nothing. A trie, since that takes hardly any
 * memory before it is needed; a hash table would have its buckets from the start.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct overflow_key);
	__type(value, struct thread_record);
} overflow SEC(".maps");

/* What could not be attributed. Read by user space through the map of .bss. */
struct losses losses;

/* Set by user space: a dump shows all slots in use, not only those with news. */
__u32 dump_all SEC(".data.dump") = 0;

#endif
