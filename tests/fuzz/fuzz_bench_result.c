/*
 * Fuzzer of result files: two in one input, split at the first zero byte, are loaded and compared.
 *
 * Oracle beyond the sanitizers: every figure that is taken is finite and in range, and neither the
 * error nor a warning holds a byte that a terminal might obey.
 */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "target/bench/compare.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

static void check_text(const char *text)
{
	for (; *text != '\0'; text++)
		assert(*text >= ' ' && *text <= '~');
}

static int load(struct result_file *out, const uint8_t *bytes, size_t len_bytes)
{
	static const char nothing[] = " ";
	const void *from_bytes = len_bytes > 0 ? (const void *)bytes : nothing;
	FILE *from = fmemopen((void *)(uintptr_t)from_bytes, len_bytes > 0 ? len_bytes : 1, "r");
	char error[128] = "";
	int err;

	if (!from)
		return -1;
	err = result_file_load(out, from, error, sizeof(error));
	(void)fclose(from);
	check_text(error);
	assert(!err == (error[0] == '\0'));
	return err;
}

static void check_figures(const struct result_file *file)
{
	for (size_t i = 0; i < METRIC_COUNT; i++) {
		const struct result_figure *figure = &file->figures[i];

		assert(!figure->present || (isfinite(figure->value) && figure->value >= 0));
		assert(isfinite(figure->samples.mean) && isfinite(figure->samples.error));
	}
}

static void compare(const struct result_file files[2])
{
	static struct comparison comparison;
	static const char *const names[2] = {"old", "new"};
	char *text = NULL;
	size_t text_bytes = 0;
	FILE *to = open_memstream(&text, &text_bytes);

	if (!to)
		return;
	compare_files(&comparison, files, names, 1);
	for (unsigned i = 0; i < comparison.difference_count; i++)
		check_text(comparison.differences[i]);
	if (compare_print_table(&comparison, to) || compare_print_json(&comparison, to))
		abort();
	(void)fclose(to);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
	const uint8_t *zero = len_bytes > 0 ? memchr(bytes, 0, len_bytes) : NULL;
	size_t first_bytes = zero ? (size_t)(zero - bytes) : len_bytes;
	struct result_file files[2] = {{.root = NULL}, {.root = NULL}};

	if (!load(&files[0], bytes, first_bytes)) {
		check_figures(&files[0]);
		if (zero && !load(&files[1], zero + 1, len_bytes - first_bytes - 1)) {
			check_figures(&files[1]);
			compare(files);
		}
	}
	result_file_release(&files[0]);
	result_file_release(&files[1]);
	return 0;
}
