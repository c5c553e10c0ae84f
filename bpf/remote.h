/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Counting by remote end (`--remote`). An event is added to the row of its process and remote end,
 * or to the block of its thread if it has no row. Never to both, so rows and blocks add up to all
 * events.
 *
 * The programs reach the hash map of the rows through an outer map. To take the rows, user space
 * puts an empty hash map into the outer map. The system call returns when no program can still use
 * the first one (maybe_wait_bpf_programs() in kernel/bpf/syscall.c), so user space reads each row
 * once, and its counters are final.
 *
 * All functions are inline: libbpf resolves the relocations of other functions at every start, also
 * if no program that is loaded calls them.
 */
#ifndef NETATOP_REMOTE_H
#define NETATOP_REMOTE_H

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
	/* The reader is woken when this many rows were made since it took them. */
	__u32 wakeup;
};

const volatile struct remote_settings remote;

/* Each thread of a process adds to the counters of its rows. */
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

/* The remote end of an unconnected UDP call, which the cgroup programs leave for the tracepoint. */
struct note {
	__u64 sock;
	__u8 address[16];
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
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct note);
} notes SEC(".maps");

static __always_inline void map_ipv4(__u8 *to, __be32 address)
{
	__be32 prefix = bpf_htonl(0xffff);

	__builtin_memset(to, 0, 8);
	__builtin_memcpy(to + 8, &prefix, 4);
	__builtin_memcpy(to + 12, &address, 4);
}

/* fe80::/10, which is only valid on one interface. */
static __always_inline bool is_link_local(const __u8 *address)
{
	return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
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

/* Copies the remote end of a call from its note. False if there is none. */
static __always_inline bool take_note(struct remote_key *key, struct sock *sk,
				      enum direction direction)
{
	struct note *note = bpf_task_storage_get(&notes, bpf_get_current_task_btf(), NULL, 0);

	if (!note || note->sock != (__u64)sk || note->direction != direction)
		return false;
	/*
	 * The pieces of a corked datagram have one note: that of the first piece. In all other
	 * cases a note is for one call.
	 */
	if (note->used && !note->corked)
		return false;
	note->used = 1;
	note->corked = direction == SEND && bpf_core_cast(sk, struct udp_sock)->pending;
	key->scope = note->scope;
	__builtin_memcpy(key->remote_addr, note->address, sizeof(key->remote_addr));
	key->remote_port = bpf_ntohs(note->port);
	return true;
}

/* Fills in the remote end of an event. False if it is not known. */
static __always_inline bool find_remote(struct remote_key *key, struct sock *sk,
					enum protocol protocol, enum direction direction)
{
	bool is_connected;

	key->local_port = sk->__sk_common.skc_num;
	if (!key->local_port)
		key->local_port = bpf_ntohs(bpf_core_cast(sk, struct inet_sock)->inet_sport);
	key->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (sk->__sk_common.skc_family == AF_INET) {
		map_ipv4(key->remote_addr, sk->__sk_common.skc_daddr);
		if (remote.mode == REMOTE_SOCKET)
			map_ipv4(key->local_addr, sk->__sk_common.skc_rcv_saddr);
	} else {
		__builtin_memcpy(key->remote_addr, &sk->__sk_common.skc_v6_daddr,
				 sizeof(key->remote_addr));
		if (remote.mode == REMOTE_SOCKET)
			__builtin_memcpy(key->local_addr, &sk->__sk_common.skc_v6_rcv_saddr,
					 sizeof(key->local_addr));
	}
	is_connected = key->remote_port;
	if (protocol == UDP && !take_note(key, sk, direction) && !is_connected)
		return false;
	if (!is_link_local(key->remote_addr))
		key->scope = 0;
	else if (!key->scope)
		key->scope = sk->__sk_common.skc_bound_dev_if;
	return true;
}

/* Leaves out the ports by which rows are not split. */
static __always_inline void fold(struct remote_key *key)
{
	if (remote.mode == REMOTE_SOCKET)
		return;
	if (remote.mode == REMOTE_ADDRESS) {
		key->local_port = 0;
		key->remote_port = 0;
	} else if (key->role == REMOTE_SERVER) {
		key->remote_port = 0;
	} else {
		key->local_port = 0;
	}
}

static __always_inline void wake_reader(void)
{
	void *nothing = bpf_ringbuf_reserve(&exits, 8, 0);

	/* Without room there are exit records, and the reader is awake. */
	if (nothing)
		bpf_ringbuf_discard(nothing, BPF_RB_FORCE_WAKEUP);
}

static __always_inline struct remote_counters *find_row(void *rows, const struct remote_key *key)
{
	struct remote_counters none = {}, *row = bpf_map_lookup_elem(rows, key);
	__u64 made;

	if (row)
		return row;
	if (!bpf_map_update_elem(rows, key, &none, BPF_NOEXIST)) {
		made = __sync_add_and_fetch(&losses.rows_made, 1);
		if (made - rows_taken == remote.wakeup)
			wake_reader();
	}
	return bpf_map_lookup_elem(rows, key);
}

/* Adds to the row of an event. False if there is none. */
static __always_inline bool add_to_row(struct sock *sk, enum protocol protocol,
				       enum direction direction, __u64 bytes)
{
	struct remote_key key = {};
	struct remote_counters *row;
	__u32 zero = 0, netns;
	struct task_struct *task;
	void *rows;

	if (!find_remote(&key, sk, protocol, direction)) {
		__sync_fetch_and_add(&losses.remote_unknown, 1);
		return false;
	}
	key.protocol = protocol;
	if (remote.mode != REMOTE_ADDRESS)
		key.role = role_of(sk, protocol);
	fold(&key);
	netns = sk->__sk_common.skc_net.net->ns.inum;
	key.netns = netns == remote.host_netns ? 0 : netns;
	task = bpf_core_cast(bpf_get_current_task_btf(), struct task_struct);
	key.start = task->group_leader->start_boottime;
	key.tgid = task->tgid;
	if (remote.threads)
		key.tid = task->pid;
	rows = bpf_map_lookup_elem(&current_rows, &zero);
	row = rows ? find_row(rows, &key) : NULL;
	if (!row) {
		__sync_fetch_and_add(&losses.remote_full, 1);
		return false;
	}
	__sync_fetch_and_add(&row->msgs[direction], 1);
	__sync_fetch_and_add(&row->bytes[direction], bytes);
	return true;
}

/* The counters of a thread's block, which is made if there is none; NULL if it does not count. */
static __always_inline struct counters *block_of(struct task_struct *task, enum protocol protocol,
						 enum direction direction, __u64 bytes)
{
	__u64 address = bpf_get_current_task();
	struct slot_set *set = set_of(address);
	__u32 at = set ? place_in(set, address) : SLOTS_IN_SET;

	if (!set || at >= SLOTS_IN_SET)
		return counters_outside(task, protocol, direction, bytes);
	/* The next snapshot shows it again: the process may have another name. */
	set->shown_id[at] = 0;
	return &set->counters[at];
}

/*
 * Counts an event by remote end. The thread gets a block, even if all its events are in rows: the
 * records of the block say whose rows they are.
 */
static __always_inline int count_remote(struct sock *sk, enum protocol protocol,
					enum direction direction, __u64 bytes)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct counters *counters = block_of(task, protocol, direction, bytes);

	/* See identify(): to follow trusted pointers takes the verifier too long. */
	sk = bpf_core_cast(sk, struct sock);

	if (counters && !add_to_row(sk, protocol, direction, bytes))
		add(counters, protocol, direction, bytes);
	return 0;
}

