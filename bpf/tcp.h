/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * TCP's own account of each socket (`--tcp`), and to whom it is charged.
 *
 * The running process at TCP's events is usually not the socket's owner: they happen in softirqs,
 * under whatever runs. So each socket has an account in socket storage, which names its owner: who
 * last used it, or before its first use who connected or listened. An accepted socket inherits the
 * account of its listener (BPF_F_CLONE).
 *
 * The kernel's counters of a socket only grow. Their growth since it was last charged goes to the
 * row of the owner:
 *
 *     a socket call by another owner    to the one before; before the first use, to the new one
 *     a connection fails or is closed   with why it did; not if tcp_destroy_sock follows at once
 *     a sample                          tcp_charge goes over all accounts
 *     tcp_send_reset                    connect(2) to no address clears the counters next
 *     tcp_destroy_sock                  for the last time
 *
 * Several CPUs can do this for one socket at the same time. The lock of the account makes each see
 * only growth that nobody else has charged. The rows are taken as those of remote.h.
 */
#ifndef NETATOP_TCP_H
#define NETATOP_TCP_H

#include "tcp_rows.h"
#include "tcp_account.h"

static __always_inline bool is_plain_tcp(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	return sk->sk_protocol == IPPROTO_TCP && sk->sk_type == SOCK_STREAM &&
	       (family == AF_INET || family == AF_INET6);
}

/* Whether what the running task does counts. */
static __always_inline bool is_current_wanted(void)
{
	if (filter.tracked && !is_tracked(bpf_get_current_task_btf()))
		return false;
	return !filter.tasks || match_current() == YES;
}

/* A socket call: who makes it is the owner from now on. */
static __always_inline int tcp_use(struct sock *trusted)
{
	struct sock *sk = bpf_core_cast(trusted, struct sock);
	struct task_struct *task = bpf_core_cast(bpf_get_current_task_btf(), struct task_struct);
	struct account *account;
	bool is_wanted;

	/* Only plain TCP has an account, so that is not looked at again. */
	account = bpf_sk_storage_get(&accounts, trusted, NULL, 0);
	is_wanted = is_current_wanted();
	if (!account) {
		if (!is_wanted || !is_plain_tcp(sk))
			return 0;
		account = make_account(trusted, WITHOUT_LOCK);
		if (!account)
			return 0;
		note_ends(sk, account);
	}
	if (!is_wanted) {
		if (account->key.task)
			renew(sk, account, NULL);
	} else if (!is_owner(account, task)) {
		renew(sk, account, task);
	}
	return 0;
}

/* connect(2) is about to send a SYN, or listen(2) was called, in the caller's context. */
static __always_inline void tcp_open(struct sock *trusted, __u32 flags)
{
	struct task_struct *task = bpf_core_cast(bpf_get_current_task_btf(), struct task_struct);
	struct tcp_counters opened = {.active_opens = 1};
	__u64 now = bpf_ktime_get_boot_ns();
	struct account *account;

	if (!is_current_wanted()) {
		account = bpf_sk_storage_get(&accounts, trusted, NULL, 0);
		if (account) {
			forget_account(account);
			bpf_sk_storage_delete(&accounts, trusted);
		}
		return;
	}
	account = make_account(trusted, IN_EVENT);
	if (account) {
		account->connect = now;
		set_owner(account, task, flags);
	} else if (!is_filtered() && flags) {
		add_unattributed(&opened);
	}
}

/*
 * A connection was accepted. The account of the new socket is a copy of its listener's, or new
 * where the listener has none. The kernel clears the counters next.
 */
static __always_inline void tcp_accept(struct sock *trusted)
{
	struct account *account = bpf_sk_storage_get(
		&accounts, trusted, NULL, is_filtered() ? 0 : BPF_SK_STORAGE_GET_F_CREATE);
	struct tcp_counters opened = {.passive_opens = 1};

	if (!account) {
		if (is_filtered())
			return;
		__sync_fetch_and_add(&tcp_losses.no_account, 1);
		add_unattributed(&opened);
		return;
	}
	count_account(account);
	bpf_spin_lock(&account->lock);
	account->synacks = 0;
	account->out_segs = 0;
	account->in_segs = 0;
	account->retrans_segs = 0;
	account->retrans_bytes = 0;
	account->acked = 0;
	account->received = 0;
	account->delivered = 0;
	account->flags = ACCOUNT_ACCEPTED;
	account->begun++;
	bpf_spin_unlock(&account->lock);
}

