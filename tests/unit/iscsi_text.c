/*
 * key=value text: pairs, limits and limits plus one, numbers, binary values, lists, the writer.
 */
#include "target/iscsi/text.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A heap copy of exactly len bytes, so that reading past the end is seen by the sanitizer. */
static char *exact(const char *text, size_t len)
{
	char *copy = malloc(len > 0 ? len : 1);

	memcpy(copy, text, len);
	return copy;
}

struct text_case {
	const char *name;
	const char *text;
	size_t len;
	unsigned pairs;
	const char *error;
};

#define TEXT(s) s, sizeof(s) - 1

static const struct text_case texts[] = {
	{"empty", TEXT(""), 0, NULL},
	{"one pair", TEXT("A=b\0"), 1, NULL},
	{"an empty value", TEXT("A=\0"), 1, NULL},
	{"a value with equals signs", TEXT("A=b=c\0"), 1, NULL},
	{"three pairs", TEXT("A=1\0B=2\0C=3\0"), 3, NULL},
	{"padding counted as text", TEXT("A=1\0\0\0\0"), 1, NULL},
	{"nothing but NUL bytes", TEXT("\0\0\0"), 0, NULL},
	{"a lower-case key", TEXT("iSCSIProtocolLevel=2\0"), 1, NULL},
	{"no NUL", TEXT("A=b"), 0, "text does not end with a NUL byte"},
	{"no NUL after a good pair", TEXT("A=b\0B"), 1, "text does not end with a NUL byte"},
	{"no equals sign", TEXT("Abc\0"), 0, "text without an equals sign"},
	{"no key", TEXT("=b\0"), 0, "malformed key name"},
	{"a blank in the key", TEXT("A b=c\0"), 0, "malformed key name"},
	{"a format in the key", TEXT("A%n=c\0"), 0, "malformed key name"},
};

Test(iscsi_text, reader)
{
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const struct text_case *c = &texts[i];
		char *bytes = exact(c->text, c->len);
		struct text_reader reader;
		struct text_pair pair;
		unsigned pairs = 0;

		text_reader_init(&reader, bytes, c->len);
		while (text_next(&reader, &pair)) {
			pairs++;
			cr_assert_eq(pair.value[pair.value_len_bytes], '\0');
			cr_assert_eq(pair.key[pair.key_len_bytes], '=');
		}
		cr_assert_eq(pairs, c->pairs, "%s: %u pairs", c->name, pairs);
		if (c->error)
			cr_assert_str_eq(reader.error, c->error, "%s", c->name);
		else
			cr_assert_null(reader.error, "%s: %s", c->name, reader.error);
		cr_assert(!text_next(&reader, &pair));
		free(bytes);
	}
}

/* A pair of a key and a value of these lengths: NULL or the reader's error. */
static const char *error_of_lengths(size_t key_len, size_t value_len)
{
	size_t len = key_len + value_len + 2;
	char *bytes = malloc(len);
	struct text_reader reader;
	struct text_pair pair;
	const char *error;

	memset(bytes, 'K', key_len);
	bytes[key_len] = '=';
	memset(bytes + key_len + 1, 'v', value_len);
	bytes[len - 1] = '\0';
	text_reader_init(&reader, bytes, len);
	if (text_next(&reader, &pair)) {
		cr_assert_eq(pair.key_len_bytes, key_len);
		cr_assert_eq(pair.value_len_bytes, value_len);
	}
	error = reader.error;
	free(bytes);
	return error;
}

/* CVE-2013-2850 was a key name longer than its copy. We have no copy, and a limit. */
Test(iscsi_text, key_and_value_lengths)
{
	for (size_t len = 1; len <= 16384; len = len < 70 ? len + 1 : len * 2) {
		if (len <= TEXT_KEY_BYTES_MAX)
			cr_assert_null(error_of_lengths(len, 1));
		else
			cr_assert_str_eq(error_of_lengths(len, 1), "key name over 63 bytes");
	}
	cr_assert_null(error_of_lengths(1, TEXT_VALUE_BYTES_MAX));
	cr_assert_str_eq(error_of_lengths(1, TEXT_VALUE_BYTES_MAX + 1), "value over 8192 bytes");
}

struct number_case {
	const char *value;
	int rc;
	uint64_t number;
};

static const struct number_case numbers[] = {
	{"0", 0, 0},
	{"262144", 0, 262144},
	{"0x40000", 0, 262144},
	{"0XfF", 0, 255},
	{"007", 0, 7},
	{"18446744073709551615", 0, UINT64_MAX},
	{"0xffffffffffffffff", 0, UINT64_MAX},
	{"18446744073709551616", -EINVAL, 0},
	{"0x10000000000000000", -EINVAL, 0},
	{"99999999999999999999999999999999", -EINVAL, 0},
	{"", -EINVAL, 0},
	{"0x", -EINVAL, 0},
	{"-1", -EINVAL, 0},
	{"+1", -EINVAL, 0},
	{" 1", -EINVAL, 0},
	{"1 ", -EINVAL, 0},
	{"12a", -EINVAL, 0},
	{"0x1g", -EINVAL, 0},
	{"Yes", -EINVAL, 0},
};

