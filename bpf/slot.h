/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Finding, taking and giving back the slot of a thread. */
#ifndef NETATOP_SLOT_H
#define NETATOP_SLOT_H

/*
 * The address of a task as a number. The verifier would take the pointer for a pointer, so
 * this adds the distance from the running task, whose address can be had as a number.
 */
static __always_inline __u64 address_of(struct task_struct *task)
{
	struct task_struct *current = bpf_get_current_task_btf();
	__u64 distance;

	asm volatile("%[d] = %[t]; %[d] -= %[c];"
		     : [d] "=&r"(distance)
		     : [t] "r"(task), [c] "r"(current));
	return bpf_get_current_task() + distance;
}

/* The one set in which a task's slot can be. The multiplication spreads addresses evenly. */
static __always_inline struct slot_set *set_of(__u64 task)
{
	__u32 key = (__u32)((task * 0x9e3779b97f4a7c15ULL) >> 40) & slot_sets_mask;

	return bpf_map_lookup_elem(&slots, &key);
}

/* Which slot of its set belongs to a task; SLOTS_IN_SET if none does. */
static __always_inline __u32 place_in(const struct slot_set *set, __u64 task)
{
	__u32 at;

#pragma unroll
	for (at = 0; at < SLOTS_IN_SET; at++) {
		if (set->owner[at] == task)
			break;
	}
	return at;
}

/* The same for code that is not in a hurry. Global, so the verifier checks it once. */
__noinline __u32 find_slot(__u64 task)
{
	struct slot_set *set = set_of(task);

	return set ? place_in(set, task) : SLOTS_IN_SET;
}

/* Tells the verifier again that a place is one of the set's. */
static __always_inline __u32 bounded(__u32 at)
{
	barrier_var(at);
	return at & (SLOTS_IN_SET - 1);
}

static __always_inline __u64 new_block_id(void)
{
	return __sync_add_and_fetch(&losses.last_block, 1);
}

/* Gives a block its id, unless it has one: two CPUs can find the same new block. */
static __always_inline void give_id(__u64 *id)
{
	if (!*id)
		__sync_val_compare_and_swap(id, 0, new_block_id());
}

/*
 * Takes a free slot for a task, which may be running on another CPU. From the moment that
 * it owns the slot the task counts in it, so the counters are cleared before, by
 * give_back_slot(). A slot has an id only after it has an owner.
 */
static __always_inline struct counters *take_slot(struct slot_set *set, __u64 task)
{
	for (__u32 at = 0; at < SLOTS_IN_SET; at++) {
		if (set->owner[at] || __sync_val_compare_and_swap(&set->owner[at], 0, task))
			continue;
		give_id(&set->id[at]);
		return &set->counters[at];
	}
	return NULL;
}

/*
 * Gives back the slot of a block whose counters have been handed over. Only one of two CPUs
 * that try this for the same block succeeds.
 *
 * The atomic operations keep the order in which a snapshot may see the changes: a snapshot
 * that reads counters of another block than `id` also reads another id.
 */
static __always_inline void give_back_slot(struct slot_set *set, __u32 at, __u64 id)
{
	if (__sync_val_compare_and_swap(&set->id[at], id, 0) != id)
		return;
	__builtin_memset(&set->counters[at], 0, sizeof(set->counters[at]));
	__sync_lock_test_and_set(&set->owner[at], 0);
}

#endif
