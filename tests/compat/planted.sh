#!/bin/sh
# SPDX-License-Identifier: MIT
# Bugs planted one at a time must be caught (BYRE_CHECK_LONG=1); always: every
# plant still finds its place.
set -eu
top_srcdir=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
export top_srcdir
command -v python3 >/dev/null || {
	echo "skipped: no python3"
	exit 77
}
if [ -z "${BYRE_CHECK_LONG:-}" ] || ! command -v qemu-io >/dev/null; then
	set -- --check "$@"
fi
exec python3 -B "$top_srcdir/tests/compat/planted.py" "$@"
