/*
 * Fuzz the framer: the same stream, fed whole and fed in pieces, must give the same events.
 *
 * Input: four bytes of settings (digests and back-pressure, size of the pieces, of the landing
 * slices, of the receive area), then the stream. Read next: target/iscsi/frame.h.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "target/iscsi/frame.h"

#define DATA_BYTES_MAX 8192u
#define SETTINGS_BYTES 4u

enum {
	HEADER_DIGEST = 1 << 0,
	DATA_DIGEST = 1 << 1,
	HESITANT = 1 << 2, /* on_header says "not now" before each PDU, on_end pauses. */
};

struct owner {
	struct framer framer;
	uint8_t landing[DATA_BYTES_MAX];
	uint8_t receive[256];
	uint32_t slice_bytes;
	bool hesitant;
	bool asked;
	bool open; /* Between on_header and on_end. */
	uint32_t pdus;
	uint32_t events; /* A digest of everything that was seen. */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static struct owner *owner_of(struct framer *framer)
{
	return CONTAINER_OF(framer, struct owner, framer);
}

static enum framer_verdict on_header(struct framer *framer)
{
	struct owner *owner = owner_of(framer);

	require(!owner->open);
	require(framer->pdu.data_len_bytes <= DATA_BYTES_MAX);
	if (owner->hesitant && !owner->asked) {
		owner->asked = true;
		return FRAMER_NOT_NOW;
	}
	owner->asked = false;
	owner->open = true;
	owner->pdus++;
	owner->events = crc32c(owner->events, framer_bhs(framer),
			       PDU_BHS_BYTES + framer->pdu.ahs_len_bytes);
	memset(owner->landing, 0, sizeof(owner->landing));
	if (framer->pdu.opcode == PDU_LOGOUT_REQUEST)
		return FRAMER_STOP;
	return framer->pdu.opcode == PDU_SNACK_REQUEST ? FRAMER_DISCARD : FRAMER_TAKE;
}

static struct framer_slice on_landing(struct framer *framer, uint32_t offset_bytes)
{
	struct owner *owner = owner_of(framer);

	require(owner->open && offset_bytes < framer->pdu.data_len_bytes);
	return (struct framer_slice){owner->landing + offset_bytes, owner->slice_bytes};
}

static void on_end(struct framer *framer, bool data_digest_ok)
{
	struct owner *owner = owner_of(framer);

	require(owner->open);
	owner->open = false;
	owner->events = crc32c(owner->events, owner->landing, framer->pdu.data_len_bytes);
	owner->events = crc32c(owner->events, &(uint8_t){data_digest_ok}, 1);
	if (owner->hesitant)
		framer_pause(framer);
}

static const struct framer_ops ops = {
	.on_header = on_header,
	.on_landing = on_landing,
	.on_end = on_end,
};

static size_t receive(struct owner *owner, const uint8_t *bytes, size_t len)
{
	struct iovec iov[5];
	unsigned count = framer_want(&owner->framer, iov, 5);
	size_t moved = 0;

	require(count > 0);
	for (unsigned i = 0; i < count && moved < len; i++) {
		size_t part = iov[i].iov_len < len - moved ? iov[i].iov_len : len - moved;

		require(iov[i].iov_len > 0);
		memcpy(iov[i].iov_base, bytes + moved, part);
		moved += part;
	}
	framer_received(&owner->framer, moved);
	return moved;
}

static void feed(struct owner *owner, const uint8_t *bytes, size_t len, size_t step)
{
	while (len > 0 && !framer_error(&owner->framer)) {
		size_t moved = receive(owner, bytes, len < step ? len : step);

		require(moved > 0);
		bytes += moved;
		len -= moved;
		while (framer_is_paused(&owner->framer) && !framer_error(&owner->framer))
			framer_resume(&owner->framer);
	}
}

static void owner_init(struct owner *owner, const struct framer_config *config,
		       uint32_t receive_bytes)
{
	memset(owner, 0, sizeof(*owner));
	owner->slice_bytes = DATA_BYTES_MAX;
	framer_init(&owner->framer, &ops, config,
		    (struct framer_slice){owner->receive, receive_bytes});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct owner whole;
	static struct owner pieces;
	struct framer_config config = {.data_len_bytes_max = DATA_BYTES_MAX};

	if (size < SETTINGS_BYTES)
		return 0;
	config.header_digest = data[0] & HEADER_DIGEST;
	config.data_digest = data[0] & DATA_DIGEST;
	owner_init(&whole, &config, sizeof(whole.receive));
	feed(&whole, data + SETTINGS_BYTES, size - SETTINGS_BYTES, size);
	owner_init(&pieces, &config, 1u + data[3]);
	pieces.hesitant = data[0] & HESITANT;
	pieces.slice_bytes = 1u + data[2];
	feed(&pieces, data + SETTINGS_BYTES, size - SETTINGS_BYTES, 1u + data[1]);
	require(whole.pdus == pieces.pdus && whole.events == pieces.events);
	require(whole.open == pieces.open);
	require(framer_error(&whole.framer) == framer_error(&pieces.framer));
	return 0;
}
