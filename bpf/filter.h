/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Whose traffic is counted. The values are constants to the verifier, which removes the code of
 * filters that are not used.
 */
#ifndef NETATOP_FILTER_H
#define NETATOP_FILTER_H

/* A cgroup v2 directory: its inode number, and its depth below the root (which is 0). */
struct wanted_cgroup {
	__u64 id;
	__u32 level;
	__u32 _pad;
};

enum { MAX_CGROUPS = 64 };

struct filter {
	/* Only count tracked tasks: those that had a block before their first event. */
	__u32 tracked;
	/* Also track the processes that a tracked one forks, not only its threads. */
	__u32 follow;
	/* Whether it depends on the task at the moment of an event: `cgroups` or `who`. */
	__u32 tasks;
	/* Only count tasks that match a filter of who.h. */
	__u32 who;
	/* Only count tasks while they are in one of this many cgroups, or below one; 0 for all. */
	__u32 cgroups;
	__u32 _pad;
	struct wanted_cgroup cgroup[MAX_CGROUPS];
};

const volatile struct filter filter;

/*
 * Processes to be tracked, by pid, while their existing threads are being marked. User space then
 * empties the map. From then on only marks count, and a pid that is used again means nothing.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} wanted SEC(".maps");

static __always_inline bool is_wanted(__u32 tgid)
{
	return bpf_map_lookup_elem(&wanted, &tgid) != NULL;
}

/* Whether the running task is in a wanted cgroup or below one. */
static __always_inline bool in_wanted_cgroup(void)
{
	for (__u32 i = 0; i < MAX_CGROUPS && i < filter.cgroups; i++) {
		if (bpf_get_current_ancestor_cgroup_id(filter.cgroup[i].level) ==
		    filter.cgroup[i].id)
			return true;
	}
	return false;
}

#endif
