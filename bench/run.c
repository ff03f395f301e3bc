/* SPDX-License-Identifier: MIT */
/*
 * run FILE COMMAND...: runs the command and writes seconds, CPU seconds, peak
 * RSS in KiB and exit code to FILE. A child's peak RSS counts what its parent
 * had at fork, so the parent has to be small, which Python is not.
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double
seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int
main(int argc, char **argv)
{
	struct timespec a, b;
	struct rusage u;
	int status = 0;
	FILE *f;
	pid_t pid;

	if (argc < 3)
		return 126;
	clock_gettime(CLOCK_MONOTONIC, &a);
	pid = fork();
	if (pid == 0) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &u) != pid)
		return 126;
	clock_gettime(CLOCK_MONOTONIC, &b);
	f = fopen(argv[1], "w");
	if (!f)
		return 126;
	fprintf(f, "%.6f %.6f %ld %d\n",
		(double)(b.tv_sec - a.tv_sec) +
			(double)(b.tv_nsec - a.tv_nsec) / 1e9,
		seconds(u.ru_utime) + seconds(u.ru_stime), u.ru_maxrss,
		WIFEXITED(status) ? WEXITSTATUS(status) : 128);
	return fclose(f) ? 126 : 0;
}
