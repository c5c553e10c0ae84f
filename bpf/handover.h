/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Makes records from blocks: identifies the thread, and hands final counters to user space. */
#ifndef NETATOP_HANDOVER_H
#define NETATOP_HANDOVER_H

static __always_inline void add_lost(struct counters *to, const struct counters *from)
{
	__sync_fetch_and_add(&to->tcp_send_msgs, from->tcp_send_msgs);
	__sync_fetch_and_add(&to->tcp_send_bytes, from->tcp_send_bytes);
	__sync_fetch_and_add(&to->tcp_recv_msgs, from->tcp_recv_msgs);
	__sync_fetch_and_add(&to->tcp_recv_bytes, from->tcp_recv_bytes);
	__sync_fetch_and_add(&to->udp_send_msgs, from->udp_send_msgs);
	__sync_fetch_and_add(&to->udp_send_bytes, from->udp_send_bytes);
	__sync_fetch_and_add(&to->udp_recv_msgs, from->udp_recv_msgs);
	__sync_fetch_and_add(&to->udp_recv_bytes, from->udp_recv_bytes);
}

/* Nesting of user namespaces is limited (create_user_ns in kernel/user_namespace.c). */
enum { MOST_USER_NAMESPACES = 33 };

/*
 * Finds the user who may see what a task does, besides root; false if there is none. This is the
 * rule by which the kernel allows reading with ptrace (PTRACE_MODE_READ_FSCREDS), on which
 * /proc/PID/io is based: __ptrace_may_access() in kernel/ptrace.c, and cap_ptrace_access_check()
 * and cap_capable() in security/commoncap.c. For a user without capabilities it means:
 *
 * - In the initial user namespace, a user sees a task if all its user and group ids are the user's
 *   own, and it has no capabilities.
 * - A task in another user namespace has capabilities only there, so they hide nothing. The user
 *   who created the outermost namespace around the task has all capabilities in it, and sees all
 *   tasks in it. Nobody else does: the same user id alone is not enough, since
 *   cap_ptrace_access_check() asks for the same namespace.
 *
 * /proc/PID/io has mode 0400 in addition, so a container's creator reads those of the container's
 * other users from inside the namespace. Whether a program may be dumped (prctl(PR_SET_DUMPABLE))
 * is not looked at: that flag is in task->mm, which an ending task has lost by the time of on_exit
 * in kernels before 6.16.
 */
static __always_inline bool owner_of(const struct cred *cred, __u32 *owner)
{
	struct user_namespace *ns = cred->user_ns;
	__u32 uid = cred->uid.val, gid = cred->gid.val;

	if (ns->level > 0) {
		for (int i = 0; i < MOST_USER_NAMESPACES && ns->level > 1; i++)
			ns = ns->parent;
		*owner = ns->owner.val;
		return true;
	}
	*owner = uid;
	return cred->euid.val == uid && cred->suid.val == uid && cred->egid.val == gid &&
	       cred->sgid.val == gid && !(uid && cred->cap_permitted.val);
}

/*
 * Fills a record with everything about a task but its counters.
 *
 * The credentials are the task's own. task->cred are those that it acts with at the moment:
 * while the task works on an overlay file system, these are the credentials of whoever
 * mounted it (ovl_override_creds in fs/overlayfs/util.c).
 *
 * All fields are loaded through pointers. Probe helpers are not needed, and lockdown refuses
 * them. The verifier trusts the pointer of a tracepoint's argument, but to follow a trusted
 * pointer costs it a search through all of the kernel's types: milliseconds of every start.
 * The cast makes it a pointer whose faults the kernel handles.
 *
 * The function is global, so the verifier checks it once, and not again for each of sixteen
 * slots.
 */
__noinline int identify(struct thread_record *record, __u64 address, enum record_flag flags)
{
	struct task_struct *task = bpf_core_cast((void *)address, struct task_struct);
	struct task_struct *leader;
	const struct cred *cred;

	if (!record)
		return 0;
	leader = task->group_leader;
	cred = task->real_cred;
	if ((flags & RECORD_EXITED) && task->signal->live.counter == 0)
		flags |= RECORD_GROUP_DEAD;
	record->cgroup = task->cgroups->dfl_cgrp->kn->id;
	record->start = leader->start_boottime;
	record->tgid = task->tgid;
	record->tid = task->pid;
	record->uid = cred->uid.val;
	if (!owner_of(cred, &record->owner))
		flags |= RECORD_UNOWNED;
	record->flags = flags;
	__builtin_memcpy(record->comm, leader->comm, sizeof(record->comm));
	__builtin_memcpy(record->thread_comm, task->comm, sizeof(record->thread_comm));
	return 0;
}

static __always_inline long put_behind_ring(const struct thread_record *record)
{
	struct overflow_key key = {.bits = 64, .block = {record->block, record->block >> 32}};

	return bpf_map_update_elem(&overflow, &key, record, BPF_NOEXIST);
}

/*
 * Hands over a block's final counters: through the ring buffer, else through the overflow
 * map, and if both are full as a loss that user space reports.
 */
static __noinline int hand_over(struct thread_record *record, __u64 block,
				const struct counters *counters)
{
	__u64 waiting, flags;

	record->block = block;
	record->counters = *counters;
	/* Wake the reader only when it is needed: a wake-up costs more than the exit itself. */
	waiting = bpf_ringbuf_query(&exits, BPF_RB_AVAIL_DATA);
	flags = waiting >= ring_wakeup ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	__sync_fetch_and_add(&losses.to_ring, 1);
	if (bpf_ringbuf_output(&exits, record, sizeof(*record), flags) == 0)
		return 0;
	__sync_fetch_and_sub(&losses.to_ring, 1);
	if (put_behind_ring(record) == 0) {
		__sync_fetch_and_add(&losses.overflowed, 1);
		return 0;
	}
	__sync_fetch_and_add(&losses.exits_losing, 1);
	add_lost(&losses.exits, &record->counters);
	__sync_fetch_and_add(&losses.exits_lost, 1);
	return 0;
}

#endif
