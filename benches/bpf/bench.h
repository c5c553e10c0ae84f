/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the programs of the benchmark share. They are compiled when it runs. */
#ifndef NETATOP_BENCH_H
#define NETATOP_BENCH_H

#include "core.h"

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value,
				   __u64 flags) = (void *)2;
static __u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static __u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static void *(*bpf_task_storage_get)(void *map, struct task_struct *task, void *value,
				     __u64 flags) = (void *)156;
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158;

enum { BPF_MAP_TYPE_PERCPU_HASH = 5 };

/* The arguments of a tp_btf program on sock_send_length or sock_recv_length. */
struct args {
	struct sock *sk;
	__u64 ret;
	__u64 flags;
};

enum direction { SEND, RECV };

/* Messages and bytes sent, messages and bytes received. */
struct numbers {
	__u64 of[4];
};

/* netatop's counting rule. */
static __always_inline bool counts(struct sock *sk, int ret, int flags)
{
	__u16 family, type, number;

	if (ret < 0 || (flags & (MSG_PEEK | MSG_ERRQUEUE)))
		return false;
	family = sk->__sk_common.skc_family;
	if (family != AF_INET && family != AF_INET6)
		return false;
	type = sk->sk_type;
	number = sk->sk_protocol;
	if (type == SOCK_STREAM && (number == IPPROTO_TCP || number == IPPROTO_MPTCP))
		return ret != 0;
	return type == SOCK_DGRAM && number == IPPROTO_UDP;
}

static __always_inline void add(struct numbers *n, enum direction direction, __u64 bytes)
{
	n->of[direction * 2] += 1;
	n->of[direction * 2 + 1] += bytes;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Both programs of a design; `on_event` says what it does. */
#define DESIGN(on_event)                                                                           \
	SEC("tp_btf/sock_send_length") int on_send(struct args *a)                                 \
	{                                                                                          \
		return on_event(a->sk, a->ret, a->flags, SEND);                                    \
	}                                                                                          \
	SEC("tp_btf/sock_recv_length") int on_recv(struct args *a)                                 \
	{                                                                                          \
		return on_event(a->sk, a->ret, a->flags, RECV);                                    \
	}

#endif
