/*
 * Loaded into iscsi-test-cu by conformance.sh, for two things that the suite does not do itself.
 *
 * It says of each assertion that only passes because a test was skipped that it was: CUnit prints
 * nothing of what passes, so such a test looks like any other.
 *
 * And it brings the answer to a LOGICAL UNIT RESET before the call that asks for it returns. The
 * test iSCSITMF.LUNResetSimpleAsync of libiscsi 1.19 asserts that answer between asking and polling
 * for it, so that no target can pass.
 *
 * Not a change of what the suite sends or expects. Its one thread runs this. Read next:
 * conformance.sh.
 */
#include <dlfcn.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
	TURNS_MAX = 50,
	TURN_MS = 100,
};

/* As in CUnit's TestDB.h, which the tests do not need otherwise. */
int CU_assertImplementation(int passed, unsigned line, const char *condition, const char *file,
			    const char *function, int fatal);

int CU_assertImplementation(int passed, unsigned line, const char *condition, const char *file,
			    const char *function, int fatal)
{
	int (*next)(int, unsigned, const char *, const char *, const char *, int) = NULL;

	*(void **)&next = dlsym(RTLD_NEXT, "CU_assertImplementation");
	if (passed && (strstr(condition, "SKIP") != NULL || strstr(condition, "Skip") != NULL))
		printf("[SKIPPED] %s:%u %s\n", file, line, condition);
	return next(passed, line, condition, file, function, fatal);
}

/* The answer waited for. One at a time: the suite has no second reset under way. */
static struct {
	iscsi_command_cb answered;
	void *private_data;
	bool done;
} reset;

static void reset_answered(struct iscsi_context *iscsi, int status, void *data, void *private_data)
{
	(void)private_data;
	reset.done = true;
	reset.answered(iscsi, status, data, reset.private_data);
}

static void serve_until_answered(struct iscsi_context *iscsi)
{
	for (int i = 0; i < TURNS_MAX && !reset.done; i++) {
		struct pollfd fd = {
			.fd = iscsi_get_fd(iscsi),
			.events = (short)iscsi_which_events(iscsi),
		};

		if (poll(&fd, 1, TURN_MS) < 0 || iscsi_service(iscsi, fd.revents) != 0)
			break;
	}
}

int iscsi_task_mgmt_async(struct iscsi_context *iscsi, int lun, enum iscsi_task_mgmt_funcs function,
			  uint32_t ritt, uint32_t rcmdsn, iscsi_command_cb answered,
			  void *private_data)
{
	int (*next)(struct iscsi_context *, int, enum iscsi_task_mgmt_funcs, uint32_t, uint32_t,
		    iscsi_command_cb, void *) = NULL;
	int status;

	*(void **)&next = dlsym(RTLD_NEXT, "iscsi_task_mgmt_async");
	if (function != ISCSI_TM_LUN_RESET)
		return next(iscsi, lun, function, ritt, rcmdsn, answered, private_data);
	reset.answered = answered;
	reset.private_data = private_data;
	reset.done = false;
	status = next(iscsi, lun, function, ritt, rcmdsn, reset_answered, NULL);
	if (status == 0)
		serve_until_answered(iscsi);
	return status;
}
