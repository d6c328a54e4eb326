/*
 * Reading and writing of key=value text, numbers, binary values and lists.
 *
 * It knows no key by name. Every length is checked before it is used; nothing is read past the end
 * that the caller gave. Pure functions, any thread. Read next: text.h, key_table.c.
 */
#include "target/iscsi/text.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void text_reader_init(struct text_reader *reader, const void *text, size_t len_bytes)
{
	const char *at = len_bytes > 0 ? (const char *)text : "";

	*reader = (struct text_reader){.at = at, .end = at + len_bytes};
}

static bool text_fail(struct text_reader *reader, const char *error)
{
	reader->error = error;
	reader->at = reader->end;
	return false;
}

/* RFC 7143 6.1, standard-label, and '#' and '/' as in the extension keys that are in use. The
 * label's capital letter in front is not asked for, because RFC 7144 itself has iSCSIProtocolLevel.
 */
static bool is_key_byte(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr(".-+@_#/", c));
}

static bool is_key(const char *key, size_t len_bytes)
{
	for (size_t i = 0; i < len_bytes; i++) {
		if (!is_key_byte(key[i]))
			return false;
	}
	return len_bytes > 0;
}

bool text_next(struct text_reader *reader, struct text_pair *out)
{
	const char *at = reader->at;
	const char *nul;
	const char *equals;

	/* Some initiators count the padding, or end with two NUL bytes. */
	while (at < reader->end && *at == '\0')
		at++;
	if (at == reader->end)
		return false;
	nul = memchr(at, '\0', (size_t)(reader->end - at));
	if (!nul)
		return text_fail(reader, "text does not end with a NUL byte");
	equals = memchr(at, '=', (size_t)(nul - at));
	if (!equals)
		return text_fail(reader, "text without an equals sign");
	if (equals - at > (ptrdiff_t)TEXT_KEY_BYTES_MAX)
		return text_fail(reader, "key name over 63 bytes");
	if (!is_key(at, (size_t)(equals - at)))
		return text_fail(reader, "malformed key name");
	if (nul - (equals + 1) > (ptrdiff_t)TEXT_VALUE_BYTES_MAX)
		return text_fail(reader, "value over 8192 bytes");
	*out = (struct text_pair){
		.key = at,
		.value = equals + 1,
		.key_len_bytes = (uint32_t)(equals - at),
		.value_len_bytes = (uint32_t)(nul - (equals + 1)),
	};
	reader->at = nul + 1;
	return true;
}

void text_writer_init(struct text_writer *writer, void *bytes, size_t size_bytes)
{
	*writer = (struct text_writer){
		.begin = bytes,
		.at = bytes,
		.end = (char *)bytes + size_bytes,
	};
}

void text_put_pair(struct text_writer *writer, const struct text_pair *pair)
{
	size_t room_bytes = (size_t)(writer->end - writer->at);
	size_t need_bytes = (size_t)pair->key_len_bytes + pair->value_len_bytes + 2u;

	if (writer->overflow || need_bytes > room_bytes) {
		writer->overflow = true;
		return;
	}
	memcpy(writer->at, pair->key, pair->key_len_bytes);
	writer->at += pair->key_len_bytes;
	*writer->at++ = '=';
	memcpy(writer->at, pair->value, pair->value_len_bytes);
	writer->at += pair->value_len_bytes;
	*writer->at++ = '\0';
}

void text_put(struct text_writer *writer, const char *key, const char *value)
{
	struct text_pair pair = {
		.key = key,
		.value = value,
		.key_len_bytes = (uint32_t)strlen(key),
		.value_len_bytes = (uint32_t)strlen(value),
	};

	text_put_pair(writer, &pair);
}

void text_put_number(struct text_writer *writer, const char *key, uint64_t value)
{
	char digits[24];

	(void)snprintf(digits, sizeof(digits), "%" PRIu64, value);
	text_put(writer, key, digits);
}

static char *put_hex(char *at, const uint8_t *bytes, size_t len_bytes)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len_bytes; i++) {
		*at++ = digits[bytes[i] >> 4];
		*at++ = digits[bytes[i] & 0xf];
	}
	return at;
}

