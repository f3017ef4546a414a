/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SKEIN_SETTINGS_H
#define SKEIN_SETTINGS_H

#include "maps.h"

/* NULL only for the verifier: an array map has all its entries. */
static __always_inline struct settings *settings_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

#endif
