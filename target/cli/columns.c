/*
 * Aligned columns; see columns.h. The list is walked twice: for the widths, then for the lines.
 */
#include "target/cli/columns.h"

#include <stdbool.h>
#include <string.h>

#define COLUMNS_MAX 12u

/* -- Values -- */

static void bytes_text(double bytes, char out[COLUMN_CELL_BYTES])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	size_t unit = 0;

	/* So that no 1024.0 is printed. */
	while (bytes >= 1023.95 && unit + 1 < ARRAY_SIZE(units)) {
		bytes /= 1024;
		unit++;
	}
	(void)snprintf(out, COLUMN_CELL_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", bytes,
		       units[unit]);
}

/* The two largest units that are not zero at the front. */
static void seconds_text(json_int_t seconds, char out[COLUMN_CELL_BYTES])
{
	if (seconds >= 86400)
		(void)snprintf(out, COLUMN_CELL_BYTES, "%lldd %lldh", seconds / 86400,
			       seconds % 86400 / 3600);
	else if (seconds >= 3600)
		(void)snprintf(out, COLUMN_CELL_BYTES, "%lldh %lldm", seconds / 3600,
			       seconds % 3600 / 60);
	else if (seconds >= 60)
		(void)snprintf(out, COLUMN_CELL_BYTES, "%lldm %llds", seconds / 60, seconds % 60);
	else
		(void)snprintf(out, COLUMN_CELL_BYTES, "%llds", seconds);
}

/* Control characters of ASCII, and those from U+0080 to U+009F, which are C2h and another byte. */
static void plain_text(const char *text, char out[COLUMN_CELL_BYTES])
{
	(void)snprintf(out, COLUMN_CELL_BYTES, "%s", text);
	for (char *at = out; *at != '\0'; at++) {
		if ((unsigned char)*at < ' ' || *at == '\x7f')
			*at = '?';
		if (*at == '\xc2' && (unsigned char)at[1] < 0xA0)
			memset(at, '?', at[1] != '\0' ? 2 : 1);
	}
}

void column_text(enum column_kind kind, const json_t *value, char out[COLUMN_CELL_BYTES])
{
	(void)snprintf(out, COLUMN_CELL_BYTES, "-");
	if (kind == COLUMN_TEXT && json_is_string(value))
		plain_text(json_string_value(value), out);
	else if (kind == COLUMN_NUMBER && json_is_integer(value))
		(void)snprintf(out, COLUMN_CELL_BYTES, "%lld", json_integer_value(value));
	else if (kind == COLUMN_NUMBER && json_is_real(value))
		(void)snprintf(out, COLUMN_CELL_BYTES, "%.2f", json_real_value(value));
	else if (kind == COLUMN_BYTES && json_is_integer(value))
		bytes_text((double)json_integer_value(value), out);
	else if (kind == COLUMN_SECONDS && json_is_integer(value))
		seconds_text(json_integer_value(value), out);
	else if (kind == COLUMN_YES_NO && json_is_boolean(value))
		(void)snprintf(out, COLUMN_CELL_BYTES, json_is_true(value) ? "yes" : "no");
}

/* -- Lists -- */

static bool is_right(const struct column *column)
{
	return column->kind == COLUMN_NUMBER || column->kind == COLUMN_BYTES ||
	       column->kind == COLUMN_SECONDS;
}

static size_t width_of(const json_t *list, const struct column *column)
{
	size_t width = strlen(column->title);
	size_t index;
	json_t *item;

	json_array_foreach(list, index, item)
	{
		char cell[COLUMN_CELL_BYTES];

		column_text(column->kind, json_object_get(item, column->member), cell);
		width = strlen(cell) > width ? strlen(cell) : width;
	}
	return width;
}

static void print_cell(FILE *to, const struct column *column, size_t width, const char *text,
		       bool last)
{
	if (last && !is_right(column)) {
		(void)fputs(text, to);
	} else {
		(void)fprintf(to, is_right(column) ? "%*s" : "%-*s", (int)width, text);
	}
	(void)fputs(last ? "\n" : "  ", to);
}

/* Of one object, or (NULL) the titles. */
static void print_line(FILE *to, const json_t *item, const struct column *columns,
		       const size_t widths[COLUMNS_MAX], size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char cell[COLUMN_CELL_BYTES];

		column_text(columns[i].kind, json_object_get(item, columns[i].member), cell);
		print_cell(to, &columns[i], widths[i], item != NULL ? cell : columns[i].title,
			   i + 1 == count);
	}
}

void columns_print(FILE *to, const json_t *list, const struct column *columns, size_t count,
		   const char *none)
{
	size_t widths[COLUMNS_MAX];
	size_t index;
	json_t *item;

	if (json_array_size(list) == 0) {
		(void)fprintf(to, "%s\n", none);
		return;
	}
	count = count < COLUMNS_MAX ? count : COLUMNS_MAX;
	for (size_t i = 0; i < count; i++)
		widths[i] = width_of(list, &columns[i]);
	print_line(to, NULL, columns, widths, count);
	json_array_foreach(list, index, item)
	{
		print_line(to, item, columns, widths, count);
	}
}
