/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Finding, taking and giving back the slot of a thread. */
#ifndef NETATOP_SLOT_H
#define NETATOP_SLOT_H

/*
 * The address of a task as a number, which the verifier takes a pointer for otherwise: its
 * distance from the running task, whose address can be had as a number.
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

/*
 * The same, for where it need not be quick. Not static: so the verifier looks at it
 * once, and not at all that follows for each of the places.
 */
__noinline __u32 find_slot(__u64 task)
{
	struct slot_set *set = set_of(task);

	return set ? place_in(set, task) : SLOTS_IN_SET;
}

/* A place in a set, which it is: for the verifier, where that has forgotten it. */
static __always_inline __u32 bounded(__u32 at)
{
	barrier_var(at);
	return at & (SLOTS_IN_SET - 1);
}

static __always_inline __u64 new_block_id(void)
{
	return __sync_add_and_fetch(&losses.last_block, 1);
}

/*
 * Takes a free slot. The atomic operations, with which others wait for nobody, are there for
 * their order: whoever sees the new id sees counters of 0 or later, and whoever saw
 * counters of the slot's last owner sees another id than before.
 */
static __always_inline struct counters *take_slot(struct slot_set *set, __u64 task)
{
	for (__u32 at = 0; at < SLOTS_IN_SET; at++) {
		if (set->owner[at] || __sync_val_compare_and_swap(&set->owner[at], 0, task))
			continue;
		__builtin_memset(&set->counters[at], 0, sizeof(set->counters[at]));
		__sync_lock_test_and_set(&set->id[at], new_block_id());
		return &set->counters[at];
	}
	return NULL;
}

/* At the end of its thread, when its counters have been handed over. */
static __always_inline void give_back_slot(struct slot_set *set, __u32 at)
{
	set->id[at] = 0;
	__sync_lock_test_and_set(&set->owner[at], 0);
}

#endif
