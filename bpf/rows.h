/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The rows of remote ends: where they are, and how an event finds its own.
 *
 * Most rows are in sets of eight, as the slots of threads are. The key's hash selects the set. A
 * row that finds no room in its set is in a hash map, which is slower and has room for many more.
 *
 * User space takes the rows while events are counted. There are two halves of the sets, and two
 * hash maps. To take the rows, user space increases rows_generation, which selects the other half,
 * and puts the other hash map into current_rows. The system call returns when no program can still
 * use the half and the hash map of before (maybe_wait_bpf_programs() in kernel/bpf/syscall.c). So
 * user space reads each row once, and its counters are final.
 */
#ifndef NETATOP_ROWS_H
#define NETATOP_ROWS_H

enum { ROWS_IN_SET = 8 };

/* What row_set.state is, besides the hash of a key, whose lowest bit is set. */
enum row_state {
	ROW_FREE,
	/* A program is writing the key. */
	ROW_BUSY = 2,
};

struct row {
	struct remote_key key;
	/* Each thread of a process adds to the counters of its rows. */
	struct remote_counters counters;
	/* A row begins at a cache line. */
	__u64 _pad[4];
};

struct row_set {
	__u64 state[ROWS_IN_SET];
	struct row row[ROWS_IN_SET];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	/* User space maps it: see src/kernel/shared.rs. */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct row_set);
} row_sets SEC(".maps");

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

/*
 * Where the row of a thread's last event was: its set in the half, times ROWS_IN_SET, plus its
 * place in the set. Usually, the next event has the same row. What is there is compared with the
 * key.
 */
struct hint_set {
	__u32 of[SLOTS_IN_SET];
};

/* The hints of all slots, in the order of the slots. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hint_set);
} hints SEC(".maps");

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
 * A hash of a key, with the lowest bit set. Who chooses addresses can fill a set on purpose.
 * Further rows are then in the hash map, whose hash function has a secret seed.
 */
