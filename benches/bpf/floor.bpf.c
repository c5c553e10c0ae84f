// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* The floor: a program on each of the two tracepoints that does nothing. */
#include "bench.h"

static __always_inline int nothing(struct sock *sk, int ret, int flags, enum direction direction)
{
	return 0;
}

DESIGN(nothing)
