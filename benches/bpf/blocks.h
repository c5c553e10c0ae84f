/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Task storage, for the designs that use it, alone or behind something else. */
#ifndef NETATOP_BENCH_BLOCKS_H
#define NETATOP_BENCH_BLOCKS_H

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct numbers);
} blocks SEC(".maps");

#endif
