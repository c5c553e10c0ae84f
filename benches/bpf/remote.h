/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the designs that split counters by remote end share: the key of a row, and its counters. */
#ifndef NETATOP_BENCH_REMOTE_H
#define NETATOP_BENCH_REMOTE_H

#include "bench.h"

#define __array(name, val) typeof(val) *name[]

enum { ROWS = 1 << 16 };

static void *(*bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)107;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr___remote {
	unsigned char in6_u[16];
};

/* The part after ___ is ignored: these are more fields of the kernel's struct sock. */
struct sock_common___remote {
	__be32 skc_daddr;
	__be16 skc_dport;
	__u16 skc_num;
	struct in6_addr___remote skc_v6_daddr;
};

struct sock___remote {
	struct sock_common___remote __sk_common;
};

#pragma clang attribute pop

/* A row: a process and the remote end of its traffic. */
struct row_key {
	__u64 address[2];
	__u32 process;
	/* The remote port in the upper half, the local one in the lower. */
	__u32 ports;
};

static __always_inline void find_key(struct row_key *key, struct sock *sk, __u32 process)
{
	struct sock___remote *end = (struct sock___remote *)sk;

	key->process = process;
	key->ports = (__u32)end->__sk_common.skc_dport << 16 | end->__sk_common.skc_num;
	if (sk->__sk_common.skc_family == AF_INET) {
		key->address[0] = 0;
		key->address[1] = end->__sk_common.skc_daddr;
	} else {
		__builtin_memcpy(key->address, &end->__sk_common.skc_v6_daddr,
				 sizeof(key->address));
	}
}

static __always_inline bool same(const struct row_key *a, const struct row_key *b)
{
	return a->address[1] == b->address[1] && a->ports == b->ports &&
	       a->address[0] == b->address[0] && a->process == b->process;
}

/* Several threads of a process share a row. */
static __always_inline void add_shared(struct numbers *n, enum direction direction, __u64 bytes)
{
	__sync_fetch_and_add(&n->of[direction * 2], 1);
	__sync_fetch_and_add(&n->of[direction * 2 + 1], bytes);
}

#endif
