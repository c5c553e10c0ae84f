/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The account of a TCP socket: what it has grown by, and who owns it. */
#ifndef NETATOP_TCP_ACCOUNT_H
#define NETATOP_TCP_ACCOUNT_H

#include "tcp_growth.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct account);
} accounts SEC(".maps");

/*
 * Not 0 if somebody may be changing the socket's counters. Where the kernel's locks are others, as
 * with PREEMPT_RT, only those who hold the socket for long are seen.
 */
static __always_inline __u32 is_locked(struct sock *sk)
{
	__u32 locked = sk->sk_lock.owned;

	if (bpf_core_field_exists(sk->sk_lock.slock.rlock.raw_lock.val))
		locked |= sk->sk_lock.slock.rlock.raw_lock.val.counter;
	return locked;
}

/* Who may change a socket's counters while they are read. */
enum reader {
	/* Nobody: this CPU does, and has called the program meanwhile. */
	IN_EVENT,
	/* Nobody: the reader holds the socket's lock. */
	WITH_LOCK,
	/* Another CPU. */
	WITHOUT_LOCK,
};

/*
 * Reads a socket's counters, possibly while another CPU changes them. A reading may say too little,
 * and never too much; the rest is in the next one:
 *
 * - __tcp_retransmit_skb() adds to total_retrans, then to segs_out, and take_growth() subtracts. So
 *   they are read in the other order.
 * - tcp_snd_una_update() adds a FIN to bytes_acked, and only then to snd_una. tcp_data_queue() adds
 *   one to bytes_received, and marks that only in tcp_fin(). While another CPU may be between the
 *   two, one byte is held back.
 * - tcp_disconnect() closes the socket and then clears the counters. So the state is read last.
 */
static __always_inline void read_tcp(struct sock *sk, struct tcp_reading *now, enum reader reader)
{
	struct tcp_sock *tcp = bpf_core_cast(sk, struct tcp_sock);
	__u32 locked;

	now->segs_out = tcp->segs_out;
	barrier();
	now->retrans_segs = tcp->total_retrans;
	locked = reader == WITHOUT_LOCK ? is_locked(sk) : 0;
	barrier();
	now->acked = tcp->bytes_acked;
	now->received = tcp->bytes_received;
	barrier();
	now->confirmed = tcp->snd_una;
	locked |= reader == WITHOUT_LOCK ? is_locked(sk) : 0;
	now->locked = is_set(locked);
	now->fin = is_set(locked | (sk->__sk_common.skc_flags & (1 << SOCK_DONE)));
	now->segs_in = tcp->segs_in;
	now->retrans_bytes = tcp->bytes_retrans;
	now->delivered = tcp->delivered;
	now->rtt = tcp->srtt_us >> 3;
	now->rtt_min = tcp->rtt_min.s[0].v;
	barrier();
	now->state = sk->__sk_common.skc_state;
	now->cleared = reader != IN_EVENT && now->state == TCP_CLOSE;
}

/* Whether the ends of a connection match all filters by ends. They are known. */
static __always_inline bool has_wanted_ends(const struct found_ends *found)
{
	if (matching.ports && match_port(found) != YES)
		return false;
	if (matching.networks && match_network(found) != YES)
		return false;
	return !matching.no_loopback || match_outside(found) == YES;
}

/*
 * Notes the remote end while the socket has one, if rows are split or filtered by it. A connection
 * that does not match loses its owner: what happens to it is nobody's.
 */
