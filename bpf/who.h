/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Whose traffic is counted, by what the task is at the moment of the event: the name of its process
 * (`--comm`), its user (`--uid`) and the unit of its cgroup (`--unit`). Nothing is remembered for a
 * task, because all of these can change between two events.
 *
 * Patterns of names are automata, which user space makes from them (src/kernel/automaton.rs).
 */
#ifndef NETATOP_WHO_H
#define NETATOP_WHO_H

enum { MAX_UIDS = 64 };

/* Which of these filters are used, and the wanted users. A task must match all of these. */
struct who_settings {
	__u32 names;
	__u32 units;
	/* How many users are wanted; 0 for all. */
	__u32 uids;
	__u32 uid[MAX_UIDS];
};

const volatile struct who_settings who;

/* A state of an automaton: the next state by the next byte of the text, of which 0 is the end. */
struct automaton_state {
	__u16 next[256];
};

/* The states that are answers. The automaton begins in the state behind them. */
enum { STATE_NO, STATE_YES, FIRST_STATE };

struct automaton {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct automaton_state);
};

/* Answers for the name of a process, and for the path of a cgroup. */
struct automaton name_states SEC(".maps");
struct automaton unit_states SEC(".maps");

/*
 * The cgroups of wanted units, and all cgroups below them, by inode number. A cgroup is added when
 * it is made, before a task can join it. User space adds those that exist when the recording
 * begins.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u32);
} unit_cgroups SEC(".maps");

enum answer { NO, YES, UNKNOWN };

static __always_inline __u32 next_state(void *states, __u32 state, __u8 byte)
{
	struct automaton_state *from = bpf_map_lookup_elem(states, &state);

	return from ? from->next[byte] : STATE_NO;
}

/*
 * Whether the name of the task's process is wanted: that of its first thread, as in the column
 * `comm`. The last byte of a name is always 0, so the loop ends with an answer.
 */
static __always_inline bool has_wanted_name(struct task_struct *task)
{
	const __u64 *name = (const __u64 *)task->group_leader->comm;
	__u64 bytes = bpf_be64_to_cpu(name[0]), rest = bpf_be64_to_cpu(name[1]);
	__u32 state = FIRST_STATE;

	for (__u32 i = 0; i < COMM_LEN && state >= FIRST_STATE; i++) {
		state = next_state(&name_states, state, bytes >> 56);
		bytes = bytes << 8 | rest >> 56;
		rest <<= 8;
	}
	return state == STATE_YES;
}

/* Whether the real user of the task is wanted, as in the column `uid`. */
static __always_inline bool has_wanted_uid(struct task_struct *task)
{
	__u32 uid = task->real_cred->uid.val;

	for (__u32 i = 0; i < MAX_UIDS && i < who.uids; i++) {
		if (who.uid[i] == uid)
			return true;
	}
	return false;
}

/* Whether the task is in a wanted unit. Not known once a cgroup could not be added. */
static __always_inline enum answer match_unit(struct task_struct *task)
{
	__u64 id = task->cgroups->dfl_cgrp->kn->id;

	if (bpf_map_lookup_elem(&unit_cgroups, &id))
		return YES;
	return losses.undecided_cgroups ? UNKNOWN : NO;
}

/* The task is not trusted (bpf_core_cast): see identify(). */
static __always_inline enum answer match_who(struct task_struct *task)
{
	if (who.uids && !has_wanted_uid(task))
		return NO;
	if (who.names && !has_wanted_name(task))
		return NO;
	return who.units ? match_unit(task) : YES;
}

static __always_inline enum answer match_current(void)
{
	if (filter.cgroups && !in_wanted_cgroup())
		return NO;
	if (!filter.who)
		return YES;
	return match_who(bpf_core_cast(bpf_get_current_task_btf(), struct task_struct));
}

/*
 * Whether an event of the running task is counted, as far as it depends on the task. If that is not
 * known, the event is counted as a loss. Not inline: it would take registers from the counting
 * path, which mostly runs without these filters.
 */
static __noinline bool is_wanted_task(int bytes)
{
	enum answer answer = match_current();

	/* Only the events of tracked tasks would have been counted. */
	if (answer == UNKNOWN && (!filter.tracked || is_tracked(bpf_get_current_task_btf()))) {
		__sync_fetch_and_add(&losses.undecided_msgs, 1);
		__sync_fetch_and_add(&losses.undecided_bytes, bytes);
	}
	return answer == YES;
}

/* The path of a new cgroup, and how far the automaton has read it. */
struct path_walk {
	const void *path;
	__u32 state;
	__u32 words;
};

/* Eight bytes of the path. Returns 1 when there is an answer. See hand_over_cgroup(). */
static long walk_word(__u64 number, void *context)
{
	struct path_walk *walk = context;
	const void *from = walk->path + 8 * number;
	__u64 bytes = bpf_be64_to_cpu(bpf_core_cast(from, struct timespec64)->tv_sec);

	walk->words = number + 1;
	for (int i = 0; i < 8; i++) {
		walk->state = next_state(&unit_states, walk->state, bytes >> 56);
		if (walk->state < FIRST_STATE)
			return 1;
		bytes <<= 8;
	}
	return 0;
}

/* Adds a new cgroup, if it belongs to a wanted unit. No task can be in it yet. */
static __always_inline int add_unit_cgroup(struct cgroup *cgroup, const char *path)
{
	struct path_walk walk = {.path = path, .state = FIRST_STATE};
	__u64 id = cgroup->kn->id;
	__u32 is_wanted = 1;

	if (cgroup->root->hierarchy_id)
		return 0;
	bpf_loop(CGROUP_PATH_WORDS, walk_word, &walk, 0);
	if (walk.state == STATE_YES) {
		if (bpf_map_update_elem(&unit_cgroups, &id, &is_wanted, BPF_ANY))
			__sync_fetch_and_add(&losses.undecided_cgroups, 1);
	} else if (walk.words == CGROUP_PATH_WORDS) {
		/* The tracepoint cuts off longer paths. */
		__sync_fetch_and_add(&losses.undecided_cgroups, 1);
	}
	return 0;
}

/* A removed cgroup has no tasks any more, and its id is not used again. */
static __always_inline int remove_unit_cgroup(struct cgroup *cgroup)
{
	__u64 id = cgroup->kn->id;

	if (!cgroup->root->hierarchy_id)
		bpf_map_delete_elem(&unit_cgroups, &id);
	return 0;
}

#endif
