/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Runs bpf/tcp_growth.h in user space. Reads numbers: the counters with which the account begins,
 * its flags and the sequence number of its FIN, then readings. Prints the growth of each reading.
 */
#include <linux/types.h>
#include <stdbool.h>
#include <stdio.h>

/* As in bpf/core.h and in libbpf's headers. */
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define barrier_var(var) asm volatile("" : "+r"(var))

enum { TCP_SYN_RECV = 3 };

#include "wire.h"
#include "tcp_growth.h"

/* False at the end. */
static bool read_numbers(__u64 *numbers, int count)
{
	for (int i = 0; i < count; i++) {
		if (scanf("%llu", &numbers[i]) != 1)
			return false;
	}
	return true;
}

enum { COUNTERS = 7 };

static struct tcp_reading reading_of(const __u64 *counters)
{
	return (struct tcp_reading){
		.segs_out = counters[0],
		.segs_in = counters[1],
		.retrans_segs = counters[2],
		.delivered = counters[3],
		.retrans_bytes = counters[4],
		.acked = counters[5],
		.received = counters[6],
		.rtt = 1,
		.state = 1,
	};
}

int main(void)
{
	struct account account = {};
	__u64 counters[COUNTERS], account_of[2], more[4];
	struct tcp_reading now;

	if (!read_numbers(counters, COUNTERS) || !read_numbers(account_of, 2))
		return 1;
	now = reading_of(counters);
	/* As make_account() does. */
	account.out_segs = now.segs_out - now.retrans_segs;
	account.in_segs = now.segs_in;
	account.retrans_segs = now.retrans_segs;
	account.delivered = now.delivered;
	account.retrans_bytes = now.retrans_bytes;
	account.acked = now.acked;
	account.received = now.received;
	account.flags = account_of[0];
	account.fin = account_of[1];
	while (read_numbers(counters, COUNTERS) && read_numbers(more, 4)) {
		struct tcp_counters growth = {};

		now = reading_of(counters);
		now.confirmed = more[0];
		now.fin = more[1];
		now.begun = more[2];
		now.cleared = more[3];
		take_growth(&account, &now, &growth);
		printf("%llu %llu %llu %llu %llu %llu %llu\n", growth.out_segs, growth.in_segs,
		       growth.retrans_segs, growth.rtt_weight, growth.retrans_bytes,
		       growth.out_bytes, growth.in_bytes);
	}
	return 0;
}
