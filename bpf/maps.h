/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The maps: where counts are kept, and how user space gets them. It sets the sizes before loading.
 */
#ifndef NETATOP_MAPS_H
#define NETATOP_MAPS_H

/*
 * A block is the counters of one thread, with an id that is never used again. Only the thread adds
 * to its counters, so adding is not atomic. The life of a block:
 *
 *     first event, or marked       make_block() takes the first place that is to be had:
 *              |
 *              +--> a slot          the usual place, found by the address of the task
 *              +--> task storage    if all slots of the task's set are taken
 *              +--> the spare map   if there is no memory for task storage
 *              +--> no block        if the spare map is full: losses.no_memory, or
 *                                   losses.untracked for a task that was to be marked
 *              |
 *          each event adds; a snapshot shows the block if it has changed (dump_slots,
 *          dump_tasks)
 *              |
 *     the thread ends               end_thread() makes an exit record, if there was traffic:
 *              |
 *              +--> the ring buffer
 *              +--> the overflow map   if the ring buffer is full
 *              +--> losses.exits       if the overflow map is full as well
 *              |
 *     the place is given back      a slot is cleared and free; a block in task storage is marked
 *                                  BLOCK_GONE and freed with the task; an entry of the spare map
 *                                  is deleted
 *
 * The place is given back only after the record has left, so at each
 * moment snapshots can see a thread with traffic, or it has an exit record. It can be in both, and
 * the ledger counts an id once.
 */
enum { SLOTS_IN_SET = 16 };

/* Set in the owner of a slot that is being handed over. No task has an odd address. */
enum { LEAVING = 1 };

/* What is known of a slot besides its owner and counters. */
struct slot_state {
	/* Id of the block; 0 while the slot is free, or is being taken or given back. */
	__u64 id;
	/*
	 * The block in the last snapshot, and the sum of its counters there. The first event after
	 * each sample that is counted in a row clears shown_id, as others may, so that the next
	 * snapshot shows the block.
	 */
	__u64 shown_id;
	__u64 shown_sum;
};

/* An event reads the owners and writes the counters of one slot, so each lie together. */
struct slot_set {
	/*
	 * Address of the task that a slot belongs to; 0 for a free one. The lowest bit, LEAVING,
	 * is set while the block is handed over at the end of the task.
	 */
	__u64 owner[SLOTS_IN_SET];
	struct slot_state state[SLOTS_IN_SET];
	struct counters counters[SLOTS_IN_SET];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	/* Never mapped. A mappable map begins at a page, so a slot's counters are a cache line. */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slot_set);
} slots SEC(".maps");

/* The number of sets minus one. The number is a power of two. */
const volatile __u32 slot_sets_mask = 0;

/* Where the block of a thread in task storage is in its life. */
enum block_state {
	/* The thread counts in it. 0, as in a new entry of task storage. */
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

/* The kernel frees an entry with its task, so there is nothing to size and nothing to delete. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct block);
} blocks SEC(".maps");

/*
 * The spare map: blocks of threads without a slot for which task storage could not be created. That
 * happens if the memory cgroup is at its limit, or if a creation interrupts another one on the same
 * CPU. The key is the address of the task, which stays the same over exec, unlike the thread's id.
 * The entry is deleted when the thread ends, before the address can be used again. If the kernel
 * misses the program at that moment, the missed event is counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct block);
} spare SEC(".maps");

/* Exit records (struct thread_record): the final counters of threads. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} exits SEC(".maps");

/* The layout that a trie needs: the number of bits, directly followed by a block's id. */
struct overflow_key {
	__u32 bits;
	__u32 block[2];
};

/*
 * The overflow map: exit records that did not fit into the ring buffer, by block. An entry is
 * written once and is never changed, so user space can take it out without a race. It is a trie
 * because a trie needs hardly any memory while it is empty; a hash map has its buckets from the
 * start.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct overflow_key);
	__type(value, struct thread_record);
} overflow SEC(".maps");

/* What could not be attributed. User space reads it in the mapped memory of .bss. */
struct losses losses;

/* The records of a snapshot. User space maps the array and reads it between two runs. */
enum { SNAPSHOT_RECORDS = 256, SETS_IN_RUN = 64 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SNAPSHOT_RECORDS);
	__type(key, __u32);
	__type(value, struct thread_record);
} snapshot SEC(".maps");

/* What user space and dump_slots tell each other. */
struct dump {
	/* Show all slots in use, not only those that have changed. */
	__u32 all;
	/* The next set to visit. */
	__u32 set;
	/* Number of records that the last run wrote. */
	__u32 records;
};

struct dump dump SEC(".data.dump") = {};

/* Set by user space: losses.rows_made when it last took the rows of remote ends. */
__u64 rows_taken SEC(".data.dump") = 0;

/* Set by user space: where events with remote ends are counted, and how. */
enum rows_state {
	ROWS_FIRST_HALF = 0,
	ROWS_SECOND_HALF = 1,
	/* No thread is being read for a sample: see count_by_hint(). */
	HINTS_SUFFICE = 2,
};

enum rows_state rows_state SEC(".data.dump") = HINTS_SUFFICE;

enum { NOTED_WORDS = 256 };

/*
 * A bit for each thread that has had a note (struct note) since user space cleared them. Several
 * threads share a bit. If it is not set, the thread has no note that count_by_hint() would have to
 * use.
 */
__u64 noted[NOTED_WORDS] SEC(".data.dump") = {};

/* Always 0, which the verifier does not know. See tcp_abort(). */
__u32 unknown_zero SEC(".data.dump") = 0;

/* The same for `--tcp`: user space reads the first, and sets the second. */
struct tcp_losses tcp_losses;

__u64 tcp_rows_taken SEC(".data.dump") = 0;

/*
 * With tcp.by_files: the accounts that user space does not reach, since no process has their socket
 * open, are those that the last pass has not seen.
 */
struct tcp_passes {
	/* Number of accounts of living sockets. */
	__u64 accounts;
	/* How many of them the last two passes have seen, or were made since. */
	__u64 seen[2];
	/* Set by user space: the number of the pass. The lowest bit selects one of `seen`. */
	__u32 pass;
};

struct tcp_passes tcp_passes SEC(".data.dump") = {};

/* Set by user space: rows of `--tcp` are made in the second map. */
__u32 tcp_rows_second SEC(".data.dump") = 0;

#endif
