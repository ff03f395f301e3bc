/* SPDX-License-Identifier: MIT */
/*
 * byre.conf, which the qemu-img front reads: lines "key = value", "#" starts a
 * comment. Known key: untrusted, an absolute directory, repeatable.
 */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include <stdbool.h>

#include "base/err.h"

/*
 * True in *ret when the file named path lies under a directory that the
 * configuration ($BYRE_CONF, else SYSCONFDIR/byre.conf) lists as untrusted:
 * its own directory, or the one a symbolic link leads to. No configuration
 * file means no; one that cannot be read or understood is an error, for a
 * policy must not go away by a typing mistake.
 */
int settings_untrusted(const char *path, bool *ret, struct err *e);

#endif
