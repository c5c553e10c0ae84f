/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* From a block to a record that user space reads. */
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

/*
 * Everything is loaded straight through pointers: the probe helpers are refused under
 * lockdown, and are not needed. The verifier would trust these pointers as they come, but
 * to follow one that it trusts costs it a search of all of the kernel's types,
 * milliseconds of every start. A cast makes them ones whose faults the kernel handles.
 *
 * Not static: so the verifier looks at it once, and not again for each of sixteen slots.
 */
__noinline int identify(struct thread_record *record, __u64 address, enum record_flag flags)
{
	struct task_struct *task = bpf_core_cast((void *)address, struct task_struct);
	struct task_struct *leader;
	const struct cred *cred;
	__u32 uid, gid;

	if (!record)
		return 0;
	leader = task->group_leader;
	cred = task->cred;
	uid = cred->uid.val;
	gid = cred->gid.val;
	if ((flags & RECORD_EXITED) && task->signal->live.counter == 0)
		flags |= RECORD_GROUP_DEAD;
	if (cred->euid.val != uid || cred->suid.val != uid || cred->egid.val != gid ||
	    cred->sgid.val != gid || (uid && cred->cap_permitted.val))
		flags |= RECORD_CREDS_DIFFER;
	record->cgroup = task->cgroups->dfl_cgrp->kn->id;
	record->start = leader->start_boottime;
	record->tgid = task->tgid;
	record->tid = task->pid;
	record->uid = uid;
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
 * Hands over a block's final counters: through the ring, else through the overflow table,
 * and where both are full as a loss that user space reports.
 */
static __noinline int hand_over(struct thread_record *record, __u64 block,
				const struct counters *counters)
{
	__u64 waiting, flags;

	record->block = block;
	record->counters = *counters;
	/*
	 * The reader is woken only when it is needed: a wake-up for each exit would cost more
	 * than the exit itself.
	 */
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
