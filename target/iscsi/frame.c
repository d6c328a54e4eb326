/*
 * The framer: a state and two counters (have_bytes of need_bytes) for the part of the PDU in hand.
 *
 * Bytes reach it on two ways: through the receive area, from which they are copied to their place,
 * or, for the rest of a long data segment, directly at the place. It does not judge opcodes
 * (opcode_table.h) and never looks past its lengths. Runs on the connection's loop.
 *
 * Read next: frame.h for the contract, opcode_table.c, and tests/fuzz/fuzz_iscsi_frame.c for what
 * must hold whatever comes.
 */
#include "target/iscsi/frame.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* What must hold between any two steps; looked at where they end. */
static void framer_invariants(const struct framer *framer)
{
	assert(framer->receive_at <= framer->receive_end);
	assert(framer->receive_end <= framer->receive_size_bytes);
	assert(framer->have_bytes <= framer->need_bytes);
	assert(framer->state == FRAMER_DATA || framer->need_bytes <= sizeof(framer->head));
}

static void framer_enter(struct framer *framer, enum framer_state state, uint32_t need_bytes)
{
	framer->state = state;
	framer->have_bytes = 0;
	framer->need_bytes = need_bytes;
}

void framer_init(struct framer *framer, const struct framer_ops *ops,
		 const struct framer_config *config, struct framer_slice receive)
{
	assert(receive.len_bytes > 0);
	*framer = (struct framer){
		.receive = receive.bytes,
		.receive_size_bytes = receive.len_bytes,
	};
	framer_enter(framer, FRAMER_BHS, PDU_BHS_BYTES);
	framer_reconfigure(framer, ops, config);
}

void framer_reconfigure(struct framer *framer, const struct framer_ops *ops,
			const struct framer_config *config)
{
	assert(framer_is_between_pdus(framer));
	framer->ops = ops;
	framer->config = *config;
}

void framer_set_area(struct framer *framer, struct framer_slice receive)
{
	uint32_t left_bytes = framer_left_bytes(framer);

	assert(receive.len_bytes > 0 && receive.len_bytes >= left_bytes);
	memmove(receive.bytes, framer->receive + framer->receive_at, left_bytes);
	framer->receive = receive.bytes;
	framer->receive_size_bytes = receive.len_bytes;
	framer->receive_at = 0;
	framer->receive_end = left_bytes;
}

void framer_pause(struct framer *framer)
{
	framer->paused = true;
}

void framer_stop(struct framer *framer, const char *error)
{
	if (!framer->error)
		framer->error = error;
}

/* Digests are sent least significant byte first, RFC 7143 13.1 and appendix A. */
static bool digest_matches(const uint8_t *wire, uint32_t crc)
{
	return get_le32(wire) == crc;
}

/*
 * The transitions. Each is called when the part before is whole, and may enter a part that needs
 * no bytes at all; framer_step then goes on at once.
 */

static void framer_tail_done(struct framer *framer)
{
	uint32_t pad_bytes = pdu_padded(framer->pdu.data_len_bytes) - framer->pdu.data_len_bytes;
	bool digest_ok = true;

	if (framer->need_bytes > pad_bytes) {
		uint32_t crc = crc32c(framer->crc, framer->tail, pad_bytes);

		digest_ok = digest_matches(framer->tail + pad_bytes, crc);
	}
	/* Still the state of this PDU during the callback, so that nobody reconfigures inside. */
	framer->ops->on_end(framer, digest_ok);
	framer_enter(framer, FRAMER_BHS, PDU_BHS_BYTES);
}

static void framer_data_done(struct framer *framer)
{
	uint32_t data_len_bytes = framer->pdu.data_len_bytes;
	uint32_t tail_bytes = pdu_padded(data_len_bytes) - data_len_bytes;

	/* A PDU without data has no data digest, RFC 7143 11.2. */
	if (framer->config.data_digest && data_len_bytes > 0)
		tail_bytes += PDU_DIGEST_BYTES;
	framer_enter(framer, FRAMER_TAIL, tail_bytes);
}

static void framer_ask(struct framer *framer)
{
	enum framer_verdict verdict = framer->ops->on_header(framer);

	switch (verdict) {
	case FRAMER_TAKE:
	case FRAMER_DISCARD:
		framer->discard = verdict == FRAMER_DISCARD;
		framer->bulk =
			verdict == FRAMER_TAKE && framer->pdu.data_len_bytes >= FRAMER_BULK_BYTES;
		framer->crc = 0;
		framer_enter(framer, FRAMER_DATA, framer->pdu.data_len_bytes);
		break;
	case FRAMER_NOT_NOW:
		framer_pause(framer);
		break;
	case FRAMER_STOP:
		framer_stop(framer, "stopped by its owner");
		break;
	}
}

static void framer_head_done(struct framer *framer)
{
	uint32_t head_bytes = PDU_BHS_BYTES + framer->pdu.ahs_len_bytes;

	if (framer->config.header_digest &&
	    !digest_matches(framer->head + head_bytes, crc32c(0, framer->head, head_bytes))) {
		framer_stop(framer, "header digest error");
		return;
	}
	framer_enter(framer, FRAMER_ASK, 0);
}

/*
 * Lengths are judged before the digest, because with a wrong length the digest is not where it
 * seems to be, and waiting for it might be waiting for ever.
 */
static void framer_bhs_done(struct framer *framer)
{
	pdu_common_decode(&framer->pdu, framer->head);
	if (framer->pdu.ahs_len_bytes > OPCODE_AHS_BYTES_MAX) {
		framer_stop(framer, "additional header segments over limit");
		return;
	}
	if (framer->pdu.data_len_bytes > framer->config.data_len_bytes_max) {
		framer_stop(framer, "data segment over limit");
		return;
	}
	framer_enter(framer, FRAMER_HEAD_REST,
		     framer->pdu.ahs_len_bytes +
			     (framer->config.header_digest ? PDU_DIGEST_BYTES : 0u));
}

