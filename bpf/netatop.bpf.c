// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/*
 * The BPF programs. Each socket call adds to the counters of its thread. A thread that ends hands
 * its counters over in an exit record. Iterators write the counters of living threads.
 */
#include "core.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include "wire.h"
#include "maps.h"

/* The reader is woken once this many bytes wait in the ring buffer. */
const volatile __u64 ring_wakeup = 4096;

#include "filter.h"
#include "slot.h"
#include "block.h"
#include "who.h"
#include "handover.h"
#include "count.h"
#include "snapshot.h"
#include "track.h"
#include "cgroup.h"
#include "tcp.h"
#include "command.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk, int ret, int flags)
{
	return count(sk, ret, flags, SEND, false, false);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_recv, struct sock *sk, int ret, int flags)
{
	return count(sk, ret, flags, RECV, false, false);
}

/*
 * Newer kernels pass a second argument: whether the whole thread group is dead. Older kernels do
 * not have it, so identify() looks at the number of live threads instead.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *p)
{
	return thread_exit(p);
}

/* Attached only if tasks are tracked. */
SEC("tp_btf/task_newtask")
int BPF_PROG(on_newtask, struct task_struct *task)
{
	return new_task(task);
}

/*
 * The same on classic tracepoints, whose programs run with preemption off on every kernel. Only one
 * kind is loaded: see src/kernel/attach.rs.
 */
SEC("tp/sock/sock_send_length")
int classic_send(struct trace_event_raw_sock_msg_length *ctx)
{
	return count(bpf_core_cast(ctx->sk, struct sock), ctx->ret, ctx->flags, SEND, false, false);
}

SEC("tp/sock/sock_recv_length")
int classic_recv(struct trace_event_raw_sock_msg_length *ctx)
{
	return count(bpf_core_cast(ctx->sk, struct sock), ctx->ret, ctx->flags, RECV, false, false);
}

SEC("tp/sched/sched_process_exit")
int classic_exit(void *ctx)
{
	return thread_exit(bpf_get_current_task_btf());
}

SEC("tp/task/task_newtask")
int classic_newtask(struct trace_event_raw_task_newtask *ctx)
{
	return new_task_numbered(ctx->pid, ctx->clone_flags);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	return hand_over_cgroup(cgroup, path, false);
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(on_cgroup_rmdir, struct cgroup *cgroup, const char *path)
{
	return hand_over_cgroup(cgroup, path, true);
}

/* The same events for a filter by unit, whether or not rows name cgroups. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(unit_mkdir, struct cgroup *cgroup, const char *path)
{
	return add_unit_cgroup(cgroup, path);
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(unit_rmdir, struct cgroup *cgroup, const char *path)
{
	return remove_unit_cgroup(cgroup);
}

SEC("iter/task")
int mark(struct bpf_iter__task *ctx)
{
	return mark_task(ctx->task);
}

/*
 * Attached to nothing: user space runs it. Its kind of program does not sleep, and the kernel runs
 * it as an RCU reader (bpf_prog_test_run_raw_tp() in net/bpf/test_run.c).
 */
SEC("raw_tp")
int dump_slots(void *ctx)
{
	return dump_sets();
}

/* Goes to every task, so user space reads it only while there are blocks outside of the slots. */
SEC("iter/task")
int dump_tasks(struct bpf_iter__task *ctx)
{
	return dump_outside(ctx);
}

/* The same with remote ends, instead of the programs without. */
SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send_remote, struct sock *sk, int ret, int flags)
{
	return count(sk, ret, flags, SEND, true, false);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_recv_remote, struct sock *sk, int ret, int flags)
{
	return count(sk, ret, flags, RECV, true, false);
}

SEC("tp/sock/sock_send_length")
int classic_send_remote(struct trace_event_raw_sock_msg_length *ctx)
{
	return count(bpf_core_cast(ctx->sk, struct sock), ctx->ret, ctx->flags, SEND, true, false);
}

SEC("tp/sock/sock_recv_length")
int classic_recv_remote(struct trace_event_raw_sock_msg_length *ctx)
{
	return count(bpf_core_cast(ctx->sk, struct sock), ctx->ret, ctx->flags, RECV, true, false);
}

/*
 * The same for traffic whose ends match a filter. With remote ends too: the verifier removes their
 * code if there are none.
 */
SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send_matching, struct sock *sk, int ret, int flags)
{
	return count(sk, ret, flags, SEND, remote.mode, true);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_recv_matching, struct sock *sk, int ret, int flags)
{
	return count(sk, ret, flags, RECV, remote.mode, true);
}

