// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* The floor of a snapshot: goes to every task, and writes nothing. */
#include "bench.h"

SEC("iter/task")
int walk(struct bpf_iter__task *ctx)
{
	return 0;
}
