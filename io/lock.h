/* SPDX-License-Identifier: MIT */
/*
 * QEMU's image locks: OFD read locks on byte 100+i (permission i is used) and
 * 200+i (permission i is not shared with others), conflicts tested by
 * F_OFD_GETLK. A running QEMU and byre exclude each other by them.
 */
#ifndef IO_LOCK_H
#define IO_LOCK_H

#include <stdbool.h>

#include "io/file.h"

enum lock_perm {
	LOCK_PERM_READ = 1 << 0, /* consistent read */
	LOCK_PERM_WRITE = 1 << 1,
	LOCK_PERM_WRITE_UNCHANGED = 1 << 2,
	LOCK_PERM_RESIZE = 1 << 3,
};

/*
 * What qemu-img 7.2 takes (strace), use and keep. `info` and `map` of a raw
 * image take nothing that anybody could conflict with.
 */
#define LOCK_INFO_USE 0 /* qcow2: 201, 203 */
#define LOCK_INFO_KEEP (LOCK_PERM_WRITE | LOCK_PERM_RESIZE)
#define LOCK_READER_USE LOCK_PERM_READ /* convert's source: 100, 201, 203 */
#define LOCK_READER_KEEP (LOCK_PERM_WRITE | LOCK_PERM_RESIZE)
/* map, measure, compare and dd of a raw image let others write to it: 100 */
#define LOCK_RAW_READER_KEEP 0
/* qcow2 in place: 100, 101, 103, 201, 203. */
#define LOCK_WRITER_USE                                                        \
	(LOCK_PERM_READ | LOCK_PERM_WRITE | LOCK_PERM_RESIZE)
#define LOCK_WRITER_KEEP (LOCK_PERM_WRITE | LOCK_PERM_RESIZE)
/* raw in place (resize): 100, 101, 103; raw writers share among themselves. */
#define LOCK_RAW_WRITER_USE LOCK_WRITER_USE
#define LOCK_RAW_WRITER_KEEP 0
/* Before an existing file is emptied and made an image: 101, 103, 203. */
#define LOCK_CREATE_USE (LOCK_PERM_WRITE | LOCK_PERM_RESIZE)
#define LOCK_CREATE_KEEP LOCK_PERM_RESIZE

/*
 * Takes the locks until the file is closed, whether its fd is borrowed or
 * owned. A conflict is ERR_BUSY with QEMU's message: Failed to get shared
 * "write" lock (the permission's name is consistent read, write, write
 * unchanged, resize), when it has lasted for 75 ms. File systems without locks are passed over.
 */
int lock_image(struct file *f, unsigned use, unsigned keep, struct err *e);
void lock_release(struct file *f);

#endif
