/* SPDX-License-Identifier: MIT */
/*
 * A host file: an fd, its name for messages, and whole reads and writes. Short
 * transfers and EINTR end here. Every error names the file (err.file).
 * Nothing here is ever mapped.
 */
#ifndef IO_FILE_H
#define IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum file_flags {
	FILE_READ = 0,
	FILE_WRITE = 1 << 0,    /* O_RDWR */
	FILE_DIRECT = 1 << 1,   /* O_DIRECT; align is probed; where the file
				 * system has none, ERR_UNSUPPORTED */
	FILE_BENEATH = 1 << 2,  /* openat2 RESOLVE_BENEATH|NO_MAGICLINKS; a
				 * path that leaves dirfd is ERR_DENIED */
	FILE_NOFOLLOW = 1 << 3,
	FILE_CREATE = 1 << 4,   /* O_CREAT|O_EXCL, 0644 */
};

struct file {
	int fd;
	bool own_fd;    /* file_close closes it */
	bool locked;    /* lock.c's: file_close gives a borrowed fd back free */
	bool writable;
	bool is_block;  /* a block device, else a regular file */
	bool direct;    /* opened with O_DIRECT */
	uint32_t align; /* 1 if not direct, else a power of two of at least a
			 * page: pieces whose offset, length and memory are so
			 * aligned bypass the cache. Others are right too, and
			 * slower: they go through plain_fd. */
	int plain_fd;   /* the same file without O_DIRECT; -1 if not direct */
	uint64_t size;  /* at open, or since file_truncate; bytes */
	dev_t dev;      /* identity, for loop detection and "same file" */
	ino_t ino;
	char *name;     /* as given by the caller; owned */
};

/*
 * Opens path relative to dirfd (AT_FDCWD for the process's). Only regular
 * files and block devices are images: a directory, fifo, socket or character
 * device is ERR_FORMAT and is never waited on (O_NONBLOCK). /dev/fdset/N is
 * an ordinary name.
 */
int file_open(struct file **ret, int dirfd, const char *path, unsigned flags,
	struct err *e);
/* Wraps an fd of the caller's (not owned); name is for messages. An fd with
 * O_DIRECT that cannot be reopened through /proc loses the flag. One that is
 * writable and has O_APPEND is ERR_USAGE. */
int file_from_fd(struct file **ret, int fd, const char *name, struct err *e);
void file_close(struct file *f); /* NULL is fine */
void file_close_p(struct file **f);

/* Reads exactly len bytes; an end of file before that is ERR_CORRUPT. */
int file_read(struct file *f, void *buf, size_t len, uint64_t off,
	struct err *e);
/* As much as there is; the rest of buf is zeroed. *ret_got may be NULL. */
int file_read_padded(struct file *f, void *buf, size_t len, uint64_t off,
	size_t *ret_got, struct err *e);
int file_write(struct file *f, const void *buf, size_t len, uint64_t off,
	struct err *e);
/* fdatasync (the size is data); a failure is final, it is never retried. */
int file_sync(struct file *f, struct err *e);
int file_truncate(struct file *f, uint64_t size, struct err *e);
/* Makes [off, off+len) read as zeros: punches a hole (a file's tail may be
 * extended by it), else zero-range, else writes zeros. */
int file_zero(struct file *f, uint64_t off, uint64_t len, struct err *e);
/* Reserves blocks without changing content or size (fallocate KEEP_SIZE);
 * *ret_done false where the file system cannot. ENOSPC is an error. */
int file_reserve(struct file *f, uint64_t off, uint64_t len, bool *ret_done,
	struct err *e);
/* Do buffered writes of new data get faster if their blocks are reserved
 * before? On ext4 (a third: blocks are found once per write, not per page);
 * XFS and btrfs do better when they choose late. */
bool file_reserve_pays(const struct file *f);
/* posix_fallocate semantics: allocates, grows the size. */
int file_allocate(struct file *f, uint64_t off, uint64_t len, struct err *e);
/* Bytes allocated on disk: st_blocks * 512. */
int file_allocated(struct file *f, uint64_t *ret, struct err *e);
/* Current size (fstat, or the device's size); f->size is refreshed. */
int file_size(struct file *f, uint64_t *ret, struct err *e);
/* Moves up to len bytes, fewer only at end of file (*ret_eno 0) or on a
 * fault (*ret_eno says which); returns the bytes moved. What file_read,
 * file_write and the engines are made of. */
size_t file_move(const struct file *f, bool write, void *buf, size_t len,
	uint64_t off, int *ret_eno);
/* The fd for the next piece of a transfer; *len shrinks to that piece. */
int file_piece(const struct file *f, const void *buf, uint64_t off,
	size_t *len);

/* Advice; failures are of no consequence. file_drop_cache drops clean pages
 * only. */
void file_sequential(struct file *f);
/* Starts write-back of dirty pages without waiting for it; what goes wrong
 * then is file_sync's to tell. */
void file_flush_start(struct file *f);
void file_drop_cache(struct file *f, uint64_t off, uint64_t len);
bool file_same(const struct file *a, const struct file *b);

#endif
