/* SPDX-License-Identifier: MIT */
/* Holes of a host file. Knows the answers of SEEK_DATA and SEEK_HOLE, and
 * that a file which shrank since it was opened has no hole at its end. */
#include "config.h"

#include "io/sparse.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/units.h"

static int
shrunk(const struct file *f, uint64_t off, struct err *e)
{
	struct stat st;

	if (fstat(f->fd, &st)) {
		err_sys(e, errno, "cannot stat");
		return err_file(e, f->name);
	}
	if ((uint64_t)st.st_size >= f->size)
		return 0;
	err_set(e, ERR_CORRUPT,
		"shrank from %" PRIu64 " to %" PRIu64
		" bytes while it was read at %" PRIu64,
		f->size, (uint64_t)st.st_size, off);
	return err_file(e, f->name);
}

int
sparse_next(struct file *f, uint64_t off, uint64_t *ret_len, bool *ret_data,
	struct err *e)
{
	off_t data, hole;

	data = lseek(f->fd, (off_t)off, SEEK_DATA);
	if (data < 0 && errno == ENXIO) {
		/* nothing but a hole up to the end, or no file there */
		if (shrunk(f, off, e))
			return -1;
		*ret_len = f->size - off;
		*ret_data = false;
		return 0;
	}
	if (data > (off_t)off) {
		*ret_len = units_min((uint64_t)data, f->size) - off;
		*ret_data = false;
		return 0;
	}
	hole = data < 0 ? -1 : lseek(f->fd, (off_t)off, SEEK_HOLE);
	/* Who cannot tell, or changed his mind meanwhile, has data. */
	*ret_len = hole > (off_t)off
		? units_min((uint64_t)hole, f->size) - off
		: f->size - off;
	*ret_data = true;
	return 0;
}
