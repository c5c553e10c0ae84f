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

/* Flags in the address of a task, whose lowest bits are 0: it is aligned to cache lines. */
enum {
	/* The remote end is that of a note. */
	HINT_OF_NOTE = 1,
	HINT_OF_SERVER = 2,
	HINT_OF_UDP = 4,
	/* Events need nothing but this hint: see count_by_hint(). */
	HINT_SUFFICES = 8,
};

/*
 * A hint stands for all parts of a key: the task for the process, the cookie for the network
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
	/* The address of the task, and flags. */
	__u64 task;
	/*
	 * When it was started. Another task has another address, or it was started later. By exec,
	 * a thread gets the start of the first thread of its process, as it gets its id. With a
	 * note, this is the id of the thread's block, since its slot has been read anyway.
	 */
	__u64 start;
	struct hinted_ends ends;
	/*
	 * How many messages were counted here, in the direction of the hint, and in the lowest bits
	 * the index of the row in its half. No CPU runs enough system calls between two samples to
	 * fill the other 48 bits: it would take years.
	 */
	__u64 msgs_and_row;
	__u64 bytes;
};
_Static_assert(sizeof(struct hint) == 64, "a hint is a cache line");

/* A message in msgs_and_row. User space reads the variable. */
enum { HINTED_MSG = ROW_INDEX + 1 };

const volatile __u64 hinted_msg = HINTED_MSG;

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
					enum rows_state state, __u32 spread)
{
	__u32 of_cpu = bpf_get_smp_processor_id() * 2 + direction, place;

	/* Tasks are aligned to cache lines. */
	spread += (__u32)cookie + (__u32)(task >> 6);
	place = of_cpu * (remote.hints_mask + 1) + (spread & remote.hints_mask);
	/* CPUs need not be numbered without gaps. */
	if (place >= remote.hints_half)
		return NO_HINT;
	return state & ROWS_SECOND_HALF ? place + remote.hints_half : place;
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

static __always_inline __u64 start_of(__u64 task)
{
	return bpf_core_cast((void *)task, struct task_struct)->start_boottime;
}

/* What is in the hint of a thread with a slot: that, or with a note the id of its block. */
static __always_inline __u64 hinted_start(__u64 task, __u64 block, const struct note *note)
{
	/* Without this, the compiler makes one load of both, which the verifier refuses. */
	barrier_var(block);
	return note ? block : start_of(task);
}

/* The task of a hint, with what is the same for each call with the same protocol, role and note. */
static __always_inline __u64 hinted_task(__u64 task, struct sock *sk, enum protocol protocol,
					 const struct note *note)
{
	if (protocol == TCP)
		return task;
	task |= note ? HINT_OF_UDP | HINT_OF_NOTE : HINT_OF_UDP;
	return role_of(sk, UDP) == REMOTE_SERVER ? task | HINT_OF_SERVER : task;
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
					      const struct note *note, enum rows_state state)
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
	row = row_at(half_of(state), hint->msgs_and_row & ROW_INDEX);
	return row && row->key.local[0] == first && row->key.local[1] == second;
}

/* What an event compares with its hint. */
struct hint_wanted {
	__u64 cookie;
	/* See hinted_task(). */
	__u64 task;
	__u64 start;
};

/* Whether a hint is that of a call on a socket. */
static __always_inline bool is_hint_of(const struct hint *hint, const struct hint_wanted *wanted,
				       struct sock *sk, const struct note *note,
				       enum rows_state state)
{
	struct hinted_ends ends;

	make_ends(&ends, sk, note);
	return hint->cookie == wanted->cookie && hint->task == wanted->task &&
	       hint->start == wanted->start && hint->ends.ports == ends.ports &&
	       hint->ends.scope == ends.scope && hint->ends.address[0] == ends.address[0] &&
	       hint->ends.address[1] == ends.address[1] && has_local_address(hint, sk, note, state);
}

/* The same, whether the hint suffices or not. */
static __always_inline bool is_any_hint_of(const struct hint *hint, struct hint_wanted wanted,
					   struct sock *sk, const struct note *note,
					   enum rows_state state)
{
	wanted.task |= hint->task & HINT_SUFFICES;
	return is_hint_of(hint, &wanted, sk, note, state);
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
	add_at(half, hint->msgs_and_row & ROW_INDEX, direction, hint->msgs_and_row / HINTED_MSG,
	       hint->bytes);
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
	hint->msgs_and_row += HINTED_MSG;
	hint->bytes += bytes;
}

/* The next event of the same thread, socket and ends does without the slot of the thread. */
static __always_inline void let_suffice(struct hint *hint, enum rows_state state)
{
	if (state & HINTS_SUFFICE)
		hint->task |= HINT_SUFFICES;
}

/*
 * Counts an event by its hint alone, if there is one that holds. It does the least that can be
 * done, since most events end here. What is the same for each call on a socket was looked at when
 * the hint was made.
 *
 * Most events do not even need the slot of their thread. It is needed for two things. By it, the
 * next sample shows the thread again, because its process may have another name by then: one event
 * after each sample has to say so. And it leads to the note of a call, which a thread without a bit
 * in `noted` does not have.
 *
 * So when a sample begins, user space clears HINTS_SUFFICE and selects the other half, whose hints
 * are empty. It clears `noted`, reads the threads, and sets HINTS_SUFFICE again. A hint suffices
 * only if an event has used it since then, with the slot. A note from before is that of a call that
 * had ended, or of the first event that used the hint.
 */
static __always_inline bool count_by_hint(struct sock *sk, enum direction direction, __u64 bytes,
					  __u64 task, __u64 cookie, enum rows_state state)
{
	enum protocol protocol = sk->sk_type == SOCK_DGRAM ? UDP : TCP;
	struct hint_wanted wanted = {.cookie = cookie};
	struct hint *hint;

	if (!(state & HINTS_SUFFICE))
		return false;
	if (protocol == UDP && (!sk->__sk_common.skc_dport || may_have_note(task)))
		return false;
	wanted.task = hinted_task(task, sk, protocol, NULL) | HINT_SUFFICES;
	wanted.start = start_of(task);
	hint = hint_at(hint_place(task, cookie, direction, state, 0));
	if (!hint || !is_hint_of(hint, &wanted, sk, NULL, state))
		return false;
	add_to_hint(hint, bytes);
	return true;
}

/*
 * The same for a datagram whose call may have a note, or while hints alone do not suffice. This
 * needs the slot of the thread.
 */
static __always_inline bool count_by_noted_hint(struct sock *sk, enum direction direction,
						__u64 bytes, __u64 task, __u64 cookie,
						enum rows_state state)
{
	struct hint_wanted wanted = {.cookie = cookie};
	struct slot_set *set = set_of(task);
	struct note *note;
	struct hint *hint;
	__u32 at;

	if (!set)
		return false;
	at = place_in(set, task);
	if (at >= SLOTS_IN_SET)
		return false;
	at = any_place(at, task);
	note = note_at(task, at);
	if (note && (note->owner != set->state[at].id || !is_for_call(note, sk, direction)))
		note = NULL;
	hint = hint_at(hint_place(task, cookie, direction, state, note ? spread_of(note) : 0));
	wanted.task = hinted_task(task, sk, UDP, note);
	wanted.start = hinted_start(task, set->state[at].id, note);
	if (!hint || !is_any_hint_of(hint, wanted, sk, note, state))
		return false;
	/* The next snapshot shows it again. */
	set->state[at].shown_id = 0;
	if (note)
		take_note(note, sk, direction);
	else
		let_suffice(hint, state);
	add_to_hint(hint, bytes);
	return true;
}

#endif
