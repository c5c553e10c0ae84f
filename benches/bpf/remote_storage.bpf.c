// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Design: storage of the socket remembers the key and the index of the row. */
#include "remote_rows.h"

struct place {
	struct row_key key;
	__u32 index;
	__u32 known;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct place);
} places SEC(".maps");

static __always_inline int count(struct sock *sk, int ret, int flags, enum direction direction)
{
	struct row_key key;
	struct place *place;

	if (!counts(sk, ret, flags))
		return 0;
	find_key(&key, sk, bpf_get_current_task_btf()->tgid);
	place = bpf_sk_storage_get(&places, sk, NULL, 0);
	if (!place)
		place = bpf_sk_storage_get(&places, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!place)
		return 0;
	if (!place->known || !same(&place->key, &key)) {
		place->key = key;
		place->index = index_of(&key);
		place->known = 1;
	}
	add_to_row(place->index, direction, ret);
	return 0;
}

DESIGN(count)
