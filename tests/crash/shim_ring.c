/* SPDX-License-Identifier: MIT */
/*
 * What goes into an io_uring. A request that is to fail is pointed at another
 * file, so that the kernel itself gives the answer: /dev/full has no space,
 * and /proc/self/mem at offset 0 is EIO both ways.
 */
#include "config.h"

#ifdef HAVE_LIBURING
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/crash/shim.h"

#define SHIM __attribute__((visibility("default")))
#define REAL(name, ret, ...)                                                   \
	((ret(*)(__VA_ARGS__))(uintptr_t)dlsym(RTLD_NEXT, name))

SHIM int
io_uring_queue_init(unsigned n, struct io_uring *ring, unsigned flags)
{
	if (shim_denied("io_uring"))
		return -EPERM;
	return REAL("io_uring_queue_init", int, unsigned, struct io_uring *,
		unsigned)(n, ring, flags);
}

/* An fd that fails with eno: opened for each, as a test needs one or two. */
static int
failing_fd(int eno, bool write)
{
	const char *path = eno == ENOSPC && write ? "/dev/full"
						  : "/proc/self/mem";

	return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
}

static void
ask(struct io_uring_sqe *sqe)
{
	bool write = sqe->opcode == IORING_OP_WRITE ||
		sqe->opcode == IORING_OP_WRITEV;
	size_t len = sqe->len;
	int eno;

	if ((!write && sqe->opcode != IORING_OP_READ &&
		    sqe->opcode != IORING_OP_READV) || !shim_fd(sqe->fd))
		return;
	eno = shim_ask(write ? SHIM_RINGWRITE : SHIM_RINGREAD, &len);
	errno = eno;
	shim_log(write ? "ringwrite" : "ringread", sqe->fd, (int64_t)sqe->off,
		(int64_t)len, eno ? -1 : 0);
	if (!eno && sqe->opcode == IORING_OP_WRITE)
		shim_trace(SHIM_REC_WRITE, sqe->fd, sqe->off, len,
			(const void *)(uintptr_t)sqe->addr);
	sqe->len = (unsigned)len;
	if (eno) {
		sqe->fd = failing_fd(eno, write);
		sqe->off = 0;
	}
}

static void
look(struct io_uring *ring)
{
	unsigned i, mask = *ring->sq.kring_mask;

	for (i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++)
		ask(&ring->sq.sqes[i & mask]);
}

SHIM int
io_uring_submit(struct io_uring *ring)
{
	look(ring);
	return REAL("io_uring_submit", int, struct io_uring *)(ring);
}

SHIM int
io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
	look(ring);
	return REAL("io_uring_submit_and_wait", int, struct io_uring *,
		unsigned)(ring, n);
}
#else
extern int shim_without_ring;
#endif
