/* SPDX-License-Identifier: MIT */
/*
 * What another process makes is seen in staging: its names begin with the
 * base's, and a conversion gives the file its length first. That is a guess
 * for people to look at; the lock alone says when it is done.
 */
#include "config.h"

#include "cache/ensure_wait.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"

#define LOOK_NSEC 500000000 /* between two looks */
#define NAP_FIRST 1000000
#define NAP_MAX 50000000

static void
look(const struct store *s, const char *name, const struct watch *w)
{
	size_t n = strlen(name);
	const struct dirent *at;
	uint64_t done = 0, total = 0;
	struct stat st;
	DIR *d;
	int fd = openat(s->staging_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((at = readdir(d)) != NULL) {
		if (strncmp(at->d_name, name, n) != 0 || at->d_name[n] != '-' ||
			fstatat(s->staging_fd, at->d_name, &st,
				AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
			continue;
		/* what a dead one left is as long, and stands still */
		if ((uint64_t)st.st_blocks * 512 >= done) {
			done = (uint64_t)st.st_blocks * 512;
			total = (uint64_t)st.st_size;
		}
	}
	closedir(d);
	if (total)
		watch_progress(w, units_min(done, total), total);
}

int
ensure_wait(const struct store *s, const char *name, const struct watch *w,
	struct store_lock *ret, bool *ret_waited, struct err *e)
{
	struct timespec nap = {.tv_nsec = NAP_FIRST};
	uint64_t slept = 0, looked = 0;
	struct err why;

	if (!w || !w->progress || s->staging_fd < 0)
		return store_lock(s, name, true, w, ret, ret_waited, e);
	while (store_lock(s, name, false, w, ret, NULL, &why)) {
		if (why.kind == ERR_BUSY && watch_cancelled(w))
			err_set(&why, ERR_CANCELLED, "interrupted");
		if (why.kind != ERR_BUSY) {
			if (e)
				*e = why;
			return -1;
		}
		if (slept - looked >= LOOK_NSEC) {
			if (looked == 0)
				watch_note(w, "waits for another process");
			look(s, name, w);
			looked = slept;
		}
		nanosleep(&nap, NULL);
		slept += (uint64_t)nap.tv_nsec;
		if (nap.tv_nsec < NAP_MAX)
			nap.tv_nsec *= 2;
	}
	*ret_waited = slept > 0;
	return 0;
}