static __always_inline void note_ends(struct sock *sk, struct account *account)
{
	struct found_ends found = {.is_remote_known = true};
	bool is_filtered = has_end_filter();
	struct ends *ends = &found.ends;
	__u64 netns, role = 0, is_wanted = 1;

	if ((!remote.mode && !is_filtered) || (account->flags & ACCOUNT_HAS_ENDS) ||
	    !sk->__sk_common.skc_dport)
		return;
	find_ends(ends, sk, NULL, matching.no_loopback);
	/* connect(2) has no local port yet when it says that it sends a SYN. */
	if (!ends->local_port)
		return;
	if (is_filtered)
		is_wanted = has_wanted_ends(&found);
	if (remote.mode != REMOTE_SOCKET)
		ends->local[0] = ends->local[1] = 0;
	if (remote.mode)
		role = fold(ends, sk, TCP);
	netns = sk->__sk_common.skc_net.net->ns.inum;
	if (netns == remote.host_netns)
		netns = 0;
	bpf_spin_lock(&account->lock);
	account->flags |= is_wanted ? ACCOUNT_HAS_ENDS : ACCOUNT_HAS_ENDS | ACCOUNT_UNWANTED;
	if (remote.mode) {
		account->key.local[0] = ends->local[0];
		account->key.local[1] = ends->local[1];
		account->key.remote[0] = ends->remote[0];
		account->key.remote[1] = ends->remote[1];
		account->key.place = netns << 32 | ends->scope;
		account->key.ends =
			ends->local_port << 48 | ends->remote_port << 32 | role << 8 | TCP;
	}
	bpf_spin_unlock(&account->lock);
}

/* A pass has reached an account. False if it was there before: a socket can have several files. */
static __always_inline bool see_account(struct account *account)
{
	__u32 pass = tcp_passes.pass;

	if (!tcp.by_files)
		return true;
	if (account->pass == pass)
		return false;
	account->pass = pass;
	__sync_fetch_and_add(&tcp_passes.seen[pass & 1], 1);
	return true;
}

/* An account is new. Its socket has nothing yet that a pass would have to charge. */
static __always_inline void count_account(struct account *account)
{
	__u32 pass = tcp_passes.pass;

	if (!tcp.by_files)
		return;
	account->pass = pass;
	__sync_fetch_and_add(&tcp_passes.accounts, 1);
	__sync_fetch_and_add(&tcp_passes.seen[pass & 1], 1);
}

/* An account is about to go. */
static __always_inline void forget_account(struct account *account)
{
	__u32 pass = tcp_passes.pass;

	if (!tcp.by_files)
		return;
	__sync_fetch_and_sub(&tcp_passes.accounts, 1);
	if (account->pass == pass)
		__sync_fetch_and_sub(&tcp_passes.seen[pass & 1], 1);
}

/* Charges growth to the owner, with what `growth` has already. */
static __always_inline void settle(struct sock *sk, struct account *account,
				   struct tcp_counters *growth, enum reader reader)
{
	struct tcp_reading now;
	struct remote_key key;
	struct tcp_owner owner;
	__u32 flags;

	note_ends(sk, account);
	now.begun = account->begun;
	barrier();
	read_tcp(sk, &now, reader);
	bpf_spin_lock(&account->lock);
	take_growth(account, &now, growth);
	flags = account->flags;
	key = account->key;
	owner = account->owner;
	bpf_spin_unlock(&account->lock);
	if (!(flags & ACCOUNT_UNWANTED))
		credit(&key, &owner, growth);
}

static __always_inline void identify_owner(struct tcp_owner *owner, struct task_struct *task)
{
	owner->cgroup = task->cgroups->dfl_cgrp->kn->id;
	owner->uid = task->real_cred->uid.val;
	owner->_pad = 0;
	__builtin_memcpy(owner->comm, task->group_leader->comm, sizeof(owner->comm));
	__builtin_memcpy(owner->thread_comm, task->comm, sizeof(owner->thread_comm));
}

/* The process and thread in the key of a task's row. */
static __always_inline __u64 task_of_row(struct task_struct *task)
{
	return (__u64)task->tgid << 32 | (tcp.threads ? (__u32)task->pid : 0);
}

static __always_inline bool is_same_name(const char *one, const char *other)
{
	const __u64 *a = (const __u64 *)one, *b = (const __u64 *)other;

	return a[0] == b[0] && a[1] == b[1];
}

