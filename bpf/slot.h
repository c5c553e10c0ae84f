/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Finding, taking and giving back the slot of a thread. */
#ifndef NETATOP_SLOT_H
#define NETATOP_SLOT_H

/*
 * The address of a task as a number. The verifier does not let a pointer become one. A helper
 * returns the address of the running task as a number, so this adds the distance from there.
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

/* The number of the set that can have a slot of a task. The multiplication spreads addresses. */
static __always_inline __u32 set_number(__u64 task)
{
	return (__u32)((task * 0x9e3779b97f4a7c15ULL) >> 40) & slot_sets_mask;
}

static __always_inline struct slot_set *set_of(__u64 task)
{
	__u32 key = set_number(task);

	return bpf_map_lookup_elem(&slots, &key);
}

/* The index of a task's slot in its set; SLOTS_IN_SET if it has none. */
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

/* The same, outside of the counting path. Global, so the verifier checks it once. */
__noinline __u32 find_slot(__u64 task)
{
	struct slot_set *set = set_of(task);

	return set ? place_in(set, task) : SLOTS_IN_SET;
}

/* Reminds the verifier that an index is below SLOTS_IN_SET. */
static __always_inline __u32 bounded(__u32 at)
{
	barrier_var(at);
	return at & (SLOTS_IN_SET - 1);
}

/* Makes the verifier forget what it knows about a number, by any number that it does not know. */
static __always_inline __u64 forgotten(__u64 number, __u64 any)
{
	asm volatile("%[n] ^= %[a]; %[n] ^= %[a];" : [n] "+r"(number) : [a] "r"(any));
	return number;
}

/*
 * Makes the verifier forget which index in a set this is. Otherwise, it checks the code that
 * follows a search once for each place that the search can find.
 */
static __always_inline __u32 any_place(__u64 at, __u64 task)
{
	return forgotten(at, task) & (SLOTS_IN_SET - 1);
}

static __always_inline __u64 new_block_id(void)
{
	return __sync_add_and_fetch(&losses.last_block, 1);
}

/*
 * Gives a block its id, unless it has one: two CPUs can find the same new block. True on the
 * one CPU whose id the block got.
 */
static __always_inline bool give_id(__u64 *id)
{
	return !*id && !__sync_val_compare_and_swap(id, 0, new_block_id());
}

/*
 * Takes a free slot for a task, which may be running on another CPU. The task counts in the slot
 * as soon as it owns it, so the counters are 0 before: give_back_slot() clears them.
 */
static __always_inline struct counters *take_slot(struct slot_set *set, __u64 task)
{
	for (__u32 at = 0; at < SLOTS_IN_SET; at++) {
		if (set->owner[at] || __sync_val_compare_and_swap(&set->owner[at], 0, task))
			continue;
		give_id(&set->state[at].id);
		return &set->counters[at];
	}
	return NULL;
}

/*
 * Claims a task's slot for handing it over. Only one of two CPUs that try this succeeds: see
 * mark_task(). From here on the task finds no slot, and a snapshot still shows the block.
 */
static __always_inline bool claim_slot(struct slot_set *set, __u32 at, __u64 task)
{
	return __sync_val_compare_and_swap(&set->owner[at], task, task | LEAVING) == task;
}

/*
 * Frees a slot that this CPU has claimed, after its counters were handed over.
 *
 * The atomic operations keep the order in which a snapshot may see the changes: a snapshot
 * that reads cleared counters, or those of the next block, also reads another id.
 */
static __always_inline void give_back_slot(struct slot_set *set, __u32 at)
{
	__sync_lock_test_and_set(&set->state[at].id, 0);
	__builtin_memset(&set->counters[at], 0, sizeof(set->counters[at]));
	__sync_lock_test_and_set(&set->owner[at], 0);
}

#endif
