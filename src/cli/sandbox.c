/* SPDX-License-Identifier: MIT */
/*
 * Landlock and no_new_privs, by bare system calls: the C library has none. A
 * sandbox is a second wall behind the parser; where the kernel lacks it, or
 * any step of it fails, the command works without.
 */
#include "config.h"

#include "cli/sandbox.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* The leak check at exit looks at /proc, and may not from inside. */
#if defined(__SANITIZE_ADDRESS__)
#define CHECKED_BUILD 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHECKED_BUILD 1
#endif
#endif

#if defined(HAVE_LINUX_LANDLOCK_H) &&                                          \
	defined(SYS_landlock_create_ruleset) && !defined(CHECKED_BUILD)
#include <linux/landlock.h>

/* Rights of ABI 1 to 3; newer ones (network, devices) are no files. */
#define RIGHTS_1 ((UINT64_C(1) << 13) - 1)
#define RIGHT_REFER (UINT64_C(1) << 13)    /* ABI 2 */
#define RIGHT_TRUNCATE (UINT64_C(1) << 14) /* ABI 3 */
#define READING                                                                \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)

static void
allow(int rules, const char *path, uint64_t rights)
{
	CLEANUP_FD int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr a = {
		.allowed_access = rights,
		.parent_fd = fd,
	};

	if (fd >= 0)
		syscall(SYS_landlock_add_rule, rules,
			LANDLOCK_RULE_PATH_BENEATH, &a, 0);
}

/* A directory may be opened too, to be refused for what it is. */
static void
allow_file(int rules, const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0)
		allow(rules, path, S_ISDIR(st.st_mode)
				? LANDLOCK_ACCESS_FS_READ_DIR
				: LANDLOCK_ACCESS_FS_READ_FILE);
}

void
sandbox_read_only(const char *const *files, unsigned n,
	const char *const *dirs, unsigned n_dirs, bool anywhere)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = RIGHTS_1};
	CLEANUP_FD int rules = -1;
	unsigned i;
	long abi;

	abi = syscall(SYS_landlock_create_ruleset, NULL, 0,
		LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 1)
		return;
	if (abi >= 2)
		attr.handled_access_fs |= RIGHT_REFER;
	if (abi >= 3)
		attr.handled_access_fs |= RIGHT_TRUNCATE;
	rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr),
		0);
	if (rules < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return;
	for (i = 0; i < n; i++)
		allow_file(rules, files[i]);
	for (i = 0; i < n_dirs; i++)
		allow(rules, dirs[i], READING);
	if (anywhere)
		allow(rules, "/", READING);
	(void)!syscall(SYS_landlock_restrict_self, rules, 0);
}

#else

void
sandbox_read_only(const char *const *files, unsigned n,
	const char *const *dirs, unsigned n_dirs, bool anywhere)
{
	(void)files;
	(void)n;
	(void)dirs;
	(void)n_dirs;
	(void)anywhere;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

#endif
