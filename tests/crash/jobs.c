/*
 * Processes and the memory they share. See jobs.h.
 */
#include "tests/crash/jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/crash/campaign.h"
#include "tests/crash/oracle.h"

/* Of a part that runs. */
struct running {
	pid_t pid;
	unsigned part;
	uint64_t began_ns;
};

static void NORETURN give_up(const char *what)
{
	perror(what);
	exit(2);
}

static size_t results_bytes(const struct jobs *jobs)
{
	return jobs->parts * jobs->result_bytes + reach_count() * sizeof(uint64_t);
}

static uint64_t *reached(const struct jobs *jobs)
{
	return jobs_result(jobs, jobs->parts);
}

void *jobs_result(const struct jobs *jobs, unsigned part)
{
	return (char *)jobs->results + part * jobs->result_bytes;
}

void jobs_free(struct jobs *jobs)
{
	(void)munmap(jobs->results, results_bytes(jobs) + 1);
	free(jobs->job);
}

static void NORETURN run_here(const struct jobs *jobs, unsigned part)
{
	reach_clear();
	jobs->run(jobs->arg, part, jobs_result(jobs, part));
	reach_add_to(reached(jobs));
	oracle_clear();
	(void)fflush(stdout);
	_exit(0);
}

static void begin(const struct jobs *jobs, struct running *running, unsigned part)
{
	*running = (struct running){.part = part, .began_ns = sim_real_ns()};
	(void)fflush(stdout);
	running->pid = fork();
	if (running->pid < 0)
		give_up("crash: fork");
	if (running->pid == 0)
		run_here(jobs, part);
}

/* It has no words of its own for that. */
static void print_signal(const struct jobs *jobs, unsigned part, int status)
{
	if (WIFSIGNALED(status) && !jobs->go_on)
		printf("FAIL part %u of %u ended by signal %d; again: --jobs=0\n", part,
		       jobs->parts, WTERMSIG(status));
}

/* One of them ends; true: well. */
static bool wait_for_one(const struct jobs *jobs, struct running *running, unsigned *count)
{
	int status;
	pid_t pid = wait(&status);
	unsigned i = 0;

	if (pid < 0)
		give_up("crash: wait");
	while (i < *count && running[i].pid != pid)
		i++;
	if (i == *count)
		return true;
	jobs->job[running[i].part].status = status;
	jobs->job[running[i].part].took_ns = sim_real_ns() - running[i].began_ns;
	print_signal(jobs, running[i].part, status);
	running[i] = running[--*count];
	return status == 0;
}

/* They are begun in their order, and those that were are waited for: of all that would fail, the
 * first one does. */
static bool run_beside(const struct jobs *jobs)
{
	struct running *running = calloc(jobs->processes, sizeof(*running));
	unsigned count = 0;
	unsigned next = 0;
	bool good = true;

	if (!running)
		give_up("crash");
	while (count || (next < jobs->parts && (good || jobs->go_on))) {
		bool more = next < jobs->parts && (good || jobs->go_on);

		if (more && count < jobs->processes)
			begin(jobs, &running[count++], next++);
		else
			good &= wait_for_one(jobs, running, &count);
	}
	free(running);
	return good;
}

bool jobs_run(struct jobs *jobs)
{
	bool good;

	jobs->job = calloc(jobs->parts, sizeof(*jobs->job));
	jobs->results = mmap(NULL, results_bytes(jobs) + 1, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!jobs->job || jobs->results == MAP_FAILED)
		give_up("crash");
	for (unsigned i = 0; i < jobs->parts; i++)
		jobs->job[i].status = jobs->processes ? -1 : 0;
	if (jobs->processes) {
		good = run_beside(jobs);
		reach_add_from(reached(jobs));
		return good;
	}
	for (unsigned i = 0; i < jobs->parts; i++)
		jobs->run(jobs->arg, i, jobs_result(jobs, i));
	return true;
}
