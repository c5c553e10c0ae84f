/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The rows of remote ends: where they are, and how an event finds its own.
 *
 * Most rows are elements of an array. They are found through sets of eight words each: the key's
 * hash selects the set, and a word says which element has the key. A row that finds no room in its
 * set is in a hash map, which is slower and has room for many more.
 *
 * User space takes the rows while events are counted. There are two halves of the array and of the
 * sets, and two hash maps. To take the rows, user space selects the other half in rows_state and
 * puts the other hash map into current_rows. The system call returns when no
 * program can still use the half and the hash map of before (maybe_wait_bpf_programs() in
 * kernel/bpf/syscall.c). So user space reads each row once, and its counters are final.
 */
#ifndef NETATOP_ROWS_H
#define NETATOP_ROWS_H

enum { ROWS_IN_SET = 8 };

/* Upper bits of a key's hash, and the index of its row in the half, plus one. */
enum {
	ROW_FREE,
	/* A program is writing the key. No index is that large. */
	ROW_BUSY = 0xffff,
	ROW_INDEX = 0xffff,
};

struct row_set {
	__u64 word[ROWS_IN_SET];
};

struct row {
	/*
	 * Only one CPU adds to the counters, and each program to its own: no program is run while
	 * it is running on the same CPU already. So adding is not atomic.
	 */
	struct remote_counters counters;
	__u64 cpu;
	/* The counters and the key have a cache line each. */
	__u64 _pad[3];
	struct remote_key key;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	/* User space maps both arrays: see src/kernel/row_sets.rs. */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct row_set);
} row_sets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2 * ROWS_IN_SET);
	__type(key, __u32);
	__type(value, struct row);
} set_rows SEC(".maps");

/* Number of rows in use in each half. User space sets it to 0 when it has taken them. */
struct {
	__u64 first;
	__u64 second;
} rows_used __attribute__((aligned(64))) SEC(".data.dump") = {};

struct rows {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct remote_key);
	__type(value, struct remote_counters);
} first_rows SEC(".maps");

struct rows second_rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct rows);
} current_rows SEC(".maps") = {.values = {&first_rows}};

static __always_inline bool is_same_key(const struct remote_key *one, const struct remote_key *two)
{
	const __u64 *a = (const __u64 *)one, *b = (const __u64 *)two;

	/* Keys differ most often in the ports and the remote address: they come first. */
#pragma unroll
	for (int i = sizeof(*one) / sizeof(*a) - 1; i >= 0; i--) {
		if (a[i] != b[i])
			return false;
	}
	return true;
}

/*
 * A hash of a key on this CPU. Who chooses addresses can fill a set on purpose. Further rows are
 * then in the hash map, whose hash function has a secret seed.
 */
static __always_inline __u64 hash_of(const struct remote_key *key, __u32 cpu)
{
	/* Odd numbers without a pattern. The products do not wait for each other. */
	__u64 hash = key->start * 0x9e3779b97f4a7c15ULL + key->task * 0xd6e8feb86659fd93ULL +
		     key->local[0] * 0xa0761d6478bd642fULL + key->local[1] * 0xe7037ed1a0b428dbULL +
		     key->remote[0] * 0x8ebc6af09c88c6e3ULL +
		     key->remote[1] * 0x589965cc75374cc3ULL + key->place * 0x1d8e4e27c47d124fULL +
		     key->ends * 0xeb44accab455d165ULL + cpu * 0x2545f4914f6cdd1dULL;

	hash = (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 29);
}

/* Where a half begins: in the sets, or times ROWS_IN_SET in the rows. */
static __always_inline __u32 half_of(enum rows_state state)
{
	return state & ROWS_SECOND_HALF ? remote.sets_mask + 1 : 0;
}

/* The state that an event uses throughout, since user space can change it meanwhile. */
static __always_inline enum rows_state state_of_rows(void)
{
	return *(volatile enum rows_state *)&rows_state;
}

/*
 * A row of the half that begins with this set. The address depends on the index, so no CPU reads
 * the row before the word that has the index.
 */
static __always_inline struct row *row_at(__u32 half, __u32 index)
{
	__u32 number = half * ROWS_IN_SET + index;

	return bpf_map_lookup_elem(&set_rows, &number);
}