static __always_inline __u64 hash_of(const struct remote_key *key)
{
	/* Odd numbers without a pattern. The products do not wait for each other. */
	__u64 hash = key->start * 0x9e3779b97f4a7c15ULL + key->task * 0xd6e8feb86659fd93ULL +
		     key->local[0] * 0xa0761d6478bd642fULL + key->local[1] * 0xe7037ed1a0b428dbULL +
		     key->remote[0] * 0x8ebc6af09c88c6e3ULL +
		     key->remote[1] * 0x589965cc75374cc3ULL + key->place * 0x1d8e4e27c47d124fULL +
		     key->ends * 0xeb44accab455d165ULL;

	hash = (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15ULL;
	return (hash ^ (hash >> 29)) | 1;
}

/*
 * Whether a row of a set is that of a key. The key in the row is read at an address that is
 * computed from the state, so no CPU reads the key before the state.
 */
static __always_inline bool is_row_of(const struct row_set *set, __u32 at, __u64 state,
				      const struct remote_key *key)
{
	__u64 same = at;

	asm volatile("%[s] ^= %[t]; %[s] ^= %[t];" : [s] "+r"(same) : [t] "r"(state));
	return is_same_key(&set->row[same & (ROWS_IN_SET - 1)].key, key);
}

/* The index of a place in a half: the number of the set, times ROWS_IN_SET, plus that of the row.
 */
enum { NO_PLACE = 0xffffffff };

/*
 * The place of a key in the half that begins with this set, which the key gets if it has none;
 * NO_PLACE if its set is full. Two CPUs can make a row for the same key at the same time. User
 * space adds them up.
 *
 * The function is global, so the verifier checks it once, and not for each path to it.
 */
__noinline __u32 find_place(const struct remote_key *key, __u32 half)
{
	struct row_set *set;
	__u32 number, in_use;
	__u64 hash;

	if (!key)
		return NO_PLACE;
	hash = hash_of(key);
	number = (hash >> 32) & remote.sets_mask;
	in_use = half + number;
	set = bpf_map_lookup_elem(&row_sets, &in_use);
	if (!set)
		return NO_PLACE;
#pragma unroll
	for (__u32 at = 0; at < ROWS_IN_SET; at++) {
		__u64 state = set->state[at], read = state;

		/* The compiler must not take `hash` for what was read. */
		barrier_var(read);
		if (state == hash && is_row_of(set, at, read, key))
			return number * ROWS_IN_SET + at;
	}
	for (__u32 at = 0; at < ROWS_IN_SET; at++) {
		if (set->state[at] ||
		    __sync_val_compare_and_swap(&set->state[at], ROW_FREE, ROW_BUSY))
			continue;
		set->row[at].key = *key;
		__sync_lock_test_and_set(&set->state[at], hash);
		return number * ROWS_IN_SET + at;
	}
	return NO_PLACE;
}

static __always_inline void wake_reader(void)
{
	void *nothing = bpf_ringbuf_reserve(&exits, 8, 0);

	/* Without room there are exit records, and the reader is awake. */
	if (nothing)
		bpf_ringbuf_discard(nothing, BPF_RB_FORCE_WAKEUP);
}

/* The counters of a key in the hash map, which it gets if it has none; NULL if the map is full. */
static __always_inline struct remote_counters *hashed_row(const struct remote_key *key)
{
	struct remote_counters none = {}, *row;
	__u32 zero = 0;
	void *rows = bpf_map_lookup_elem(&current_rows, &zero);
	__u64 made;

	if (!rows)
		return NULL;
	row = bpf_map_lookup_elem(rows, key);
	if (row)
		return row;
	if (!bpf_map_update_elem(rows, key, &none, BPF_NOEXIST)) {
		made = __sync_add_and_fetch(&losses.rows_made, 1);
		if (made - rows_taken == remote.wakeup)
			wake_reader();
	}
	return bpf_map_lookup_elem(rows, key);
}

/* The hint of a slot. */
static __always_inline __u32 *hint_of(__u32 number, __u32 at)
{
	struct hint_set *set = bpf_map_lookup_elem(&hints, &number);

	return set ? &set->of[bounded(at)] : NULL;
}

/* The counters of a key in the half that is in use, if its row is where the hint says. */
static __always_inline struct remote_counters *hinted_row(__u32 hint, __u32 half,
							  const struct remote_key *key)
{
	__u32 number = half + ((hint / ROWS_IN_SET) & remote.sets_mask);
	struct row_set *set = bpf_map_lookup_elem(&row_sets, &number);
	__u64 state;

	hint &= ROWS_IN_SET - 1;
	if (!set)
		return NULL;
	state = set->state[hint];
	if (!(state & 1) || !is_row_of(set, hint, state, key))
		return NULL;
	return &set->row[hint].counters;
}

/* The counters of a key in its set or in the hash map; NULL if there is no room. */
static __always_inline struct remote_counters *find_row(__u32 *hint, __u32 half,
							const struct remote_key *key)
{
	__u32 place = find_place(key, half), number;
	struct row_set *set;

	if (place == NO_PLACE)
		return hashed_row(key);
	if (hint)
		*hint = place;
	number = half + place / ROWS_IN_SET;
	set = bpf_map_lookup_elem(&row_sets, &number);
	return set ? &set->row[place & (ROWS_IN_SET - 1)].counters : NULL;
}

/* Adds to the row of a key. False if there is no room for it. */
static __always_inline bool add_to_row(__u32 *hint, const struct remote_key *key,
				       enum direction direction, __u64 bytes)
{
	bool second = *(volatile __u64 *)&rows_generation & 1;
	__u32 half = second ? remote.sets_mask + 1 : 0;
	struct remote_counters *row = hint ? hinted_row(*hint, half, key) : NULL;

	if (!row)
		row = find_row(hint, half, key);
	if (!row)
		return false;
	__sync_fetch_and_add(&row->msgs[direction], 1);
	__sync_fetch_and_add(&row->bytes[direction], bytes);
	return true;
}

#endif