/* A peek or a failed call has a note, too. It must not be taken for that of the next call. */
static __always_inline void forget_note(struct sock *sk)
{
	struct note *note = bpf_task_storage_get(&notes, bpf_get_current_task_btf(), NULL, 0);

	if (note && note->sock == (__u64)sk)
		note->used = 1;
}

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

static __always_inline int leave_note(struct bpf_sock_addr *ctx, enum direction direction,
				      bool is_ipv4)
{
	struct bpf_sock_addr_kern *kernel;
	struct bpf_sock *sk = ctx->sk;
	struct note *note;
	__u32 part;

	/* A control message without an address: the remote end is the socket's. */
	if (!ctx->user_port || !sk)
		return 1;
	note = bpf_task_storage_get(&notes, bpf_get_current_task_btf(), NULL,
				    BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!note)
		return 1;
	note->sock = (__u64)sk;
	note->port = ctx->user_port;
	note->direction = direction;
	note->used = 0;
	note->corked = 0;
	note->scope = 0;
	if (is_ipv4) {
		map_ipv4(note->address, ctx->user_ip4);
		return 1;
	}
	kernel = bpf_cast_to_kern_ctx(ctx);
	note->scope = bpf_core_cast(kernel->uaddr, struct sockaddr_in6)->sin6_scope_id;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		part = ctx->user_ip6[i];
		__builtin_memcpy(note->address + 4 * i, &part, sizeof(part));
	}
	return 1;
}

#endif
