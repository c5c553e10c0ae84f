/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Tracks tasks by giving them a block: with --pid or a command, only tasks with one are counted. */
#ifndef NETATOP_TRACK_H
#define NETATOP_TRACK_H

/* Only programs on classic tracepoints use these. */
extern struct task_struct *bpf_task_from_pid(int pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;

/* True if it made a block for the task; false if the task has one, or there is no memory. */
static __always_inline bool track(struct task_struct *task)
{
	if (is_tracked(task))
		return false;
	if (make_block(task))
		return true;
	__sync_fetch_and_add(&losses.untracked, 1);
	return false;
}

/* A compare-and-swap orders all memory accesses before it before all after it, on every CPU. */
static __always_inline void full_barrier(void)
{
	__sync_val_compare_and_swap(&losses.last_block, 0, 0);
}

/* Whether to track a thread or process that the running task has created. */
static __always_inline bool is_followed(bool thread)
{
	struct task_struct *parent = bpf_get_current_task_btf();

	return (thread || filter.follow) && (is_tracked(parent) || is_wanted(parent->tgid));
}

/*
 * Tracks a new thread or process of a tracked one. task_newtask fires for the worker threads of
 * io_uring as well; the tracepoint of fork does not.
 */
static __always_inline int new_task(struct task_struct *child)
{
	if (is_followed(child->tgid == bpf_get_current_task_btf()->tgid))
		track(child);
	return 0;
}

/* The same for a task that is known by its pid in the initial pid namespace. */
static __always_inline int new_task_numbered(int pid, __u64 clone_flags)
{
	struct task_struct *child;

	/* The verifier allows only loads of the whole field. */
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

/*
 * Tracks a task that existed before the recording, unless it is ending.
 *
 * The task may begin to end on another CPU while it gets its block. A block that stays behind
 * would make the next task at this address a tracked one. So PF_EXITING is looked at again
 * afterwards. The task sets PF_EXITING before it looks for its blocks in thread_exit(), and here
 * the block is made before the flag is read, so at least one of both sees what the other did. If
 * both do, each block is given back by the CPU that claims it first.
 */
static __always_inline int mark_task(struct task_struct *task)
{
	if (!task || (task->flags & PF_EXITING) || !is_wanted(task->tgid))
		return 0;
	/* A block that was there before is the task's own to hand over. */
	if (!track(task))
		return 0;
	full_barrier();
	if (task->flags & PF_EXITING)
		end_thread(task, address_of(task));
	return 0;
}

#endif
