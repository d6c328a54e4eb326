/*
 * How each verb shows what it was answered to people: lists as columns, the rest as lines. Which
 * columns stands here in tables.
 */
#include "target/cli/cli.h"

#include <string.h>

#include "target/cli/columns.h"

/* clang-format off */

static const struct column loop_columns[] = {
	{ "LOOP", "loop", COLUMN_NUMBER },
	{ "SESSIONS", "sessions", COLUMN_NUMBER },
	{ "CPU s", "cpu_s", COLUMN_NUMBER },
	{ "BUFFERS", "buffers", COLUMN_NUMBER },
	{ "USED", "buffers_used", COLUMN_NUMBER },
	{ "TASKS", "tasks", COLUMN_NUMBER },
	{ "USED", "tasks_used", COLUMN_NUMBER },
};

static const struct column portal_columns[] = {
	{ "PORTAL", "address", COLUMN_TEXT },
	{ "GROUP", "group", COLUMN_NUMBER },
};

/* Lines of `status`, not a list's. */
static const struct column status_lines[] = {
	{ "version", "version", COLUMN_TEXT },
	{ "process", "pid", COLUMN_NUMBER },
	{ "up", "uptime_s", COLUMN_SECONDS },
	{ "configuration", "configuration", COLUMN_TEXT },
	{ "engine", "engine", COLUMN_TEXT },
	{ "memory", "memory_bytes", COLUMN_BYTES },
	{ "buffers, at most", "buffer_memory_bytes", COLUMN_BYTES },
	{ "targets", "targets", COLUMN_NUMBER },
	{ "LUNs", "luns", COLUMN_NUMBER },
	{ "LUNs offline", "luns_offline", COLUMN_NUMBER },
	{ "sessions", "sessions", COLUMN_NUMBER },
	{ "sessions, at most", "sessions_max", COLUMN_NUMBER },
	{ "not logged in yet", "logins", COLUMN_NUMBER },
};

static const struct column session_columns[] = {
	{ "INITIATOR", "initiator", COLUMN_TEXT },
	{ "TARGET", "target", COLUMN_TEXT },
	{ "LUNS", "luns", COLUMN_NUMBER },
	{ "ADDRESS", "address", COLUMN_TEXT },
	{ "GROUP", "group", COLUMN_NUMBER },
	{ "ISID", "isid", COLUMN_TEXT },
	{ "TSIH", "tsih", COLUMN_NUMBER },
	{ "LOOP", "loop", COLUMN_NUMBER },
	{ "AGE", "age_s", COLUMN_SECONDS },
	{ "COMMANDS", "commands", COLUMN_NUMBER },
	{ "WINDOW", "window", COLUMN_NUMBER },
};

static const struct column lun_columns[] = {
	{ "TARGET", "target", COLUMN_TEXT },
	{ "LUN", "lun", COLUMN_NUMBER },
	{ "SIZE", "size_bytes", COLUMN_BYTES },
	{ "USED", "used_bytes", COLUMN_BYTES },
	{ "BLOCK", "block_bytes", COLUMN_NUMBER },
	{ "ONLINE", "online", COLUMN_YES_NO },
	{ "READ-ONLY", "read_only", COLUMN_YES_NO },
	{ "RESERVATION", "reservation", COLUMN_TEXT },
	{ "HOLDER", "holder", COLUMN_TEXT },
	{ "IDENTITY", "naa", COLUMN_TEXT },
};

static const struct column arrival_lines[] = {
	{ "logins admitted", "admitted", COLUMN_NUMBER },
	{ "redirected", "redirected", COLUMN_NUMBER },
	{ "refused", "refused", COLUMN_NUMBER },
	{ "of these unproved", "unproved", COLUMN_NUMBER },
	{ "closed before", "closed", COLUMN_NUMBER },
};

static const struct column group_columns[] = {
	{ "TARGET", "target", COLUMN_TEXT },
	{ "GROUP", "group", COLUMN_NUMBER },
	{ "STATE", "state", COLUMN_TEXT },
	{ "PREFERRED", "preferred", COLUMN_YES_NO },
	{ "CHANGED BY", "changed_by", COLUMN_TEXT },
};

static const struct column registration_columns[] = {
	{ "INITIATOR PORT", "initiator", COLUMN_TEXT },
	{ "GROUP", "group", COLUMN_NUMBER },
	{ "KEY", "key", COLUMN_TEXT },
	{ "HOLDER", "holder", COLUMN_YES_NO },
};

/* clang-format on */

#define LIST(name) (name), ARRAY_SIZE(name)

static void print_lines(FILE *to, const json_t *from, const struct column *lines, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char cell[COLUMN_CELL_BYTES];

		column_text(lines[i].kind, json_object_get(from, lines[i].member), cell);
		(void)fprintf(to, "%-18s %s\n", lines[i].title, cell);
	}
}