SEC("tp/sock/sock_send_length")
int classic_send_matching(struct trace_event_raw_sock_msg_length *ctx)
{
	struct sock *sk = bpf_core_cast(ctx->sk, struct sock);

	return count(sk, ctx->ret, ctx->flags, SEND, remote.mode, true);
}

SEC("tp/sock/sock_recv_length")
int classic_recv_matching(struct trace_event_raw_sock_msg_length *ctx)
{
	struct sock *sk = bpf_core_cast(ctx->sk, struct sock);

	return count(sk, ctx->ret, ctx->flags, RECV, remote.mode, true);
}

/* The remote ends of unconnected UDP sockets, where the kernel allows these programs. */
SEC("fentry/udp_sendmsg")
int BPF_PROG(on_udp_sendmsg, struct sock *sk, struct msghdr *msg)
{
	return leave_name(sk, msg);
}

SEC("fentry/udpv6_sendmsg")
int BPF_PROG(on_udpv6_sendmsg, struct sock *sk, struct msghdr *msg)
{
	return leave_name(sk, msg);
}

SEC("fexit/__skb_recv_udp")
int BPF_PROG(on_skb_recv_udp, struct sock *sk, unsigned int flags, int *off, int *error,
	     struct sk_buff *skb)
{
	return leave_sender(sk, skb);
}

/* The same elsewhere. Attached to the root of the cgroup v2 hierarchy. */
SEC("cgroup/sendmsg4")
int note_send4(struct bpf_sock_addr *ctx)
{
	return leave_note(ctx, SEND, true);
}

SEC("cgroup/sendmsg6")
int note_send6(struct bpf_sock_addr *ctx)
{
	return leave_note(ctx, SEND, false);
}

SEC("cgroup/recvmsg4")
int note_recv4(struct bpf_sock_addr *ctx)
{
	return leave_note(ctx, RECV, true);
}

SEC("cgroup/recvmsg6")
int note_recv6(struct bpf_sock_addr *ctx)
{
	return leave_note(ctx, RECV, false);
}

/*
 * Counting together with TCP's own account: one program takes less time than two. The verifier
 * removes the code of options that are not used.
 */
SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send_tcp, struct sock *sk, int ret, int flags)
{
	tcp_use(sk);
	return count(sk, ret, flags, SEND, remote.mode, has_end_filter());
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_recv_tcp, struct sock *sk, int ret, int flags)
{
	tcp_use(sk);
	return count(sk, ret, flags, RECV, remote.mode, has_end_filter());
}

/*
 * TCP's own account beside programs on classic tracepoints, which count. Socket storage can be had
 * on typed tracepoints only.
 */
SEC("tp_btf/sock_send_length")
int BPF_PROG(tcp_send, struct sock *sk, int ret, int flags)
{
	return tcp_use(sk);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(tcp_recv, struct sock *sk, int ret, int flags)
{
	return tcp_use(sk);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_set_state, struct sock *sk, int old, int new)
{
	return tcp_change(sk, old, new);
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroy, struct sock *sk)
{
	return tcp_end(sk, true);
}

SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tcp_reset, struct sock *sk, struct sk_buff *skb)
{
	return tcp_abort(sk, skb);
}

/* Once at the start: the owners of sockets that are older. */
SEC("iter/task_file")
int tcp_find(struct bpf_iter__task_file *ctx)
{
	return tcp_adopt(ctx);
}

/* Before each sample: the growth of living sockets. */
SEC("iter/bpf_sk_storage_map")
int tcp_charge(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	return tcp_charge_living(ctx->sk, WITHOUT_LOCK);
}

/*
 * The same where the kernel refuses that program: the sockets that a process has open, and all of
 * this network namespace.
 */
SEC("iter/task_file")
int tcp_charge_files(struct bpf_iter__task_file *ctx)
{
	return tcp_charge_open(ctx->file);
}

SEC("iter/tcp")
int tcp_charge_netns(struct bpf_iter__tcp *ctx)
{
	return tcp_charge_listed(ctx->sk_common);
}

/* Command lines, beside whichever programs count. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec)
{
	return exec_command();
}

SEC("tp_btf/task_newtask")
int BPF_PROG(on_fork, struct task_struct *task)
{
	return new_process(task);
}

SEC("tp/sched/sched_process_exec")
int classic_exec(void *ctx)
{
	return exec_command();
}

SEC("tp/task/task_newtask")
int classic_fork(struct trace_event_raw_task_newtask *ctx)
{
	return new_process_numbered(ctx->pid, ctx->clone_flags);
}
