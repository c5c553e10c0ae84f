/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Hands counters to user space: those of living threads in snapshots, and of threads that end. */
#ifndef NETATOP_SNAPSHOT_H
#define NETATOP_SNAPSHOT_H

/*
 * Whether there was an event. A tracked task has a block without any. With remote ends, the events
 * may be in rows.
 */
static __always_inline bool has_traffic(const struct counters *c)
{
	if (remote.mode)
		return true;
	return c->tcp_send_msgs | c->tcp_recv_msgs | c->udp_send_msgs | c->udp_recv_msgs;
}

/*
 * Whether a second block is missing as well. Without the barrier the compiler combines both tests
 * by a bitwise or of the pointers, which the verifier refuses.
 */
static __always_inline bool is_nothing(const struct block *block)
{
	barrier_var(block);
	return !block;
}

/* Hands over the slots of a task that is ending, and frees them. */
static __always_inline void end_slots(struct thread_record *record, __u64 address)
{
	struct slot_set *set = set_of(address);

	/* A task has two slots if two CPUs made its first block at the same time. */
	for (int slots = 0; set && slots < 2; slots++) {
		__u32 at = find_slot(address);

		if (at >= SLOTS_IN_SET)
			return;
		at = bounded(at);
		if (!claim_slot(set, at, address))
			continue;
		give_id(&set->state[at].id);
		if (has_traffic(&set->counters[at]))
			hand_over(record, set->state[at].id, &set->counters[at]);
		give_back_slot(set, at);
	}
}

/* Hands over a block in task storage. The kernel frees it with the task. */
static __always_inline void end_stored(struct thread_record *record, struct block *block)
{
	if (__sync_val_compare_and_swap(&block->state, BLOCK_LIVE, BLOCK_LEAVING) != BLOCK_LIVE)
		return;
	name_stored(block);
	if (has_traffic(&block->counters))
		hand_over(record, block->id, &block->counters);
	__sync_lock_test_and_set(&block->state, BLOCK_GONE);
	__sync_fetch_and_add(&losses.outside_gone, 1);
}

/*
 * Hands over a block in the spare map, and deletes it. Once another CPU has deleted the entry, the
 * map can reuse its memory for another task's block. So the entry is copied, and the copy is used
 * only if the entry is still there afterwards.
 */
static __always_inline void end_spare(struct thread_record *record, struct task_struct *task,
				      struct block *spared)
{
	__u64 key = (__u64)task;
	struct block copy;

	give_id(&spared->id);
	copy = *spared;
	barrier();
	if (!spare_block(task))
		return;
	if (has_traffic(&copy.counters))
		hand_over(record, copy.id, &copy.counters);
	if (!bpf_map_delete_elem(&spare, &key))
		__sync_fetch_and_add(&losses.outside_gone, 1);
}

/*
 * Hands over the blocks of a task that is ending, and gives them back.
 *
 * Each block is given back only after its record was written, so at every moment the thread is in
 * snapshots or has a record. The ledger counts a block once if it is in both. Two CPUs can do this
 * for the same task (see mark_task()), but each block is given back once.
 */
static __always_inline int end_thread(struct task_struct *task, __u64 address)
{
	__u32 at = find_slot(address);
	struct block *block = stored_block(task);
	struct block *spared = spare_block(task);
	struct thread_record record = {};

	if (at >= SLOTS_IN_SET && !block && is_nothing(spared))
		return 0;
	identify(&record, address, RECORD_EXITED);
	end_slots(&record, address);
	if (block)
		end_stored(&record, block);
	if (spared)
		end_spare(&record, task, spared);
	return 0;
}

static __always_inline int thread_exit(struct task_struct *task)
{
	return end_thread(task, bpf_get_current_task());
}

