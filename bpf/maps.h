/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Where counts live, and how they leave. Sizes are set by user space before loading. */
#ifndef NETATOP_MAPS_H
#define NETATOP_MAPS_H

/* A thread's counters. Only the thread itself writes to them, so nothing is atomic. */
struct block {
	struct counters counters;
	/* Unique as long as the programs are loaded; never 0. */
	__u64 id;
	/* The thread's exit record has been written: nothing may be added any more. */
	__u32 exited;
	__u32 _pad;
};

/*
 * One block a thread. The kernel frees it with the thread, so there is nothing to
 * size and nothing to clean up.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct block);
} blocks SEC(".maps");

/*
 * Blocks of threads whose task storage could not be created (the memory cgroup is at
 * its limit, or two creations met on a CPU). The key is the address of the task: it
 * stays the same over exec, where the thread's id does not, and the entry goes when
 * the thread ends, before the address can be used again.
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

/*
 * Exit records that did not fit into the ring, by block. An entry is written once and
 * whole, so that taking it out can race with nothing.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct thread_record);
} overflow SEC(".maps");

/* What could not be attributed. Read by user space through the map of .bss. */
struct losses losses;

#endif
