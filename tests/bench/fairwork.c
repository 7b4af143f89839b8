/*
 * fairbench's processes: forked, told by their slots, killed.
 */
#include "tests/bench/fair.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READY_SECONDS 30.0
#define REST_SECONDS 120.0
#define POLL_SECONDS 0.001

void fair_sleep(double seconds)
{
	struct timespec ts = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* Until the flag is set; a worker that died has said why. */
static void await_flag(const struct worker *worker, const atomic_bool *flag, double seconds, const char *what)
{
	double until = bench_usec() + seconds * 1e6;

	while (!atomic_load(flag)) {
		if (waitpid(worker->pid, NULL, WNOHANG) == worker->pid)
			bench_die("a process of the scenario died");
		if (bench_usec() > until)
			bench_die("a process of the scenario %s", what);
		fair_sleep(POLL_SECONDS);
	}
}

void worker_start(struct worker *worker, worker_fn fn, const void *spec)
{
	pid_t parent = getpid();

	worker->slot =
	    mmap(NULL, sizeof(*worker->slot), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (worker->slot == MAP_FAILED)
		bench_die("no memory");
	worker->pid = fork();
	if (worker->pid < 0)
		bench_die("cannot fork: %s", strerror(errno));
	if (worker->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			fn(worker->slot, spec);
		_exit(1);
	}
	await_flag(worker, &worker->slot->ready, READY_SECONDS, "does not get ready");
}

void workers_stop(struct worker *workers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		(void)kill(workers[i].pid, SIGKILL);
		(void)waitpid(workers[i].pid, NULL, 0);
		(void)munmap(workers[i].slot, sizeof(*workers[i].slot));
	}
}

void workers_go(struct worker *workers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		atomic_store(&workers[i].slot->resting, false);
		atomic_store(&workers[i].slot->go, true);
	}
}

void workers_rest(struct worker *workers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		atomic_store(&workers[i].slot->go, false);
	for (size_t i = 0; i < count; i++)
		await_flag(&workers[i], &workers[i].slot->resting, REST_SECONDS, "does not come to rest");
}
