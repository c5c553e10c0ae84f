/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The rows of TCP's own account, and the growth that is added to them. */
#ifndef NETATOP_TCP_ROWS_H
#define NETATOP_TCP_ROWS_H

struct tcp_settings {
	/* Rows are threads, not processes. */
	__u32 threads;
	/* The reader is woken when this many rows were made since it took them. */
	__u32 wakeup;
	/* Living sockets are found among open files, which are not all of them. */
	__u32 by_files;
};

const volatile struct tcp_settings tcp;

struct tcp_rows {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct remote_key);
	__type(value, struct tcp_row);
} first_tcp_rows SEC(".maps");

struct tcp_rows second_tcp_rows SEC(".maps");

/*
 * Programs do not use it. When user space changes it, the kernel waits until every program that
 * runs has ended. It is empty at the start, for a first value takes as long.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct tcp_rows);
} tcp_rows_in_use SEC(".maps");

/* The lock of tcp_losses.unattributed. */
struct locked {
	struct bpf_spin_lock lock;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct locked);
} unattributed_lock SEC(".maps");

/*
 * The map of a new row needs a value that is 0, and the stack has no room for it. It does not have
 * the type of a row, for a lock must not be in memory that is only read.
 */
static const volatile __u64 no_tcp_row[sizeof(struct tcp_row) / sizeof(__u64)] = {};

static __always_inline struct tcp_row *tcp_row_in(void *rows, const struct remote_key *key,
						  const struct tcp_owner *owner)
{
	struct tcp_row *row = bpf_map_lookup_elem(rows, key);

	if (row)
		return row;
	if (!bpf_map_update_elem(rows, key, (void *)no_tcp_row, BPF_NOEXIST))
		count_new_row(&tcp_losses.rows_made, tcp_rows_taken, tcp.wakeup);
	row = bpf_map_lookup_elem(rows, key);
	if (row)
		row->owner = *owner;
	return row;
}

static __always_inline __u64 larger(__u64 one, __u64 other)
{
	return one > other ? one : other;
}

/* Adds to counters. The caller holds their lock, so no other CPU changes them. */
static __always_inline void add_tcp(struct tcp_counters *to, const struct tcp_counters *growth)
{
	__u64 least;

	to->out_segs += growth->out_segs;
	to->in_segs += growth->in_segs;
	to->retrans_segs += growth->retrans_segs;
	to->retrans_bytes += growth->retrans_bytes;
	to->out_bytes += growth->out_bytes;
	to->in_bytes += growth->in_bytes;
	to->active_opens += growth->active_opens;
	to->passive_opens += growth->passive_opens;
	to->attempt_fails += growth->attempt_fails;
	to->estab_resets += growth->estab_resets;
	to->refused += growth->refused;
	to->timed_out += growth->timed_out;
	to->unreachable += growth->unreachable;
	to->connects += growth->connects;
	to->connect_us += growth->connect_us;
	to->connect_us_max = larger(to->connect_us_max, growth->connect_us);
	if (!growth->rtt_weight)
		return;
	to->rtt_weight += growth->rtt_weight;
	to->rtt_us += growth->rtt_us;
	to->rtt_us_max = larger(to->rtt_us_max, growth->rtt_us_max);
	/* The smallest one may be newer than the average. */
	least = growth->rtt_us_min < growth->rtt_us_max ? growth->rtt_us_min : growth->rtt_us_max;
	if (!to->rtt_us_min || to->rtt_us_min > least)
		to->rtt_us_min = least;
}

/* Adds to what could not be attributed. */
static __always_inline void add_unattributed(const struct tcp_counters *growth)
{
	__u32 zero = 0;
	struct locked *locked = bpf_map_lookup_elem(&unattributed_lock, &zero);

	/* An array has all its elements. */
	if (!locked)
		return;
	bpf_spin_lock(&locked->lock);
	add_tcp(&tcp_losses.unattributed, growth);
	bpf_spin_unlock(&locked->lock);
}

static __always_inline bool has_grown(const struct tcp_counters *g)
{
	return g->out_segs | g->in_segs | g->retrans_segs | g->retrans_bytes | g->out_bytes |
	       g->in_bytes | g->active_opens | g->passive_opens | g->attempt_fails |
	       g->estab_resets | g->connects | g->rtt_weight;
}

/* Whether only some tasks or ends are wanted. A socket without owner is then nobody's. */
static __always_inline bool is_filtered(void)
{
	return filter.tracked || filter.tasks || has_end_filter();
}

/*
 * Adds growth to the row of an owner; without one, to what could not be attributed. The function is
 * global, so the verifier checks it once.
 */
__noinline int credit(const struct remote_key *key, const struct tcp_owner *owner,
		      const struct tcp_counters *growth)
{
	struct tcp_row *row = NULL;

	if (!key || !owner || !growth || !has_grown(growth))
		return 0;
	if (key->task) {
		row = tcp_rows_second ? tcp_row_in(&second_tcp_rows, key, owner)
				      : tcp_row_in(&first_tcp_rows, key, owner);
		if (!row)
			__sync_fetch_and_add(&tcp_losses.no_row, 1);
	} else if (is_filtered()) {
		return 0;
	}
	if (!row) {
		add_unattributed(growth);
		return 0;
	}
	bpf_spin_lock(&row->lock);
	add_tcp(&row->counters, growth);
	bpf_spin_unlock(&row->lock);
	return 0;
}

#endif
