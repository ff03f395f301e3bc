/* SPDX-License-Identifier: MIT */
/* Copies inside the kernel. Knows which refusals mean "not between these two
 * files" and which are faults; what to copy instead is the caller's choice. */
#include "config.h"

#include "io/clone.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/units.h"

#define COPY_MAX (UINT64_C(1) << 30) /* of one system call */

static bool
refused(int eno)
{
	switch (eno) {
	case EXDEV:
	case EINVAL:
	case EOPNOTSUPP:
	case ENOTTY:
	case ENOSYS:
	case EPERM:
	case EBADF:
	case ETXTBSY:
		return true;
	default:
		return false;
	}
}

int
clone_range(struct file *src, uint64_t soff, struct file *dst, uint64_t doff,
	uint64_t len, bool *ret_done, struct err *e)
{
	struct file_clone_range r = {
		.src_fd = src->fd,
		.src_offset = soff,
		.src_length = len,
		.dest_offset = doff,
	};
	int rc;

	if (len == 0) { /* would mean: up to the end */
		*ret_done = true;
		return 0;
	}
	do
		rc = ioctl(dst->fd, FICLONERANGE, &r);
	while (rc && errno == EINTR);
	if (rc && !refused(errno)) {
		err_sys(e, errno, "cannot clone %" PRIu64 " bytes to %" PRIu64,
			len, doff);
		return err_file(e, dst->name);
	}
	*ret_done = rc == 0;
	return 0;
}

int
clone_copy(struct file *src, uint64_t soff, struct file *dst, uint64_t doff,
	uint64_t len, uint64_t *ret_len, struct err *e)
{
	uint64_t done = 0;
	ssize_t r;

	while (done < len) {
		loff_t from = (loff_t)(soff + done), to = (loff_t)(doff + done);

		r = copy_file_range(src->fd, &from, dst->fd, &to,
			(size_t)units_min(len - done, COPY_MAX), 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0 || (r < 0 && refused(errno)))
			break;
		if (r < 0) {
			err_sys(e, errno,
				"cannot copy %" PRIu64 " bytes to %" PRIu64,
				len - done, doff + done);
			return err_file(e, dst->name);
		}
		done += (uint64_t)r;
	}
	*ret_len = done;
	return 0;
}
