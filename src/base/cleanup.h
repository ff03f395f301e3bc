/* SPDX-License-Identifier: MIT */
/* Cleanup by attribute, so that an error path is a plain return. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void
cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void
cleanup_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define CLEANUP_FREE __attribute__((cleanup(cleanup_free)))
#define CLEANUP_FD __attribute__((cleanup(cleanup_fd)))

/* CLEANUP(foo_close) calls foo_close(&var): it takes a pointer to the
 * variable, so such functions have the form void foo_close_p(struct foo **).*/
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Gives the pointer away: the value of p, and p becomes NULL. */
#define TAKE_PTR(p)                                                            \
	__extension__({                                                        \
		__typeof__(p) take_ptr_ = (p);                                 \
		(p) = NULL;                                                    \
		take_ptr_;                                                     \
	})

static inline int
cleanup_take_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

#define TAKE_FD(fd) cleanup_take_fd(&(fd))

#endif
