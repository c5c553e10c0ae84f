/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The counting rule: which events count, and to which block. */
#ifndef NETATOP_COUNT_H
#define NETATOP_COUNT_H

enum direction { SEND, RECV };
enum protocol { TCP, UDP };

/* struct counters as an array of these, by protocol, then direction. */
struct tally {
	__u64 msgs;
	__u64 bytes;
};

#define TALLY(name, protocol, direction)                                                           \
	_Static_assert(__builtin_offsetof(struct counters, name##_msgs) ==                         \
			       (protocol * 2 + direction) * sizeof(struct tally),                  \
		       "struct counters has the order of struct tally")
TALLY(tcp_send, TCP, SEND);
TALLY(tcp_recv, TCP, RECV);
TALLY(udp_send, UDP, SEND);
TALLY(udp_recv, UDP, RECV);

static __always_inline void add(struct counters *c, enum protocol protocol,
				enum direction direction, __u64 bytes)
{
	struct tally *tally = (struct tally *)c + protocol * 2 + direction;

	tally->msgs += 1;
	tally->bytes += bytes;
}

/* Counts an event of a thread that has no block and gets none. */
static __noinline int add_aside(bool no_memory, enum protocol protocol, enum direction direction,
				__u64 bytes)
{
	struct counters *lost = no_memory ? &losses.no_memory : &losses.no_task;
	struct tally *tally = (struct tally *)lost + (protocol & UDP) * 2 + (direction & RECV);

	__sync_fetch_and_add(&tally->msgs, 1);
	__sync_fetch_and_add(&tally->bytes, bytes);
	return 0;
}

/*
 * The counters of a thread without a slot, which gets a block if it has none. NULL if the event
 * does not count, or was counted aside.
 */
static __always_inline struct counters *counters_outside(struct task_struct *task,
							 enum protocol protocol,
							 enum direction direction, __u64 bytes)
{
	struct block *block = stored_block(task);
	struct counters *counters;

	if (block && block->state == BLOCK_LIVE)
		return &block->counters;
	if (!block && filter.tracked) {
		block = spare_block(task);
		return block ? &block->counters : NULL;
	}
	/*
	 * The idle task is no thread of a process. A block for a task at its end would stay
	 * behind, since the task may have looked for its blocks already.
	 */
	if (!task->pid || (task->flags & PF_EXITING)) {
		add_aside(false, protocol, direction, bytes);
		return NULL;
	}
	counters = make_block(task);
	if (!counters)
		add_aside(true, protocol, direction, bytes);
	return counters;
}

/*
 * Counts an event of a thread without a slot: usually its first event. The function is global, so
 * the verifier checks it once.
 */
__noinline int count_outside(enum protocol protocol, enum direction direction, __u64 bytes)
{
	struct counters *counters;

	/* The verifier does not know the arguments of a global function. These are the bounds. */
	protocol &= UDP;
	direction &= RECV;
	counters = counters_outside(bpf_get_current_task_btf(), protocol, direction, bytes);
	if (counters)
		add(counters, protocol, direction, bytes);
	return 0;
}

/* Data that will be received again does not count, and errors are no data. */
static __always_inline bool does_count(int flags)
{
	return !(flags & (MSG_PEEK | MSG_ERRQUEUE));
}

#include "remote.h"
#include "match.h"

/* Whether a protocol is TCP or MPTCP, in one comparison instead of two. */
static __always_inline bool is_tcp(__u16 protocol)
{
	_Static_assert(IPPROTO_MPTCP == (IPPROTO_TCP | 0x100), "they differ in one bit");
	return (protocol & ~0x100) == IPPROTO_TCP;
}

/*
 * Whether a UDP receive of 0 bytes is the end of data after shutdown(SHUT_RD), which a program can
 * read again and again, and not an empty datagram.
 *
 * __skb_recv_udp() (net/ipv4/udp.c) takes a queued datagram first, whether the socket is shut down
 * or not. It looks at the shutdown only when it would wait (__skb_wait_for_more_packets() in
 * net/core/datagram.c). A call that does not wait gets EAGAIN instead, so its 0 is an empty
 * datagram. A call that may wait returns 0 in both cases and nothing tells them apart. The end of
 * data is by far the more frequent one, so that call is not counted.
 */
static __always_inline bool is_end_of_data(const struct sock *sk, int flags)
{
	return !(flags & MSG_DONTWAIT) && (sk->sk_shutdown & RCV_SHUTDOWN);
}

/*
 * With `by_remote`, events are counted by remote end; with `by_ends`, only those whose ends match.
 * These are programs of their own, so that the others neither contain that code nor its
 * relocations, which take time at the start.
 */
static __always_inline int count(struct sock *sk, int ret, int flags, enum direction direction,
				 bool by_remote, bool by_ends)
{
	struct found_ends found = {};
	enum protocol protocol;
	struct slot_set *set;
	__u16 family, type, number;
	__u64 task, cookie;
	enum rows_state state;
	__u32 at;

	/* First, since most events end here. An event of 0 bytes may not count at all. */
	if (by_remote && !by_ends && !filter.tasks && ret > 0 && does_count(flags)) {
		cookie = sk->__sk_common.skc_cookie.counter;
		state = state_of_rows();
		task = bpf_get_current_task();
		if (cookie && count_by_hint(sk, direction, ret, task, cookie, state))
			return 0;
		if (cookie && sk->sk_type == SOCK_DGRAM &&
		    count_by_noted_hint(sk, direction, ret, task, cookie, state))
			return 0;
	}
	if (ret < 0 || !does_count(flags)) {
		if (by_remote || by_ends)
			forget_note(sk);
		return 0;
	}
	family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	/* A raw socket can have protocol 6 or 17 too, but another type. */
	type = sk->sk_type;
	number = sk->sk_protocol;
	if (type == SOCK_STREAM) {
		/* ret is 0 at the end of a stream, and if there was nothing to send. */
		if (!is_tcp(number) || ret == 0)
			return 0;
		protocol = TCP;
	} else {
		if (type != SOCK_DGRAM || number != IPPROTO_UDP)
			return 0;
		if (direction == RECV && ret == 0 && is_end_of_data(sk, flags))
			return 0;
		protocol = UDP;
	}
	if (filter.tasks && !is_wanted_task(ret))
		return 0;
	if (by_ends && !is_matching(&found, sk, protocol, direction, ret))
		return 0;
	if (by_remote)
		return count_remote(sk, protocol, direction, ret, by_ends ? &found : NULL);

	task = bpf_get_current_task();
	set = set_of(task);
	at = set ? place_in(set, task) : SLOTS_IN_SET;
	if (!set || at >= SLOTS_IN_SET)
		return count_outside(protocol, direction, ret);
	add(&set->counters[at], protocol, direction, ret);
	return 0;
}

#endif
