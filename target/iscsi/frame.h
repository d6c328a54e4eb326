/*
 * The framer: cuts the byte stream of a connection into PDUs and says where the next bytes land.
 *
 * It knows no sockets, no time and no memory but what it was given, and it judges nothing except
 * lengths and digests. It is used by the target and, for responses, by the benchmark's initiator.
 *
 * One turn of a connection:
 *
 *     n = framer_want(&framer, iov, max);    slices for the bytes to come; 0: do not receive now
 *     receive into the slices
 *     framer_received(&framer, bytes);       the callbacks run, for as many PDUs as came
 *
 * While a data segment is on its way, the first slices are the place that its owner named (the
 * task's own buffers: nothing is copied), and the last slice is the framer's receive area, for what
 * follows it. At all other times the receive area is the only slice.
 *
 * For each PDU on_header is called once the header (BHS, AHS, digest) is complete and intact, then,
 * when data segment, padding and data digest are through, on_end. Both come also for PDUs without
 * data. The header bytes are valid between the two, on_end included.
 *
 * Back-pressure: if on_header answers FRAMER_NOT_NOW, or any callback called framer_pause, the
 * framer wants nothing until framer_resume, which asks on_header again or goes on with the bytes
 * that are left over in the receive area.
 *
 * An error (header digest, a length over the limit, FRAMER_STOP) stops the framer for good.
 *
 * Threads: a framer belongs to its connection's loop. Read next: frame.c.
 */
#ifndef TARGET_ISCSI_FRAME_H
#define TARGET_ISCSI_FRAME_H

#include "base/attr.h"
#include "target/iscsi/opcode_table.h"
#include "target/iscsi/pdu.h"

#include <stddef.h>
#include <sys/uio.h>

/* Before login completes everybody's MaxRecvDataSegmentLength is the default, RFC 7143 13.12. */
#define FRAMER_LOGIN_DATA_BYTES_MAX 8192u
/* A receive area smaller than this would only waste calls; the framer works with any above 0. */
#define FRAMER_RECEIVE_BYTES_MIN 512u
/* Behind a data segment this long, which is received to its place, another is likely: then so
 * little is received into the area that nearly all of that lands directly, too. */
#define FRAMER_BULK_BYTES 16384u
#define FRAMER_BULK_AREA_BYTES 1024u
/* framer_want needs room for at least one slice of data and the receive area. */
#define FRAMER_IOV_MIN 2u

struct framer;

enum framer_verdict {
	FRAMER_TAKE,    /* The data segment lands where on_landing says. */
	FRAMER_DISCARD, /* It is read and dropped; on_end comes all the same. */
	FRAMER_NOT_NOW, /* Wait for framer_resume, which asks again. */
	FRAMER_STOP,    /* Read nothing more, ever. */
};

/* A place for bytes. */
struct framer_slice {
	uint8_t *bytes;
	uint32_t len_bytes;
};

/* The owner finds itself by CONTAINER_OF. No callback may call framer_want, _received or _resume.
 */
struct framer_ops {
	/* A header is complete: framer->pdu, framer_bhs, framer_ahs. */
	enum framer_verdict (*on_header)(struct framer *framer);
	/*
	 * Where does byte `offset_bytes` of the current data segment land, and how many bytes from
	 * there on are contiguous (at least 1; what exceeds the segment is not used)? Asked several
	 * times for the same offset, before and after the bytes arrive; the answer must not change
	 * meanwhile. May be NULL if on_header never takes a PDU with data.
	 */
	struct framer_slice (*on_landing)(struct framer *framer, uint32_t offset_bytes);
	/* The PDU is through. False: the data digest was wrong (RFC 7143 7.8). */
	void (*on_end)(struct framer *framer, bool data_digest_ok);
};

struct framer_config {
	uint32_t data_len_bytes_max; /* What we declared as MaxRecvDataSegmentLength. */
	bool header_digest;          /* CRC32C, else none. */
	bool data_digest;
};

enum framer_state {
	FRAMER_BHS,       /* Collecting the basic header segment. */
	FRAMER_HEAD_REST, /* AHS and header digest. */
	FRAMER_ASK,       /* The header is complete; on_header has not accepted it yet. */
	FRAMER_DATA,
	FRAMER_TAIL, /* Padding and data digest. */
};

