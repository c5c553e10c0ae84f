/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Marking tasks as wanted: a task is tracked if it has a block. */
#ifndef NETATOP_TRACK_H
#define NETATOP_TRACK_H

/* Only where the programs of classic tracepoints are loaded, to which they are new. */
extern struct task_struct *bpf_task_from_pid(int pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;

static __always_inline bool is_tracked(struct task_struct *task)
{
	return find_slot(address_of(task)) < SLOTS_IN_SET || stored_block(task) ||
	       spare_block(task);
}

static __always_inline void track(struct task_struct *task)
{
	if (!is_tracked(task) && !make_block(task))
		__sync_fetch_and_add(&losses.untracked, 1);
}

/* Whether a task that the running one has made, a thread or a process, is to be tracked. */
static __always_inline bool is_followed(bool thread)
{
	struct task_struct *parent = bpf_get_current_task_btf();

	return (thread || filter.follow) && (is_tracked(parent) || is_wanted(parent->tgid));
}

/*
 * A new thread or process, made by the running task. This one fires for the worker
 * threads of io_uring too, which the tracepoint of fork does not.
 */
static __always_inline int new_task(struct task_struct *child)
{
	if (is_followed(child->tgid == bpf_get_current_task_btf()->tgid))
		track(child);
	return 0;
}

/* The same, where the task is not passed, only its number in the initial pid namespace. */
static __always_inline int new_task_numbered(int pid, __u64 clone_flags)
{
	struct task_struct *child;

	/* Nothing smaller than the field may be read of a record. */
	barrier_var(clone_flags);
	if (!is_followed(clone_flags & CLONE_THREAD))
		return 0;
	child = bpf_task_from_pid(pid);
	if (!child) {
		__sync_fetch_and_add(&losses.untracked, 1);
		return 0;
	}
	track(child);
	bpf_task_release(child);
	return 0;
}

/* A task that was there before the recording. */
static __always_inline int mark_task(struct task_struct *task)
{
	/* One at its end will not give back what it gets now: its exit may be behind it. */
	if (task && !(task->flags & PF_EXITING) && is_wanted(task->tgid))
		track(task);
	return 0;
}

#endif
