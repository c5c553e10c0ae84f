// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Design: the slots again, in memory that user space can map. */
#define SLOT_FLAGS 1024
#include "slots.bpf.c"
