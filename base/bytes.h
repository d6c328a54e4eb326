/*
 * Numbers in foreign bytes: getters and putters by byte order, and two bounded cursors, one that
 * reads and one that writes. Wire and disk formats are read through these and never by laying a
 * struct over the bytes.
 *
 * A cursor's error is sticky: after the first step that does not fit, every step answers zero and
 * changes nothing, so that a group of fields is checked once, at its end. Pure functions, any
 * thread. Read next: checked.h for arithmetic on the lengths that were read.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t get_be16(const void *at)
{
	const uint8_t *p = at;

	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be24(const void *at)
{
	const uint8_t *p = at;

	return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

static inline uint32_t get_be32(const void *at)
{
	const uint8_t *p = at;

	return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

static inline uint64_t get_be64(const void *at)
{
	const uint8_t *p = at;

	return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

static inline uint16_t get_le16(const void *at)
{
	const uint8_t *p = at;

	return (uint16_t)(p[1] << 8 | p[0]);
}

static inline uint32_t get_le32(const void *at)
{
	const uint8_t *p = at;

	return (uint32_t)get_le16(p + 2) << 16 | get_le16(p);
}

static inline uint64_t get_le64(const void *at)
{
	const uint8_t *p = at;

	return (uint64_t)get_le32(p + 4) << 32 | get_le32(p);
}

static inline void put_be16(void *at, uint16_t value)
{
	uint8_t *p = at;

	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

/* The low 24 bits of `value`; the caller has checked that there are no others. */
static inline void put_be24(void *at, uint32_t value)
{
	uint8_t *p = at;

	p[0] = (uint8_t)(value >> 16);
	put_be16(p + 1, (uint16_t)value);
}

static inline void put_be32(void *at, uint32_t value)
{
	uint8_t *p = at;

	put_be16(p, (uint16_t)(value >> 16));
	put_be16(p + 2, (uint16_t)value);
}

static inline void put_be64(void *at, uint64_t value)
{
	uint8_t *p = at;

	put_be32(p, (uint32_t)(value >> 32));
	put_be32(p + 4, (uint32_t)value);
}

static inline void put_le16(void *at, uint16_t value)
{
	uint8_t *p = at;

	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
}

static inline void put_le32(void *at, uint32_t value)
{
	uint8_t *p = at;

	put_le16(p, (uint16_t)value);
	put_le16(p + 2, (uint16_t)(value >> 16));
}

static inline void put_le64(void *at, uint64_t value)
{
	uint8_t *p = at;

	put_le32(p, (uint32_t)value);
	put_le32(p + 4, (uint32_t)(value >> 32));
}

/* Reads foreign bytes from left to right. It borrows them: they must outlive it. */
struct byte_reader {
	const uint8_t *at;
	size_t left;
	bool failed; /* A step asked for more than there was. */
};

static inline struct byte_reader byte_reader_make(const void *bytes, size_t count)
{
	return (struct byte_reader){.at = bytes, .left = count};
}

/* The next `count` bytes, or NULL (and the reader has failed) when there are fewer. */
static inline const uint8_t *byte_reader_take(struct byte_reader *reader, size_t count)
{
	const uint8_t *taken = reader->at;

	if (reader->failed || count > reader->left) {
		reader->failed = true;
		return NULL;
	}
	reader->at += count;
	reader->left -= count;
	return taken;
}

static inline void byte_reader_skip(struct byte_reader *reader, size_t count)
{
	(void)byte_reader_take(reader, count);
}

/* The next number, or 0 when the reader has failed. */
static inline uint8_t byte_reader_u8(struct byte_reader *reader)
{
	const uint8_t *p = byte_reader_take(reader, 1);

	return p != NULL ? *p : 0;
}

static inline uint16_t byte_reader_be16(struct byte_reader *reader)
{
	const uint8_t *p = byte_reader_take(reader, 2);

	return p != NULL ? get_be16(p) : 0;
}

static inline uint32_t byte_reader_be24(struct byte_reader *reader)
{
	const uint8_t *p = byte_reader_take(reader, 3);

	return p != NULL ? get_be24(p) : 0;
}

static inline uint32_t byte_reader_be32(struct byte_reader *reader)
{
	const uint8_t *p = byte_reader_take(reader, 4);

	return p != NULL ? get_be32(p) : 0;
}

static inline uint64_t byte_reader_be64(struct byte_reader *reader)
{
	const uint8_t *p = byte_reader_take(reader, 8);

	return p != NULL ? get_be64(p) : 0;
}

/*
 * Writes into a bounded area from left to right. `wanted` goes on counting past the bound, which is
 * how an answer that is cut to an allocation length still knows its whole length; what is past the
 * bound is not written, and a field that straddles it is written up to it.
 */
struct byte_writer {
	uint8_t *start;
	size_t room;
	size_t wanted;
};

static inline struct byte_writer byte_writer_make(void *area, size_t room)
{
	return (struct byte_writer){.start = area, .room = room};
}

/* True when something did not fit. */
static inline bool byte_writer_overran(const struct byte_writer *writer)
{
	return writer->wanted > writer->room;
}

/* How many bytes of the area were written. */
static inline size_t byte_writer_count(const struct byte_writer *writer)
{
	return byte_writer_overran(writer) ? writer->room : writer->wanted;
}

static inline void byte_writer_bytes(struct byte_writer *writer, const void *bytes, size_t count)
{
	size_t at = byte_writer_count(writer);
	size_t fits = writer->room - at < count ? writer->room - at : count;

	if (fits > 0)
		memcpy(writer->start + at, bytes, fits);
	/* Saturate: a length that would wrap must not look short. */
	if (__builtin_add_overflow(writer->wanted, count, &writer->wanted))
		writer->wanted = SIZE_MAX;
}

static inline void byte_writer_u8(struct byte_writer *writer, uint8_t value)
{
	byte_writer_bytes(writer, &value, 1);
}

static inline void byte_writer_be16(struct byte_writer *writer, uint16_t value)
{
	uint8_t bytes[2];

	put_be16(bytes, value);
	byte_writer_bytes(writer, bytes, sizeof(bytes));
}

static inline void byte_writer_be24(struct byte_writer *writer, uint32_t value)
{
	uint8_t bytes[3];

	put_be24(bytes, value);
	byte_writer_bytes(writer, bytes, sizeof(bytes));
}

static inline void byte_writer_be32(struct byte_writer *writer, uint32_t value)
{
	uint8_t bytes[4];

	put_be32(bytes, value);
	byte_writer_bytes(writer, bytes, sizeof(bytes));
}

static inline void byte_writer_be64(struct byte_writer *writer, uint64_t value)
{
	uint8_t bytes[8];

	put_be64(bytes, value);
	byte_writer_bytes(writer, bytes, sizeof(bytes));
}

/* `count` zero bytes: reserved fields, padding. */
static inline void byte_writer_zero(struct byte_writer *writer, size_t count)
{
	size_t at = byte_writer_count(writer);
	size_t fits = writer->room - at < count ? writer->room - at : count;

	if (fits > 0)
		memset(writer->start + at, 0, fits);
	if (__builtin_add_overflow(writer->wanted, count, &writer->wanted))
		writer->wanted = SIZE_MAX;
}

#endif
