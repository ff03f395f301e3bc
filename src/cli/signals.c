/* SPDX-License-Identifier: MIT */
/*
 * The handlers only set flags. The operation sees its flag between two
 * windows of work, undoes what it has to, and returns; only then does the
 * process end by the signal, so that its parent sees the truth.
 */
#include "config.h"

#include "cli/signals.h"

#include <signal.h>
#include <stddef.h>

static atomic_int caught; /* the first signal that said stop, or 0 */
static atomic_int asked;

static void
stop(int sig)
{
	int none = 0;

	atomic_compare_exchange_strong(&caught, &none, sig);
}

static void
ask(int sig)
{
	(void)sig;
	atomic_store(&asked, 1);
}

/* A signal that the parent ignores stays ignored (nohup). */
static void
handle(int sig, void (*fn)(int))
{
	struct sigaction sa = {.sa_handler = fn, .sa_flags = SA_RESTART}, old;

	sigemptyset(&sa.sa_mask);
	if (sigaction(sig, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
		sigaction(sig, &sa, NULL);
}

void
signals_writes_fail(void)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

const atomic_int *
signals_install(void)
{
	handle(SIGINT, stop);
	handle(SIGTERM, stop);
	handle(SIGHUP, stop);
	handle(SIGUSR1, ask);
	return &caught;
}

bool
signals_asked(void)
{
	return atomic_load_explicit(&asked, memory_order_relaxed) &&
		atomic_exchange(&asked, 0);
}

void
signals_leave(void)
{
	struct sigaction sa = {.sa_handler = SIG_DFL};
	sigset_t one;
	int sig = atomic_load(&caught);

	if (!sig)
		return;
	sigemptyset(&sa.sa_mask);
	sigaction(sig, &sa, NULL);
	sigemptyset(&one);
	sigaddset(&one, sig);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	raise(sig);
}
