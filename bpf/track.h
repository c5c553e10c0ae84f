/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Marking tasks as wanted: a task is tracked if it has a block. */
#ifndef NETATOP_TRACK_H
#define NETATOP_TRACK_H

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

/*
 * A new thread or process, made by the running task. This one fires for the worker
 * threads of io_uring too, which the tracepoint of fork does not.
 */
static __always_inline int new_task(struct task_struct *child)
{
	struct task_struct *parent = bpf_get_current_task_btf();

	if (child->tgid != parent->tgid && !filter.follow)
		return 0;
	if (is_tracked(parent) || is_wanted(parent->tgid))
		track(child);
	return 0;
}

/* A task that was there before the recording. */
static __always_inline int mark_task(struct task_struct *task)
{
	if (task && is_wanted(task->tgid))
		track(task);
	return 0;
}

#endif
