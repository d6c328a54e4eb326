/*
 * What the parts of the echo program share: the job, one end of a connection, and the arithmetic of
 * messages on a byte stream. It knows neither epoll nor rings. One thread in each of two processes.
 * Read next: echo.c, then echo_epoll.c as one server and echo_ring.c as the other.
 */
#ifndef INITIATOR_TESTS_BENCH_ECHO_H
#define INITIATOR_TESTS_BENCH_ECHO_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#define ECHO_CONNECTIONS_MAX 64
#define ECHO_DEPTH_MAX 1024
/* 16 MiB of data and a header. */
#define ECHO_MESSAGE_BYTES_MAX ((16u << 20) + 48)
/* One receive; what `ringsan bench` takes in one, too. */
#define ECHO_RECEIVE_BYTES (256u << 10)
/* Elements of one gather send. */
#define ECHO_GATHER_MAX 128
/* An hour. */
#define ECHO_MS_MAX 3600000ul

/* The command line, checked; constant afterwards. */
struct echo_job {
	size_t request_bytes;
	size_t reply_bytes;
	unsigned connections;
	unsigned depth;
	unsigned long ramp_ms; /* Before anything is measured. */
	unsigned long measured_ms;
	unsigned server_cpu;
	unsigned client_cpu;
};

/* What one end has in hand; servers and the client have the same. */
struct echo_end {
	size_t in_bytes;  /* Received of the message that is coming. */
	size_t out_bytes; /* Still to be sent, over all messages that are due. */
	size_t in_whole;  /* A message that comes has so many bytes, */
	size_t out_whole; /* and one that goes so many. */
	int fd;
	bool blocked; /* The socket takes nothing now. */
};

/* A server: never returns except when a connection ends. */
typedef void echo_serve_fn(struct echo_end *ends, unsigned count);
echo_serve_fn echo_serve_epoll;
echo_serve_fn echo_serve_ring;

/* Connect, drive the server, print the result as one JSON object. */
void echo_drive(const struct echo_job *job, const struct sockaddr_in *address, pid_t server);

/* Print `what` with errno and end the process. */
_Noreturn void echo_die(const char *what);

uint64_t echo_now_ns(clockid_t clock);
void echo_pin(unsigned cpu);
void echo_no_delay(int fd);

/* `bytes` were received; how many messages have become whole by it. */
size_t echo_take(struct echo_end *end, size_t bytes);

/*
 * The next part of what is due as a gather list over bytes that nobody reads: the rest of a message
 * that went in part, then whole ones, at most ECHO_GATHER_MAX. Returns the number of elements.
 */
size_t echo_gather(const struct echo_end *end, struct iovec *iov);

/* Send until nothing is due or the socket takes no more, which `blocked` then says. */
void echo_send(struct echo_end *end);

/* Receive once without waiting unless `flags` is 0. How many messages are whole; -1: it has gone.
 */
long echo_receive(struct echo_end *end, int flags);

#endif
