/* SPDX-License-Identifier: MIT */
/*
 * Removal under locks that can lose their names. Who opened the lock's file
 * before we had it is seen by withdraw_look as long as he has it open; who
 * opens it while it has its name waits for us; and whether it had its name all
 * the time is told by one look afterwards, for a name does not come back.
 */
#include "config.h"

#include "cache/withdraw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cache/layout.h"

int
withdraw_look(const struct store *s, const struct watch *w,
	struct holders_gone *ret, struct err *e)
{
	struct stat st;

	if (s->locks_fd < 0 || fstat(s->locks_fd, &st)) {
		*ret = (struct holders_gone){0};
		return 0;
	}
	return holders_scan_gone(st.st_dev, w, ret, e);
}

bool
withdraw_blocked(const struct holders_gone *g, const char *name)
{
	const size_t p = strlen(STORE_LOCK_PREFIX);
	struct layout_name l;
	size_t i;

	layout_classify(name, &l);
	for (i = 0; i < g->n; i++) {
		if (strncmp(g->v[i], STORE_LOCK_PREFIX, p) != 0)
			continue;
		if (strcmp(g->v[i] + p, name) == 0 ||
			(l.image[0] && strcmp(g->v[i] + p, l.image) == 0))
			return true;
	}
	return false;
}

static int
put_back(const struct store *s, const char *aside, const char *name,
	struct err *e)
{
	/* where somebody has made it anew meanwhile, that one counts */
	if (linkat(s->staging_fd, aside, s->base_fd, name, 0) &&
		errno != EEXIST) {
		if (renameat2(s->staging_fd, aside, s->base_fd, name,
			    RENAME_NOREPLACE) == 0)
			return store_sync_dir(s->base_fd, e);
		if (errno != EEXIST) {
			err_sys(e, errno, "cannot name again");
			return err_file(e, name);
		}
	}
	unlinkat(s->staging_fd, aside, 0);
	return store_sync_dir(s->base_fd, e);
}

int
withdraw_base(const struct store *s, const char *name, const struct stat *st,
	const struct store_lock *lock, const struct store_lock *image,
	bool *ret_gone, struct err *e)
{
	char aside[LAYOUT_NAME + 24];
	struct stat is;
	uint32_t r;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		return err_sys(e, errno, "no random name");
	snprintf(aside, sizeof(aside), "%.*s-%08x", LAYOUT_NAME - 1, name, r);
	if (renameat(s->base_fd, name, s->staging_fd, aside)) {
		err_sys(e, errno, "cannot remove");
		return err_file(e, name);
	}
	if (fstatat(s->staging_fd, aside, &is, AT_SYMLINK_NOFOLLOW) == 0 &&
		is.st_ino == st->st_ino && is.st_dev == st->st_dev &&
		is.st_mtim.tv_sec == st->st_mtim.tv_sec &&
		is.st_mtim.tv_nsec == st->st_mtim.tv_nsec &&
		store_lock_stands(s, lock) &&
		(!image || store_lock_stands(s, image))) {
		unlinkat(s->staging_fd, aside, 0);
		*ret_gone = true;
		return 0;
	}
	if (put_back(s, aside, name, e))
		return -1;
	*ret_gone = false;
	return 0;
}
