/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The counting rule, and the two ends of a block: its thread's exit and a snapshot. */
#ifndef NETATOP_COUNT_H
#define NETATOP_COUNT_H

enum direction { SEND, RECV };
enum protocol { TCP, UDP };

static __always_inline void add(struct counters *c, enum protocol protocol,
				enum direction direction, __u64 bytes)
{
	if (protocol == TCP && direction == SEND) {
		c->tcp_send_msgs += 1;
		c->tcp_send_bytes += bytes;
	} else if (protocol == TCP) {
		c->tcp_recv_msgs += 1;
		c->tcp_recv_bytes += bytes;
	} else if (direction == SEND) {
		c->udp_send_msgs += 1;
		c->udp_send_bytes += bytes;
	} else {
		c->udp_recv_msgs += 1;
		c->udp_recv_bytes += bytes;
	}
}

/* An event that no block can take. */
static __noinline int add_aside(bool no_memory, enum protocol protocol, enum direction direction,
				__u64 bytes)
{
	struct counters one = {};

	add(&one, protocol, direction, bytes);
	add_lost(no_memory ? &losses.no_memory : &losses.no_task, &one);
	return 0;
}

static __always_inline int count(struct sock *sk, int ret, int flags, enum direction direction)
{
	enum protocol protocol;
	struct task_struct *task;
	struct block *block;
	__u16 family, type, number;

	/* A failed call; or a look at data that will be received again. */
	if (ret < 0 || (flags & (MSG_PEEK | MSG_ERRQUEUE)))
		return 0;
	family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	/* The type tells a raw socket opened with protocol 6 or 17 from the real thing. */
	type = sk->sk_type;
	number = sk->sk_protocol;
	if (type == SOCK_STREAM && (number == IPPROTO_TCP || number == IPPROTO_MPTCP)) {
		/* End of stream, or nothing to send. */
		if (ret == 0)
			return 0;
		protocol = TCP;
	} else if (type == SOCK_DGRAM && number == IPPROTO_UDP) {
		protocol = UDP;
	} else {
		return 0;
	}
	if (filter.cgroups && !in_wanted_cgroup())
		return 0;

	task = bpf_get_current_task_btf();
	block = bpf_task_storage_get(&blocks, task, NULL, 0);
	if (!block && filter.tracked) {
		block = spare_block(task);
		if (!block)
			return 0;
	}
	if (!block || block->exited) {
		/* A block made now would be freed with the task, and nobody would see it. */
		if (!task->pid || (task->flags & PF_EXITING))
			return add_aside(false, protocol, direction, ret);
		block = make_block(task);
	}
	if (!block)
		return add_aside(true, protocol, direction, ret);
	add(&block->counters, protocol, direction, ret);
	return 0;
}

/* Tracked tasks have a block before they have traffic, or without ever having any. */
static __always_inline bool has_traffic(const struct counters *c)
{
	return c->tcp_send_msgs | c->tcp_recv_msgs | c->udp_send_msgs | c->udp_recv_msgs;
}

static __always_inline int thread_exit(struct task_struct *task)
{
	struct block *block = bpf_task_storage_get(&blocks, task, NULL, 0);
	struct block *spared = spare_block(task);
	struct thread_record record = {};
	enum record_flag flags = RECORD_EXITED;
	__u64 key = (__u64)task;

	if (!block && !spared)
		return 0;
	if (task->signal->live.counter == 0)
		flags |= RECORD_GROUP_DEAD;
	identify(&record, task, flags);
	record.cgroup = bpf_get_current_cgroup_id();
	if (block && !block->exited) {
		if (has_traffic(&block->counters))
			hand_over(&record, block);
		/*
		 * After the record has left: at every moment the thread is in snapshots or
		 * has a record. A moment in which it has both is user space's to sort out.
		 */
		block->exited = 1;
	}
	if (spared) {
		if (has_traffic(&spared->counters))
			hand_over(&record, spared);
		bpf_map_delete_elem(&spare, &key);
	}
	return 0;
}

static __always_inline void dump_block(struct bpf_iter__task *ctx, struct thread_record *record,
				       struct block *block)
{
	if (!block || block->exited)
		return;
	record->block = block->id;
	record->counters = block->counters;
	bpf_seq_write(ctx->meta->seq, record, sizeof(*record));
}

static __always_inline int dump_thread(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct thread_record record = {};
	struct block *block, *spared;

	/* The kernel's call after the last task. */
	if (!task)
		return 0;
	block = bpf_task_storage_get(&blocks, task, NULL, 0);
	spared = spare_block(task);
	if (!block && !spared)
		return 0;
	identify(&record, task, 0);
	record.cgroup = task->cgroups->dfl_cgrp->kn->id;
	dump_block(ctx, &record, block);
	if (spared) {
		record.block = spared->id;
		record.counters = spared->counters;
		/*
		 * An entry that was deleted meanwhile can be another thread's by now; the
		 * task's own exit record has what was in it.
		 */
		spared = spare_block(task);
		if (spared && spared->id == record.block)
			bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	}
	return 0;
}

#endif