/*
 * Makes a task the owner: `task` was cast, NULL for nobody. Growth before the owner's first use
 * goes to the owner of before, unless that one only inherited the socket.
 */
static __always_inline void renew(struct sock *sk, struct account *account,
				  struct task_struct *task)
{
	/* One after the other: the stack is small. */
	union {
		struct tcp_reading now;
		struct remote_key key;
	} of;
	struct tcp_counters growth = {};
	__u64 start = 0, id = 0;
	struct tcp_owner owner;
	__u32 flags;

	if (task) {
		start = task->group_leader->start_boottime;
		id = task_of_row(task);
	}
	of.now.begun = account->begun;
	barrier();
	read_tcp(sk, &of.now, WITHOUT_LOCK);
	bpf_spin_lock(&account->lock);
	flags = account->flags;
	if (flags & ACCOUNT_USED)
		take_growth(account, &of.now, &growth);
	of.key = account->key;
	owner = account->owner;
	account->key.start = start;
	account->key.task = id;
	if (task)
		identify_owner(&account->owner, task);
	account->flags |= ACCOUNT_USED;
	bpf_spin_unlock(&account->lock);
	if (!(flags & ACCOUNT_UNWANTED))
		credit(&of.key, &owner, &growth);
}

/* Whether a task is the owner already, under the same name. */
static __always_inline bool is_owner(const struct account *account, struct task_struct *task)
{
	const struct remote_key *key = &account->key;

	return account->flags & ACCOUNT_USED && key->task == task_of_row(task) &&
	       key->start == task->group_leader->start_boottime &&
	       is_same_name(account->owner.comm, task->group_leader->comm);
}

/*
 * Begins the account of a socket: its counters count from now on. It has no owner yet, and no
 * remote end.
 */
static __always_inline struct account *make_account(struct sock *trusted, enum reader reader)
{
	struct account *account =
		bpf_sk_storage_get(&accounts, trusted, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	struct sock *sk = bpf_core_cast(trusted, struct sock);
	struct tcp_sock *tcp = bpf_core_cast(trusted, struct tcp_sock);
	struct tcp_reading now;
	__u32 fin, flags = 0;

	if (!account) {
		__sync_fetch_and_add(&tcp_losses.no_account, 1);
		return NULL;
	}
	if (!account->begun)
		count_account(account);
	read_tcp(sk, &now, reader);
	fin = tcp->write_seq - 1;
	if (now.state == TCP_FIN_WAIT1 || now.state == TCP_LAST_ACK || now.state == TCP_CLOSING)
		flags = ACCOUNT_FIN;
	else if (now.state == TCP_SYN_SENT)
		flags = ACCOUNT_CLIENT;
	bpf_spin_lock(&account->lock);
	__builtin_memset(&account->key, 0, sizeof(account->key));
	account->synacks = 0;
	account->out_segs = now.segs_out - now.retrans_segs;
	account->in_segs = now.segs_in;
	account->retrans_segs = now.retrans_segs;
	account->retrans_bytes = now.retrans_bytes;
	account->acked = now.acked;
	account->received = now.received;
	account->delivered = now.delivered;
	account->fin = fin;
	account->connect = 0;
	account->begun++;
	account->flags = flags;
	bpf_spin_unlock(&account->lock);
	return account;
}

/* Sets the owner without charging anything, and adds to the flags. */
static __always_inline void set_owner(struct account *account, struct task_struct *task,
				      __u32 flags)
{
	struct tcp_owner owner;
	__u64 start = task->group_leader->start_boottime, id = task_of_row(task);

	identify_owner(&owner, task);
	bpf_spin_lock(&account->lock);
	account->key.start = start;
	account->key.task = id;
	account->owner = owner;
	account->flags |= flags;
	bpf_spin_unlock(&account->lock);
}

#endif
