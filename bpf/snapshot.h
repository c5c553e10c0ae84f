/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What user space gets of a thread: its counters while it lives, and when it ends. */
#ifndef NETATOP_SNAPSHOT_H
#define NETATOP_SNAPSHOT_H

/* Tracked tasks have a block before they have traffic, or without ever having any. */
static __always_inline bool has_traffic(const struct counters *c)
{
	return c->tcp_send_msgs | c->tcp_recv_msgs | c->udp_send_msgs | c->udp_recv_msgs;
}

/*
 * Whether there is nothing, asked for after something else. The compiler would make one
 * question of two, and oring pointers is not allowed.
 */
static __always_inline bool is_nothing(const struct block *block)
{
	barrier_var(block);
	return !block;
}

static __always_inline int thread_exit(struct task_struct *task)
{
	__u64 address = bpf_get_current_task();
	struct slot_set *set = set_of(address);
	__u32 at = find_slot(address);
	struct block *block = stored_block(task);
	struct block *spared = spare_block(task);
	struct thread_record record = {};
	__u64 key = (__u64)task;

	if (at >= SLOTS_IN_SET && !block && is_nothing(spared))
		return 0;
	identify(&record, address, RECORD_EXITED);
	/*
	 * Each goes after its record has left: at every moment the thread is in snapshots or
	 * has a record. A moment in which it has both is user space's to sort out.
	 */

	/* It has two, if it was marked at the same time as it began. */
	for (int slots = 0; set && slots < 2 && at < SLOTS_IN_SET; slots++) {
		at = bounded(at);
		if (has_traffic(&set->counters[at]))
			hand_over(&record, set->id[at], &set->counters[at]);
		give_back_slot(set, at);
		at = find_slot(address);
	}
	if (block && !block->exited) {
		if (has_traffic(&block->counters))
			hand_over(&record, block->id, &block->counters);
		block->exited = 1;
		__sync_fetch_and_add(&losses.outside_gone, 1);
	}
	if (spared) {
		if (has_traffic(&spared->counters))
			hand_over(&record, spared->id, &spared->counters);
		bpf_map_delete_elem(&spare, &key);
		__sync_fetch_and_add(&losses.outside_gone, 1);
	}
	return 0;
}

/* Different for any two states of a block's counters, which only grow. */
static __always_inline __u64 sum_of(const struct counters *c)
{
	return c->tcp_send_msgs + c->tcp_send_bytes + c->tcp_recv_msgs + c->tcp_recv_bytes +
	       c->udp_send_msgs + c->udp_send_bytes + c->udp_recv_msgs + c->udp_recv_bytes;
}

/* One slot, if there is news of it; whether its record did not fit into the buffer. */
static __always_inline bool dump_slot(struct seq_file *seq, struct slot_set *set, __u32 at)
{
	struct thread_record record = {};
	__u64 sum;

	if (!set->id[at])
		return false;
	/* For the order of what is read: see take_slot(). */
	record.block = __sync_fetch_and_add(&set->id[at], 0);
	record.counters = set->counters[at];
	/* Sum up what was copied, not what is there by now. */
	barrier();
	sum = sum_of(&record.counters);
	if (!dump_all && (!sum || (set->shown_id[at] == record.block && set->shown_sum[at] == sum)))
		return false;
	/*
	 * A task that owns a slot has not passed its exit, and its memory stays until those
	 * programs have ended that began before (RCU): this one, too. If the kernel missed
	 * the program at its exit the memory can be another task's by now, or anything: reading
	 * it harms nobody, and the event that was missed is told.
	 */
	identify(&record, set->owner[at], 0);
	/* If it has gone meanwhile, its exit record tells. */
	if (!record.block || __sync_fetch_and_add(&set->id[at], 0) != record.block)
		return false;
	if (bpf_seq_write(seq, &record, sizeof(record)))
		return true;
	set->shown_id[at] = record.block;
	set->shown_sum[at] = sum;
	return false;
}

/* The slots of a set of which there is news since the last look, or with `dump_all` all. */
static __always_inline int dump_slot_set(struct bpf_iter__bpf_map_elem *ctx)
{
	struct slot_set *set;
	__u32 *number = ctx->key, key, at;

	/* The kernel's call after the last set. */
	if (!number)
		return 0;
	key = *number;
	set = bpf_map_lookup_elem(&slots, &key);
	if (!set)
		return 0;
	for (at = 0; at < SLOTS_IN_SET; at++) {
		if (dump_slot(ctx->meta->seq, set, at))
			break;
	}
	if (at == SLOTS_IN_SET)
		return 0;
	/*
	 * The kernel throws away all that this call wrote, hands the buffer to its reader, and
	 * calls again.
	 */
	for (at = 0; at < SLOTS_IN_SET; at++)
		set->shown_id[at] = 0;
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

/* A task's blocks outside of the slots. */
static __always_inline int dump_outside(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct thread_record record = {};
	struct block *block, *spared;

	/* The kernel's call after the last task. */
	if (!task)
		return 0;
	block = stored_block(task);
	spared = spare_block(task);
	if (!block && is_nothing(spared))
		return 0;
	identify(&record, address_of(task), 0);
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
