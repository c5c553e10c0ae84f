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
	/* The block, and what is added to it: see hinted_block(). */
	__u64 block;
	/*
	 * The ends before they are folded, as they are in the socket. The remote one can be that of
	 * a note.
	 */
	__u64 address[4];
	__u32 ports;
	/* The interface of a link-local address. */
	__u32 scope;
	/*
	 * From the lowest bit on: 16 bits for the index of the row in its half, 4 for the place of
	 * the slot in its set, and rows_generation.
	 */
	__u64 place;
};

enum { HINT_SLOT = 16, HINT_GENERATION = 20 };

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

/* Added to the block of a hint. No id of a block is that large. */
#define HINT_OF_NOTE (1ULL << 63)
#define HINT_OF_SERVER (1ULL << 62)

/*
 * What a hint says of the thread with this block: also the thread's id, which exec can change; and
 * over UDP the role, and whether the remote end is that of a note.
 */
static __always_inline __u64 hinted_block(__u64 block, struct sock *sk, enum protocol protocol,
					  bool is_noted)
{
	if (remote.threads)
		block ^= bpf_get_current_pid_tgid() << 32;
	if (protocol == TCP)
		return block;
	if (is_noted)
		block |= HINT_OF_NOTE;
	return role_of(sk, UDP) == REMOTE_SERVER ? block | HINT_OF_SERVER : block;
}

static __always_inline bool has_local_address(const struct hint *hint, struct sock *sk)
{
	const __u64 *address = (const __u64 *)&sk->__sk_common.skc_v6_rcv_saddr;

	/* Rows are split by the local address only in this mode. */
	if (remote.mode != REMOTE_SOCKET)
		return true;
	if (sk->__sk_common.skc_family == AF_INET)
		return hint->address[2] == sk->__sk_common.skc_rcv_saddr;
	return hint->address[3] == address[1] && hint->address[2] == address[0];
}

static __always_inline void note_local_address(struct hint *hint, struct sock *sk)
{
	const __u64 *address = (const __u64 *)&sk->__sk_common.skc_v6_rcv_saddr;

	if (sk->__sk_common.skc_family == AF_INET) {
		hint->address[2] = sk->__sk_common.skc_rcv_saddr;
		return;
	}
	hint->address[2] = address[0];
	hint->address[3] = address[1];
}

/* Whether the ends of a hint are those of the socket. */
static __always_inline bool is_socket_hint(const struct hint *hint, struct sock *sk)
{
	const __u64 *address;

	if (hint->ports != sk->__sk_common.skc_portpair ||
	    hint->scope != (__u32)sk->__sk_common.skc_bound_dev_if)
		return false;
	/*
	 * setsockopt(IPV6_ADDRFORM) turns a socket with a mapped address into one for IPv4. The
	 * first word of its hint was 0, so it differs.
	 */
	if (sk->__sk_common.skc_family == AF_INET)
		return hint->address[0] == sk->__sk_common.skc_addrpair;
	address = (const __u64 *)&sk->__sk_common.skc_v6_daddr;
	return hint->address[1] == address[1] && hint->address[0] == address[0] &&
	       has_local_address(hint, sk);
}

static __always_inline void make_socket_hint(struct hint *hint, struct sock *sk)
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
	note_local_address(hint, sk);
}

static __always_inline __u32 ports_of_note(struct sock *sk, const struct note *note)
{
	return (__u32)sk->__sk_common.skc_num << 16 | note->port;
}

/* The interface that goes with the address of a note: the call's, else that of the socket. */
static __always_inline __u32 scope_of_note(struct sock *sk, const struct note *note)
{
	return note->scope ? note->scope : (__u32)sk->__sk_common.skc_bound_dev_if;
}

/* Whether the ends of a hint are those of a call that left this note. */
static __always_inline bool is_note_hint(const struct hint *hint, struct sock *sk,
					 const struct note *note)
{
	return hint->ports == ports_of_note(sk, note) && hint->scope == scope_of_note(sk, note) &&
	       hint->address[1] == note->address[1] && hint->address[0] == note->address[0] &&
	       has_local_address(hint, sk);
}

static __always_inline void make_note_hint(struct hint *hint, struct sock *sk,
					   const struct note *note)
{
	hint->ports = ports_of_note(sk, note);
	hint->scope = scope_of_note(sk, note);
	hint->address[0] = note->address[0];
	hint->address[1] = note->address[1];
	note_local_address(hint, sk);
}

/* A number by which calls with different remote ends on one socket have different hints. */
static __always_inline __u32 spread_of(const struct note *note)
{
	__u64 sum = note->address[0] + note->address[1] + note->port;

	return (sum * 0xd6e8feb86659fd93ULL) >> 32;
}

/* Adds to the row to which a hint leads. False if user space has taken that row. */
static __always_inline bool add_by_hint(const struct hint *hint, enum direction direction,
					__u64 bytes)
{
	__u64 generation = *(volatile __u64 *)&rows_generation;

	if (hint->place >> HINT_GENERATION != generation)
		return false;
	return add_at(half_of(generation), hint->place & ROW_INDEX, direction, bytes);
}

/*
 * Counts an event of a connected socket by its hint, if there is one that holds. It does the least
 * that can be done, since most events end here. What is the same for each call on a socket was
 * looked at when the hint was made.
 */
static __always_inline bool count_by_hint(struct sock *sk, enum direction direction, __u64 bytes)
{
	__u64 task = bpf_get_current_task(), cookie = sk->__sk_common.skc_cookie.counter, block;
	bool is_udp = sk->sk_type == SOCK_DGRAM;
	struct hint *hint;
	struct note *note;
	struct slot_set *set;
	__u32 at;

	hint = hint_for(task, cookie, direction, 0);
	if (!hint || !cookie || hint->cookie != cookie || !is_socket_hint(hint, sk))
		return false;
	set = set_of(task);
	at = hint->place >> HINT_SLOT & (SLOTS_IN_SET - 1);
	if (!set || set->owner[at] != task)
		return false;
	block = set->state[at].id;
	if (is_udp) {
		note = note_at(task, at);
		if (!note || (note->owner == block && is_for_call(note, sk, direction)))
			return false;
	}
	if (hint->block != hinted_block(block, sk, is_udp ? UDP : TCP, false))
		return false;
	/* The next snapshot shows it again: the process may have another name. */
	set->state[at].shown_id = 0;
	return add_by_hint(hint, direction, bytes);
}

#endif
