/*
 * Every request of the control socket: name, parameters, handler. CONTROL.md says in words what
 * stands here in rows; a test compares them.
 *
 * Read next: requests.h.
 */
#include "target/ctl/order_image.h"

/* clang-format off */

#define PARAMETERS(rows) .parameters = (rows), .parameter_count = ARRAY_SIZE(rows)
#define TARGET_NAME .name = "target", .type = CONTROL_TEXT, .min = 1, .max = CONF_ISCSI_NAME_BYTES_MAX
#define LUN_NUMBER .name = "lun", .type = CONTROL_NUMBER, .min = 0, .max = CONF_LUN_NUMBER_MAX
#define IMAGE_PATH .name = "image", .type = CONTROL_TEXT, .min = 1, .max = CONTROL_LISTED_MAX

static const struct control_parameter luns_parameters[] = {
	{ TARGET_NAME, .optional = true },
	/* Leave out what a change of reservations that is under way makes wait. */
	{ .name = "quick", .type = CONTROL_FLAG, .optional = true },
};

static const struct control_parameter one_target[] = {
	{ TARGET_NAME, .optional = true },
};

static const struct control_parameter one_lun[] = {
	{ TARGET_NAME },
	{ LUN_NUMBER },
};

static const struct control_parameter alua_set_parameters[] = {
	{ TARGET_NAME },
	{ .name = "group", .type = CONTROL_NUMBER, .min = 1, .max = UINT16_MAX },
	{ .name = "state", .type = CONTROL_TEXT, .min = 1, .max = 32 },
	{ .name = "preferred", .type = CONTROL_FLAG, .optional = true },
};

static const struct control_parameter reload_parameters[] = {
	{ .name = "dry-run", .type = CONTROL_FLAG, .optional = true },
};

#define SNAPSHOT_NAME .type = CONTROL_TEXT, .min = 1, .max = FAMILY_SNAPSHOT_MAX

static const struct control_parameter image_snapshot_parameters[] = {
	{ .name = "images", .type = CONTROL_TEXTS, .min = 1, .max = ORDER_IMAGES_MAX },
	{ .name = "name", SNAPSHOT_NAME, .optional = true },
};

static const struct control_parameter image_rollback_parameters[] = {
	{ IMAGE_PATH },
	{ .name = "snapshot", SNAPSHOT_NAME },
	{ .name = "keep", SNAPSHOT_NAME, .optional = true },
	/* Although sessions are logged in. */
	{ .name = "force", .type = CONTROL_FLAG, .optional = true },
};

static const struct control_parameter image_resize_parameters[] = {
	{ IMAGE_PATH },
	{ .name = "size", .type = CONTROL_NUMBER, .min = 512, .max = (uint64_t)1 << 62 },
};

static const struct control_parameter image_clone_parameters[] = {
	{ .name = "base", .type = CONTROL_TEXT, .min = 1, .max = CONTROL_LISTED_MAX },
	{ IMAGE_PATH },
	{ .name = "base-format", .type = CONTROL_TEXT, .min = 1, .max = 16, .optional = true },
};

#define JOB_RATE .name = "rate", .type = CONTROL_NUMBER, .min = 0, .max = INT64_MAX
#define JOB_WAIT .name = "wait", .type = CONTROL_FLAG

static const struct control_parameter stream_parameters[] = {
	{ IMAGE_PATH },
	{ JOB_RATE, .optional = true },
	{ JOB_WAIT, .optional = true },
	{ .name = "base", .type = CONTROL_TEXT, .min = 1, .max = 1000, .optional = true },
};

static const struct control_parameter merge_parameters[] = {
	{ IMAGE_PATH },
	{ JOB_RATE, .optional = true },
	{ JOB_WAIT, .optional = true },
};

static const struct control_parameter one_job[] = {
	{ IMAGE_PATH },
};

static const struct control_parameter rate_parameters[] = {
	{ IMAGE_PATH },
	{ JOB_RATE },
};

static const struct control_row rows[] = {
	{ .name = "help", .handler = request_help },
	{ .name = "status", .handler = request_status },
	{ .name = "sessions", PARAMETERS(one_target), .handler = request_sessions },
	{ .name = "luns", PARAMETERS(luns_parameters), .handler = request_luns },
	{ .name = "alua-show", PARAMETERS(one_target), .handler = request_alua_show },
	{ .name = "alua-set", PARAMETERS(alua_set_parameters), .handler = request_alua_set },
	{ .name = "reload", PARAMETERS(reload_parameters), .handler = request_reload },
	{ .name = "image-snapshot", PARAMETERS(image_snapshot_parameters),
	  .handler = request_image_snapshot },
	{ .name = "image-rollback", PARAMETERS(image_rollback_parameters),
	  .handler = request_image_rollback },
	{ .name = "image-resize", PARAMETERS(image_resize_parameters), .handler = request_image_resize },
	{ .name = "image-clone", PARAMETERS(image_clone_parameters), .handler = request_image_clone },
	{ .name = "reservations-show", PARAMETERS(one_lun), .handler = request_reservations_show },
	{ .name = "reservations-clear", PARAMETERS(one_lun), .handler = request_reservations_clear },
	{ .name = "image-stream", PARAMETERS(stream_parameters), .handler = request_image_stream },
	{ .name = "image-commit", PARAMETERS(merge_parameters), .handler = request_image_commit },
	{ .name = "image-remove", PARAMETERS(merge_parameters), .handler = request_image_remove },
	{ .name = "jobs", .handler = request_jobs },
	{ .name = "job-cancel", PARAMETERS(one_job), .handler = request_job_cancel },
	{ .name = "job-rate", PARAMETERS(rate_parameters), .handler = request_job_rate },
};

const struct control_table control_requests = { rows, ARRAY_SIZE(rows) };