void text_put_binary(struct text_writer *writer, const char *key, const void *bytes,
		     size_t len_bytes)
{
	size_t room_bytes = (size_t)(writer->end - writer->at);
	size_t need_bytes = strlen(key) + strlen("=0x") + 2u * len_bytes + 1u;

	assert(len_bytes <= TEXT_VALUE_BYTES_MAX / 2u);
	if (writer->overflow || need_bytes > room_bytes) {
		writer->overflow = true;
		return;
	}
	writer->at = stpcpy(stpcpy(writer->at, key), "=0x");
	writer->at = put_hex(writer->at, bytes, len_bytes);
	*writer->at++ = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool has_prefix(const char *value, char letter)
{
	return value[0] == '0' && (value[1] | 0x20) == letter;
}

int text_number(const char *value, uint64_t *out)
{
	unsigned base = has_prefix(value, 'x') ? 16u : 10u;
	const char *at = base == 16u ? value + 2 : value;
	uint64_t number = 0;

	if (*at == '\0')
		return -EINVAL;
	for (; *at != '\0'; at++) {
		int digit = hex_digit(*at);

		if (digit < 0 || (unsigned)digit >= base)
			return -EINVAL;
		if (__builtin_mul_overflow(number, base, &number) ||
		    __builtin_add_overflow(number, (uint64_t)digit, &number))
			return -EINVAL;
	}
	*out = number;
	return 0;
}

/* An odd count of digits has a zero in front: 0x1 is one byte, 01. */
static int hex_decode(const char *digits, size_t count, uint8_t *out, size_t size_bytes)
{
	size_t len_bytes = (count + 1u) / 2u;
	size_t nibble = count & 1u;

	if (len_bytes > size_bytes)
		return -E2BIG;
	memset(out, 0, len_bytes);
	for (size_t i = 0; i < count; i++, nibble++) {
		int digit = hex_digit(digits[i]);

		if (digit < 0)
			return -EINVAL;
		out[nibble / 2u] = (uint8_t)(out[nibble / 2u] << 4 | digit);
	}
	return (int)len_bytes;
}

static int base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c == '\0' ? NULL : strchr(digits, c);

	return at ? (int)(at - digits) : -1;
}

/* RFC 4648 section 4, padding required: groups of four characters, the last with up to two '='. */
static int base64_decode(const char *digits, size_t count, uint8_t *out, size_t size_bytes)
{
	size_t pad = 0;
	uint32_t bits = 0;

	if (count % 4u != 0)
		return -EINVAL;
	while (pad < 2u && pad < count && digits[count - 1u - pad] == '=')
		pad++;
	if (count / 4u * 3u - pad > size_bytes)
		return -E2BIG;
	for (size_t i = 0, at = 0; i < count - pad; i++) {
		int digit = base64_digit(digits[i]);

		if (digit < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)digit;
		/* After the second, third and fourth digit of a group a byte is whole. */
		if (i % 4u != 0)
			out[at++] = (uint8_t)(bits >> (6u - 2u * (i % 4u)));
	}
	return (int)(count / 4u * 3u - pad);
}

int text_binary(const char *value, uint8_t *out, size_t size_bytes)
{
	size_t len_bytes = strnlen(value, TEXT_VALUE_BYTES_MAX + 1u);

	if (len_bytes > TEXT_VALUE_BYTES_MAX)
		return -E2BIG;
	if (len_bytes <= 2u)
		return -EINVAL;
	if (has_prefix(value, 'x'))
		return hex_decode(value + 2, len_bytes - 2u, out, size_bytes);
	if (has_prefix(value, 'b'))
		return base64_decode(value + 2, len_bytes - 2u, out, size_bytes);
	return -EINVAL;
}

bool text_list_next(const char **at, struct text_item *out)
{
	const char *item = *at;

	while (*item == ',')
		item++;
	if (*item == '\0')
		return false;
	out->name = item;
	out->len_bytes = strcspn(item, ",");
	*at = item + out->len_bytes;
	return true;
}

bool text_item_is(const struct text_item *item, const char *name)
{
	return strlen(name) == item->len_bytes && memcmp(name, item->name, item->len_bytes) == 0;
}
