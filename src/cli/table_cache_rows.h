/* SPDX-License-Identifier: MIT */
/* The rows that several of the cache's commands share. For its table files
 * alone. */
#ifndef CLI_TABLE_CACHE_ROWS_H
#define CLI_TABLE_CACHE_ROWS_H

#include "cli/table_rows.h"

#define ROW_INSTANCES                                                          \
	TEXT(0, "instances", instances, ON_BYRE, "DIR",                        \
		"the instances directory (default: $BYRE_INSTANCES)")
#define ROW_BASE_DIR                                                           \
	TEXT(0, "base-dir", base_dir, ON_BYRE, "DIR",                          \
		"where the bases lie, in it or anywhere (default: _base)")
#define ROW_LOCKS_DIR                                                          \
	TEXT(0, "locks-dir", locks_dir, ON_BYRE, "DIR",                        \
		"where Nova's lock files lie (default: locks in it)")
#define ROWS_STORE ROW_HELP, ROW_INSTANCES, ROW_BASE_DIR, ROW_LOCKS_DIR
#define ROW_FROM                                                               \
	TEXT(0, "from", from, ON_BYRE, "SOURCE",                               \
		"the file that it comes from; -: standard input")
#define ROW_EXPECT                                                             \
	LIST(0, "expect", expected, ON_BYRE, "ALGO:HEX",                       \
		"md5, sha256 or sha512 of the source (repeatable)")
#define ROW_FORMAT                                                             \
	TEXT('f', "format", format, ON_BYRE, "FMT",                            \
		"raw or qcow2 (default: detect)")
/* What ensure takes, and spawn where it ensures first. */
#define ROWS_SOURCE                                                            \
	ROW_FROM, ROW_EXPECT, ROW_FORMAT, ROW_MAX_SIZE,                        \
	FLAG(0, "keep-qcow2", keep_qcow2, ON_BYRE,                             \
		"keep a qcow2 as it is, after a full check"),                  \
	ROW_WORKERS(ON_BYRE)
#define ROW_HOST                                                               \
	LIST(0, "host", hosts, ON_BYRE, "HOST",                                \
		"a host whose instances are all seen here (repeatable)")
#define ROW_LOG                                                                \
	TEXT(0, "log", log, ON_BYRE, "FORM",                                   \
		"tell what was done, on standard error: text or json")
#define ROW_NO_WAIT                                                            \
	FLAG(0, "no-wait", no_wait, ON_BYRE,                                   \
		"fail where another process has the lock")
#define ROW_ROOTS                                                              \
	LIST(0, "instance-root", roots, ON_BYRE, "DIR",                        \
		"one more directory of instances (repeatable)")
#define ROW_IGNORE_DISK                                                        \
	LIST(0, "ignore-disk", ignore_disks, ON_BYRE, "PATH",                  \
		"a disk that uses no base if unreadable (repeatable)")
#define ROW_JSON FLAG(0, "json", json, ON_BYRE, "print JSON")

#endif
