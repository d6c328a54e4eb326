/*
 * A connection before and after the run: connect, and one exchange at a time. It is not the data
 * path (session_*.c). Runs on the worker that owns the session. Read next: conn.h, login.c,
 * setup.c.
 */
#include "target/bench/conn.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/crc32c.h"

/* The receive area: room for what a full queue of small reads brings in one call, and small enough
 * to stay in the processor's cache. */
#define RECEIVE_BYTES_MIN (32u << 10)
#define RECEIVE_BYTES_MAX (256u << 10)
/* A thousand sessions share this much. */
#define RECEIVE_BYTES_ALL (128u << 20)

int bench_conn_fail(struct bench_conn *conn, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	(void)vsnprintf(conn->error, sizeof(conn->error), format, args);
	va_end(args);
	return err;
}

static uint32_t receive_bytes_for(const struct bench_options *options)
{
	uint64_t wanted = options->queue_depth * (options->mix.largest_bytes + PDU_BHS_BYTES + 8);
	uint64_t share = RECEIVE_BYTES_ALL / options->sessions;

	if (wanted > share)
		wanted = share;
	if (wanted > RECEIVE_BYTES_MAX)
		wanted = RECEIVE_BYTES_MAX;
	return wanted > RECEIVE_BYTES_MIN ? (uint32_t)wanted : RECEIVE_BYTES_MIN;
}

int bench_conn_init(struct bench_conn *conn, const struct bench_options *options, uint32_t index)
{
	memset(conn, 0, sizeof(*conn));
	conn->fd = -1;
	conn->options = options;
	conn->receive_bytes = receive_bytes_for(options);
	conn->receive = malloc(conn->receive_bytes);
	conn->answer = malloc(CONN_DATA_BYTES_MAX);
	if (!conn->receive || !conn->answer)
		return bench_conn_fail(conn, -ENOMEM, "out of memory");
	/* RFC 7143 11.12.5: type 10b is random, in the 24 bits behind it; the rest is ours. */
	conn->isid[0] = 0x80;
	if (getrandom(conn->isid + 1, 3, 0) != 3)
		return bench_conn_fail(conn, -EIO, "no random numbers: %s", strerrordesc_np(errno));
	put_be16(conn->isid + 4, (uint16_t)index);
	return 0;
}

void bench_conn_release(struct bench_conn *conn)
{
	if (conn->fd >= 0)
		(void)close(conn->fd);
	conn->fd = -1;
	free(conn->receive);
	conn->receive = NULL;
	free(conn->answer);
	conn->answer = NULL;
}

