/*
 * iSCSI text: key=value pairs, each ended by a NUL byte, as login and text PDUs carry them.
 *
 * It is the syntax alone: which keys there are and what they mean is keys.h and negotiate.h. A
 * reader walks caller's bytes in place and copies nothing; a writer fills caller's bytes and never
 * passes their end. RFC 7143 6.1.
 *
 * Threads: pure functions, any thread. Read next: text.c, keys.h.
 */
#ifndef TARGET_ISCSI_TEXT_H
#define TARGET_ISCSI_TEXT_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RFC 7143 6.1: a key name. */
#define TEXT_KEY_BYTES_MAX 63u
/* The longest value anything legal needs is far shorter; this is one whole login data segment. */
#define TEXT_VALUE_BYTES_MAX 8192u

/* One pair in the reader's bytes: `key` ends at key_len_bytes, `value` is NUL-terminated there. */
struct text_pair {
	const char *key;
	const char *value;
	uint32_t key_len_bytes;
	uint32_t value_len_bytes;
};

struct text_reader {
	const char *at;
	const char *end;
	const char *error; /* NULL, or a constant reason why the text is malformed. */
};

/* `text` must outlive the reader and its pairs. NULL is allowed with no bytes. */
void text_reader_init(struct text_reader *reader, const void *text, size_t len_bytes);
/* The next pair. False at the end, or with reader->error set. Stray NUL bytes are skipped. */
bool MUST_CHECK text_next(struct text_reader *reader, struct text_pair *out);

struct text_writer {
	char *begin;
	char *at;
	char *end;
	bool overflow; /* Sticky: something did not fit; what was written before is whole pairs. */
};

void text_writer_init(struct text_writer *writer, void *bytes, size_t size_bytes);
void text_put(struct text_writer *writer, const char *key, const char *value);
/* The same with a key that is not NUL-terminated. */
void text_put_pair(struct text_writer *writer, const struct text_pair *pair);
void text_put_number(struct text_writer *writer, const char *key, uint64_t value);
/* The value in hexadecimal, 0x.... */
void text_put_binary(struct text_writer *writer, const char *key, const void *bytes,
		     size_t len_bytes);

static inline size_t text_written_bytes(const struct text_writer *writer)
{
	return (size_t)(writer->at - writer->begin);
}

/* A decimal constant, or a hexadecimal one behind 0x. -EINVAL if it is neither or exceeds 64 bits.
 */
int MUST_CHECK text_number(const char *value, uint64_t *out);

/*
 * A binary value: hexadecimal behind 0x or base64 behind 0b (RFC 7143 6.1). Writes at most
 * size_bytes; longer values are refused before anything is decoded. Returns the count of bytes, or
 * -EINVAL (malformed), -E2BIG.
 */
int MUST_CHECK text_binary(const char *value, uint8_t *out, size_t size_bytes);

/* One element of a comma-separated list; not NUL-terminated. */
struct text_item {
	const char *name;
	size_t len_bytes;
};

/* The next element; *at begins as the value. False at the end. Empty elements are skipped. */
bool MUST_CHECK text_list_next(const char **at, struct text_item *out);
bool text_item_is(const struct text_item *item, const char *name);

#endif