static void (*const framer_done[])(struct framer *framer) = {
	[FRAMER_BHS] = framer_bhs_done,   [FRAMER_HEAD_REST] = framer_head_done,
	[FRAMER_ASK] = framer_ask,        [FRAMER_DATA] = framer_data_done,
	[FRAMER_TAIL] = framer_tail_done,
};

/* Where byte `at_bytes` of the data segment belongs, cut at the segment's end. */
static struct framer_slice framer_landing(struct framer *framer, uint32_t at_bytes)
{
	struct framer_slice slice = framer->ops->on_landing(framer, at_bytes);

	assert(slice.len_bytes > 0);
	slice.len_bytes = min_u32(slice.len_bytes, framer->need_bytes - at_bytes);
	return slice;
}

/* Where the next byte of the part in hand belongs; a discarded segment has no such place. */
static struct framer_slice framer_place(struct framer *framer)
{
	uint32_t at_bytes = framer->have_bytes;
	uint32_t len_bytes = framer->need_bytes - at_bytes;

	if (framer->state == FRAMER_DATA)
		return framer_landing(framer, at_bytes);
	if (framer->state == FRAMER_TAIL)
		return (struct framer_slice){framer->tail + at_bytes, len_bytes};
	if (framer->state == FRAMER_HEAD_REST)
		at_bytes += PDU_BHS_BYTES;
	return (struct framer_slice){framer->head + at_bytes, len_bytes};
}

static bool framer_is_dropping(const struct framer *framer)
{
	return framer->state == FRAMER_DATA && framer->discard;
}

/* `bytes`, now at their place or passing by, are the next ones of the part in hand. */
static void framer_account(struct framer *framer, const uint8_t *bytes, uint32_t len_bytes)
{
	if (framer->state == FRAMER_DATA && framer->config.data_digest)
		framer->crc = crc32c(framer->crc, bytes, len_bytes);
	framer->have_bytes += len_bytes;
}

/* Move bytes of the receive area to where they belong, at most to the end of one slice. */
static void framer_take(struct framer *framer)
{
	const uint8_t *from = framer->receive + framer->receive_at;
	uint32_t len_bytes = min_u32(framer->receive_end - framer->receive_at,
				     framer->need_bytes - framer->have_bytes);

	if (!framer_is_dropping(framer)) {
		struct framer_slice place = framer_place(framer);

		len_bytes = min_u32(len_bytes, place.len_bytes);
		memcpy(place.bytes, from, len_bytes);
	}
	framer->receive_at += len_bytes;
	framer_account(framer, from, len_bytes);
}

/* One step; false when nothing more can be done with what is there. */
static bool framer_step(struct framer *framer)
{
	if (framer->error || framer->paused)
		return false;
	if (framer->have_bytes == framer->need_bytes) {
		framer_done[framer->state](framer);
	} else if (framer->receive_at < framer->receive_end) {
		framer_take(framer);
	} else {
		return false;
	}
	return true;
}

/* Bounded by the bytes at hand: no two steps in a row take none except the few of one PDU. */
static void framer_run(struct framer *framer)
{
	while (framer_step(framer)) {
	}
	framer_invariants(framer);
}

void framer_resume(struct framer *framer)
{
	framer->paused = false;
	framer_run(framer);
}

/* True while bytes go from the socket straight to the owner's place. */
static bool framer_is_landing(const struct framer *framer)
{
	return framer->state == FRAMER_DATA && !framer->discard &&
	       framer->have_bytes < framer->need_bytes;
}

static uint32_t framer_area_bytes(const struct framer *framer)
{
	return framer->bulk ? min_u32(framer->receive_size_bytes, FRAMER_BULK_AREA_BYTES)
			    : framer->receive_size_bytes;
}

unsigned framer_want(struct framer *framer, struct iovec *iov, unsigned iov_max)
{
	uint32_t at_bytes = framer->have_bytes;
	unsigned count = 0;

	assert(iov_max >= FRAMER_IOV_MIN);
	if (framer->error || framer->paused)
		return 0;
	assert(framer->receive_at == framer->receive_end);
	framer->receive_at = framer->receive_end = 0;
	if (framer_is_landing(framer)) {
		while (at_bytes < framer->need_bytes && count < iov_max - 1) {
			struct framer_slice slice = framer_landing(framer, at_bytes);

			iov[count++] = (struct iovec){slice.bytes, slice.len_bytes};
			at_bytes += slice.len_bytes;
		}
		/* What follows may be received only if the slices reach the segment's end. */
		if (at_bytes < framer->need_bytes)
			return count;
	}
	iov[count++] = (struct iovec){framer->receive, framer_area_bytes(framer)};
	return count;
}

void framer_received(struct framer *framer, size_t len_bytes)
{
	assert(framer->receive_at == framer->receive_end);
	/* First what went straight to its place, in the order of framer_want's slices. */
	while (len_bytes > 0 && framer_is_landing(framer)) {
		struct framer_slice slice = framer_landing(framer, framer->have_bytes);

		if (slice.len_bytes > len_bytes)
			slice.len_bytes = (uint32_t)len_bytes;
		framer_account(framer, slice.bytes, slice.len_bytes);
		len_bytes -= slice.len_bytes;
	}
	assert(len_bytes <= framer->receive_size_bytes);
	framer->receive_at = 0;
	framer->receive_end = (uint32_t)len_bytes;
	framer_run(framer);
}