static void set_time_limit(int fd, int option, uint64_t ms)
{
	const struct timeval limit = {.tv_sec = (time_t)(ms / 1000),
				      .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

	/* Only sockets lack it that are none. */
	(void)setsockopt(fd, SOL_SOCKET, option, &limit, sizeof(limit));
}

/* One address: a connected descriptor, or negative errno. */
static int connect_address(const struct addrinfo *address, uint64_t timeout_ms)
{
	const int one = 1;
	int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err = 0;

	if (fd < 0)
		return -errno;
	/* On Linux the send limit bounds connect, too; it ends with EINPROGRESS. */
	set_time_limit(fd, SO_SNDTIMEO, timeout_ms);
	if (connect(fd, address->ai_addr, address->ai_addrlen) != 0)
		err = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	if (!err && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
		err = -errno;
	if (err) {
		(void)close(fd);
		return err;
	}
	return fd;
}

int bench_conn_connect(struct bench_conn *conn)
{
	const struct bench_url *url = &conn->options->url;
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *list;
	char port[8];
	int err;

	(void)snprintf(port, sizeof(port), "%u", url->port);
	err = getaddrinfo(url->host, port, &hints, &list);
	if (err) {
		return bench_conn_fail(conn, -EHOSTUNREACH, "cannot resolve %s: %s", url->host,
				       gai_strerror(err));
	}
	err = -EHOSTUNREACH;
	for (const struct addrinfo *at = list; at && err < 0; at = at->ai_next)
		err = connect_address(at, conn->options->timeout_ms);
	freeaddrinfo(list);
	if (err < 0) {
		return bench_conn_fail(conn, err, "cannot connect to %s port %u: %s", url->host,
				       url->port, strerrordesc_np(-err));
	}
	conn->fd = err;
	return 0;
}

unsigned bench_pdu_vector(const struct iscsi_params *params, struct bench_pdu_room *room,
			  const void *data, uint32_t data_bytes, struct iovec *iov)
{
	uint32_t pad_bytes = pdu_padded(data_bytes) - data_bytes;
	uint32_t tail_bytes = pad_bytes;
	unsigned count = 0;

	if (params->header_digest)
		put_le32(room->head + PDU_BHS_BYTES, crc32c(0, room->head, PDU_BHS_BYTES));
	iov[count].iov_base = room->head;
	iov[count++].iov_len = PDU_BHS_BYTES + (params->header_digest ? PDU_DIGEST_BYTES : 0);
	if (data_bytes == 0)
		return count;
	/* sendmsg only reads it. NOLINTNEXTLINE(performance-no-int-to-ptr) */
	iov[count].iov_base = (void *)(uintptr_t)data;
	iov[count++].iov_len = data_bytes;
	memset(room->tail, 0, pad_bytes);
	if (params->data_digest) {
		uint32_t crc = crc32c(crc32c(0, data, data_bytes), room->tail, pad_bytes);

		put_le32(room->tail + pad_bytes, crc);
		tail_bytes += PDU_DIGEST_BYTES;
	}
	if (tail_bytes > 0) {
		iov[count].iov_base = room->tail;
		iov[count++].iov_len = tail_bytes;
	}
	return count;
}

/* Send all of it. What has to go before the run fits into any socket buffer, and SO_SNDTIMEO bounds
 * the wait where it does not. */
static int send_pdu(struct bench_conn *conn, const uint8_t *bhs, const void *data,
		    uint32_t data_bytes)
{
	struct bench_pdu_room room;
	struct iovec iov[BENCH_PDU_IOV_MAX];
	struct msghdr msg = {.msg_iov = iov};
	size_t total = 0;
	ssize_t sent;

	memcpy(room.head, bhs, PDU_BHS_BYTES);
	msg.msg_iovlen = bench_pdu_vector(&conn->params, &room, data, data_bytes, iov);
	for (size_t i = 0; i < msg.msg_iovlen; i++)
		total += iov[i].iov_len;
	sent = sendmsg(conn->fd, &msg, MSG_NOSIGNAL);
	if (sent < 0)
		return bench_conn_fail(conn, -errno, "cannot send: %s", strerrordesc_np(errno));
	if ((size_t)sent != total)
		return bench_conn_fail(conn, -ETIMEDOUT, "cannot send: the target takes nothing");
	return 0;
}

static void answer_nop_in(struct bench_conn *conn)
{
	uint8_t bhs[PDU_BHS_BYTES];
	struct pdu_nop_in ping;
	struct pdu_nop_out pong = {.itt = PDU_TAG_RESERVED, .immediate = true};

	pdu_nop_in_decode(&ping, conn->answer_bhs);
	if (ping.ttt == PDU_TAG_RESERVED)
		return;
	pong.lun = ping.lun;
	pong.ttt = ping.ttt;
	pong.cmd_sn = conn->window.cmd_sn;
	pong.exp_stat_sn = conn->exp_stat_sn;
	pdu_nop_out_encode(&pong, bhs);
	if (send_pdu(conn, bhs, NULL, 0))
		framer_stop(&conn->framer, conn->error);
}

/* Data-In goes where its offset says, everything else to the front. */
static enum framer_verdict on_header(struct framer *framer)
{
	struct bench_conn *conn = CONTAINER_OF(framer, struct bench_conn, framer);
	struct pdu_data_in in = {0};

	memcpy(conn->answer_bhs, framer_bhs(framer), PDU_BHS_BYTES);
	if (framer->pdu.opcode == PDU_DATA_IN)
		pdu_data_in_decode(&in, conn->answer_bhs);
	if (in.buffer_offset > CONN_DATA_BYTES_MAX ||
	    framer->pdu.data_len_bytes > CONN_DATA_BYTES_MAX - in.buffer_offset) {
		framer_stop(framer, "an answer is longer than expected");
		return FRAMER_STOP;
	}
	conn->landing_bytes = in.buffer_offset;
	return FRAMER_TAKE;
}

static struct framer_slice on_landing(struct framer *framer, uint32_t offset_bytes)
{
	struct bench_conn *conn = CONTAINER_OF(framer, struct bench_conn, framer);
	uint32_t at = conn->landing_bytes + offset_bytes;

	assert(at < CONN_DATA_BYTES_MAX);
	return (struct framer_slice){conn->answer + at, CONN_DATA_BYTES_MAX - at};
}

static void on_end(struct framer *framer, bool data_digest_ok)
{
	struct bench_conn *conn = CONTAINER_OF(framer, struct bench_conn, framer);
	struct pdu_data_in in;

	if (!data_digest_ok) {
		framer_stop(framer, "a data digest is wrong");
		return;
	}
	if (framer->pdu.opcode == PDU_NOP_IN) {
		answer_nop_in(conn);
		return;
	}
	if (framer->pdu.opcode == PDU_DATA_IN) {
		pdu_data_in_decode(&in, conn->answer_bhs);
		conn->answer_bytes = in.buffer_offset + in.data_len_bytes;
		if (!in.has_status)
			return;
	} else if (framer->pdu.data_len_bytes > 0 || framer->pdu.opcode != PDU_SCSI_RESPONSE) {
		conn->answer_bytes = framer->pdu.data_len_bytes;
	}
	conn->answered = true;
	framer_pause(framer);
}

static const struct framer_ops exchange_ops = {
	.on_header = on_header,
	.on_landing = on_landing,
	.on_end = on_end,
};

/* Receive once. */
static int receive(struct bench_conn *conn, uint64_t deadline_ns)
{
	struct pollfd ready = {.fd = conn->fd, .events = POLLIN};
	uint64_t now_ns = clock_now_ns();
	struct iovec iov[FRAMER_IOV_MIN];
	unsigned count = framer_want(&conn->framer, iov, FRAMER_IOV_MIN);
	ssize_t received;

	if (count == 0) {
		return bench_conn_fail(conn, -EPROTO, "protocol error: %s",
				       framer_error(&conn->framer));
	}
	if (now_ns >= deadline_ns ||
	    poll(&ready, 1, (int)((deadline_ns - now_ns) / CLOCK_NS_PER_MS) + 1) == 0) {
		return bench_conn_fail(conn, -ETIMEDOUT, "no answer within %llu ms",
				       (unsigned long long)conn->options->timeout_ms);
	}
	received = readv(conn->fd, iov, (int)count);
	if (received == 0)
		return bench_conn_fail(conn, -ECONNRESET, "the target closed the connection");
	if (received < 0) {
		return errno == EINTR || errno == EAGAIN
			       ? 0
			       : bench_conn_fail(conn, -errno, "cannot receive: %s",
						 strerrordesc_np(errno));
	}
	framer_received(&conn->framer, (size_t)received);
	return 0;
}

int bench_conn_exchange(struct bench_conn *conn, const uint8_t *bhs, const void *data,
			uint32_t data_bytes)
{
	uint64_t deadline_ns = clock_now_ns() + conn->options->timeout_ms * CLOCK_NS_PER_MS;
	const struct framer_config config = {
		.data_len_bytes_max = CONN_DATA_BYTES_MAX,
		.header_digest = conn->params.header_digest,
		.data_digest = conn->params.data_digest,
	};
	int err;

	assert(data_bytes <= CONN_DATA_BYTES_MAX);
	conn->answered = false;
	conn->answer_bytes = 0;
	if (!conn->framer.ops) {
		framer_init(&conn->framer, &exchange_ops, &config,
			    (struct framer_slice){conn->receive, conn->receive_bytes});
	} else {
		framer_reconfigure(&conn->framer, &exchange_ops, &config);
	}
	err = send_pdu(conn, bhs, data, data_bytes);
	framer_resume(&conn->framer);
	while (!err && !conn->answered)
		err = receive(conn, deadline_ns);
	return err;
}