void cli_show_status(FILE *to, const json_t *result)
{
	print_lines(to, result, LIST(status_lines));
	print_lines(to, json_object_get(result, "arrivals"), LIST(arrival_lines));
	(void)fputc('\n', to);
	columns_print(to, json_object_get(result, "portals"), LIST(portal_columns), "no portals");
	(void)fputc('\n', to);
	columns_print(to, json_object_get(result, "loops"), LIST(loop_columns), "no loops");
}

void cli_show_sessions(FILE *to, const json_t *result)
{
	columns_print(to, json_object_get(result, "sessions"), LIST(session_columns),
		      "nobody is logged in");
}

/* Why LUNs are offline does not fit a column. */
static void print_reasons(FILE *to, const json_t *list)
{
	size_t index;
	json_t *lun;

	json_array_foreach(list, index, lun)
	{
		char target[COLUMN_CELL_BYTES];
		char reason[COLUMN_CELL_BYTES];

		if (!json_is_string(json_object_get(lun, "reason")))
			continue;
		column_text(COLUMN_TEXT, json_object_get(lun, "target"), target);
		column_text(COLUMN_TEXT, json_object_get(lun, "reason"), reason);
		(void)fprintf(to, "%s LUN %lld is offline: %s\n", target,
			      json_integer_value(json_object_get(lun, "lun")), reason);
	}
}

/* What the daemon does by itself, as long as it does. */
static void print_recoveries(FILE *to, const json_t *list)
{
	size_t index;
	json_t *lun;

	json_array_foreach(list, index, lun)
	{
		const json_t *recovery = json_object_get(lun, "recovery");
		char target[COLUMN_CELL_BYTES];

		if (!json_is_true(json_object_get(recovery, "running")))
			continue;
		column_text(COLUMN_TEXT, json_object_get(lun, "target"), target);
		(void)fprintf(to,
			      "%s LUN %lld: clusters that a crash leaked are looked for, %lld have "
			      "gone back\n",
			      target, json_integer_value(json_object_get(lun, "lun")),
			      json_integer_value(json_object_get(recovery, "clusters")));
	}
}

void cli_show_luns(FILE *to, const json_t *result)
{
	const json_t *list = json_object_get(result, "luns");

	columns_print(to, list, LIST(lun_columns), "there are no LUNs");
	print_reasons(to, list);
	print_recoveries(to, list);
}

void cli_show_alua(FILE *to, const json_t *result)
{
	columns_print(to, json_object_get(result, "groups"), LIST(group_columns),
		      "there are no target port groups");
}

void cli_show_alua_set(FILE *to, const json_t *result)
{
	bool changed = json_is_true(json_object_get(result, "changed"));

	(void)fprintf(to, "%s\n", changed ? "changed" : "it was so already");
}

static void print_reservation(FILE *to, const json_t *result)
{
	char type[COLUMN_CELL_BYTES];

	column_text(COLUMN_TEXT, json_object_get(result, "reservation"), type);
	(void)fprintf(to,
		      "reservation        %s\ngeneration         %lld\nsurvives power loss %s\n",
		      type, json_integer_value(json_object_get(result, "generation")),
		      json_is_true(json_object_get(result, "survives_power_loss")) ? "yes" : "no");
	if (json_is_true(json_object_get(result, "reserve")))
		(void)fputs("A session holds the disk by RESERVE.\n", to);
}

void cli_show_reservations(FILE *to, const json_t *result)
{
	print_reservation(to, result);
	(void)fputc('\n', to);
	columns_print(to, json_object_get(result, "registrations"), LIST(registration_columns),
		      "nobody is registered");
}

void cli_show_cleared(FILE *to, const json_t *result)
{
	(void)fputs("cleared; it was:\n", to);
	cli_show_reservations(to, result);
}

/* One line each; `key` names its text. */
static void print_texts(FILE *to, const json_t *list, const char *key)
{
	const json_t *row;
	size_t i;

	json_array_foreach(list, i, row)
	{
		char text[COLUMN_CELL_BYTES];

		column_text(COLUMN_TEXT, json_object_get(row, key), text);
		(void)fprintf(to, "%s\n", text);
	}
}

void cli_show_reload(FILE *to, const json_t *result)
{
	const json_t *changes = json_object_get(result, "changes");
	const json_t *grown = json_object_get(result, "grown");
	long long going = json_integer_value(json_object_get(result, "going"));

	print_texts(to, changes, "text");
	if (json_array_size(grown) > 0)
		(void)fputs("grown:\n", to);
	print_texts(to, grown, "name");
	if (json_array_size(changes) == 0 && json_array_size(grown) == 0)
		(void)fputs("nothing is different\n", to);
	else if (!json_is_true(json_object_get(result, "dry_run")))
		(void)fputs("done\n", to);
	if (going > 0)
		(void)fprintf(
			to,
			"%lld of what was removed is still in use: its disk is stuck, or hosts "
			"have not logged out; it goes by itself, the log says when\n",
			going);
}
