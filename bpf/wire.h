/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The records that the BPF programs write and user space reads. The Rust types are generated from
 * this header at build time.
 *
 * Numbers are in the machine's byte order. Padding is explicit and sizes are asserted, since both
 * sides read the same bytes.
 */
#ifndef NETATOP_WIRE_H
#define NETATOP_WIRE_H

/*
 * What was sent and received. A message is one successful socket call, not a packet. Bytes are what
 * the call returned.
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

/* Facts about the thread of a record. */
enum record_flag {
	/* The thread has ended: these are its final counters. */
	RECORD_EXITED = 1,
	/* All other threads of its process have ended too, or are about to. */
	RECORD_GROUP_DEAD = 2,
	/* Only those who see everything may see the traffic: `owner` means nothing. */
	RECORD_UNOWNED = 4,
};

/*
 * The counters of one block. A thread has one block. It has two if the first got a worse place
 * (see make_block()), or if two CPUs made its first block at the same time. A block's id is never
 * used again, so a block that is both in a snapshot and in an exit record is known to be the same.
 */
struct thread_record {
	__u64 block;
	/* Start of the process (its first thread), nanoseconds since boot. */
	__u64 start;
	/* Inode number of the cgroup v2 directory. */
	__u64 cgroup;
	/* Process and thread id in the initial pid namespace. */
	__u32 tgid;
	__u32 tid;
	/* Real user id. */
	__u32 uid;
	/* Zero or more flags. */
	enum record_flag flags;
	/* The user who may see the traffic, besides root: see owner_of(). */
	__u32 owner;
	__u32 _pad;
	/* Names of the process (that of its first thread) and of this thread. */
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
 * Traffic that could not be attributed to a thread, and totals about blocks and records. All
 * totals only grow, except `to_ring`. User space copies the structure from the front of .bss, from
 * the first field to the last. The order of exits_lost, exits and exits_losing depends on that.
 */
struct losses {
	/* Number of exit records in `exits`. */
	__u64 exits_lost;
	/* Events of threads for which there was no slot, no task storage and no spare entry. */
	struct counters no_memory;
	/* Final counters for which neither the ring buffer nor the overflow map had room. */
	struct counters exits;
	/*
	 * Events without a task to count them for: the idle task was running, or the task was at
	 * its end (for example, a network file system writes data while the kernel closes files).
	 * If only some tasks are tracked, a task at its end is not known to be one of them, and the
	 * event is skipped.
	 */
	struct counters no_task;
	/* Like `exits_lost`, but counted before a record is added to `exits`, not after. */
	__u64 exits_losing;
	/*
	 * Exit records that were put into the ring buffer so far, and those that are about to be. A
	 * reader that has taken this many has taken all that were in the buffer when it read this.
	 * A record that finds no room is subtracted again.
	 */
	__u64 to_ring;
	/* Exit records that were put into the overflow map so far. */
	__u64 overflowed;
	/* Blocks outside of the slots whose threads have ended. */
	__u64 outside_gone;
	/* Blocks that were made in task storage so far, and in the spare map. */
	__u64 stored;
	__u64 spared;
	/* Tasks that should be tracked and could not be. */
	__u64 untracked;
	/* The newest block id. */
	__u64 last_block;
	/* Cgroups that were created or removed while the ring buffer for them was full. */
	__u64 cgroups;
	/* Rows of remote ends that were made so far. */
	__u64 rows_made;
	/* Messages whose remote end is not known: they are in the counters of their thread. */
	__u64 remote_unknown;
	/* The same, because there was no room for a row. */
	__u64 remote_full;
	/* What a filter left out because it depends on a remote end that is not known. */
	__u64 unmatched_msgs;
	__u64 unmatched_bytes;
	/* What a filter by unit left out because it is not known whose cgroup it is. */
	__u64 undecided_msgs;
	__u64 undecided_bytes;
	/* New cgroups of which that is not known: no room, or the path is too long. */
	__u64 undecided_cgroups;
};
_Static_assert(sizeof(struct losses) == 336, "struct losses is shared with user space");

enum remote_role { REMOTE_CLIENT = 1, REMOTE_SERVER = 2 };

/*
 * What a row of `--remote` is. Parts by which rows are not split are 0. All fields are whole words,
 * so that a program can make and compare keys without memory.
 */
struct remote_key {
	/* Start of the process, as in struct thread_record. */
	__u64 start;
	/* Process id << 32 | thread id, which is 0 if rows are not threads. */
	__u64 task;
	/* IPv6 addresses as they lie in memory; IPv4 addresses are mapped to IPv6. */
	__u64 local[2];
	__u64 remote[2];
	/*
	 * Inode number of the network namespace, 0 for the host's, << 32 | index of the interface
	 * of a link-local address.
	 */
	__u64 place;
	/* Local port << 48 | remote port << 32 | enum remote_role << 8 | 0 for TCP, 1 for UDP. */
	__u64 ends;
};
_Static_assert(sizeof(struct remote_key) == 64, "struct remote_key is shared with user space");

/* The counters of a row since user space took it: sent, received. */
struct remote_counters {
	__u64 msgs[2];
	__u64 bytes[2];
};
_Static_assert(sizeof(struct remote_counters) == 32,
	       "struct remote_counters is shared with user space");

/*
 * What TCP itself says of sockets (`--tcp`). Segments and bytes are growth since the last record,
 * times are in microseconds.
 */
struct tcp_counters {
	/* As TCP's MIB counts them: segments that only repeat data are in retrans_segs alone. */
	__u64 out_segs;
	__u64 in_segs;
	__u64 retrans_segs;
	/* Payload that was sent again, that the other end has confirmed, and that arrived. */
	__u64 retrans_bytes;
	__u64 out_bytes;
	__u64 in_bytes;
	__u64 active_opens;
	__u64 passive_opens;
	__u64 attempt_fails;
	__u64 estab_resets;
	/* Parts of attempt_fails. */
	__u64 refused;
	__u64 timed_out;
	__u64 unreachable;
	/* Connections that were established by connect(2), and how long that took in total. */
	__u64 connects;
	__u64 connect_us;
	__u64 connect_us_max;
	/* Segments that were confirmed, and the sum of a round trip for each of them. */
	__u64 rtt_weight;
	__u64 rtt_us;
	/* 0 if there is none. */
	__u64 rtt_us_min;
	__u64 rtt_us_max;
};
_Static_assert(sizeof(struct tcp_counters) == 160, "struct tcp_counters is shared with user space");

/* Who a socket belongs to, as in struct thread_record. */
struct tcp_owner {
	__u64 cgroup;
	__u32 uid;
	__u32 _pad;
	char comm[COMM_LEN];
	char thread_comm[COMM_LEN];
};
_Static_assert(sizeof(struct tcp_owner) == 48, "struct tcp_owner is shared with user space");

/* include/uapi/linux/bpf.h */
struct bpf_spin_lock {
	__u32 val;
};

/* A row of `--tcp`. Its key is a struct remote_key, without remote end unless rows have one. */
struct tcp_row {
	struct tcp_counters counters;
	struct tcp_owner owner;
	/* The counters are changed with the lock held. */
	struct bpf_spin_lock lock;
	__u32 _pad;
};
_Static_assert(sizeof(struct tcp_row) == 216, "struct tcp_row is shared with user space");

/* What `--tcp` could not attribute. All totals only grow. */
struct tcp_losses {
	/* Growth of sockets without owner, and growth for which there was no row. */
	struct tcp_counters unattributed;
	/* How often there was no room for a row. */
	__u64 no_row;
	/* How often there was no memory for the account of a socket. */
	__u64 no_account;
	/* Rows that were made so far. */
	__u64 rows_made;
};
_Static_assert(sizeof(struct tcp_losses) == 184, "struct tcp_losses is shared with user space");

/*
 * The longest command line that is handed over, in bytes, and what a longer one says of its length.
 */
enum { COMMAND_TEXT_BYTES = 4096, COMMAND_MOST_BYTES = 1 << 30 };

enum command_kind {
	/* The process has executed a program. */
	COMMAND_EXEC = 1,
	/* The same, but the arguments could not be read. */
	COMMAND_UNREAD = 2,
	/* A new process, with the command line of its parent. */
	COMMAND_FORK = 3,
};

/* The command line of a process from now on. */
struct command_record {
	/* Start of the process, and of its parent, as in struct thread_record. */
	__u64 start;
	__u64 parent_start;
	/* Process ids in the initial pid namespace. Only COMMAND_FORK has a parent. */
	__u32 tgid;
	__u32 parent;
	enum command_kind kind;
	/* Length of all arguments. A record ends after as many of them as it has room for. */
	__u32 bytes;
	/* The arguments, each with a 0 at its end. */
	char text[COMMAND_TEXT_BYTES];
};
enum { COMMAND_HEAD_BYTES = 32 };
_Static_assert(sizeof(struct command_record) == COMMAND_HEAD_BYTES + COMMAND_TEXT_BYTES,
	       "struct command_record is shared with user space");

/* What the programs on command lines could not hand over. All totals only grow. */
struct command_losses {
	/* Records for which there was no room. */
	__u64 lost;
	/* Command lines that could not be read. */
	__u64 unread;
	/* As in struct losses. */
	__u64 to_ring;
};
_Static_assert(sizeof(struct command_losses) == 24,
	       "struct command_losses is shared with user space");

#endif
