/* SPDX-License-Identifier: MIT */
/* Other programs: started without a shell, with nothing of ours open but the
 * file, in the locale C. */
#include "config.h"

#include "cli/tool.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define SAID_MAX 4096 /* bytes of what a tool says, from its end */

/* As cron and services have it, $PATH may lack the directories of mkfs. */
static char *tool_env[] = {
	(char *)"PATH=/usr/sbin:/sbin:/usr/bin:/bin",
	(char *)"LC_ALL=C",
	NULL,
};

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
	posix_spawn_file_actions_destroy(&fa);
	return eno;
}

static int
reap(pid_t pid, int *ret_status)
{
	while (waitpid(pid, ret_status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return 0;
}

int
tool_run(const char *const argv[], int fd, unsigned ok, struct err *e)
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
	if (reap(pid, &status))
		return err_sys(e, errno, "cannot wait for %s", argv[0]);
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
