/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Names of cgroups, handed over when a cgroup is made and when it is removed. A container can be
 * gone before user space could look up where it was. Loaded only if rows name cgroups.
 */
#ifndef NETATOP_CGROUP_H
#define NETATOP_CGROUP_H

/* Records of struct cgroup_record. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} cgroups SEC(".maps");

/* Bytes waiting in this ring buffer from which on the reader is woken. */
const volatile __u64 cgroups_wakeup = 4096;

/* The kernel holds a lock around these tracepoints (TRACE_CGROUP_PATH), so one record is enough. */
static struct cgroup_record cgroup_record;

/* Whether one of eight bytes is 0. */
static __always_inline bool has_zero(__u64 bytes)
{
	return ((bytes - 0x0101010101010101ULL) & ~bytes & 0x8080808080808080ULL) != 0;
}

/*
 * `path` is text of the kernel's. A cast to a structure that begins with eight bytes of anything
 * reads it without the probe helpers, which lockdown refuses.
 */
static __always_inline int hand_over_cgroup(struct cgroup *cgroup, const char *path, bool removed)
{
	const void *from = path;
	__u64 waiting, flags;
	__u32 words = 0;

	/* Only the hierarchy of cgroup v2, which is the kernel's default one. */
	if (cgroup->root->hierarchy_id)
		return 0;
	cgroup_record.id = cgroup->kn->id;
	cgroup_record.removed = removed;
	for (__u32 i = 0; i < CGROUP_PATH_WORDS; i++) {
		__u64 bytes = bpf_core_cast(from + 8 * i, struct timespec64)->tv_sec;

		cgroup_record.path[i] = bytes;
		words = i + 1;
		if (has_zero(bytes))
			break;
	}
	/* The files that name a container can soon be gone, so the reader looks at once. */
	waiting = bpf_ringbuf_query(&cgroups, BPF_RB_AVAIL_DATA);
	flags = !removed || waiting >= cgroups_wakeup ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	if (words > CGROUP_PATH_WORDS)
		return 0;
	if (bpf_ringbuf_output(&cgroups, &cgroup_record,
			       __builtin_offsetof(struct cgroup_record, path) + 8 * words, flags))
		__sync_fetch_and_add(&losses.cgroups, 1);
	return 0;
}

#endif
