/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Counting by remote end (`--remote`). An event is added to the row of its process and remote end,
 * or to the block of its thread if it has no row. Never to both, so rows and blocks add up to all
 * events.
 *
 * All functions are inline: libbpf resolves the relocations of other functions at every start, also
 * if no program that is loaded calls them.
 */
#ifndef NETATOP_REMOTE_H
#define NETATOP_REMOTE_H

#include "ends.h"
#include "entries.h"
#include "rows.h"

/*
 * Whether a TCP socket accepted its connection.
 *
 * The kernel does not keep that as such. But tcp_v4_syn_recv_sock() and tcp_v6_syn_recv_sock() set
 * the interface for multicast of an accepted socket to the one on which the connection came in. For
 * other stream sockets it is 0, because setsockopt(2) refuses to set it.
 */
static __always_inline bool has_accepted(struct sock *sk)
{
	struct inet_sock *inet = bpf_core_cast(sk, struct inet_sock);

	if (sk->sk_protocol == IPPROTO_MPTCP) {
		if (bpf_core_field_exists(((struct mptcp_sock *)0)->pm.server_side))
			return bpf_core_cast(sk, struct mptcp_sock)->pm.server_side;
		return false;
	}
	if (sk->__sk_common.skc_family == AF_INET)
		return inet->mc_index;
	return inet->pinet6 && inet->pinet6->mcast_oif;
}

static __always_inline enum remote_role role_of(struct sock *sk, enum protocol protocol)
{
	bool is_server;

	if (protocol == TCP)
		is_server = has_accepted(sk);
	else
		is_server = BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SOCK_BINDPORT_LOCK;
	return is_server ? REMOTE_SERVER : REMOTE_CLIENT;
}

/* The role of an event, and leaves out the ports by which rows are not split. */
static __always_inline __u64 fold(struct ends *ends, struct sock *sk, enum protocol protocol)
{
	enum remote_role role;

	if (remote.mode == REMOTE_ADDRESS) {
		ends->local_port = 0;
		ends->remote_port = 0;
		return 0;
	}
	role = role_of(sk, protocol);
	if (remote.mode == REMOTE_SERVICE) {
		if (role == REMOTE_SERVER)
			ends->remote_port = 0;
		else
			ends->local_port = 0;
	}
	return role;
}

/*
 * Makes the key of an event's row, whose ends a filter may have found. False if the remote end is
 * not known.
 */
static __always_inline bool find_key(struct remote_key *key, struct sock *sk,
				     enum protocol protocol, enum direction direction,
				     const struct found_ends *found)
{
	struct task_struct *task;
	struct ends ends = {};
	__u64 netns, role;

	if (!found && !find_ends(&ends, sk, protocol, direction, false))
		return false;
	if (found && !found->is_remote_known)
		return false;
	if (found)
		ends = found->ends;
	role = fold(&ends, sk, protocol);
	/* See identify(): to follow trusted pointers takes the verifier too long. */
	netns = bpf_core_cast(sk, struct sock)->__sk_common.skc_net.net->ns.inum;
	if (netns == remote.host_netns)
		netns = 0;
	task = bpf_get_current_task_btf();
	key->start = bpf_core_cast(task, struct task_struct)->group_leader->start_boottime;
	key->task = (__u64)task->tgid << 32;
	if (remote.threads)
		key->task |= (__u32)task->pid;
	key->local[0] = ends.local[0];
	key->local[1] = ends.local[1];
	key->remote[0] = ends.remote[0];
	key->remote[1] = ends.remote[1];
	key->place = netns << 32 | ends.scope;
	key->ends = ends.local_port << 48 | ends.remote_port << 32 | role << 8 | protocol;
	return true;
}

/*
 * Counts an event by remote end. The thread gets a block, even if all its events are in rows: the
 * records of the block say whose rows they are.
 */
static __always_inline int count_remote(struct sock *sk, enum protocol protocol,
					enum direction direction, __u64 bytes,
					const struct found_ends *found)
{
	__u64 address = bpf_get_current_task();
	__u32 number = set_number(address);
	struct slot_set *set = bpf_map_lookup_elem(&slots, &number);
	__u32 at = set ? place_in(set, address) : SLOTS_IN_SET;
	__u32 *hint = NULL;
	struct counters *counters;
	struct remote_key key;

	if (set && at < SLOTS_IN_SET) {
		at = any_of(at, SLOTS_IN_SET);
		/* The next snapshot shows it again: the process may have another name. */
		set->shown_id[at] = 0;
		counters = &set->counters[at];
		hint = hint_of(number, at);
	} else {
		counters = counters_outside(bpf_get_current_task_btf(), protocol, direction, bytes);
		if (!counters)
			return 0;
	}
	if (!find_key(&key, sk, protocol, direction, found)) {
		__sync_fetch_and_add(&losses.remote_unknown, 1);
		add(counters, protocol, direction, bytes);
	} else if (!add_to_row(hint, &key, direction, bytes)) {
		__sync_fetch_and_add(&losses.remote_full, 1);
		add(counters, protocol, direction, bytes);
	}
	return 0;
}

#endif
