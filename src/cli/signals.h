/* SPDX-License-Identifier: MIT */
/* SIGINT and SIGTERM stop an operation in good order; SIGUSR1 asks how far
 * it is. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <stdatomic.h>
#include <stdbool.h>

/* A write to a closed pipe or over a size limit is an error that the writer
 * sees and reports, not the end of the process. First thing in main. */
void signals_writes_fail(void);
/* Installs the handlers; returns the flag for a watch. A further signal while
 * the first is being obeyed does nothing more. */
const atomic_int *signals_install(void);
/* True once for every SIGUSR1 (or several of them). */
bool signals_asked(void);
/* Ends the process by the signal that stopped it, with the default action;
 * returns only when there was none. */
void signals_leave(void);

#endif
