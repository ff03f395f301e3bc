/* SPDX-License-Identifier: MIT */
/* Other programs: started without a shell, with nothing of ours open but the
 * file, in the locale C. */
#include "config.h"

#include "cli/tool.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"

#define SAID_MAX 4096 /* bytes of what a tool says, from its end */

#define NAP_MAX 50000000 /* ns; a signal is obeyed within this */

static char *tool_env[] = {
	(char *)"PATH=/usr/sbin:/sbin:/usr/bin:/bin",
	(char *)"LC_ALL=C",
	NULL,
};
/* As cron and services have it, our own $PATH may lack those of mkfs. */
static const char *const more_dirs[] = {"/usr/sbin", "/sbin"};

/* The last line that is not empty. */
static void
last_line(int log, char *out, unsigned cap)
{
	char text[SAID_MAX + 1], *line;
	off_t end = lseek(log, 0, SEEK_END);
	ssize_t n;

	out[0] = '\0';
	n = pread(log, text, SAID_MAX, end > SAID_MAX ? end - SAID_MAX : 0);
	if (n <= 0)
		return;
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
		n--;
	text[n] = '\0';
	line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	err_quote(out, cap, line, (unsigned)strlen(line));
}

static int
start(const char *const argv[], int fd, int log, pid_t *ret_pid)
{
	posix_spawn_file_actions_t fa;
	char path[64];
	unsigned i;
	int eno;

	if (posix_spawn_file_actions_init(&fa))
		return ENOMEM;
	eno = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", 0, 0);
	if (!eno)
		eno = posix_spawn_file_actions_adddup2(&fa, log, 1);
	if (!eno)
		eno = posix_spawn_file_actions_adddup2(&fa, log, 2);
	if (!eno)
		eno = posix_spawn_file_actions_adddup2(&fa, fd, 3);
	if (!eno)
		eno = posix_spawnp(ret_pid, argv[0], &fa, NULL,
			(char *const *)argv, tool_env);
	for (i = 0; eno == ENOENT && i < COUNT_OF(more_dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", more_dirs[i], argv[0]);
		eno = posix_spawn(ret_pid, path, &fa, NULL,
			(char *const *)argv, tool_env);
	}
	posix_spawn_file_actions_destroy(&fa);
	return eno;
}

/* On a hostile file system it may work for ever. What it works on has no name
 * yet, so that nothing is lost with it. */
static int
reap(pid_t pid, const struct watch *w, int *ret_status, struct err *e)
{
	struct timespec nap = {.tv_nsec = 500000};
	bool stop = false;
	pid_t r;

	for (;;) {
		r = waitpid(pid, ret_status, stop ? 0 : WNOHANG);
		if (r == pid && stop)
			return err_set(e, ERR_CANCELLED, "interrupted");
		if (r == pid)
			return 0;
		if (r < 0 && errno != EINTR)
			return err_sys(e, errno, "cannot wait for a program");
		if (!stop && watch_cancelled(w)) {
			stop = true;
			kill(pid, SIGKILL);
		}
		if (stop)
			continue;
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < NAP_MAX)
			nap.tv_nsec *= 2;
	}
}

int
tool_run(const char *const argv[], int fd, unsigned ok, const struct watch *w,
	struct err *e)
{
	CLEANUP_FD int log = memfd_create("byre-tool", MFD_CLOEXEC);
	char said[300];
	int status, eno;
	pid_t pid;

	if (log < 0)
		return err_sys(e, errno, "cannot keep what %s says", argv[0]);
	eno = start(argv, fd, log, &pid);
	if (eno == ENOENT)
		return err_set(e, ERR_UNSUPPORTED, "%s is not installed",
			argv[0]);
	if (eno)
		return err_sys(e, eno, "cannot start %s", argv[0]);
	if (reap(pid, w, &status, e))
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) < 32 &&
		ok & 1u << WEXITSTATUS(status))
		return 0;
	last_line(log, said, sizeof(said));
	if (WIFEXITED(status))
		return err_set(e, ERR_IO, "%s failed with status %d%s%s",
			argv[0], WEXITSTATUS(status), *said ? ": " : "", said);
	return err_set(e, ERR_IO, "%s was ended by signal %d%s%s", argv[0],
		WTERMSIG(status), *said ? ": " : "", said);
}
