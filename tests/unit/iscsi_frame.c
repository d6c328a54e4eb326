/*
 * The framer: the same events whatever the split, digests, limits, back-pressure, hand-over.
 *
 * A stream of PDUs is fed whole, byte by byte, and split at every position; what the framer's owner
 * saw is written down as one string and compared.
 */
#include "target/iscsi/frame.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"

#define STREAM_BYTES_MAX 65536u
#define AREA_BYTES 4096u
#define LANDING_BYTES_MAX 16384u

struct owner {
	struct framer framer;
	uint8_t receive[AREA_BYTES];
	uint8_t landing[LANDING_BYTES_MAX];
	uint32_t slice_bytes;  /* on_landing never answers more at once. */
	unsigned not_now;      /* on_header answers NOT_NOW this often before each PDU. */
	unsigned not_now_left; /* Of the PDU at hand. */
	bool pause_at_end;
	unsigned events;
	char log[8192];
};

static void note(struct owner *owner, const char *what, uint32_t a, uint32_t b)
{
	size_t at = strlen(owner->log);

	owner->events++;
	(void)snprintf(owner->log + at, sizeof(owner->log) - at, "%s %x %x\n", what, a, b);
}

static struct owner *owner_of(struct framer *framer)
{
	return CONTAINER_OF(framer, struct owner, framer);
}

/* Logout requests stop, SNACKs are discarded, everything else is taken. */
static enum framer_verdict on_header(struct framer *framer)
{
	struct owner *owner = owner_of(framer);

	if (owner->not_now_left > 0) {
		owner->not_now_left--;
		return FRAMER_NOT_NOW;
	}
	owner->not_now_left = owner->not_now;
	note(owner, "header", framer->pdu.opcode, framer->pdu.data_len_bytes);
	note(owner, "ahs", framer->pdu.ahs_len_bytes,
	     crc32c(0, framer_bhs(framer), PDU_BHS_BYTES + framer->pdu.ahs_len_bytes));
	cr_assert_eq(framer_ahs(framer), framer_bhs(framer) + PDU_BHS_BYTES);
	memset(owner->landing, 0xee, sizeof(owner->landing));
	if (framer->pdu.opcode == PDU_LOGOUT_REQUEST)
		return FRAMER_STOP;
	return framer->pdu.opcode == PDU_SNACK_REQUEST ? FRAMER_DISCARD : FRAMER_TAKE;
}

static struct framer_slice on_landing(struct framer *framer, uint32_t offset_bytes)
{
	struct owner *owner = owner_of(framer);

	cr_assert_lt(offset_bytes, framer->pdu.data_len_bytes);
	cr_assert_neq(framer->pdu.opcode, PDU_SNACK_REQUEST);
	return (struct framer_slice){owner->landing + offset_bytes, owner->slice_bytes};
}

static void on_end(struct framer *framer, bool data_digest_ok)
{
	struct owner *owner = owner_of(framer);

	note(owner, "end", data_digest_ok, crc32c(0, owner->landing, sizeof(owner->landing)));
	if (owner->pause_at_end)
		framer_pause(framer);
}

static const struct framer_ops ops = {
	.on_header = on_header,
	.on_landing = on_landing,
	.on_end = on_end,
};

static const struct framer_config plain = {.data_len_bytes_max = 8192};
static const struct framer_config digests = {
	.data_len_bytes_max = 8192, .header_digest = true, .data_digest = true};

static void owner_init(struct owner *owner, const struct framer_config *config,
		       uint32_t receive_bytes)
{
	memset(owner, 0, sizeof(*owner));
	owner->slice_bytes = 1000;
	framer_init(&owner->framer, &ops, config,
		    (struct framer_slice){owner->receive, receive_bytes});
}

/* The bytes of a stream. */
struct stream {
	uint8_t bytes[STREAM_BYTES_MAX];
	size_t len;
};

static void stream_put(struct stream *stream, const void *bytes, size_t len)
{
	memcpy(stream->bytes + stream->len, bytes, len);
	stream->len += len;
}

static void stream_digest(struct stream *stream, size_t from)
{
	uint8_t digest[4];

	put_le32(digest, crc32c(0, stream->bytes + from, stream->len - from));
	stream_put(stream, digest, sizeof(digest));
}

struct pdu_spec {
	uint8_t opcode;
	uint16_t ahs;
	uint32_t data;
};

