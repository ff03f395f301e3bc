#!/bin/sh
# SPDX-License-Identifier: MIT
# Sequences of operations by the front and by genuine qemu-img: a few always,
# 500 and every pair of operation and feature with BYRE_CHECK_LONG=1.
set -u
top_srcdir=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
top_builddir=${top_builddir:-$PWD}
BYRE_QEMU_IMG=${BYRE_QEMU_IMG:-$top_builddir/byre}
export BYRE_QEMU_IMG

skip() {
	echo "skipped: $1"
	exit 77
}

command -v python3 >/dev/null || skip "no python3"
command -v qemu-io >/dev/null || skip "no qemu-io"
case $(qemu-img --version 2>/dev/null) in
*byre*) skip "qemu-img is byre" ;;
"qemu-img version 7.2."*) ;;
*) skip "the oracle is qemu-img 7.2" ;;
esac
[ -x "${BYRE_QEMU_IMG%% *}" ] || skip "no byre"
if [ -n "${BYRE_CHECK_LONG:-}" ]; then
	set -- --sequences 500 --require-pairs "$@"
elif [ -n "${BYRE_SANITIZED:-}" ]; then
	set -- --sequences 3 "$@"
else
	set -- --sequences 12 "$@"
fi
exec python3 -B "$top_srcdir/tests/compat/sequences.py" "$@"
