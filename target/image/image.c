/*
 * `ringsan image`: from argv to exit status, and how errors and answers leave. See verb.h.
 */
#include "target/image/verb.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "lun/files.h"
#include "target/cli/columns.h"
#include "target/image/interrupt.h"

/* -- Errors -- */

struct error_row {
	int res;
	const char *code; /* As CONTROL.md has them. */
	const char *remedy;
};

static const struct error_row error_rows[] = {
	{-EINVAL, "bad-request", "see the manual, ringsan(1)"},
	{-ENOENT, "not-found", "check the path"},
	{-ENOTDIR, "not-found", "check the path"},
	{-EISDIR, "refused", "name a file"},
	{-EACCES, "refused", "run this as the file's owner or root"},
	{-EPERM, "refused", "run this as the file's owner or root"},
	{-EROFS, "refused", "name a folder that may be written"},
	{-EEXIST, "refused", "choose another name, or remove it first"},
	{-ENOTSUP, "refused", "see the manual, ringsan(1)"},
	{-EBUSY, "busy", "wait until it has ended, or stop it"},
	{-ENOSPC, "failed", "free some space there, or take another folder"},
	{-EDQUOT, "failed", "free some space there, or take another folder"},
	{-EFBIG, "failed", "take a file system, or limits (ulimit -f), for larger files"},
	{-ENOMEM, "busy", "free some memory"},
	{-EIO, "failed", "look at the disk below it (dmesg)"},
	{-EINTR, "failed", "run it again"},
	{0, "failed", "look at the file system below it (dmesg)"},
};

static const struct error_row *row_of(int res)
{
	size_t i = 0;

	while (error_rows[i].res != res && error_rows[i].res != 0)
		i++;
	return &error_rows[i];
}

int image_refuse(struct image_order *order, int res, const char *remedy, const char *format, ...)
{
	va_list args;

	if (order->message[0] != '\0')
		return res;
	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(order->message, sizeof(order->message), format, args);
	va_end(args);
	order->code = row_of(res)->code;
	order->remedy = remedy != NULL ? remedy : row_of(res)->remedy;
	return res;
}

int image_refuse_errno(struct image_order *order, int res, const char *what, const char *path)
{
	return image_refuse(order, res, NULL, "%s %s: %s", path, what, files_error(res));
}

json_t *image_text(const char *text)
{
	json_t *value = json_string(text);
	char plain[IMAGE_TEXT_BYTES];

	if (value != NULL)
		return value;
	(void)snprintf(plain, sizeof(plain), "%.*s", (int)sizeof(plain) - 1, text);
	for (char *at = plain; *at != '\0'; at++)
		*at = (unsigned char)*at < 0x80 ? *at : '?';
	return json_string(plain);
}

static void print_error(const struct image_order *order, json_t *message)
{
	char shown[COLUMN_CELL_BYTES];

	if (order->common.json) {
		json_t *error = json_pack("{s:{s:s, s:O, s:s}}", "error", "code", order->code,
					  "message", message, "remedy", order->remedy);

		(void)json_dumpf(error, stdout, JSON_INDENT(2));
		(void)fputc('\n', stdout);
		json_decref(error);
	} else {
		column_text(COLUMN_TEXT, message, shown);
		(void)fprintf(stderr, "ringsan: %s\n%s\n", shown, order->remedy);
	}
}

static int fail(const struct image_order *order, int res, int status)
{
	json_t *message = image_text(order->message);

	print_error(order, message);
	json_decref(message);
	return res == -EINTR && interrupted() ? IMAGE_EXIT_INTERRUPTED : status;
}

/* -- Answers -- */

/* A full disk must not pass for an answer. */
static bool is_written(void)
{
	bool good = fflush(stdout) == 0 && ferror(stdout) == 0;

	if (!good)
		(void)fputs("ringsan: the answer cannot be written; is the disk full?\n", stderr);
	return good;
}

static int show(const struct image_order *order)
{
	if (order->common.json) {
		(void)json_dumpf(order->result, stdout, JSON_INDENT(2));
		(void)fputc('\n', stdout);
	} else {
		order->verb->show(stdout, order->result);
	}
	return is_written() ? order->status : IMAGE_EXIT_FAILED;
}

static int run(struct image_order *order)
{
	int status;
	int res;

	interrupt_watch();
	res = order->verb->run(order);
	if (res == 0 && order->result == NULL)
		res = image_refuse(order, -ENOMEM, NULL, "memory is short");
	status = res == 0 ? show(order) : fail(order, res, IMAGE_EXIT_FAILED);
	json_decref(order->result);
	return status;
}

int image_main(int argc, char **argv)
{
	struct image_order order;
	int res;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		image_help_all(stdout);
		return IMAGE_EXIT_OK;
	}
	res = image_parse(&order, argc - 1, argv + 1);
	if (res != 0)
		return fail(&order, res, IMAGE_EXIT_USAGE);
	if (order.common.help) {
		image_help_verb(stdout, order.verb);
		return IMAGE_EXIT_OK;
	}
	return run(&order);
}
