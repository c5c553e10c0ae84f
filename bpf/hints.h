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
 * The ends before they are folded, as they are in the socket: over IPv4 both addresses in the first
 * word, over IPv6 the remote one. Or the remote address of a note.
 */
struct hinted_ends {
	__u64 address[2];
	__u32 ports;
	/* The interface of a link-local address. */
	__u32 scope;
};

/*
 * A hint stands for all parts of a key: the block for the process, the cookie for the network
 * namespace and the protocol, over TCP also for the role, and the other fields for the ends.
 *
 * It also counts, so that most events do not touch the row. What it has counted belongs to the
 * row. It is added there before the hint becomes that of another row, and when user space takes the
 * rows. There are two halves of hints, as of rows, and user space clears a half when it has taken
 * it. So a hint that is not empty leads to a row of its own half.
 */
struct hint {
	/*
	 * The socket. No other socket ever has the same cookie, except MPTCP sockets that were
	 * accepted by the same listener: these have the same namespace and role.
	 */
	__u64 cookie;
	/* The block, and what is added to it: see hinted_block(). */
	__u64 block;
	struct hinted_ends ends;
	/* Index of the row in its half. */
	__u64 row;
	/* What was counted here, in the direction of the hint. */
	__u64 msgs;
	__u64 bytes;
};
_Static_assert(sizeof(struct hint) == 64, "a hint is a cache line");

/*
 * Each CPU has hints of its own for each direction, since a program is not run while it is running
 * on the same CPU already. So a hint is never read while it is written.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	/* User space maps it: see src/kernel/hints.rs. */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct hint);
} hints SEC(".maps");

/* A bit for each hint: whether it was made since user space took its half. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hints_made SEC(".maps");

enum { NO_HINT = 0xffffffff };

/*
 * The place on this CPU for the hint of a task and a socket. `spread` chooses among several of
 * them. Sockets that were made one after the other often have cookies that follow each other, so
 * their hints have different places.
 */
static __always_inline __u32 hint_place(__u64 task, __u64 cookie, enum direction direction,
					__u64 generation, __u32 spread)
{
	__u32 of_cpu = bpf_get_smp_processor_id() * 2 + direction, place;

	/* Tasks are aligned to cache lines. */
	spread += (__u32)cookie + (__u32)(task >> 6);
	place = of_cpu * (remote.hints_mask + 1) + (spread & remote.hints_mask);
	/* CPUs need not be numbered without gaps. */
	if (place >= remote.hints_half)
		return NO_HINT;
	return generation & 1 ? place + remote.hints_half : place;
}