static void stream_pdu(struct stream *stream, struct pdu_spec spec, const struct framer_config *c)
{
	uint8_t bhs[PDU_BHS_BYTES] = {spec.opcode, 0x80, 0, 0, (uint8_t)(spec.ahs / 4)};
	size_t from = stream->len;

	put_be24(bhs + 5, spec.data);
	put_be32(bhs + 16, (uint32_t)stream->len);
	stream_put(stream, bhs, sizeof(bhs));
	for (unsigned i = 0; i < spec.ahs; i++)
		stream_put(stream, &(uint8_t){(uint8_t)(i + 1)}, 1);
	if (c->header_digest)
		stream_digest(stream, from);
	from = stream->len;
	for (uint32_t i = 0; i < spec.data; i++)
		stream_put(stream, &(uint8_t){(uint8_t)(i * 7 + spec.opcode)}, 1);
	stream_put(stream, "\0\0\0", pdu_padded(spec.data) - spec.data);
	if (c->data_digest && spec.data > 0)
		stream_digest(stream, from);
}

/* Every kind of part, each length modulo four, taken and discarded. */
static void stream_mixed(struct stream *stream, const struct framer_config *c)
{
	static const struct pdu_spec specs[] = {
		{PDU_NOP_OUT, 0, 0},      {PDU_SCSI_COMMAND, 8, 5},
		{PDU_DATA_OUT, 0, 64},    {PDU_SNACK_REQUEST, 0, 7},
		{PDU_SCSI_COMMAND, 4, 0}, {PDU_TEXT_REQUEST, 0, 6},
		{PDU_NOP_OUT, 0, 1},      {PDU_SCSI_COMMAND, OPCODE_AHS_BYTES_MAX, 3},
	};

	stream->len = 0;
	for (unsigned i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
		stream_pdu(stream, specs[i], c);
}

/* One receive of at most `len` bytes; returns what was wanted and there. */
static size_t receive(struct framer *framer, const uint8_t *bytes, size_t len, unsigned iov_max)
{
	struct iovec iov[8];
	unsigned count = framer_want(framer, iov, iov_max);
	size_t moved = 0;

	cr_assert_leq(count, iov_max);
	for (unsigned i = 0; i < count && moved < len; i++) {
		size_t part = iov[i].iov_len < len - moved ? iov[i].iov_len : len - moved;

		cr_assert_gt(iov[i].iov_len, 0);
		memcpy(iov[i].iov_base, bytes + moved, part);
		moved += part;
	}
	if (count > 0)
		framer_received(framer, moved);
	return moved;
}

static void resume_all(struct owner *owner)
{
	while (framer_is_paused(&owner->framer))
		framer_resume(&owner->framer);
}

/* Feed all of it, `first` bytes as the first piece and then pieces of `step`. */
static void feed(struct owner *owner, const struct stream *stream, size_t first, size_t step)
{
	size_t at = 0;
	size_t edge = first;

	while (at < stream->len && !framer_error(&owner->framer)) {
		if (at == edge)
			edge += step;
		if (edge > stream->len)
			edge = stream->len;
		at += receive(&owner->framer, stream->bytes + at, edge - at, 8);
		resume_all(owner);
	}
}

static const struct framer_config *const configs[] = {
	&plain,
	&digests,
	&(const struct framer_config){.data_len_bytes_max = 64, .header_digest = true},
	&(const struct framer_config){.data_len_bytes_max = 64, .data_digest = true},
};
#define CONFIG_COUNT (sizeof(configs) / sizeof(configs[0]))

static struct owner whole, other;
static struct stream stream;

static void feed_whole(const struct framer_config *config)
{
	stream_mixed(&stream, config);
	owner_init(&whole, config, AREA_BYTES);
	feed(&whole, &stream, stream.len, 1);
	cr_assert_eq(whole.events, 8 * 3);
	cr_assert_null(strstr(whole.log, "end 0"), "every digest is right, of dropped data too");
	cr_assert_null(framer_error(&whole.framer));
	cr_assert(framer_is_between_pdus(&whole.framer));
}

Test(iscsi_frame, split_at_every_position)
{
	for (unsigned c = 0; c < CONFIG_COUNT; c++) {
		feed_whole(configs[c]);
		for (size_t split = 1; split < stream.len; split++) {
			owner_init(&other, configs[c], AREA_BYTES);
			feed(&other, &stream, split, stream.len);
			cr_assert_str_eq(other.log, whole.log, "split at %zu", split);
		}
	}
}

Test(iscsi_frame, steps_and_small_areas_and_slices)
{
	for (unsigned c = 0; c < CONFIG_COUNT; c++) {
		feed_whole(configs[c]);
		for (uint32_t step = 1; step <= 70; step++) {
			owner_init(&other, configs[c], 1 + step % 51);
			other.slice_bytes = 1 + step % 9;
			feed(&other, &stream, step, step);
			cr_assert_str_eq(other.log, whole.log, "steps of %u", step);
		}
	}
}

Test(iscsi_frame, back_pressure_changes_no_event)
{
	for (unsigned c = 0; c < CONFIG_COUNT; c++) {
		feed_whole(configs[c]);
		for (unsigned times = 0; times < 3; times++) {
			owner_init(&other, configs[c], AREA_BYTES);
			other.not_now = other.not_now_left = times;
			other.pause_at_end = true;
			feed(&other, &stream, 100, 33);
			cr_assert_str_eq(other.log, whole.log);
		}
	}
}

Test(iscsi_frame, wants_nothing_while_paused)
{
	struct iovec iov[2];

	stream_mixed(&stream, &plain);
	owner_init(&whole, &plain, AREA_BYTES);
	whole.not_now_left = 1;
	cr_assert_eq(receive(&whole.framer, stream.bytes, 200, 2), 200);
	cr_assert(framer_is_paused(&whole.framer));
	cr_assert_eq(whole.events, 0);
	cr_assert_eq(framer_want(&whole.framer, iov, 2), 0);
	framer_resume(&whole.framer);
	cr_assert_geq(whole.events, 3);
	cr_assert_geq(framer_want(&whole.framer, iov, 2), 1);
}

/* One receive into an area that the next framer uses as well, and what is left over out of it. */
static size_t receive_shared(struct owner *owner, struct framer_slice common, size_t at, size_t len)
{
	size_t moved = receive(&owner->framer, stream.bytes + at, len, 8);
	uint32_t left = framer_left_bytes(&owner->framer);

	if (left > 0)
		framer_set_area(&owner->framer, (struct framer_slice){owner->receive, left});
	resume_all(owner);
	cr_assert_eq(framer_left_bytes(&owner->framer), 0);
	framer_set_area(&owner->framer, common);
	memset(common.bytes, 0xdd, common.len_bytes);
	return moved;
}

Test(iscsi_frame, framers_share_an_area)
{
	static struct owner owners[2];
	static uint8_t area[512];
	struct framer_slice common = {area, sizeof(area)};

	for (unsigned c = 0; c < CONFIG_COUNT; c++) {
		size_t at[2] = {0};

		feed_whole(configs[c]);
		for (unsigned i = 0; i < 2; i++) {
			owner_init(&owners[i], configs[c], AREA_BYTES);
			owners[i].not_now = owners[i].not_now_left = i;
			framer_set_area(&owners[i].framer, common);
		}
		while (at[0] < stream.len || at[1] < stream.len) {
			for (unsigned i = 0; i < 2; i++) {
				size_t len = stream.len - at[i] < 97 ? stream.len - at[i] : 97;

				at[i] += receive_shared(&owners[i], common, at[i], len);
			}
		}
		cr_assert_str_eq(owners[0].log, whole.log);
		cr_assert_str_eq(owners[1].log, whole.log);
	}
}

/* A long segment goes straight to its place, the last slice is for what follows. */
Test(iscsi_frame, long_segments_are_not_copied)
{
	struct iovec iov[4];
	uint8_t *before;

	stream.len = 0;
	stream_pdu(&stream, (struct pdu_spec){PDU_DATA_OUT, 0, 4001}, &digests);
	owner_init(&whole, &digests, AREA_BYTES);
	cr_assert_eq(framer_want(&whole.framer, iov, 4), 1);
	cr_assert_eq(iov[0].iov_base, (void *)whole.receive);
	memcpy(whole.receive, stream.bytes, PDU_BHS_BYTES + PDU_DIGEST_BYTES + 1);
	framer_received(&whole.framer, PDU_BHS_BYTES + PDU_DIGEST_BYTES + 1);
	cr_assert_eq(whole.landing[0], stream.bytes[PDU_BHS_BYTES + PDU_DIGEST_BYTES]);

	/* Only three of the four slices of a thousand fit: no receive area behind a gap. */
	cr_assert_eq(framer_want(&whole.framer, iov, 4), 3);
	cr_assert_eq(iov[2].iov_base, (void *)(whole.landing + 2001));
	whole.slice_bytes = UINT32_MAX;
	cr_assert_eq(framer_want(&whole.framer, iov, 4), 2);
	cr_assert_eq(iov[0].iov_base, (void *)(whole.landing + 1));
	cr_assert_eq(iov[0].iov_len, 4000);
	cr_assert_eq(iov[1].iov_base, (void *)whole.receive);
	cr_assert_eq(iov[1].iov_len, AREA_BYTES);

	before = stream.bytes + PDU_BHS_BYTES + PDU_DIGEST_BYTES + 1;
	cr_assert_eq(receive(&whole.framer, before, 4000 + 3 + 4, 4), 4007);
	cr_assert_eq(whole.events, 3);
	cr_assert_not_null(strstr(whole.log, "end 1"));
}

/* After a long segment little is received into the area, until a short PDU has come. */
Test(iscsi_frame, bulk_data_bypass_the_area)
{
	static uint8_t area[8192];
	static const struct framer_config wide = {.data_len_bytes_max = FRAMER_BULK_BYTES};
	struct iovec iov[2];

	stream.len = 0;
	stream_pdu(&stream, (struct pdu_spec){PDU_DATA_OUT, 0, FRAMER_BULK_BYTES}, &wide);
	stream_pdu(&stream, (struct pdu_spec){PDU_NOP_OUT, 0, 0}, &wide);
	owner_init(&whole, &wide, AREA_BYTES);
	whole.slice_bytes = UINT32_MAX;
	framer_set_area(&whole.framer, (struct framer_slice){area, sizeof(area)});
	cr_assert_eq(receive(&whole.framer, stream.bytes, 100, 2), 100);
	cr_assert_eq(framer_want(&whole.framer, iov, 2), 2);
	cr_assert_eq(iov[1].iov_len, FRAMER_BULK_AREA_BYTES);
	cr_assert_eq(receive(&whole.framer, stream.bytes + 100, FRAMER_BULK_BYTES - 52, 2),
		     FRAMER_BULK_BYTES - 52);
	cr_assert_eq(framer_want(&whole.framer, iov, 2), 1);
	cr_assert_eq(iov[0].iov_len, FRAMER_BULK_AREA_BYTES);
	cr_assert_eq(receive(&whole.framer, stream.bytes + 48 + FRAMER_BULK_BYTES, 48, 2), 48);
	cr_assert_eq(framer_want(&whole.framer, iov, 2), 1);
	cr_assert_eq(iov[0].iov_len, sizeof(area));
}

struct damage_case {
	const char *name;
	size_t at;
	const char *error; /* NULL: it goes on. */
	const char *seen;  /* In the log, or NULL. */
};

/* SCSI command with eight bytes of AHS and five of data: 48 8 4 5+3 4. */
static const struct damage_case damages[] = {
	{"in the BHS", 20, "header digest error", NULL},
	{"in the AHS", 50, "header digest error", NULL},
	{"in the header digest", 57, "header digest error", NULL},
	{"in the data", 62, NULL, "end 0"},
	{"in the padding", 67, NULL, "end 0"},
	{"in the data digest", 69, NULL, "end 0"},
};

Test(iscsi_frame, digest_errors)
{
	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		const struct damage_case *damage = &damages[i];

		stream.len = 0;
		stream_pdu(&stream, (struct pdu_spec){PDU_SCSI_COMMAND, 8, 5}, &digests);
		stream_pdu(&stream, (struct pdu_spec){PDU_NOP_OUT, 0, 4}, &digests);
		stream.bytes[damage->at] ^= 0x10;
		owner_init(&whole, &digests, AREA_BYTES);
		feed(&whole, &stream, stream.len, 1);
		if (damage->error) {
			cr_assert_str_eq(framer_error(&whole.framer), damage->error, "%s",
					 damage->name);
			cr_assert_eq(whole.events, 0);
		} else {
			cr_assert_null(framer_error(&whole.framer), "%s", damage->name);
			cr_assert_not_null(strstr(whole.log, damage->seen), "%s", damage->name);
			cr_assert_not_null(strstr(whole.log, "end 1"), "the next PDU is sound");
		}
	}
}

