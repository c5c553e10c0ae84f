/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The contract between the kernel's side and user space. The Rust types are
 * generated from this header at build time; nothing is written twice.
 *
 * Everything is in the machine's own byte order, padding is explicit, and the
 * sizes are asserted, since both sides read the same bytes.
 */
#ifndef NETATOP_WIRE_H
#define NETATOP_WIRE_H

/*
 * What was sent and received. A message is one successful socket call, not a
 * packet; bytes are what the call returned.
 */
struct counters {
	__u64 tcp_send_msgs;
	__u64 tcp_send_bytes;
	__u64 tcp_recv_msgs;
	__u64 tcp_recv_bytes;
	__u64 udp_send_msgs;
	__u64 udp_send_bytes;
	__u64 udp_recv_msgs;
	__u64 udp_recv_bytes;
};
_Static_assert(sizeof(struct counters) == 64, "struct counters is shared with user space");

enum { COMM_LEN = 16 };

/* What a record says of its thread. */
enum record_flag {
	/* The thread has ended: these are its final counters. */
	RECORD_EXITED = 1,
	/* ... and so has, or is about to, every other thread of its process. */
	RECORD_GROUP_DEAD = 2,
	/* Only root may see the traffic: `owner` means nothing. */
	RECORD_UNOWNED = 4,
};

/*
 * The counters of one block. A thread has one block, or two where there was no good
 * place for the first; a block's id is never used again, so that a block seen both
 * alive and in an exit record is known to be one.
 */
struct thread_record {
	__u64 block;
	/* Start of the process (its first thread), nanoseconds since boot. */
	__u64 start;
	/* Inode number of the cgroup v2 directory. */
	__u64 cgroup;
	/* Process and thread, as numbered in the initial pid namespace. */
	__u32 tgid;
	__u32 tid;
	/* Real user id. */
	__u32 uid;
	/* Any of them, ored. */
	enum record_flag flags;
	/*
	 * The user who may see the traffic, besides root: by the rules of /proc/PID/io, as
	 * far as credentials decide.
	 */
	__u32 owner;
	__u32 _pad;
	/* Name of the process (of its first thread), and of this thread. */
	char comm[COMM_LEN];
	char thread_comm[COMM_LEN];
	struct counters counters;
};
_Static_assert(sizeof(struct thread_record) == 144,
	       "struct thread_record is shared with user space");

/* TRACE_CGROUP_PATH_LEN (kernel/cgroup/cgroup-internal.h), in words of eight bytes. */
enum { CGROUP_PATH_WORDS = 128 };

/* A cgroup v2 directory that was made or removed. */
struct cgroup_record {
	/* Inode number of the directory. */
	__u64 id;
	__u32 removed;
	__u32 _pad;
	/*
	 * Path below the root of the hierarchy, to its first 0. A record ends with the word that
	 * has the 0; without one the path was longer.
	 */
	__u64 path[CGROUP_PATH_WORDS];
};

/*
 * What could be counted, but not for anyone, and how the rest is getting on. Every total
 * but `to_ring` only grows. User space reads it as the front of .bss, from the first field to the
 * last one, and the order of some fields is made for that.
 */
struct losses {
	/* How many exit records are meant by `exits`. */
	__u64 exits_lost;
	/* Neither task storage nor an entry of the spare table could be had. */
	struct counters no_memory;
	/* A thread ended, and neither the ring nor the overflow table had room. */
	struct counters exits;
	/*
	 * Traffic in the name of no task: the idle loop was running, or the task was at its
	 * end (a network file system that flushes while files close). Where only some tasks
	 * are tracked, whose it was is not known any more then, and it is not counted.
	 */
	struct counters no_task;
	/* Exit records of which the loss has begun: ahead of `exits_lost` while one is added. */
	__u64 exits_losing;
	/*
	 * Exit records in the ring so far, and those that are about to be: who took so many
	 * took all that were in it when this was read. For want of room one may go elsewhere,
	 * and is taken off again.
	 */
	__u64 to_ring;
	/* Exit records put into the overflow table so far. */
	__u64 overflowed;
	/* Blocks outside of the slots that are done with: their threads have ended. */
	__u64 outside_gone;
	/* Blocks put into task storage so far, and into the spare table. */
	__u64 stored;
	__u64 spared;
	/* New tasks that should have been tracked and could not be. */
	__u64 untracked;
	/* The last block id given out. */
	__u64 last_block;
	/* Cgroups that were made or removed while the ring buffer for them was full. */
	__u64 cgroups;
};
_Static_assert(sizeof(struct losses) == 272, "struct losses is shared with user space");

#endif
