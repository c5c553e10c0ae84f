/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Finds the ends of a socket call: those of the socket, or the remote end from the note that a
 * cgroup program left.
 *
 * All functions are inline: libbpf resolves the relocations of other functions at every start, also
 * if no program that is loaded calls them.
 */
#ifndef NETATOP_ENDS_H
#define NETATOP_ENDS_H

/* include/uapi/linux/bpf.h: the context of cgroup programs on addresses. */
struct bpf_sock;

struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	struct bpf_sock *sk __attribute__((aligned(8)));
};

enum remote_mode { REMOTE_OFF, REMOTE_ADDRESS, REMOTE_SERVICE, REMOTE_SOCKET };

struct remote_settings {
	enum remote_mode mode;
	/* Rows are threads, not processes. */
	__u32 threads;
	/* Inode number of the network namespace of the host, whose rows have netns 0. */
	__u32 host_netns;
	/* The reader is woken when this many rows of the hash map were made since it took them. */
	__u32 wakeup;
	/* The number of row sets in a half, minus one. The number is a power of two. */
	__u32 sets_mask;
	/* The number of hints of a CPU for one direction, minus one: a power of two, too. */
	__u32 hints_mask;
	/* The number of hints in a half. */
	__u32 hints_half;
	/* The programs may make cookies for sockets. */
	__u32 makes_cookies;
};

const volatile struct remote_settings remote;

/* The remote end of an unconnected UDP call, which the cgroup programs leave for the tracepoint. */
struct note {
	/* Whose it is: the block of a slot by its id, or in a hash map a thread by its start. */
	__u64 owner;
	__u64 sock;
	__u64 address[2];
	__be16 port;
	__u16 direction;
	/* Whether an event has used it. */
	__u8 used;
	/* Whether further pieces of the datagram follow: the socket is corked. */
	__u8 corked;
	__u16 _pad;
	/* The interface of a link-local address. */
	__u32 scope;
	__u32 _pad2;
	/* A note in the array has a cache line. */
	__u64 _pad3[2];
};

/* The notes of threads with a slot, in the order of the slots. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	/* Never mapped. A mappable map begins at a page, so a note is a cache line. */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct note);
} slot_notes SEC(".maps");

/* The notes of other threads: mostly those before the first event. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct note);
} notes SEC(".maps");

/*
 * The same for kernels in which cgroup programs cannot use task storage, by the address of the
 * task. If there are more threads than entries, some notes are lost, and the remote end of the call
 * is not known.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct note);
} hashed_notes SEC(".maps");

/* Whether notes are in hashed_notes. */
const volatile __u32 notes_are_hashed;

/* The number of a thread's bit. Tasks are aligned to cache lines. */
static __always_inline __u32 noted_bit(__u64 task)
{
	return (__u32)(task >> 6) % (NOTED_WORDS * 64);
}

static __always_inline bool may_have_note(__u64 task)
{
	__u32 number = noted_bit(task);

	return noted[number / 64] >> number % 64 & 1;
}

static __always_inline void say_noted(__u64 task)
{
	__u32 number = noted_bit(task);
	__u64 *word = &noted[number / 64], bit = 1ULL << number % 64;

	if (!(*word & bit))
		__sync_fetch_and_or(word, bit);
}

/*
 * The note of the slot at an index of the set that a task can have a slot in. If the slot was that
 * of another thread before, the note can still be that thread's: its owner says so.
 */
static __always_inline struct note *note_at(__u64 task, __u32 at)
{
	__u32 number = set_number(task) * SLOTS_IN_SET + at;

	return bpf_map_lookup_elem(&slot_notes, &number);
}

/* The note of the running thread, which has no slot; NULL if it has none. */
static __always_inline struct note *stored_note(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 key = bpf_get_current_task();
	struct note *note;

	if (!notes_are_hashed)
		return bpf_task_storage_get(&notes, task, NULL, 0);
	note = bpf_map_lookup_elem(&hashed_notes, &key);
	/* An ended thread can have had the same address. */
	return note && note->owner == task->start_boottime ? note : NULL;
}