/* All fields are private to frame.c, but `pdu`, which callbacks may read. */
struct framer {
	struct pdu_common pdu; /* The header in hand, valid from on_header to on_end. */
	const struct framer_ops *ops;
	struct framer_config config;
	const char *error; /* Set once, then nothing more is wanted. */
	uint8_t *receive;
	uint32_t receive_size_bytes;
	uint32_t receive_at;  /* receive_at <= receive_end <= receive_size_bytes */
	uint32_t receive_end; /* Bytes between the two came but were not looked at yet. */
	uint32_t have_bytes;  /* Of the current part: head, data segment, tail. */
	uint32_t need_bytes;  /* have_bytes <= need_bytes */
	uint32_t crc;         /* Of the data segment so far. */
	enum framer_state state;
	bool paused;
	bool discard;
	bool bulk; /* The last data segment was long and wanted. */
	uint8_t head[PDU_BHS_BYTES + OPCODE_AHS_BYTES_MAX + PDU_DIGEST_BYTES];
	uint8_t tail[3u + PDU_DIGEST_BYTES];
};

/*
 * Begin, at a PDU boundary. The receive area stays the caller's memory and must live until another
 * takes its place; it also takes the bytes of discarded data segments. Several framers may share
 * one, if each receives and is told so (framer_received) before the next one receives, and moves
 * away with framer_set_area when bytes are left over.
 */
void framer_init(struct framer *framer, const struct framer_ops *ops,
		 const struct framer_config *config, struct framer_slice receive);

/*
 * Change callbacks, limits and digests between two PDUs: from login to full feature. Call
 * framer_pause in the on_end of the last login request, send the answer, then framer_reconfigure
 * and, on the connection's new loop, framer_resume: bytes that came early are read with the new
 * settings.
 */
void framer_reconfigure(struct framer *framer, const struct framer_ops *ops,
			const struct framer_config *config);

/*
 * Fill iov with the slices for the next receive. iov_max is at least FRAMER_IOV_MIN. Returns their
 * count; 0 while paused or stopped. The slices are valid until the next call on the framer.
 */
unsigned MUST_CHECK framer_want(struct framer *framer, struct iovec *iov, unsigned iov_max);

/* Bytes in the receive area that were not looked at: not 0 only while paused or stopped. */
static inline uint32_t framer_left_bytes(const struct framer *framer)
{
	return framer->receive_end - framer->receive_at;
}

/* Another receive area from now on. The bytes that are left move into it, so it has room for them;
 * the old area is the caller's again. Between calls, not from callbacks. */
void framer_set_area(struct framer *framer, struct framer_slice receive);

/* `len_bytes` (not more than was wanted) arrived in the slices of the last framer_want. */
void framer_received(struct framer *framer, size_t len_bytes);

/* From a callback or between calls: look at no further byte until framer_resume. */
void framer_pause(struct framer *framer);
/* Go on; runs callbacks. Without effect on a framer that is not paused, or that has stopped. */
void framer_resume(struct framer *framer);
/* From a callback or between calls: stop for good. `error` is a constant string. */
void framer_stop(struct framer *framer, const char *error);

static inline bool framer_is_paused(const struct framer *framer)
{
	return framer->paused;
}

/* NULL, or the constant reason why the framer stopped. */
static inline const char *framer_error(const struct framer *framer)
{
	return framer->error;
}

/* True between two PDUs: an end of stream here is orderly. */
static inline bool framer_is_between_pdus(const struct framer *framer)
{
	return framer->state == FRAMER_BHS && framer->have_bytes == 0;
}

/* Bytes of the data segment in hand, not yet received, that are dropped without a look: whoever can
 * have them dropped before they are copied may report them with framer_received all the same. */
static inline uint32_t framer_unread_bytes(const struct framer *framer)
{
	if (framer->state != FRAMER_DATA || !framer->discard || framer->config.data_digest)
		return 0;
	return framer->need_bytes - framer->have_bytes;
}

/* The 48 header bytes in hand; for the decoders, and for the data of a Reject. */
static inline const uint8_t *framer_bhs(const struct framer *framer)
{
	return framer->head;
}

/* The AHS in hand, framer->pdu.ahs_len_bytes long, directly behind the BHS. */
static inline const uint8_t *framer_ahs(const struct framer *framer)
{
	return framer->head + PDU_BHS_BYTES;
}

#endif
