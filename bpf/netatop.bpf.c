// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * What runs in the kernel: each socket call adds to its thread's counters, an ending
 * thread hands its counters over, and an iterator hands over those of the living.
 */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "wire.h"
#include "maps.h"

/* Bytes waiting in the ring from which on the reader is woken. */
const volatile __u64 ring_wakeup = 4096;

#include "filter.h"
#include "slot.h"
#include "block.h"
#include "handover.h"
#include "count.h"
#include "snapshot.h"
#include "track.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk, int ret, int flags)
{
	return count(sk, ret, flags, SEND);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_recv, struct sock *sk, int ret, int flags)
{
	return count(sk, ret, flags, RECV);
}

/*
 * Newer kernels pass a second argument, whether the whole group is dead. It is not
 * used: older ones do not have it, and the count of live threads says the same.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *p)
{
	return thread_exit(p);
}

/* Attached only where tasks are tracked, as is the next one. */
SEC("tp_btf/task_newtask")
int BPF_PROG(on_newtask, struct task_struct *task)
{
	return new_task(task);
}

SEC("iter/task")
int mark(struct bpf_iter__task *ctx)
{
	return mark_task(ctx->task);
}

SEC("iter/bpf_map_elem")
int dump_slots(struct bpf_iter__bpf_map_elem *ctx)
{
	return dump_slot_set(ctx);
}

/* Read only while there are blocks outside of the slots: it goes to every task. */
SEC("iter/task")
int dump_tasks(struct bpf_iter__task *ctx)
{
	return dump_outside(ctx);
}
