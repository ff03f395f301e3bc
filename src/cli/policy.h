/* SPDX-License-Identifier: MIT */
/* From what the caller said to the gate of an operation. */
#ifndef CLI_POLICY_H
#define CLI_POLICY_H

#include "cli/options.h"
#include "format/gate.h"

/* Native: safe unless --trusted. The gate borrows from a. */
int policy_native(const struct options_args *a, struct gate *ret,
	struct err *e);
/* The front: as qemu-img, but safe for a source path (a host file's name)
 * that is untrusted by option, environment or byre.conf. */
int policy_front(const struct options_args *a, const char *path,
	struct gate *ret, struct err *e);

#endif
