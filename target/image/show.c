/*
 * Answers for people: lines and columns. What others named reaches the terminal without control
 * characters.
 */
#include <string.h>

#include "target/cli/columns.h"
#include "target/image/verb.h"

/* clang-format off */

static const struct column info_lines[] = {
	{ "image", "filename", COLUMN_TEXT },
	{ "file format", "format", COLUMN_TEXT },
	{ "virtual size", "virtual-size", COLUMN_BYTES },
	{ "disk size", "actual-size", COLUMN_BYTES },
	{ "cluster size", "cluster-size", COLUMN_BYTES },
	{ "backing file", "backing-filename", COLUMN_TEXT },
	{ "backing format", "backing-filename-format", COLUMN_TEXT },
	{ "in use", "in-use", COLUMN_YES_NO },
	{ "dirty", "dirty-flag", COLUMN_YES_NO },
	{ "internal snapshots", "internal-snapshots", COLUMN_NUMBER },
	{ "problem", "problem", COLUMN_TEXT },
};

static const struct column specific_lines[] = {
	{ "compat", "compat", COLUMN_TEXT },
	{ "compression type", "compression-type", COLUMN_TEXT },
	{ "extended l2", "extended-l2", COLUMN_YES_NO },
	{ "refcount bits", "refcount-bits", COLUMN_NUMBER },
	{ "corrupt", "corrupt", COLUMN_YES_NO },
};

static const struct column check_lines[] = {
	{ "corruptions", "corruptions", COLUMN_NUMBER },
	{ "leaked clusters", "leaks", COLUMN_NUMBER },
	{ "of these repaired", "corruptions-fixed", COLUMN_NUMBER },
	{ "leaks returned", "leaks-fixed", COLUMN_NUMBER },
	{ "clusters", "total-clusters", COLUMN_NUMBER },
	{ "allocated", "allocated-clusters", COLUMN_NUMBER },
	{ "compressed", "compressed-clusters", COLUMN_NUMBER },
};

static const struct column map_columns[] = {
	{ "START", "start", COLUMN_NUMBER },
	{ "LENGTH", "length", COLUMN_NUMBER },
	{ "DEPTH", "depth", COLUMN_NUMBER },
	{ "DATA", "data", COLUMN_YES_NO },
	{ "ZERO", "zero", COLUMN_YES_NO },
	{ "COMPRESSED", "compressed", COLUMN_YES_NO },
	{ "OFFSET", "offset", COLUMN_NUMBER },
	{ "FILE", "filename", COLUMN_TEXT },
};

static const struct column list_columns[] = {
	{ "IMAGE", "tree", COLUMN_TEXT },
	{ "FORMAT", "format", COLUMN_TEXT },
	{ "SIZE", "virtual-size", COLUMN_BYTES },
	{ "OWN", "actual-size", COLUMN_BYTES },
	{ "CHILDREN", "children", COLUMN_NUMBER },
	{ "IN USE", "in-use", COLUMN_YES_NO },
	{ "PROBLEM", "problem", COLUMN_TEXT },
};

static const struct column family_columns[] = {
	{ "IMAGE", "filename", COLUMN_TEXT },
	{ "SNAPSHOT", "snapshot", COLUMN_TEXT },
};

static const struct column job_columns[] = {
	{ "IMAGE", "image", COLUMN_TEXT },
	{ "JOB", "kind", COLUMN_TEXT },
	{ "STATE", "state", COLUMN_TEXT },
	{ "DONE", "done_bytes", COLUMN_BYTES },
	{ "OF", "total_bytes", COLUMN_BYTES },
	{ "LEFT", "left_s", COLUMN_SECONDS },
	{ "WHY", "why", COLUMN_TEXT },
};

static const struct column du_columns[] = {
	{ "FILE", "filename", COLUMN_TEXT },
	{ "SIZE", "virtual-size", COLUMN_BYTES },
	{ "OWN", "own-size", COLUMN_BYTES },
	{ "SHARED", "shared-size", COLUMN_BYTES },
};

/* clang-format on */

#define LIST(name) (name), ARRAY_SIZE(name)

/* Only what there is. */
static void print_lines(FILE *to, const json_t *from, const struct column *lines, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const json_t *value = json_object_get(from, lines[i].member);
		char cell[COLUMN_CELL_BYTES];

		column_text(lines[i].kind, value, cell);
		if (value != NULL)
			(void)fprintf(to, "%-18s %s\n", lines[i].title, cell);
	}
}

void image_show_create(FILE *to, const json_t *result)
{
	print_lines(to, result, LIST(info_lines));
}

static void show_one(FILE *to, const json_t *image)
{
	print_lines(to, image, LIST(info_lines));
	print_lines(to, json_object_get(json_object_get(image, "format-specific"), "data"),
		    LIST(specific_lines));
}

void image_show_info(FILE *to, const json_t *result)
{
	const json_t *image;
	size_t i;

	if (!json_is_array(result))
		show_one(to, result);
	json_array_foreach(result, i, image)
	{
		if (i > 0)
			(void)fputc('\n', to);
		show_one(to, image);
	}
}

void image_show_check(FILE *to, const json_t *result)
{
	const json_t *finding;
	size_t i;

	json_array_foreach(json_object_get(result, "findings"), i, finding)
	{
		char cell[COLUMN_CELL_BYTES];

		column_text(COLUMN_TEXT, finding, cell);
		(void)fprintf(to, "%s\n", cell);
	}
	print_lines(to, result, LIST(check_lines));
	if (json_is_string(json_object_get(result, "remedy")))
		(void)fprintf(to, "%s\n", json_string_value(json_object_get(result, "remedy")));
}

void image_show_map(FILE *to, const json_t *result)
{
	columns_print(to, result, LIST(map_columns), "it has no extents");
}

void image_show_du(FILE *to, const json_t *result)
{
	columns_print(to, result, LIST(du_columns), "there are none");
}

/* Each below what it is based on, and two columns to the right. */
void image_show_list(FILE *to, const json_t *result)
{
	json_t *rows = json_deep_copy(result);
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		char tree[COLUMN_CELL_BYTES];
		int level = (int)json_integer_value(json_object_get(row, "level"));

		(void)snprintf(tree, sizeof(tree), "%*s%s", 2 * level, "",
			       json_string_value(json_object_get(row, "filename")));
		(void)json_object_set_new(row, "tree", image_text(tree));
	}
	columns_print(to, rows, LIST(list_columns), "there are no images");
	json_decref(rows);
}

/* A daemon's list of images, or ours. */
void image_show_family(FILE *to, const json_t *result)
{
	const json_t *list = json_object_get(result, "images");
	json_t *rows = json_is_array(result) ? json_deep_copy(result)
		       : list != NULL        ? json_deep_copy(list)
					     : json_pack("[O]", result);
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		if (json_object_get(row, "filename") == NULL)
			(void)json_object_set(row, "filename", json_object_get(row, "image"));
		if (json_object_get(row, "snapshot") == NULL)
			(void)json_object_set(row, "snapshot", json_object_get(result, "snapshot"));
	}
	columns_print(to, rows, LIST(family_columns), "nothing was done");
	json_decref(rows);
}

void image_show_jobs(FILE *to, const json_t *result)
{
	columns_print(to, json_object_get(result, "jobs"), LIST(job_columns), "there are no jobs");
}

void image_show_done(FILE *to, const json_t *result)
{
	const char *state = json_string_value(json_object_get(result, "state"));

	(void)fprintf(to, "%s\n",
		      state != NULL && strcmp(state, "running") == 0 ? "begun" : "done");
}