/* The connection that connect(2) asked for is there. It is charged later, with what follows. */
static __always_inline void note_connected(struct sock *sk, struct account *account)
{
	__u32 segs_out = bpf_core_cast(sk, struct tcp_sock)->segs_out;
	__u64 now = bpf_ktime_get_boot_ns();

	note_ends(sk, account);
	bpf_spin_lock(&account->lock);
	if (account->connect)
		account->connect = (now - account->connect) / 1000;
	account->flags |= ACCOUNT_ESTABLISHED;
	/* With TCP_REPAIR, the connection of another host goes on here, without any SYN. */
	if (!segs_out)
		account->flags &= ~(ACCOUNT_ESTABLISHED | ACCOUNT_CONNECTED | ACCOUNT_CLIENT);
	bpf_spin_unlock(&account->lock);
}

/* As tcp_done() and tcp_set_state() in net/ipv4/tcp.c count for the MIB. */
static __always_inline void count_close(struct sock *sk, int old, struct tcp_counters *growth)
{
	int error = sk->sk_err;

	if (old == TCP_ESTABLISHED || old == TCP_CLOSE_WAIT)
		growth->estab_resets = 1;
	/* Without an error, the program itself gave up its attempt. */
	if (old != TCP_SYN_RECV && (old != TCP_SYN_SENT || !error))
		return;
	growth->attempt_fails = 1;
	growth->refused = error == ECONNREFUSED;
	growth->timed_out = error == ETIMEDOUT;
	growth->unreachable = error == EHOSTUNREACH || error == ENETUNREACH;
}

/* A connection is established that was accepted. It is not charged, for it may be used soon. */
static __always_inline void note_accepted(struct sock *sk, struct account *account)
{
	__u32 synacks = bpf_core_cast(sk, struct tcp_sock)->total_retrans;

	note_ends(sk, account);
	bpf_spin_lock(&account->lock);
	account->synacks = synacks;
	bpf_spin_unlock(&account->lock);
}

/* A FIN is about to be sent, after everything that was written. */
static __always_inline void note_fin(struct sock *sk, struct account *account)
{
	__u32 fin = bpf_core_cast(sk, struct tcp_sock)->write_seq;

	bpf_spin_lock(&account->lock);
	account->fin = fin;
	account->flags |= ACCOUNT_FIN;
	bpf_spin_unlock(&account->lock);
}

/* The socket's state changes, on the CPU that has the socket. */
static __always_inline int tcp_change(struct sock *trusted, int old, int new)
{
	struct sock *sk = bpf_core_cast(trusted, struct sock);
	struct tcp_counters growth = {};
	struct account *account;

	/* close(2) sets the same state again if it sends no FIN: tcp_close_state(). */
	if (old == new || new == TCP_CLOSE_WAIT || new == TCP_FIN_WAIT2 || new == TCP_CLOSING ||
	    !is_plain_tcp(sk))
		return 0;
	if (new == TCP_SYN_SENT || new == TCP_LISTEN) {
		tcp_open(trusted,
			 new == TCP_LISTEN ? 0 : ACCOUNT_CONNECTED | ACCOUNT_CLIENT | ACCOUNT_USED);
		return 0;
	}
	if (old == TCP_LISTEN && new == TCP_SYN_RECV) {
		tcp_accept(trusted);
		return 0;
	}
	if (new == TCP_CLOSE) {
		count_close(sk, old, &growth);
		/* Then tcp_destroy_sock is next: tcp_done(). */
		if (sk->__sk_common.skc_flags & (1 << SOCK_DEAD) && !has_grown(&growth))
			return 0;
	}
	account = bpf_sk_storage_get(&accounts, trusted, NULL, 0);
	if (!account) {
		if (!is_filtered() && has_grown(&growth))
			add_unattributed(&growth);
		return 0;
	}
	if (new == TCP_ESTABLISHED && account->flags &ACCOUNT_CLIENT)
		note_connected(sk, account);
	else if (new == TCP_ESTABLISHED)
		note_accepted(sk, account);
	else if (new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK)
		note_fin(sk, account);
	else if (new == TCP_CLOSE)
		settle(sk, account, &growth, IN_EVENT);
	return 0;
}