/* The note of the running thread; NULL if it has none. */
static __always_inline struct note *own_note(void)
{
	__u64 task = bpf_get_current_task();
	struct slot_set *set = set_of(task);
	__u32 at = set ? place_in(set, task) : SLOTS_IN_SET;
	struct note *note;

	if (!set || at >= SLOTS_IN_SET)
		return stored_note();
	at = any_place(at, task);
	note = note_at(task, at);
	return note && note->owner == set->state[at].id ? note : NULL;
}

/* The same, and makes it if there is none; NULL if there is no memory. */
static __always_inline struct note *make_note(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 key = bpf_get_current_task();
	struct slot_set *set = set_of(key);
	__u32 at = set ? place_in(set, key) : SLOTS_IN_SET;
	struct note *note, fresh = {};

	if (remote.mode)
		say_noted(key);
	if (set && at < SLOTS_IN_SET) {
		at = any_place(at, key);
		note = note_at(key, at);
		if (note)
			note->owner = set->state[at].id;
		return note;
	}
	if (!notes_are_hashed)
		return bpf_task_storage_get(&notes, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	note = stored_note();
	if (note)
		return note;
	fresh.owner = task->start_boottime;
	bpf_map_update_elem(&hashed_notes, &key, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&hashed_notes, &key);
}

/* The second word of an IPv4 address that is mapped to IPv6. The first one is 0. */
static __always_inline __u64 mapped(__be32 address)
{
	return bpf_cpu_to_be64(0xffffULL << 32) | (__u64)address << (bpf_htonl(1) == 1 ? 0 : 32);
}

/* fe80::/10, which is only valid on one interface. The argument is the first word. */
static __always_inline bool is_link_local(__u64 address)
{
	return bpf_be64_to_cpu(address) >> 54 == 0xfe80 >> 6;
}

/*
 * Whether a TCP socket accepted its connection.
 *
 * The kernel does not keep that as such. But tcp_v4_syn_recv_sock() and tcp_v6_syn_recv_sock() set
 * the interface for multicast of an accepted socket to the one on which the connection came in. For
 * other stream sockets it is 0, because setsockopt(2) refuses to set it.
 */
static __always_inline bool has_accepted(struct sock *sk)
{
	struct inet_sock *inet = bpf_core_cast(sk, struct inet_sock);

	if (sk->sk_protocol == IPPROTO_MPTCP) {
		if (bpf_core_field_exists(((struct mptcp_sock *)0)->pm.server_side))
			return bpf_core_cast(sk, struct mptcp_sock)->pm.server_side;
		return false;
	}
	if (sk->__sk_common.skc_family == AF_INET)
		return inet->mc_index;
	return inet->pinet6 && inet->pinet6->mcast_oif;
}

static __always_inline enum remote_role role_of(struct sock *sk, enum protocol protocol)
{
	bool is_server;

	if (protocol == TCP)
		is_server = has_accepted(sk);
	else
		is_server = BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SOCK_BINDPORT_LOCK;
	return is_server ? REMOTE_SERVER : REMOTE_CLIENT;
}

/* The ends of the connection of an event, or those of a datagram. */
struct ends {
	__u64 local[2];
	__u64 remote[2];
	__u64 local_port;
	__u64 remote_port;
	__u64 scope;
};

/* The ends that a filter has found. */
struct found_ends {
	struct ends ends;
	/* The note of the call, if it has one. */
	struct note *note;
	bool is_remote_known;
};

/*
 * Whether a thread's note is for this call. The pieces of a corked datagram have one note: that of
 * the first piece. In all other cases a note is for one call.
 */
static __always_inline bool is_for_call(const struct note *note, struct sock *sk,
					enum direction direction)
{
	return note->sock == (__u64)sk && note->direction == direction &&
	       (!note->used || note->corked);
}

/* The same. The call then has used the note. */
static __always_inline bool take_note(struct note *note, struct sock *sk, enum direction direction)
{
	if (!note || !is_for_call(note, sk, direction))
		return false;
	note->used = 1;
	note->corked = direction == SEND && bpf_core_cast(sk, struct udp_sock)->pending;
	return true;
}

/*
 * Finds the ends of an event. The remote end is that of the note, if any; else that of the socket.
 * False if it is not known: its fields are 0 then.
 */
static __always_inline bool find_ends(struct ends *ends, struct sock *sk, const struct note *note,
				      bool with_local_address)
{
	const __u64 *address;

	ends->local_port = sk->__sk_common.skc_num;
	if (!ends->local_port)
		ends->local_port = bpf_ntohs(bpf_core_cast(sk, struct inet_sock)->inet_sport);
	ends->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (sk->__sk_common.skc_family == AF_INET) {
		ends->remote[1] = mapped(sk->__sk_common.skc_daddr);
		if (with_local_address || remote.mode == REMOTE_SOCKET)
			ends->local[1] = mapped(sk->__sk_common.skc_rcv_saddr);
	} else {
		address = (const __u64 *)&sk->__sk_common.skc_v6_daddr;
		ends->remote[0] = address[0];
		ends->remote[1] = address[1];
		if (with_local_address || remote.mode == REMOTE_SOCKET) {
			address = (const __u64 *)&sk->__sk_common.skc_v6_rcv_saddr;
			ends->local[0] = address[0];
			ends->local[1] = address[1];
		}
	}
	if (note) {
		ends->scope = note->scope;
		ends->remote[0] = note->address[0];
		ends->remote[1] = note->address[1];
		ends->remote_port = bpf_ntohs(note->port);
	} else if (!ends->remote_port) {
		return false;
	}
	if (!is_link_local(ends->remote[0]))
		ends->scope = 0;
	else if (!ends->scope)
		ends->scope = sk->__sk_common.skc_bound_dev_if;
	return true;
}

/* A peek or a failed call has a note, too. It must not be taken for that of the next call. */
static __always_inline void forget_note(struct sock *sk)
{
	struct note *note;

	if (sk->sk_protocol != IPPROTO_UDP)
		return;
	note = own_note();
	if (note && note->sock == (__u64)sk)
		note->used = 1;
}

/*
 * A new note of the running thread for its call on a socket. NULL if there is no memory: the remote
 * end is then not known, which the tracepoint counts. NULL also for port 0, which is no remote end.
 */
static __always_inline struct note *new_note(const void *sk, enum direction direction, __be16 port)
{
	struct note *note;

	if (!port || !sk)
		return NULL;
	note = make_note();
	if (!note)
		return NULL;
	note->sock = (__u64)sk;
	note->port = port;
	note->direction = direction;
	note->used = 0;
	note->corked = 0;
	note->scope = 0;
	return note;
}

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

static __always_inline int leave_note(struct bpf_sock_addr *ctx, enum direction direction,
				      bool is_ipv4)
{
	struct bpf_sock_addr_kern *kernel;
	struct note *note;
	__u32 part;

	/* The port is 0 for a control message without an address: the remote end is the socket's.
	 */
	note = new_note(ctx->sk, direction, ctx->user_port);
	if (!note)
		return 1;
	if (is_ipv4) {
		note->address[0] = 0;
		note->address[1] = mapped(ctx->user_ip4);
		return 1;
	}
	kernel = bpf_cast_to_kern_ctx(ctx);
	note->scope = bpf_core_cast(kernel->uaddr, struct sockaddr_in6)->sin6_scope_id;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		part = ctx->user_ip6[i];
		__builtin_memcpy((__u8 *)note->address + 4 * i, &part, sizeof(part));
	}
	return 1;
}

#endif
