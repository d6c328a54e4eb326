/*
 * Fuzz the text syntax: what was parsed and printed parses to the same again, and numbers, binary
 * values and negotiation of any value stay in their bounds.
 *
 * Input: the text of one request. Read next: target/iscsi/text.h.
 */
#include <stdlib.h>
#include <string.h>

#include "target/iscsi/negotiate.h"
#include "target/iscsi/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* Print every pair; the count of bytes. */
static size_t print_parsed(const void *text, size_t len, char *out, size_t size)
{
	struct text_reader reader;
	struct text_writer writer;
	struct text_pair pair;

	text_reader_init(&reader, text, len);
	text_writer_init(&writer, out, size);
	while (text_next(&reader, &pair)) {
		require(pair.key_len_bytes <= TEXT_KEY_BYTES_MAX);
		require(pair.value_len_bytes <= TEXT_VALUE_BYTES_MAX);
		text_put_pair(&writer, &pair);
	}
	/* Printing adds nothing: the text itself had room for it. */
	require(!writer.overflow);
	return text_written_bytes(&writer);
}

static void try_values(const void *text, size_t len)
{
	struct text_reader reader;
	struct text_pair pair;

	text_reader_init(&reader, text, len);
	while (text_next(&reader, &pair)) {
		const char *at = pair.value;
		struct text_item item;
		uint8_t *bytes = malloc(20);
		uint64_t number;
		int rc = text_binary(pair.value, bytes, 20);

		require(rc <= 20);
		free(bytes);
		if (text_number(pair.value, &number) != 0)
			number = 0;
		while (text_list_next(&at, &item)) {
			require(item.len_bytes > 0);
			require(item.name + item.len_bytes <= pair.value + pair.value_len_bytes);
		}
	}
}

static void try_phase(enum key_phase phase, const void *text, size_t len)
{
	static char bytes[16384];
	struct negotiation negotiation;
	struct negotiate_text sorted;
	struct text_writer answer;
	struct iscsi_params params;

	negotiation_init(&negotiation, &negotiate_limits_default);
	if (negotiate_sort(&negotiation, phase, text, len, &sorted))
		return;
	text_writer_init(&answer, bytes, sizeof(bytes));
	negotiate_answer(&negotiation, phase, &sorted, &answer);
	require(!answer.overflow);
	negotiate_params(&negotiation, &params);
	require(params.first_burst_length <= params.max_burst_length);
	require(params.first_burst_length >= 512 && params.max_burst_length <= 262144);
	require(params.max_send_data_segment_length >= 512);
	require(params.max_outstanding_r2t >= 1 && params.max_outstanding_r2t <= 4);
	require(params.max_connections == 1 && params.error_recovery_level == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *once = malloc(size + 1);
	char *twice = malloc(size + 1);
	size_t once_len = print_parsed(data, size, once, size);
	size_t twice_len = print_parsed(once, once_len, twice, once_len);

	require(once_len == twice_len && memcmp(once, twice, once_len) == 0);
	try_values(data, size);
	try_phase(KEY_IN_SECURITY, data, size);
	try_phase(KEY_IN_OPERATIONAL, data, size);
	try_phase(KEY_IN_FULL_FEATURE, data, size);
	free(once);
	free(twice);
	return 0;
}
