/*
 * What a connection sends: a queue of items, each of which yields one or more PDUs.
 *
 * PDUs are made only when they are about to be sent, so that headers need no memory of their own,
 * StatSN follows the order on the wire, and every PDU carries the newest MaxCmdSN. One gather send
 * is in flight per connection; what is queued meanwhile leaves with the next.
 *
 * An item belongs to the queue from tx_queue until `sent` has run, and so does the memory that its
 * PDUs point to. Threads: the connection's loop. Read next: tx.c.
 */
#ifndef TARGET_ISCSI_TX_H
#define TARGET_ISCSI_TX_H

#include "base/loop.h"
#include "target/iscsi/pdu.h"

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct tx_item;

/* How a PDU deals with StatSN (RFC 7143 11.7.4, 11.8.3, 11.19.2). */
enum tx_stat_sn {
	TX_STAT_SN_USE,  /* Carries the next one and uses it up: every response. */
	TX_STAT_SN_SHOW, /* Carries it only: R2T, and NOP-In that asks for no answer. */
	TX_STAT_SN_NONE, /* The field is reserved: Data-In without status. */
};

/* One PDU: tx.c provides the header area, encode fills it. */
struct tx_frame {
	uint8_t *bhs; /* PDU_BHS_BYTES; the sequence numbers are stamped by tx.c. */
	const uint8_t *data;
	uint32_t data_len_bytes;
	enum tx_stat_sn stat_sn;
};

/* Make the item's next PDU. True: it was the last. */
typedef bool tx_encode_fn(struct conn *conn, struct tx_item *item, struct tx_frame *frame);
/* The item has left the queue, because it was sent or because the connection ends. */
typedef void tx_sent_fn(struct conn *conn, struct tx_item *item);

struct tx_item {
	struct list_node link;
	tx_encode_fn *encode;
	tx_sent_fn *sent;
};

/* PDUs of one gather send. */
#define TX_FRAMES_MAX 64u
/* With that much data a send is long enough: others of the loop wait while it is copied, and
 * digests are computed while it is in the cache. */
#define TX_DATA_BYTES_MIN (256u * 1024u)
/* So many items leave at once, not with what else the turn queues: the initiator then has the first
 * answers while the others are made, and both sides work at the same time. */
#define TX_ITEMS_EAGER 16u
/* What is sent beside the data: per PDU a header, padding and digests. */
#define TX_FRAME_BYTES (PDU_BHS_BYTES + PDU_DIGEST_BYTES + 3u + PDU_DIGEST_BYTES)
/* Slices: per PDU its data and what is made for it up to the next one's data. */
#define TX_IOV_MAX (2u * TX_FRAMES_MAX + 1u)
_Static_assert(TX_IOV_MAX <= LOOP_IOV_MAX, "a gather send does not fit one operation");

/* The sending half of a connection. All private to tx.c. */
struct tx {
	struct list_node queue;   /* Items that have PDUs left. */
	struct list_node leaving; /* Items whose last PDU is in the send under way. */
	struct loop_op op;
	struct loop_msg flush;
	bool sending;     /* From the begin of a send until its callbacks have run. */
	bool with_kernel; /* The send itself. */
	bool flush_posted;
	uint32_t queued;           /* Items since the last send began. */
	uint64_t stalled_since_ns; /* When the send under way last moved bytes. */
	uint64_t seen_bytes;       /* transferred_bytes at that time. */
	uint32_t iov_count;        /* Of the send that is being made. */
	uint32_t made_bytes;       /* Of made[]. */
	uint32_t data_bytes;       /* That the send carries. */
	struct iovec iov[TX_IOV_MAX];
	uint8_t made[TX_FRAMES_MAX * TX_FRAME_BYTES];
};

void tx_init(struct tx *tx);
/* Append an item; it leaves in the next turn at the latest. */
LOOP_ONLY void tx_queue(struct conn *conn, struct tx_item *item);
/* True from the begin of a send until the callbacks of what it carried have run. */
LOOP_ONLY bool tx_is_sending(const struct conn *conn);
/* True while the kernel holds bytes that the peer may never take; false in the callbacks. */
LOOP_ONLY bool tx_has_unsent(const struct conn *conn);
/* Nothing is sent any more: run `sent` of all items. Not while a send is under way. */
LOOP_ONLY void tx_drop(struct conn *conn);
/* True when nothing moved for `timeout_ms` although a send is under way. */
LOOP_ONLY bool tx_is_stalled(struct conn *conn, uint64_t timeout_ms);
/* True while a message of tx to its own loop is under way: the connection must not be freed. */
LOOP_ONLY bool tx_is_posted(const struct conn *conn);

#endif
