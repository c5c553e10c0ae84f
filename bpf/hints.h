/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Hints: where the row of an earlier event is. Most events come from a thread, a socket and a
 * remote end that have been seen before. A hint then saves making the key and looking for its row.
 *
 * All functions are inline: libbpf resolves the relocations of other functions at every start, also
 * if no program that is loaded calls them.
 */
#ifndef NETATOP_HINTS_H
#define NETATOP_HINTS_H

/*
 * A hint stands for all parts of a key: the block for the process, the cookie for the network
 * namespace and the protocol, over TCP also for the role, and the other fields for the ends.
 */
struct hint {
	/*
	 * The socket. No other socket ever has the same cookie, except MPTCP sockets that were
	 * accepted by the same listener: these have the same namespace and role.
	 */
	__u64 cookie;
	__u64 block;
	/* The ends before they are folded. Over TCP, as they are in the socket. */
	__u64 address[4];
	__u32 ports;
	/* The interface of a link-local address. Over UDP, the highest bit is set for a server. */
	__u32 scope;
	/* rows_generation << 16 | index of the row in its half. */
	__u64 place;
};

/*
 * Each CPU has hints of its own for each direction, since a program is not run while it is running
 * on the same CPU already. So a hint is never read while it is written.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	/* Never mapped. A mappable map begins at a page, so a hint is a cache line. */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hint);
} hints SEC(".maps");

/*
 * The place on this CPU for the hint of a task and a socket. `spread` chooses among several of
 * them. Sockets that were made one after the other often have cookies that follow each other, so
 * their hints have different places.
 */
static __always_inline struct hint *hint_for(__u64 task, __u64 cookie, enum direction direction,
					     __u32 spread)
{
	__u32 of_cpu = bpf_get_smp_processor_id() * 2 + direction, at;

	/* Tasks are aligned to cache lines. */
	spread += (__u32)cookie + (__u32)(task >> 6);
	at = of_cpu * (remote.hints_mask + 1) + (spread & remote.hints_mask);
	return bpf_map_lookup_elem(&hints, &at);
}

/*
 * The cookie of a socket; 0 if it has none. It is made when somebody asks for it, which classic
 * programs cannot.
 */
static __always_inline __u64 cookie_of(struct sock *sk)
{
	__u64 cookie = sk->__sk_common.skc_cookie.counter;

	return cookie || !remote.makes_cookies ? cookie : bpf_get_socket_cookie(sk);
}

/* What a hint says of a thread with this block. A thread that calls exec can get another id. */
static __always_inline __u64 hinted_block(__u64 block)
{
	return remote.threads ? block ^ bpf_get_current_pid_tgid() << 32 : block;
}

static __always_inline bool is_tcp_hint(const struct hint *hint, struct sock *sk, __u64 cookie,
					__u64 block)
{
	const __u64 *address;

	if (hint->cookie != cookie || hint->block != block ||
	    hint->ports != sk->__sk_common.skc_portpair ||
	    hint->scope != (__u32)sk->__sk_common.skc_bound_dev_if)
		return false;
	/*
	 * setsockopt(IPV6_ADDRFORM) turns a socket with a mapped address into one for IPv4. The
	 * first word of its hint was 0, so it differs.
	 */
	if (sk->__sk_common.skc_family == AF_INET)
		return hint->address[0] == sk->__sk_common.skc_addrpair;
	address = (const __u64 *)&sk->__sk_common.skc_v6_daddr;
	if (hint->address[1] != address[1] || hint->address[0] != address[0])
		return false;
	/* Rows are split by the local address only in this mode. */
	if (remote.mode != REMOTE_SOCKET)
		return true;
	address = (const __u64 *)&sk->__sk_common.skc_v6_rcv_saddr;
	return hint->address[3] == address[1] && hint->address[2] == address[0];
}

static __always_inline void make_tcp_hint(struct hint *hint, struct sock *sk)
{
	const __u64 *address;

	hint->ports = sk->__sk_common.skc_portpair;
	hint->scope = sk->__sk_common.skc_bound_dev_if;
	if (sk->__sk_common.skc_family == AF_INET) {
		hint->address[0] = sk->__sk_common.skc_addrpair;
		return;
	}
	address = (const __u64 *)&sk->__sk_common.skc_v6_daddr;
	hint->address[0] = address[0];
	hint->address[1] = address[1];
	address = (const __u64 *)&sk->__sk_common.skc_v6_rcv_saddr;
	hint->address[2] = address[0];
	hint->address[3] = address[1];
}

static __always_inline __u32 udp_ports(const struct ends *ends)
{
	return ends->local_port << 16 | ends->remote_port;
}

static __always_inline __u32 udp_scope(const struct ends *ends, struct sock *sk)
{
	return (__u32)(role_of(sk, UDP) == REMOTE_SERVER) << 31 | ends->scope;
}

static __always_inline bool is_udp_hint(const struct hint *hint, struct sock *sk,
					const struct ends *ends, __u64 cookie, __u64 block)
{
	return hint->cookie == cookie && hint->block == block && hint->ports == udp_ports(ends) &&
	       hint->scope == udp_scope(ends, sk) && hint->address[1] == ends->remote[1] &&
	       hint->address[0] == ends->remote[0] && hint->address[3] == ends->local[1] &&
	       hint->address[2] == ends->local[0];
}

static __always_inline void make_udp_hint(struct hint *hint, struct sock *sk,
					  const struct ends *ends)
{
	hint->ports = udp_ports(ends);
	hint->scope = udp_scope(ends, sk);
	hint->address[0] = ends->remote[0];
	hint->address[1] = ends->remote[1];
	hint->address[2] = ends->local[0];
	hint->address[3] = ends->local[1];
}

/* A number by which calls with different remote ends on one UDP socket have different hints. */
static __always_inline __u32 udp_spread(const struct ends *ends)
{
	__u64 sum = ends->remote[0] + ends->remote[1] + ends->remote_port;

	return ends->is_noted ? (sum * 0xd6e8feb86659fd93ULL) >> 32 : 0;
}

/* Adds to the row to which a hint leads. False if user space has taken that row. */
static __always_inline bool add_by_hint(const struct hint *hint, __u64 generation,
					enum direction direction, __u64 bytes)
{
	if (hint->place >> 16 != generation)
		return false;
	return add_at(half_of(generation), hint->place & ROW_INDEX, direction, bytes);
}

#endif
