#!/bin/sh
# SPDX-License-Identifier: MIT
# The transcripts of genuine qemu-img, replayed with the front; and, where
# genuine qemu-img is installed, recorded again and compared.
set -u
top_srcdir=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
top_builddir=${top_builddir:-$PWD}
BYRE_QEMU_IMG=${BYRE_QEMU_IMG:-$top_builddir/byre}
export BYRE_QEMU_IMG
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 77; }
[ -x "${BYRE_QEMU_IMG%% *}" ] || { echo "skipped: no byre"; exit 77; }
text="python3 -B $top_srcdir/tests/compat/transcripts.py"
$text replay || exit 1
[ -z "${BYRE_SANITIZED:-}" ] || exit 0
$text verify
case $? in
0 | 77) exit 0 ;;
*) exit 1 ;;
esac
