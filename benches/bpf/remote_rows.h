/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Rows in an array, and a hash map from the key to the index of the row. */
#ifndef NETATOP_BENCH_REMOTE_ROWS_H
#define NETATOP_BENCH_REMOTE_ROWS_H

#include "remote.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ROWS);
	__type(key, struct row_key);
	__type(value, __u32);
} indices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ROWS);
	__type(key, __u32);
	__type(value, struct numbers);
} rows SEC(".maps");

__u32 rows_used;

/* The index of the row of a key, which is created if there is none; ROWS if the map is full. */
static __attribute__((noinline)) __u32 index_of(const struct row_key *key)
{
	__u32 *found = bpf_map_lookup_elem(&indices, key);
	__u32 index;

	if (found)
		return *found;
	index = __sync_fetch_and_add(&rows_used, 1);
	if (index >= ROWS || bpf_map_update_elem(&indices, key, &index, BPF_NOEXIST))
		return ROWS;
	return index;
}

static __always_inline void add_to_row(__u32 index, enum direction direction, __u64 bytes)
{
	struct numbers *row = bpf_map_lookup_elem(&rows, &index);

	if (row)
		add_shared(row, direction, bytes);
}

#endif
