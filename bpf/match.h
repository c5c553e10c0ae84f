/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Counting only some traffic, by its ends (`--port`, `--net`, `--no-loopback`). Loaded only with
 * such a filter. An event is looked at before its thread gets a block, so a process without
 * matching traffic has no row.
 *
 * All functions are inline: libbpf resolves the relocations of other functions at every start, also
 * if no program that is loaded calls them.
 */
#ifndef NETATOP_MATCH_H
#define NETATOP_MATCH_H

/* Which of the filters are used. An event must match all of these. */
struct match_settings {
	__u32 ports;
	__u32 networks;
	__u32 no_loopback;
};

const volatile struct match_settings matching;

static __always_inline bool has_end_filter(void)
{
	return matching.ports || matching.networks || matching.no_loopback;
}

/* One bit for each port. */
struct port_set {
	__u8 bits[8192];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct port_set);
} ports SEC(".maps");

/* The layout that a trie needs: the number of bits, directly followed by the address. */
struct network_key {
	__u32 bits;
	__u8 address[16];
};

/*
 * Networks, and whether each of them is wanted. IPv4 networks are mapped to IPv6. The network of
 * all mapped addresses is in the trie as well. So IPv4 addresses are in no IPv6 network, whatever
 * its size.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct network_key);
	__type(value, __u32);
} networks SEC(".maps");

static __always_inline bool has_port(const struct port_set *set, __u64 port)
{
	__u32 byte = port / 8;

	barrier_var(byte);
	return set->bits[byte & (sizeof(set->bits) - 1)] & (1 << port % 8);
}

/* Whether either end has a wanted port. */
static __always_inline enum answer match_port(const struct found_ends *found)
{
	__u32 zero = 0;
	struct port_set *set = bpf_map_lookup_elem(&ports, &zero);

	if (!set)
		return NO;
	if (has_port(set, found->ends.local_port))
		return YES;
	if (!found->is_remote_known)
		return UNKNOWN;
	return has_port(set, found->ends.remote_port) ? YES : NO;
}

/* Whether the remote address is in a wanted network. */
static __always_inline enum answer match_network(const struct found_ends *found)
{
	struct network_key key = {.bits = 128};
	__u32 *is_wanted;

	if (!found->is_remote_known)
		return UNKNOWN;
	__builtin_memcpy(key.address, found->ends.remote, sizeof(key.address));
	is_wanted = bpf_map_lookup_elem(&networks, &key);
	return is_wanted && *is_wanted ? YES : NO;
}

/*
 * Whether packets with this address stay on the host: 127.0.0.0/8, ::1, and the unspecified
 * addresses, which the kernel replaces by those when it sends.
 */
static __always_inline bool is_loopback(const __u64 *address)
{
	__u64 low = bpf_be64_to_cpu(address[1]);

	if (address[0])
		return false;
	if (low >> 32 == 0xffff)
		return !(__u32)low || (__u32)low >> 24 == 127;
	return low <= 1;
}

static __always_inline bool is_unspecified(const __u64 *address)
{
	return !address[0] && (!address[1] || address[1] == mapped(0));
}

/*
 * Whether the traffic leaves the host. It does not if an address is a loopback address, or if both
 * ends have the same address: the kernel sends to its own addresses through the loopback interface.
 */
static __always_inline enum answer match_outside(const struct found_ends *found)
{
	const __u64 *local = found->ends.local, *remote = found->ends.remote;

	if (!is_unspecified(local) && is_loopback(local))
		return NO;
	if (!found->is_remote_known)
		return UNKNOWN;
	if (is_loopback(remote) || (local[0] == remote[0] && local[1] == remote[1]))
		return NO;
	return YES;
}

/*
 * The ends can be found in many ways, with other constants in each. The verifier would follow each
 * way through all of the code behind, which is too much for it.
 */
static __always_inline void join_ways(struct found_ends *found)
{
	__u64 any = bpf_get_current_task();
	struct ends *ends = &found->ends;

	ends->local[0] = forgotten(ends->local[0], any);
	ends->local[1] = forgotten(ends->local[1], any);
	ends->remote[0] = forgotten(ends->remote[0], any);
	ends->remote[1] = forgotten(ends->remote[1], any);
	ends->local_port = forgotten(ends->local_port, any);
	ends->remote_port = forgotten(ends->remote_port, any);
	ends->scope = forgotten(ends->scope, any);
	found->is_remote_known = forgotten(found->is_remote_known, any);
}

/*
 * Whether an event is counted. Also finds its ends. If the answer depends on a remote end that is
 * not known, the event is not counted here, but as a loss.
 */
static __always_inline bool is_matching(struct found_ends *found, struct sock *sk,
					enum protocol protocol, enum direction direction,
					__u64 bytes)
{
	enum answer by_port = YES, by_network = YES, by_loopback = YES;
	struct note *note;

	if (protocol == UDP) {
		note = own_note();
		if (take_note(note, sk, direction))
			found->note = note;
	}
	found->is_remote_known = find_ends(&found->ends, sk, found->note, matching.no_loopback);
	if (matching.ports)
		by_port = match_port(found);
	if (matching.networks)
		by_network = match_network(found);
	if (matching.no_loopback)
		by_loopback = match_outside(found);
	/* Rows are split by it only in this mode. */
	if (remote.mode != REMOTE_SOCKET)
		found->ends.local[0] = found->ends.local[1] = 0;
	if (by_port == NO || by_network == NO || by_loopback == NO)
		return false;
	if (by_port == YES && by_network == YES && by_loopback == YES) {
		join_ways(found);
		return true;
	}
	/* Only the events of tracked tasks would have been counted. */
	if (!filter.tracked || is_tracked(bpf_get_current_task_btf())) {
		__sync_fetch_and_add(&losses.unmatched_msgs, 1);
		__sync_fetch_and_add(&losses.unmatched_bytes, bytes);
	}
	return false;
}

#endif
