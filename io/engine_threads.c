/* SPDX-License-Identifier: MIT */
/*
 * The engine of pread and pwrite: inside submit when the depth is 0 (or no
 * thread is to be had), else by a few threads from a queue. It is the
 * reference that the ring is compared with.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "io/engine.h"
#include "io/pool.h"

#define THREADS_MAX 8 /* of one engine; more only wait for the same disk */

struct list {
	struct io_req *head;
	struct io_req **tail;
};

struct threads {
	pthread_mutex_t mutex;
	pthread_cond_t work;    /* todo is not empty, or stop */
	pthread_cond_t answer;  /* ready is not empty */
	struct list todo, ready; /* these and below: under mutex */
	bool stop;
	unsigned n;
	pthread_t thread[THREADS_MAX];
};

static void
list_put(struct list *l, struct io_req *r)
{
	r->next = NULL;
	if (!l->head)
		l->tail = &l->head;
	*l->tail = r;
	l->tail = &r->next;
}

static struct io_req *
list_take(struct list *l)
{
	struct io_req *r = l->head;

	if (r) {
		l->head = r->next;
		r->next = NULL;
	}
	return r;
}

static void
run(struct io_req *r)
{
	r->done = file_move(r->file, r->op == IO_WRITE, r->buf, r->len,
		r->hoff, &r->eno);
}

static void *
thread_main(void *arg)
{
	struct threads *t = arg;
	struct io_req *r;

	pthread_mutex_lock(&t->mutex);
	for (;;) {
		while (!t->stop && !t->todo.head)
			pthread_cond_wait(&t->work, &t->mutex);
		if (t->stop)
			break;
		r = list_take(&t->todo);
		pthread_mutex_unlock(&t->mutex);
		run(r);
		pthread_mutex_lock(&t->mutex);
		list_put(&t->ready, r);
		pthread_cond_signal(&t->answer);
	}
	pthread_mutex_unlock(&t->mutex);
	return NULL;
}

static int
threads_open(struct engine *g, unsigned depth, struct err *e)
{
	struct threads *t = calloc(1, sizeof(*t));

	if (!t)
		return err_sys(e, ENOMEM, "cannot start an I/O engine");
	pthread_mutex_init(&t->mutex, NULL);
	pthread_cond_init(&t->work, NULL);
	pthread_cond_init(&t->answer, NULL);
	while (t->n < depth && t->n < THREADS_MAX &&
		pool_thread(&t->thread[t->n], thread_main, t) == 0)
		t->n++;
	g->priv = t;
	return 0;
}

static int
threads_submit(struct engine *g, struct io_req *r, struct err *e)
{
	struct threads *t = g->priv;

	(void)e;
	if (t->n == 0) {
		run(r);
		list_put(&t->ready, r);
		return 0;
	}
	pthread_mutex_lock(&t->mutex);
	list_put(&t->todo, r);
	pthread_cond_signal(&t->work);
	pthread_mutex_unlock(&t->mutex);
	return 0;
}

static int
threads_reap(struct engine *g, bool wait, struct io_req **ret, struct err *e)
{
	struct threads *t = g->priv;

	(void)e;
	pthread_mutex_lock(&t->mutex);
	while (wait && !t->ready.head)
		pthread_cond_wait(&t->answer, &t->mutex);
	*ret = list_take(&t->ready);
	pthread_mutex_unlock(&t->mutex);
	return 0;
}

static void
threads_close(struct engine *g)
{
	struct threads *t = g->priv;
	unsigned i;

	/* What no thread has begun is dropped; what one has, it finishes. */
	pthread_mutex_lock(&t->mutex);
	t->stop = true;
	pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->mutex);
	for (i = 0; i < t->n; i++)
		pthread_join(t->thread[i], NULL);
	pthread_cond_destroy(&t->answer);
	pthread_cond_destroy(&t->work);
	pthread_mutex_destroy(&t->mutex);
	free(t);
}

const struct engine_ops engine_threads_ops = {
	.name = "threads",
	.open = threads_open,
	.submit = threads_submit,
	.reap = threads_reap,
	.close = threads_close,
};