/* RFC 7143 appendix A.4: 32 bytes of zeroes have the digest aa 36 91 8a on the wire. */
Test(iscsi_frame, digest_byte_order)
{
	static const uint8_t expected[4] = {0xaa, 0x36, 0x91, 0x8a};
	uint8_t header[PDU_BHS_BYTES + 4] = {PDU_DATA_OUT, 0x80, 0, 0, 0, 0, 0, 32};

	put_le32(header + PDU_BHS_BYTES, crc32c(0, header, PDU_BHS_BYTES));
	stream.len = 0;
	stream_put(&stream, header, sizeof(header));
	memset(stream.bytes + stream.len, 0, 32);
	stream.len += 32;
	stream_put(&stream, expected, sizeof(expected));
	owner_init(&whole, &digests, AREA_BYTES);
	feed(&whole, &stream, stream.len, 1);
	cr_assert_not_null(strstr(whole.log, "end 1"));
}

struct limit_case {
	struct pdu_spec spec;
	const char *error;
};

static const struct limit_case limits[] = {
	{{PDU_SCSI_COMMAND, 0, 8192}, NULL},
	{{PDU_SCSI_COMMAND, 0, 8193}, "data segment over limit"},
	{{PDU_SCSI_COMMAND, OPCODE_AHS_BYTES_MAX, 0}, NULL},
	{{PDU_SCSI_COMMAND, OPCODE_AHS_BYTES_MAX + 4, 0}, "additional header segments over limit"},
	{{PDU_LOGOUT_REQUEST, 0, 0}, "stopped by its owner"},
};

