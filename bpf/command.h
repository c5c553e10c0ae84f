/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Command lines, handed over when a process executes a program: it can be gone before user space
 * could look at /proc. A new process has the command line of the process that made it, so it is
 * enough to say which one that was. Loaded only if rows need command lines.
 */
#ifndef NETATOP_COMMAND_H
#define NETATOP_COMMAND_H

/* Records of struct command_record. One thread's records are in the order of its calls. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} commands SEC(".maps");

/*
 * Where a record is made. A program is never interrupted by itself on the same CPU: the kernel
 * skips the second one, and user space reads how often.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct command_record);
} command_space SEC(".maps");

/* Bytes waiting in this ring buffer from which on the reader is woken. */
const volatile __u64 commands_wakeup = 4096;

/* What could not be handed over. User space reads it in the mapped memory of .bss. */
struct command_losses command_losses;

static __always_inline int hand_over_command(struct command_record *record, __u32 bytes)
{
	__u64 waiting = bpf_ringbuf_query(&commands, BPF_RB_AVAIL_DATA);
	__u64 flags = waiting >= commands_wakeup ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;

	__sync_fetch_and_add(&command_losses.to_ring, 1);
	if (bpf_ringbuf_output(&commands, record, COMMAND_HEAD_BYTES + bytes, flags)) {
		__sync_fetch_and_sub(&command_losses.to_ring, 1);
		__sync_fetch_and_add(&command_losses.lost, 1);
	}
	return 0;
}

static __always_inline struct command_record *new_command(enum command_kind kind)
{
	__u32 zero = 0;
	struct command_record *record = bpf_map_lookup_elem(&command_space, &zero);

	if (!record) {
		__sync_fetch_and_add(&command_losses.lost, 1);
		return NULL;
	}
	record->kind = kind;
	record->parent_start = 0;
	record->parent = 0;
	record->bytes = 0;
	return record;
}

/*
 * The running process has executed a program. exec(2) has just written the arguments, so their
 * pages are in memory. If the kernel has taken one away already, user space looks at /proc.
 */
static __always_inline int exec_command(void)
{
	struct task_struct *trusted = bpf_get_current_task_btf(), *task;
	struct command_record *record;
	__u64 from, bytes;
	__u32 copied;

	if (filter.tracked && !is_tracked(trusted))
		return 0;
	record = new_command(COMMAND_EXEC);
	if (!record)
		return 0;
	task = bpf_core_cast(trusted, struct task_struct);
	record->start = task->group_leader->start_boottime;
	record->tgid = task->tgid;
	from = task->mm->arg_start;
	bytes = task->mm->arg_end - from;
	record->bytes = bytes > COMMAND_MOST_BYTES ? COMMAND_MOST_BYTES : bytes;
	copied = bytes > COMMAND_TEXT_BYTES ? COMMAND_TEXT_BYTES : bytes;
	barrier_var(copied);
	if (copied > COMMAND_TEXT_BYTES)
		return 0;
	if (bpf_probe_read_user(record->text, copied, (const void *)from)) {
		__sync_fetch_and_add(&command_losses.unread, 1);
		record->kind = COMMAND_UNREAD;
		return hand_over_command(record, 0);
	}
	return hand_over_command(record, copied);
}

/* The running process has made another one. */
static __always_inline int fork_command(__u32 tgid, __u64 start)
{
	struct task_struct *parent;
	struct command_record *record;

	parent = bpf_core_cast(bpf_get_current_task_btf(), struct task_struct);
	record = new_command(COMMAND_FORK);
	if (!record)
		return 0;
	record->start = start;
	record->tgid = tgid;
	record->parent_start = parent->group_leader->start_boottime;
	record->parent = parent->tgid;
	return hand_over_command(record, 0);
}

/* Whether the command line of a new task is to be known. Threads have that of their process. */
static __always_inline bool is_new_process(bool thread)
{
	return !thread && (!filter.tracked || is_followed(false));
}

static __always_inline int new_process(struct task_struct *child)
{
	if (!is_new_process(child->tgid == bpf_get_current_task_btf()->tgid))
		return 0;
	return fork_command(child->tgid, child->start_boottime);
}

/* The same for a task that is known by its pid in the initial pid namespace. */
static __always_inline int new_process_numbered(int pid, __u64 clone_flags)
{
	struct task_struct *child;
	__u64 start;

	/* The verifier allows only loads of the whole field. */
	barrier_var(clone_flags);
	if (!is_new_process(clone_flags & CLONE_THREAD))
		return 0;
	child = bpf_task_from_pid(pid);
	if (!child) {
		__sync_fetch_and_add(&command_losses.lost, 1);
		return 0;
	}
	start = child->start_boottime;
	bpf_task_release(child);
	return fork_command(pid, start);
}

#endif