/* The last moment of a connection, on the CPU that has the socket; or also of the socket. */
static __always_inline int tcp_end(struct sock *trusted, bool is_last)
{
	struct sock *sk = bpf_core_cast(trusted, struct sock);
	struct account *account = bpf_sk_storage_get(&accounts, trusted, NULL, 0);
	struct tcp_counters growth = {};

	if (!account || !is_plain_tcp(sk))
		return 0;
	settle(sk, account, &growth, IN_EVENT);
	if (is_last)
		forget_account(account);
	return 0;
}

/*
 * A reset was sent, on the CPU that has the socket. A reset that answers a segment has that
 * segment. It is not in the counters of the socket, which may be none.
 */
static __always_inline int tcp_abort(struct sock *trusted, struct sk_buff *answered)
{
	/* Older kernels do not know that it can be NULL, and would remove a comparison with that.
	 */
	if ((__u64)answered != unknown_zero || !trusted)
		return 0;
	return tcp_end(trusted, false);
}

/* Charges a living socket, if it has an account. */
static __always_inline int tcp_charge_living(struct sock *sk, enum reader reader)
{
	struct tcp_counters growth = {};
	struct account *account;

	/* The kernel calls once more after the last socket. */
	if (!sk)
		return 0;
	account = bpf_sk_storage_get(&accounts, sk, NULL, 0);
	if (account && see_account(account))
		settle(bpf_core_cast(sk, struct sock), account, &growth, reader);
	return 0;
}

/* The same for the socket of an open file. */
static __always_inline int tcp_charge_open(struct file *file)
{
	struct socket *socket = file ? bpf_sock_from_file(file) : NULL;

	return socket ? tcp_charge_living(socket->sk, WITHOUT_LOCK) : 0;
}

/*
 * The same for a socket of a network namespace. Some of them are no whole sockets. The kernel calls
 * this with the lock of the socket: bpf_iter_tcp_seq_show() in net/ipv4/tcp_ipv4.c.
 */
static __always_inline int tcp_charge_listed(struct sock_common *common)
{
	struct tcp_sock *tcp = common ? bpf_skc_to_tcp_sock(common) : NULL;

	return tcp ? tcp_charge_living((struct sock *)tcp, WITH_LOCK) : 0;
}

/* As in_wanted_cgroup() for a task that is not running. */
static __always_inline bool is_in_wanted_cgroup(struct task_struct *task)
{
	struct cgroup *cgroup = task->cgroups->dfl_cgrp;
	struct cgroup_subsys_state *parent;

	/* Deeper hierarchies cannot be: max_depth of a cgroup_path() fits a page. */
	for (__u32 depth = 0; depth < 256; depth++) {
		__u64 id = cgroup->kn->id;

		for (__u32 i = 0; i < MAX_CGROUPS && i < filter.cgroups; i++) {
			if (filter.cgroup[i].id == id)
				return true;
		}
		parent = cgroup->self.parent;
		if (!parent)
			break;
		cgroup = parent->cgroup;
	}
	return false;
}

/*
 * Finds the sockets that are older than the recording, and an owner for each: of the processes that
 * have it open the one with the lowest id, but the first process only if there is no other. That
 * one opens the sockets of services before it starts them.
 */
static __always_inline int tcp_adopt(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *trusted, *sk;
	struct account *account;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	trusted = socket->sk;
	if (!trusted)
		return 0;
	sk = bpf_core_cast(trusted, struct sock);
	if (!is_plain_tcp(sk))
		return 0;
	if (filter.tracked && !is_tracked(task))
		return 0;
	task = bpf_core_cast(task, struct task_struct);
	if (filter.cgroups && !is_in_wanted_cgroup(task))
		return 0;
	if (filter.who && match_who(task) != YES)
		return 0;
	account = bpf_sk_storage_get(&accounts, trusted, NULL, 0);
	if (account && account->key.task >> 32 > 1)
		return 0;
	if (!account)
		account = make_account(trusted, WITHOUT_LOCK);
	if (account) {
		set_owner(account, task, 0);
		note_ends(sk, account);
	}
	return 0;
}

#endif