Test(iscsi_text, numbers)
{
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		uint64_t number = 0;

		cr_assert_eq(text_number(numbers[i].value, &number), numbers[i].rc, "%s",
			     numbers[i].value);
		if (numbers[i].rc == 0)
			cr_assert_eq(number, numbers[i].number, "%s", numbers[i].value);
	}
}

struct binary_case {
	const char *value;
	size_t size;
	int rc;
	const char *bytes;
};

static const struct binary_case binaries[] = {
	{"0x61626364", 4, 4, "abcd"},
	{"0X6A6b", 4, 2, "jk"},
	{"0x1", 4, 1, "\x01"},
	{"0x161", 4, 2,
	 "\x01"
	 "a"},
	{"0x6162636465", 4, -E2BIG, NULL},
	{"0xzz63646566676869", 4, -E2BIG, NULL}, /* The length is judged before any digit. */
	{"0x6g", 4, -EINVAL, NULL},
	{"0x", 4, -EINVAL, NULL},
	{"0bYWJjZA==", 4, 4, "abcd"},
	{"0BYWJj", 4, 3, "abc"},
	{"0bYWI=", 4, 2, "ab"},
	{"0bYQ==", 4, 1, "a"},
	{"0b+/+/", 4, 3, "\xfb\xff\xbf"},
	{"0bYWJjZGU=", 4, -E2BIG, NULL},
	{"0bYWJ", 4, -EINVAL, NULL},
	{"0bYQ=", 4, -EINVAL, NULL},
	{"0bY===", 4, -EINVAL, NULL},
	{"0b====", 4, -EINVAL, NULL},
	{"0bY=Q=", 4, -EINVAL, NULL},
	{"0bY-Q=", 4, -EINVAL, NULL},
	{"0b", 4, -EINVAL, NULL},
	{"abcd", 4, -EINVAL, NULL},
	{"", 4, -EINVAL, NULL},
	{"0", 4, -EINVAL, NULL},
};

Test(iscsi_text, binaries)
{
	for (unsigned i = 0; i < sizeof(binaries) / sizeof(binaries[0]); i++) {
		const struct binary_case *c = &binaries[i];
		uint8_t *out = malloc(c->size);

		cr_assert_eq(text_binary(c->value, out, c->size), c->rc, "%s", c->value);
		if (c->rc > 0)
			cr_assert_arr_eq(out, c->bytes, (size_t)c->rc, "%s", c->value);
		free(out);
	}
}

Test(iscsi_text, binary_of_any_length_is_bounded)
{
	static char value[TEXT_VALUE_BYTES_MAX + 4];
	uint8_t out[8];

	memset(value, '0', sizeof(value) - 1);
	value[1] = 'x';
	cr_assert_eq(text_binary(value, out, sizeof(out)), -E2BIG);
	value[1] = 'b';
	cr_assert_eq(text_binary(value, out, sizeof(out)), -E2BIG);
}

Test(iscsi_text, lists)
{
	const char *at = ",,CRC32C,,None,";
	struct text_item item;

	cr_assert(text_list_next(&at, &item));
	cr_assert(text_item_is(&item, "CRC32C"));
	cr_assert(!text_item_is(&item, "CRC32"));
	cr_assert(!text_item_is(&item, "CRC32C,"));
	cr_assert(text_list_next(&at, &item));
	cr_assert(text_item_is(&item, "None"));
	cr_assert(!text_list_next(&at, &item));
	cr_assert(!text_list_next(&at, &item));
}

Test(iscsi_text, writer_stops_at_its_end)
{
	static const char expected[] = "A=b\0N=18446744073709551615\0B=0x00ff\0";

	for (size_t size = 0; size <= sizeof(expected) - 1; size++) {
		char *bytes = malloc(size > 0 ? size : 1);
		struct text_writer writer;
		size_t len;

		text_writer_init(&writer, bytes, size);
		text_put(&writer, "A", "b");
		text_put_number(&writer, "N", UINT64_MAX);
		text_put_binary(&writer, "B", "\x00\xff", 2);
		len = text_written_bytes(&writer);
		cr_assert_leq(len, size);
		cr_assert_eq(writer.overflow, size < sizeof(expected) - 1);
		cr_assert_arr_eq(bytes, expected, len);
		cr_assert(len == 0 || bytes[len - 1] == '\0', "only whole pairs");
		free(bytes);
	}
}