Test(iscsi_frame, limits_stop_for_good)
{
	for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct iovec iov[2];

		stream.len = 0;
		stream_pdu(&stream, limits[i].spec, &plain);
		stream_pdu(&stream, (struct pdu_spec){PDU_NOP_OUT, 0, 0}, &plain);
		owner_init(&whole, &plain, AREA_BYTES);
		feed(&whole, &stream, stream.len, 1);
		if (!limits[i].error) {
			cr_assert_null(framer_error(&whole.framer));
			cr_assert_eq(whole.events, 6);
			continue;
		}
		cr_assert_str_eq(framer_error(&whole.framer), limits[i].error);
		cr_assert_eq(framer_want(&whole.framer, iov, 2), 0);
		framer_resume(&whole.framer);
		cr_assert_eq(framer_want(&whole.framer, iov, 2), 0);
		cr_assert_null(strstr(whole.log, "end"));
	}
}

/* A scanner's bytes: the first header decides, before any of it is believed. */
Test(iscsi_frame, foreign_protocols)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: 192.0.2.1:3260\r\nAccept: */*\r\n\r\n";
	static const uint8_t tls[64] = {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc};

	owner_init(&whole, &plain, AREA_BYTES);
	(void)receive(&whole.framer, (const uint8_t *)http, sizeof(http) - 1, 2);
	cr_assert_str_eq(framer_error(&whole.framer), "data segment over limit");
	owner_init(&whole, &plain, AREA_BYTES);
	(void)receive(&whole.framer, tls, sizeof(tls), 2);
	cr_assert_str_eq(framer_error(&whole.framer), "data segment over limit");
	cr_assert_eq(whole.events, 0);
}

/* From login to full feature: what came early is read with the new settings. */
Test(iscsi_frame, reconfigure_with_bytes_left_over)
{
	stream.len = 0;
	stream_pdu(&stream, (struct pdu_spec){PDU_LOGIN_REQUEST, 0, 30}, &plain);
	stream_pdu(&stream, (struct pdu_spec){PDU_SCSI_COMMAND, 4, 9}, &digests);
	owner_init(&whole, &plain, AREA_BYTES);
	whole.pause_at_end = true;
	cr_assert_eq(receive(&whole.framer, stream.bytes, stream.len, 2), stream.len);
	cr_assert_eq(whole.events, 3);
	cr_assert(framer_is_between_pdus(&whole.framer));
	framer_reconfigure(&whole.framer, &ops, &digests);
	framer_resume(&whole.framer);
	cr_assert_eq(whole.events, 6);
	cr_assert_null(framer_error(&whole.framer));
}

static void feed_rest(size_t at)
{
	while (at < stream.len)
		at += receive(&whole.framer, stream.bytes + at, stream.len - at, 8);
}

/* Bytes that were under way when the owner paused are kept, not acted upon. */
Test(iscsi_frame, pause_while_a_receive_is_under_way)
{
	struct iovec iov[2];

	stream_mixed(&stream, &plain);
	owner_init(&whole, &plain, AREA_BYTES);
	cr_assert_eq(framer_want(&whole.framer, iov, 2), 1);
	framer_pause(&whole.framer);
	memcpy(iov[0].iov_base, stream.bytes, 200);
	framer_received(&whole.framer, 200);
	cr_assert_eq(whole.events, 0);
	framer_resume(&whole.framer);
	feed_rest(200);
	cr_assert_eq(whole.events, 8 * 3);
}
