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
#include "hints.h"

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

/* The key of the row for an event with these ends. */
static __always_inline void make_key(struct remote_key *key, struct sock *sk,
				     enum protocol protocol, const struct ends *found)
{
	struct task_struct *task;
	struct ends ends = *found;
	__u64 netns, role;

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
}

/* The hint of an event. */
struct hint_use {
	/* NULL if the event has none. */
	struct hint *hint;
	__u32 place;
	struct hint_wanted wanted;
};

/* Adds to the row for an event with these ends. False if there is no room. Makes the hint. */
static __always_inline bool count_in_row(struct sock *sk, enum protocol protocol,
					 enum direction direction, __u64 bytes,
					 const struct ends *ends, const struct note *note,
					 const struct hint_use *use, enum rows_state state)
{
	__u32 half = half_of(state), index = NO_ROW;
	struct hint *hint = use->hint;
	struct remote_key key;
	bool is_added;

	make_key(&key, sk, protocol, ends);
	is_added = add_to_row(&key, half, &index, direction, bytes);
	/* A closed socket keeps its port elsewhere: see find_ends(). */
	if (!hint || index == NO_ROW || !sk->__sk_common.skc_num)
		return is_added;
	if (hint->cookie)
		empty_hint(hint, direction, half);
	else
		mark_hint(use->place);
	hint->cookie = use->wanted.cookie;
	hint->task = use->wanted.task;
	hint->start = use->wanted.start;
	hint->msgs_and_row = index;
	hint->bytes = 0;
	make_ends(&hint->ends, sk, note);
	let_suffice(hint, state);
	return is_added;
}

/*
 * Counts an event by remote end. The thread gets a block, even if all its events are in rows: the
 * records of the block say whose rows they are.
 */
static __always_inline int count_remote(struct sock *sk, enum protocol protocol,
					enum direction direction, __u64 bytes,
					const struct found_ends *found)
{
	__u64 task = bpf_get_current_task();
	enum rows_state state = state_of_rows();
	struct slot_set *set = set_of(task);
	__u32 at = set ? place_in(set, task) : SLOTS_IN_SET;
	struct note *note = found ? found->note : NULL;
	struct counters *counters;
	struct hint_use use = {};
	struct ends ends = {};
	bool is_known;

	if (set && at < SLOTS_IN_SET) {
		at = any_place(at, task);
		set->state[at].shown_id = 0;
		if (!found && protocol == UDP) {
			note = note_at(task, at);
			if (note &&
			    (note->owner != set->state[at].id || !take_note(note, sk, direction)))
				note = NULL;
		}
		use.wanted.task = hinted_task(task, sk, protocol, note);
		use.wanted.start = hinted_start(task, set->state[at].id, note);
		use.wanted.cookie = cookie_of(sk);
		if (use.wanted.cookie) {
			use.place = hint_place(task, use.wanted.cookie, direction, state,
					       note ? spread_of(note) : 0);
			use.hint = hint_at(use.place);
		}
		/*
		 * The first event after a sample, or one that depends on a filter, which
		 * count_by_hint() has not seen.
		 */
		if (use.hint && is_any_hint_of(use.hint, use.wanted, sk, note, state)) {
			let_suffice(use.hint, state);
			add_to_hint(use.hint, bytes);
			return 0;
		}
		counters = &set->counters[at];
	} else {
		counters = counters_outside(bpf_get_current_task_btf(), protocol, direction, bytes);
		if (!counters)
			return 0;
		if (!found && protocol == UDP) {
			note = stored_note();
			if (!take_note(note, sk, direction))
				note = NULL;
		}
	}
	if (found)
		ends = found->ends;
	is_known = found ? found->is_remote_known : find_ends(&ends, sk, note, false);
	if (is_known && count_in_row(sk, protocol, direction, bytes, &ends, note, &use, state))
		return 0;
	__sync_fetch_and_add(is_known ? &losses.remote_full : &losses.remote_unknown, 1);
	add(counters, protocol, direction, bytes);
	return 0;
}

#endif
