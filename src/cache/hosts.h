/* SPDX-License-Identifier: MIT */
/* <instances>/compute_nodes, where every nova-compute on a shared storage
 * leaves its name and the time. */
#ifndef CACHE_HOSTS_H
#define CACHE_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/store.h"

#define HOSTS_RECENT (24 * 3600) /* seconds; Nova's */
#define HOSTS_NAME 256

/*
 * *ret: the name (escaped) of a host that was seen within the last day, or
 * whose time cannot be told, and that is neither this one (by uname) nor among
 * the n known; "" if there is none. A file that cannot be read or understood
 * is such a host too. now: seconds since the epoch, by the storage's clock.
 */
int hosts_scan(const struct store *s, const char *const *known, size_t n,
	int64_t now, char ret[static HOSTS_NAME], struct err *e);
/* The same of the file's text; pure. */
void hosts_decode(const char *text, const char *self, const char *const *known,
	size_t n, int64_t now, char ret[static HOSTS_NAME]);

#endif