enum { NO_ROW = 0xffffffff };

/*
 * The index of a key's row for this CPU in the half that begins with this set. The key gets a row
 * if it has none; NO_ROW if its set is full. User space adds up the rows of all CPUs.
 *
 * The function is global, so the verifier checks it once, and not for each path to it.
 */
__noinline __u32 find_index(const struct remote_key *key, __u32 half)
{
	__u32 cpu = bpf_get_smp_processor_id(), number, index;
	struct row_set *set;
	struct row *row;
	__u64 hash, word;

	if (!key)
		return NO_ROW;
	hash = hash_of(key, cpu) & ~(__u64)ROW_INDEX;
	number = half + ((hash >> 32) & remote.sets_mask);
	set = bpf_map_lookup_elem(&row_sets, &number);
	if (!set)
		return NO_ROW;
	for (__u32 at = 0; at < ROWS_IN_SET; at++) {
		word = set->word[at];
		index = (word & ROW_INDEX) - 1;
		if ((word & ~(__u64)ROW_INDEX) != hash)
			continue;
		row = row_at(half, index);
		if (row && row->cpu == cpu && is_same_key(&row->key, key))
			return index;
	}
	for (__u32 at = 0; at < ROWS_IN_SET; at++) {
		if (set->word[at] ||
		    __sync_val_compare_and_swap(&set->word[at], ROW_FREE, ROW_BUSY))
			continue;
		index = __sync_fetch_and_add(half ? &rows_used.second : &rows_used.first, 1);
		row = row_at(half, index);
		/* Only for the verifier: there are as many rows as words in the sets. */
		if (!row || index / ROWS_IN_SET > remote.sets_mask)
			return NO_ROW;
		row->key = *key;
		row->cpu = cpu;
		__sync_lock_test_and_set(&set->word[at], hash | (index + 1));
		return index;
	}
	return NO_ROW;
}

static __always_inline void wake_reader(void)
{
	void *nothing = bpf_ringbuf_reserve(&exits, 8, 0);

	/* Without room there are exit records, and the reader is awake. */
	if (nothing)
		bpf_ringbuf_discard(nothing, BPF_RB_FORCE_WAKEUP);
}

/* Counts a row that was made in a hash map, and wakes the reader once there are enough to take. */
static __always_inline void count_new_row(__u64 *made, __u64 taken, __u32 wakeup)
{
	if (__sync_add_and_fetch(made, 1) - taken == wakeup)
		wake_reader();
}

/* The counters of a key in the hash map, which it gets if it has none; NULL if the map is full. */
static __always_inline struct remote_counters *hashed_row(const struct remote_key *key)
{
	struct remote_counters none = {}, *row;
	__u32 zero = 0;
	void *rows = bpf_map_lookup_elem(&current_rows, &zero);

	if (!rows)
		return NULL;
	row = bpf_map_lookup_elem(rows, key);
	if (row)
		return row;
	if (!bpf_map_update_elem(rows, key, &none, BPF_NOEXIST))
		count_new_row(&losses.rows_made, rows_taken, remote.wakeup);
	return bpf_map_lookup_elem(rows, key);
}

/* Adds to the row at an index in a half. False if there is none. */
static __always_inline bool add_at(__u32 half, __u32 index, enum direction direction, __u64 msgs,
				   __u64 bytes)
{
	struct row *row = row_at(half, index);

	if (!row)
		return false;
	row->counters.msgs[direction] += msgs;
	row->counters.bytes[direction] += bytes;
	return true;
}

/*
 * Adds to the row of a key on this CPU. False if there is no room for it. *index becomes that of
 * the row in its half. It stays as it is if the row is in the hash map.
 */
static __always_inline bool add_to_row(const struct remote_key *key, __u32 half, __u32 *index,
				       enum direction direction, __u64 bytes)
{
	__u32 found = find_index(key, half);
	struct remote_counters *counters;

	if (found != NO_ROW) {
		*index = found;
		return add_at(half, found, direction, 1, bytes);
	}
	counters = hashed_row(key);
	if (!counters)
		return false;
	__sync_fetch_and_add(&counters->msgs[direction], 1);
	__sync_fetch_and_add(&counters->bytes[direction], bytes);
	return true;
}

#endif