/* Differs for any two states of one block's counters, since they only grow. */
static __always_inline __u64 sum_of(const struct counters *c)
{
	return c->tcp_send_msgs + c->tcp_send_bytes + c->tcp_recv_msgs + c->tcp_recv_bytes +
	       c->udp_send_msgs + c->udp_send_bytes + c->udp_recv_msgs + c->udp_recv_bytes;
}

/* Writes one slot if it has changed. */
static __always_inline void dump_slot(struct slot_set *set, __u32 at)
{
	struct thread_record *record;
	__u32 number = dump.records;
	__u64 block, sum, owner;

	if (!set->state[at].id)
		return;
	record = bpf_map_lookup_elem(&snapshot, &number);
	if (!record)
		return;
	/* An atomic operation for the order of loads: see give_back_slot(). */
	block = __sync_fetch_and_add(&set->state[at].id, 0);
	/* A free slot keeps no id, unless its owner ended while it was given one. */
	owner = set->owner[at] & ~(__u64)LEAVING;
	if (!owner)
		return;
	record->counters = set->counters[at];
	/* The sum is that of the copy. The slot can have changed since. */
	barrier();
	sum = sum_of(&record->counters);
	if (!dump.all && ((!sum && !remote.mode) ||
			  (set->state[at].shown_id == block && set->state[at].shown_sum == sum)))
		return;
	/*
	 * A task that owns a slot had not passed its exit when this program began, so its memory
	 * stays until the program ends (RCU). If the kernel missed on_exit for the task, the
	 * memory can belong to something else by now. Reading it is harmless, and the missed
	 * event is reported.
	 */
	identify(record, owner, 0);
	/* If the task has ended meanwhile, its exit record has the counters. */
	if (!block || __sync_fetch_and_add(&set->state[at].id, 0) != block)
		return;
	record->block = block;
	set->state[at].shown_id = block;
	set->state[at].shown_sum = sum;
	dump.records++;
}

/*
 * Writes the slots of a set that have changed since the last snapshot; all with `dump.all`. Global,
 * so the verifier checks it once.
 */
__noinline int dump_set(__u32 number)
{
	struct slot_set *set = bpf_map_lookup_elem(&slots, &number);

	for (__u32 at = 0; set && at < SLOTS_IN_SET; at++)
		dump_slot(set, at);
	return 0;
}

/*
 * Writes what some of the sets have to show. User space runs it until it has visited all of them.
 * One run visits few enough to end soon, since the CPU does nothing else meanwhile. It visits a set
 * only if there is room for all of its slots.
 */
static __always_inline int dump_sets(void)
{
	dump.records = 0;
	for (__u32 sets = 0; sets < SETS_IN_RUN; sets++) {
		if (dump.set > slot_sets_mask || dump.records > SNAPSHOT_RECORDS - SLOTS_IN_SET)
			break;
		dump_set(dump.set);
		dump.set++;
	}
	return 0;
}

static __always_inline void dump_block(struct bpf_iter__task *ctx, struct thread_record *record,
				       struct block *block)
{
	/* A new block can be found here before it has its id. */
	if (!block || block->state == BLOCK_GONE || !block->id)
		return;
	record->block = block->id;
	record->counters = block->counters;
	bpf_seq_write(ctx->meta->seq, record, sizeof(*record));
}

/* Writes the blocks of a task that are not in slots. */
static __always_inline int dump_outside(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct thread_record record = {};
	struct block *block, *spared;

	/* The kernel calls once more after the last task. */
	if (!task)
		return 0;
	block = stored_block(task);
	spared = spare_block(task);
	if (!block && is_nothing(spared))
		return 0;
	identify(&record, address_of(task), 0);
	dump_block(ctx, &record, block);
	/* A new entry can be found here before it has its id, as above. */
	if (spared && spared->id) {
		record.block = spared->id;
		record.counters = spared->counters;
		/*
		 * If the entry was deleted meanwhile, another thread can have reused it. The
		 * task's exit record then has the counters.
		 */
		spared = spare_block(task);
		if (spared && spared->id == record.block)
			bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	}
	return 0;
}

#endif
