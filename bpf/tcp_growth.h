/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * How much a TCP socket has grown since it was last charged: arithmetic alone, without the kernel.
 * tests/bpf runs it in user space, with counters that wrap.
 */
#ifndef NETATOP_TCP_GROWTH_H
#define NETATOP_TCP_GROWTH_H

enum account_flag {
	/* The owner has used the socket, and did not only inherit it. */
	ACCOUNT_USED = 1,
	/* Its ends are known: `key` has what rows are split by. */
	ACCOUNT_HAS_ENDS = 2,
	/* Its connection was opened, and that was not charged yet. */
	ACCOUNT_CONNECTED = 4,
	ACCOUNT_ACCEPTED = 8,
	/* It has sent a SYN since it has an account. */
	ACCOUNT_CLIENT = 16,
	/* It has sent a FIN since it has an account, or just before. */
	ACCOUNT_FIN = 32,
	/* Its ends do not match the filters: its growth counts nowhere. */
	ACCOUNT_UNWANTED = 64,
	/* connect(2) has established it, and that was not charged yet. */
	ACCOUNT_ESTABLISHED = 128,
};

/* The account of a socket. All but `lock` is changed with the lock held. */
struct account {
	struct bpf_spin_lock lock;
	__u32 flags;
	/* The owner's row. Without task there is no owner. */
	struct remote_key key;
	struct tcp_owner owner;
	/* What was charged so far: see take_growth(). */
	__u64 retrans_bytes;
	__u64 acked;
	__u64 received;
	__u32 out_segs;
	__u32 in_segs;
	__u32 retrans_segs;
	__u32 delivered;
	/* How many SYN-ACKs were sent again before there was this socket. */
	__u32 synacks;
	/* The sequence number of the FIN that was sent. */
	__u32 fin;
	/* The kernel's counters have begun anew this often. */
	__u32 begun;
	/* The last pass of user space that has seen the account: see struct tcp_passes. */
	__u32 pass;
	/*
	 * When the SYN was sent, nanoseconds since boot; once established, how long it took to
	 * connect, in microseconds. 0 if the SYN is older than the account.
	 */
	__u64 connect;
};
/* With what the kernel adds (72 bytes), an account has to fit into 256: the next size is 512. */
_Static_assert(sizeof(struct account) <= 184, "an account takes twice the memory");

/* The kernel's counters of a socket at one moment. */
struct tcp_reading {
	__u64 retrans_bytes;
	__u64 acked;
	__u64 received;
	__u32 segs_out;
	__u32 segs_in;
	__u32 retrans_segs;
	__u32 delivered;
	__u32 confirmed;
	__u32 rtt;
	__u32 rtt_min;
	/* `begun` of the account, before the counters were read. */
	__u32 begun;
	__u8 state;
	/* Another CPU may be changing the counters. */
	__u8 locked;
	/* The FIN of the other end is in `received`, or may be. */
	__u8 fin;
	/* Another CPU may be clearing the counters: the socket is closed. */
	__u8 cleared;
};

/*
 * The verifier goes through all combinations of branches, so the code below has few. This is 1 for
 * all values but 0. The barrier keeps the compiler from seeing a comparison.
 */
static __always_inline __u64 is_set(__u64 value)
{
	__u64 negative = -value;

	barrier_var(negative);
	return (value | negative) >> 63;
}

/* The growth of a counter that may wrap; 0 if it seems to have gone back. */
static __always_inline __u32 grown(__u32 *charged, __u32 now)
{
	__u32 growth = now - *charged, backwards = (__s32)growth >> 31;

	barrier_var(backwards);
	growth &= ~backwards;
	*charged += growth;
	return growth;
}

static __always_inline __u64 grown64(__u64 *charged, __u64 now)
{
	__u64 growth = now - *charged, backwards = (__s64)growth >> 63;

	barrier_var(backwards);
	growth &= ~backwards;
	*charged += growth;
	return growth;
}

/* Moves what has grown since the account was last charged. The lock is held. */
static __always_inline void take_growth(struct account *account, const struct tcp_reading *now,
					struct tcp_counters *growth)
{
	__u32 flags = account->flags, beyond_fin = account->fin - now->confirmed, opened;
	__u64 acked = now->acked, received = now->received, established;

	/*
	 * A closed socket was charged when it was closed. Then connect(2) to no address clears the
	 * counters, one after the other.
	 */
	if (now->begun != account->begun || now->cleared)
		return;
	/* Before the connection is accepted, only its SYN-ACKs can have been sent again. */
	if (now->state == TCP_SYN_RECV && !(flags & ACCOUNT_CLIENT))
		account->synacks = now->retrans_segs;
	/* SYN and FIN are not payload. */
	acked -= is_set(flags & ACCOUNT_CLIENT) & is_set(acked);
	acked -= is_set(flags & ACCOUNT_FIN) & (beyond_fin >> 31 | now->locked) & is_set(acked);
	received -= now->fin & is_set(received);
	/* The counters were cleared. They begin anew with the next SYN. */
	if (acked + 1 < account->acked || received + 1 < account->received)
		return;
	growth->out_segs =
		grown(&account->out_segs, now->segs_out - now->retrans_segs + account->synacks);
	growth->in_segs = grown(&account->in_segs, now->segs_in);
	growth->retrans_segs = grown(&account->retrans_segs, now->retrans_segs);
	growth->retrans_bytes = grown64(&account->retrans_bytes, now->retrans_bytes);
	growth->out_bytes = grown64(&account->acked, acked);
	growth->in_bytes = grown64(&account->received, received);
	growth->rtt_weight = grown(&account->delivered, now->delivered) * is_set(now->rtt);
	growth->rtt_us = growth->rtt_weight * now->rtt;
	growth->rtt_us_max = now->rtt;
	growth->rtt_us_min = now->rtt_min;
	growth->passive_opens = is_set(flags & ACCOUNT_ACCEPTED);
	/* The SYN may have found no local port. */
	opened = is_set(flags & ACCOUNT_CONNECTED) & is_set(now->segs_out);
	growth->active_opens = opened;
	/* The SYN may be older than the account. */
	established = is_set(flags & ACCOUNT_ESTABLISHED) & is_set(account->connect);
	growth->connects = established;
	growth->connect_us = established * account->connect;
	account->flags =
		flags & ~(ACCOUNT_ACCEPTED | ACCOUNT_ESTABLISHED | ACCOUNT_CONNECTED * opened);
}

#endif
