/*
 * One flag, set by a signal. See interrupt.h.
 */
#include "target/image/interrupt.h"

#include <signal.h>
#include <stddef.h>

#include "base/attr.h"

static volatile sig_atomic_t flag;

static void on_signal(int number UNUSED)
{
	flag = 1;
}

void interrupt_watch(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal,
				   .sa_flags = SA_RESTART | (int)SA_RESETHAND};

	/* What the caller has ignored (nohup) stays so. */
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		struct sigaction before;

		if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			(void)sigaction(numbers[i], &action, NULL);
	}
	/* A reader that has gone away, and a limit, are errors of writing. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
}

bool interrupted(void)
{
	return flag != 0;
}
