#!/bin/sh
# SPDX-License-Identifier: MIT
# The differential suite: some cases always, all of them (and every valid pair
# of features) with BYRE_CHECK_LONG=1. Exit 77 where the oracle is absent.
set -eu

top_srcdir=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
top_builddir=${top_builddir:-$PWD}
BYRE=${BYRE-$top_builddir/byre}
BYRE_QEMU_IMG=${BYRE_QEMU_IMG:-$BYRE qemu-img}
export BYRE BYRE_QEMU_IMG

skip() {
	echo "skipped: $1"
	exit 77
}

command -v python3 >/dev/null || skip "no python3"
command -v qemu-io >/dev/null || skip "no qemu-io"
command -v qemu-img >/dev/null || skip "no qemu-img"
case $(qemu-img --version) in
"qemu-img version 7.2."*) ;;
*) skip "the oracle is qemu-img 7.2" ;;
esac
[ -x "${BYRE_QEMU_IMG%% *}" ] || command -v "${BYRE_QEMU_IMG%% *}" \
	>/dev/null || skip "byre is not built"

if [ -n "${BYRE_CHECK_LONG:-}" ]; then
	set -- --cases 2400 --require-pairs "$@"
elif [ -n "${BYRE_SANITIZED:-}" ]; then
	set -- --cases 40 "$@"
else
	set -- --cases 150 "$@"
fi
exec python3 -B "$top_srcdir/tests/compat/differential.py" "$@"
