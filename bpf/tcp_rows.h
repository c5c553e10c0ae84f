/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The rows of TCP's own account, and the growth that is added to them. */
#ifndef NETATOP_TCP_ROWS_H
#define NETATOP_TCP_ROWS_H

struct tcp_settings {
	/* Rows are threads, not processes. */
	__u32 threads;
	/* The reader is woken when this many rows were made since it took them. */
	__u32 wakeup;
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

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct tcp_rows);
} current_tcp_rows SEC(".maps") = {.values = {&first_tcp_rows}};

/* The map of a new row needs a value that is 0, and the stack has no room for it. */
static const volatile struct tcp_row no_tcp_row = {};

static __always_inline struct tcp_row *find_tcp_row(const struct remote_key *key,
						    const struct tcp_owner *owner)
{
	__u32 zero = 0;
	void *rows = bpf_map_lookup_elem(&current_tcp_rows, &zero);
	struct tcp_row *row;
	__u64 made;

	if (!rows)
		return NULL;
	row = bpf_map_lookup_elem(rows, key);
	if (row)
		return row;
	if (!bpf_map_update_elem(rows, key, (void *)&no_tcp_row, BPF_NOEXIST)) {
		made = __sync_add_and_fetch(&tcp_losses.rows_made, 1);
		if (made - tcp_rows_taken == tcp.wakeup)
			wake_reader();
	}
	row = bpf_map_lookup_elem(rows, key);
	if (row)
		row->owner = *owner;
	return row;
}

/* How often a CPU tries to change a value that other CPUs change too. */
enum { SWAP_ATTEMPTS = 64 };

static __always_inline void raise(__u64 *to, __u64 value)
{
	for (int i = 0; i < SWAP_ATTEMPTS; i++) {
		__u64 old = *to;

		if (old >= value || __sync_val_compare_and_swap(to, old, value) == old)
			return;
	}
}

static __always_inline void lower(__u64 *to, __u64 value)
{
	for (int i = 0; i < SWAP_ATTEMPTS; i++) {
		__u64 old = *to;

		if ((old && old <= value) || __sync_val_compare_and_swap(to, old, value) == old)
			return;
	}
}

static __always_inline void add_some(__u64 *to, __u64 value)
{
	if (value)
		__sync_fetch_and_add(to, value);
}

static __always_inline void add_tcp(struct tcp_counters *to, const struct tcp_counters *growth)
{
	add_some(&to->out_segs, growth->out_segs);
	add_some(&to->in_segs, growth->in_segs);
	add_some(&to->retrans_segs, growth->retrans_segs);
	add_some(&to->retrans_bytes, growth->retrans_bytes);
	add_some(&to->out_bytes, growth->out_bytes);
	add_some(&to->in_bytes, growth->in_bytes);
	add_some(&to->active_opens, growth->active_opens);
	add_some(&to->passive_opens, growth->passive_opens);
	add_some(&to->attempt_fails, growth->attempt_fails);
	add_some(&to->estab_resets, growth->estab_resets);
	add_some(&to->refused, growth->refused);
	add_some(&to->timed_out, growth->timed_out);
	add_some(&to->unreachable, growth->unreachable);
	if (growth->connects) {
		add_some(&to->connects, growth->connects);
		add_some(&to->connect_us, growth->connect_us);
		raise(&to->connect_us_max, growth->connect_us_max);
	}
	if (growth->rtt_weight) {
		add_some(&to->rtt_weight, growth->rtt_weight);
		add_some(&to->rtt_us, growth->rtt_us);
		raise(&to->rtt_us_max, growth->rtt_us_max);
		/* The smallest one may be newer than the average. */
		lower(&to->rtt_us_min, growth->rtt_us_min < growth->rtt_us_max
					       ? growth->rtt_us_min
					       : growth->rtt_us_max);
	}
}

static __always_inline bool has_grown(const struct tcp_counters *g)
{
	return g->out_segs | g->in_segs | g->retrans_segs | g->out_bytes | g->in_bytes |
	       g->active_opens | g->passive_opens | g->attempt_fails | g->estab_resets |
	       g->connects | g->rtt_weight;
}

/* Whether only some tasks or ends are wanted. A socket without owner is then nobody's. */
static __always_inline bool is_filtered(void)
{
	return filter.tracked || filter.cgroups || matching.ports || matching.networks ||
	       matching.no_loopback;
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
		row = find_tcp_row(key, owner);
		if (!row)
			__sync_fetch_and_add(&tcp_losses.no_row, 1);
	} else if (is_filtered()) {
		return 0;
	}
	add_tcp(row ? &row->counters : &tcp_losses.unattributed, growth);
	return 0;
}

#endif