/* NULL if there is no such place. */
static __always_inline struct hint *hint_at(__u32 place)
{
	return bpf_map_lookup_elem(&hints, &place);
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

/* Added to the block of a hint. No id of a block or of a thread is that large. */
#define HINT_OF_NOTE (1ULL << 63)
#define HINT_OF_SERVER (1ULL << 62)
#define HINT_OF_UDP (1ULL << 61)

/* What a hint says of the thread with this block: also the thread's id, which exec can change. */
static __always_inline __u64 hinted_thread(__u64 block)
{
	return remote.threads ? block ^ bpf_get_current_pid_tgid() << 32 : block;
}

/* What a hint says of UDP: also the role, and whether the remote end is that of a note. */
static __always_inline __u64 udp_flags(struct sock *sk, bool is_noted)
{
	__u64 flags = is_noted ? HINT_OF_UDP | HINT_OF_NOTE : HINT_OF_UDP;

	return role_of(sk, UDP) == REMOTE_SERVER ? flags | HINT_OF_SERVER : flags;
}

/* Both. */
static __always_inline __u64 hinted_block(__u64 block, struct sock *sk, enum protocol protocol,
					  bool is_noted)
{
	block = hinted_thread(block);
	return protocol == TCP ? block : block ^ udp_flags(sk, is_noted);
}

/* The ends of a call on a socket: those of its note, if it has one. */
static __always_inline void make_ends(struct hinted_ends *ends, struct sock *sk,
				      const struct note *note)
{
	const __u64 *address;
	__u64 first, second;

	ends->ports = sk->__sk_common.skc_portpair;
	ends->scope = sk->__sk_common.skc_bound_dev_if;
	if (note) {
		ends->ports = (__u32)sk->__sk_common.skc_num << 16 | note->port;
		/* The call's, else that of the socket. */
		if (note->scope)
			ends->scope = note->scope;
		first = note->address[0];
		second = note->address[1];
		/*
		 * Without this, the compiler makes one read of the note's memory and the socket's,
		 * which the verifier refuses.
		 */
		barrier_var(first);
		barrier_var(second);
	} else if (sk->__sk_common.skc_family == AF_INET) {
		/*
		 * setsockopt(IPV6_ADDRFORM) turns a socket with a mapped address into one for IPv4.
		 * The first word of its hint was 0, so it differs.
		 */
		first = sk->__sk_common.skc_addrpair;
		second = 0;
	} else {
		address = (const __u64 *)&sk->__sk_common.skc_v6_daddr;
		first = address[0];
		second = address[1];
	}
	ends->address[0] = first;
	ends->address[1] = second;
}

/* Whether a socket has the local address of the row to which a hint of the same ends leads. */
static __always_inline bool has_local_address(const struct hint *hint, struct sock *sk,
					      const struct note *note, __u64 generation)
{
	const __u64 *address;
	struct row *row;
	__u64 first = 0, second;

	/* Rows are split by the local address only in this mode. */
	if (remote.mode != REMOTE_SOCKET)
		return true;
	if (sk->__sk_common.skc_family == AF_INET) {
		/* It is in the ends. */
		if (!note)
			return true;
		second = mapped(sk->__sk_common.skc_rcv_saddr);
	} else {
		address = (const __u64 *)&sk->__sk_common.skc_v6_rcv_saddr;
		first = address[0];
		second = address[1];
	}
	row = row_at(half_of(generation), hint->row);
	return row && row->key.local[0] == first && row->key.local[1] == second;
}

/* Whether a hint is that of a call on a socket, by a thread with this block. */
static __always_inline bool is_hint_of(const struct hint *hint, __u64 cookie, __u64 block,
				       struct sock *sk, const struct note *note, __u64 generation)
{
	struct hinted_ends ends;

	make_ends(&ends, sk, note);
	return hint->cookie == cookie && hint->block == block && hint->ends.ports == ends.ports &&
	       hint->ends.scope == ends.scope && hint->ends.address[0] == ends.address[0] &&
	       hint->ends.address[1] == ends.address[1] &&
	       has_local_address(hint, sk, note, generation);
}

/* A number by which calls with different remote ends on one socket have different hints. */
static __always_inline __u32 spread_of(const struct note *note)
{
	__u64 sum = note->address[0] + note->address[1] + note->port;

	return (sum * 0xd6e8feb86659fd93ULL) >> 32;
}

/* Adds what a hint has counted to its row, before it becomes the hint of another one. */
static __always_inline void empty_hint(struct hint *hint, enum direction direction, __u32 half)
{
	add_at(half, hint->row, direction, hint->msgs, hint->bytes);
	hint->msgs = 0;
	hint->bytes = 0;
}

/* Says that there is a hint at a place. */
static __always_inline void mark_hint(__u32 place)
{
	__u32 number = place / 64;
	__u64 *made = bpf_map_lookup_elem(&hints_made, &number);

	if (made)
		__sync_fetch_and_or(made, 1ULL << (place & 63));
}

static __always_inline void add_to_hint(struct hint *hint, __u64 bytes)
{
	hint->msgs += 1;
	hint->bytes += bytes;
}

/*
 * Counts an event by its hint, if there is one that holds. It does the least that can be done,
 * since most events end here. What is the same for each call on a socket was looked at when the
 * hint was made.
 */
static __always_inline bool count_by_hint(struct sock *sk, enum direction direction, __u64 bytes)
{
	__u64 task = bpf_get_current_task(), cookie = sk->__sk_common.skc_cookie.counter, block;
	__u64 generation = *(volatile __u64 *)&rows_generation;
	struct slot_set *set = set_of(task);
	__u32 at = set ? place_in(set, task) : SLOTS_IN_SET, spread = 0;
	struct note *note = NULL;
	struct hint *hint;

	if (!set || at >= SLOTS_IN_SET || !cookie)
		return false;
	at = any_place(at, task);
	block = hinted_thread(set->state[at].id);
	if (sk->sk_type == SOCK_DGRAM) {
		note = note_at(task, at);
		if (note && (note->owner != set->state[at].id || !is_for_call(note, sk, direction)))
			note = NULL;
		if (note)
			spread = spread_of(note);
		block ^= udp_flags(sk, note);
	}
	hint = hint_at(hint_place(task, cookie, direction, generation, spread));
	if (!hint || !is_hint_of(hint, cookie, block, sk, note, generation))
		return false;
	if (note)
		take_note(note, sk, direction);
	/* The next snapshot shows it again: the process may have another name. */
	set->state[at].shown_id = 0;
	add_to_hint(hint, bytes);
	return true;
}

#endif
