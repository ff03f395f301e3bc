/* SPDX-License-Identifier: MIT */
/* What the users and the holders say, put into one answer. */
#include "config.h"

#include "cache/in_use.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "cache/holders.h"
#include "cache/hosts.h"
#include "cache/withdraw.h"

static int
busy(const char *name, const char *what, const char *who, struct err *e)
{
	char q[400];

	err_set(e, ERR_BUSY, "%s %s", what, err_quote(q, sizeof(q), who,
		(unsigned)strlen(who)));
	return err_file(e, name);
}

static int
refuse_held(const struct store *s, const char *name, const struct stat *known,
	const struct watch *w, struct err *e)
{
	CLEANUP_FD int fd = -1;
	enum holders_answer a;
	struct holders h;
	struct stat st;
	pid_t pid;

	if (store_file(s->base_fd, name, O_RDONLY, &fd, &st, e))
		return -1;
	if (fd < 0)
		return 0;
	if (st.st_ino != known->st_ino || st.st_dev != known->st_dev ||
		st.st_mtim.tv_sec != known->st_mtim.tv_sec ||
		st.st_mtim.tv_nsec != known->st_mtim.tv_nsec) {
		err_set(e, ERR_BUSY, "was touched since the search for its "
			"users began");
		return err_file(e, name);
	}
	a = holders_ask(fd);
	if (a == HOLDERS_FREE)
		return 0;
	if (a == HOLDERS_HELD)
		return busy(name, "is open or locked in", "another process",
			e);
	if (holders_scan(st.st_dev, w, &h, e))
		return -1;
	pid = holders_of(&h, st.st_ino);
	holders_free(&h);
	return pid ? busy(name, "is open in", "another process", e) : 0;
}

static int
refuse_gone(const struct store *s, const char *name, const struct watch *w,
	struct err *e)
{
	struct holders_gone g;
	bool bad;

	if (withdraw_look(s, w, &g, e))
		return -1;
	bad = withdraw_blocked(&g, name);
	holders_gone_free(&g);
	return bad ? busy(name, "has a lock file that was removed and is open "
		"in", "another process", e) : 0;
}

int
in_use_refuse(const struct store *s, const struct users *u, const char *name,
	const struct stat *st, const struct watch *w, struct err *e)
{
	struct users_answer a = users_of(u, name, st);

	if (a.disks)
		return busy(name, "is used by", a.disk, e);
	if (!S_ISREG(st->st_mode))
		return 0;
	return refuse_held(s, name, st, w, e) ||
		refuse_gone(s, name, w, e) ? -1 : 0;
}

int
in_use_refuse_dark(const struct users *u, const char *name, struct err *e)
{
	if (u->n_dark == 0)
		return 0;
	return busy(name, "may be used by a disk that cannot be read:",
		u->dark[0].disk, e);
}

int
in_use_refuse_shared(const struct store *s, const char *const *known, size_t n,
	const char *name, struct err *e)
{
	char host[HOSTS_NAME];
	struct timespec now;

	if (store_now(s, &now, e) ||
		hosts_scan(s, known, n, now.tv_sec, host, e))
		return -1;
	if (*host == '\0')
		return 0;
	err_set(e, ERR_BUSY, "may be used by host %s, which shares the "
		"storage", host);
	return err_file(e, name);
}
