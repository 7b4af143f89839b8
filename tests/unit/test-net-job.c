#include "daemon/net/job.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TURNS_MAX 10000

/* What a job works on. Its thread waits at two doors, which the test opens. */
struct work {
	int may_work, has_begun, is_disposed;
	pthread_t worker;
	bool worked;
	unsigned int done, disposed;
};

static void open_door(int door)
{
	uint64_t one = 1;

	ck_assert_int_eq(write(door, &one, sizeof(one)), sizeof(one));
}

static void pass(int door)
{
	uint64_t value;

	if (read(door, &value, sizeof(value)) < 0)
		return;
}

static void on_work(void *context)
{
	struct work *work = context;

	work->worker = pthread_self();
	open_door(work->has_begun);
	pass(work->may_work);
	work->worked = true;
}

static void on_done(void *context)
{
	struct work *work = context;

	ck_assert(work->worked);
	work->done++;
}

static void on_dispose(void *context)
{
	struct work *work = context;

	work->disposed++;
	open_door(work->is_disposed);
}

static struct job *start(struct work *work, struct loop *loop)
{
	struct job_options options = {on_work, on_done, on_dispose, work};
	struct job *job = NULL;

	*work = (struct work){
	    .may_work = eventfd(0, 0), .has_begun = eventfd(0, 0), .is_disposed = eventfd(0, 0)};
	ck_assert_int_eq(job_start(loop, &options, &job), 0);
	ck_assert_ptr_nonnull(job);
	pass(work->has_begun);
	return job;
}

static void end(const struct work *work)
{
	(void)close(work->may_work);
	(void)close(work->has_begun);
	(void)close(work->is_disposed);
}

START_TEST(job__works_beside_the_loop_and_is_done_in_it)
{
	struct loop *loop;
	struct work work;

	ck_assert_int_eq(loop_new(&loop), 0);
	(void)start(&work, loop);
	ck_assert(!pthread_equal(work.worker, pthread_self()));
	ck_assert_int_eq(loop_turn(loop, false), 0); /* the loop does not wait for it */
	ck_assert_uint_eq(work.done, 0);
	open_door(work.may_work);
	for (int i = 0; i < TURNS_MAX && work.done == 0; i++)
		ck_assert_int_eq(loop_turn(loop, true), 0);
	ck_assert_uint_eq(work.done, 1);
	ck_assert_uint_eq(work.disposed, 0);
	(void)loop_free(loop);
	end(&work);
}
END_TEST

START_TEST(job__dropped_while_it_works_is_disposed_of_behind_it)
{
	struct loop *loop;
	struct work work;
	struct job *job;

	ck_assert_int_eq(loop_new(&loop), 0);
	job = start(&work, loop);
	ck_assert_ptr_null(job_drop(job));
	ck_assert_uint_eq(work.disposed, 0);
	(void)loop_free(loop);
	open_door(work.may_work);
	pass(work.is_disposed);
	ck_assert(work.worked);
	ck_assert_uint_eq(work.disposed, 1);
	ck_assert_uint_eq(work.done, 0);
	end(&work);
}
END_TEST

START_TEST(job__dropped_before_the_loop_looks_is_disposed_of_once)
{
	struct loop *loop;
	struct work work;
	struct job *job;

	ck_assert_int_eq(loop_new(&loop), 0);
	job = start(&work, loop);
	open_door(work.may_work);
	/* Its thread has ended by now, or is about to: whoever comes last disposes of it. */
	for (int yields = _i; yields > 0; yields--)
		(void)sched_yield();
	ck_assert_ptr_null(job_drop(job));
	pass(work.is_disposed);
	ck_assert_uint_eq(work.disposed, 1);
	ck_assert_int_eq(loop_turn(loop, false), 0);
	ck_assert_uint_eq(work.done, 0);
	ck_assert_ptr_null(job_drop(NULL));
	(void)loop_free(loop);
	end(&work);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("net/job");
	TCase *tests = tcase_create("job");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, job__works_beside_the_loop_and_is_done_in_it);
	tcase_add_test(tests, job__dropped_while_it_works_is_disposed_of_behind_it);
	tcase_add_loop_test(tests, job__dropped_before_the_loop_looks_is_disposed_of_once, 0, 20);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
