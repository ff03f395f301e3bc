/* SPDX-License-Identifier: MIT */
/* Memory that runs out. glibc's own names of its functions spare the look-up,
 * which would itself allocate. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/crash/shim.h"

#define SHIM __attribute__((visibility("default")))

void *__libc_malloc(size_t len);
void *__libc_calloc(size_t n, size_t len);
void *__libc_realloc(void *p, size_t len);
void *__libc_memalign(size_t align, size_t len);

static bool
none_left(void)
{
	int eno = shim_ask(SHIM_MALLOC, NULL);

	if (eno)
		errno = eno;
	return eno != 0;
}

SHIM void *
malloc(size_t len)
{
	return none_left() ? NULL : __libc_malloc(len);
}

SHIM void *
calloc(size_t n, size_t len)
{
	return none_left() ? NULL : __libc_calloc(n, len);
}

SHIM void *
realloc(void *p, size_t len)
{
	return none_left() ? NULL : __libc_realloc(p, len);
}

SHIM void *
aligned_alloc(size_t align, size_t len)
{
	return none_left() ? NULL : __libc_memalign(align, len);
}

SHIM int
posix_memalign(void **ret, size_t align, size_t len)
{
	int saved = errno;
	void *p = none_left() ? NULL : __libc_memalign(align, len);

	errno = saved;
	if (!p)
		return ENOMEM;
	*ret = p;
	return 0;
}
