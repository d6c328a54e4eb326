/*
 * An open qcow2 image: what image_qcow2.c (hosts) and the simulator (tests/crash) stand on. It
 * knows files only as descriptors given to the loop's operations, and as a reader while it is
 * opened; names, locks and chains are its callers'.
 *
 * Threads: an image belongs to one loop. Opening and closing happen on the control thread while
 * nothing runs; everything between on the loop.
 *
 * Read next: README.md (invariants), ORDER.md (how a write becomes durable).
 */
#ifndef LUN_QCOW2_QCOW2_H
#define LUN_QCOW2_QCOW2_H

#include "base/loop.h"
#include "lun/image.h"
#include "lun/qcow2/format.h"
#include "lun/qcow2/op.h"

struct qcow2;
struct qcow2_cache;

/* A file while it is opened: all bytes or negative errno; reading beyond its end gives zeroes. May
 * block. */
struct qcow2_file {
	int (*read)(const struct qcow2_file *file, void *buffer, size_t length, uint64_t offset);
	uint64_t size_bytes;
};

struct qcow2_spec {
	const char *name; /* For logs; copied. */
	struct loop *loop;
	struct qcow2_cache *cache;
	const struct qcow2_file *file; /* Used during qcow2_open only. */
	int fd;                        /* For the loop's operations. Its caller's. */
	int sync_fd;                   /* For fdatasync alone: its errors are reported once. */
	bool read_only;
	/* It is written below others, which read through it at the same time: what it frees stays
	 * as it is until it is stopped. */
	bool holds_frees;
	/* It was not closed in order, so that clusters may have leaked: they are looked for while
	 * it is used, and taken back. */
	bool recovers;
	struct image_recovery *recovery; /* Told what becomes of that; or NULL. */
	bool direct;                     /* fd takes direct I/O, io_align_bytes aligned. */
	bool in_memory;                  /* On tmpfs: transfers are copies. */
	uint32_t io_align_bytes;
	/* What shows where the image has nothing, or NULL; its caller's, open for longer than this
	 * one. */
	struct qcow2 *backing;
};

/* Transfers that one request has under way at once, clusters whose mapping it is about to change,
 * and elements of the vector that it may come with. */
#define QCOW2_TRANSFERS 8u
#define QCOW2_LINKS 32u
#define QCOW2_IOV_MAX (LUN_IOV_MAX + 2u)

struct qcow2_push;
struct qcow2_request;
typedef void qcow2_done_fn(struct qcow2_request *request, int res);

/* Who works on a request. Changed by request_stage alone. */
enum qcow2_stage {
	QCOW2_IDLE,    /* Its caller. */
	QCOW2_PLAN,    /* The mapping is looked up and a round of transfers put together. */
	QCOW2_COPY,    /* What a partial write leaves is read: `copy` has it. */
	QCOW2_IO,      /* The kernel has the round's transfers. */
	QCOW2_INFLATE, /* `inflate` has it. */
	QCOW2_LINK,    /* The data are written; the mapping is changed. */
	QCOW2_FLUSH,   /* A group has it. */
	QCOW2_ENDED,   /* done runs soon. */
	QCOW2_STAGES
};

/* One piece of a round: contiguous in a file, and in the request. */
struct qcow2_transfer {
	struct qcow2_op op;
	struct qcow2_request *request;
	struct qcow2 *image;           /* Whose file it is in. */
	uint32_t iov_first, iov_count; /* Of the request's `vector`. */
	uint64_t host_offset, length;
	uint64_t guest_end;
};

/* A guest cluster whose mapping is changed when the round's data are written. */
struct qcow2_link {
	struct busy *busy;
	uint32_t subclusters;
	bool durable_first; /* Rule O1. */
	bool zero;          /* A pull found nothing but zeroes: none are written. */
};

/* A piece that an image has of its own. */
struct qcow2_own {
	uint64_t offset, length; /* length 0: there is none. */
	bool is_zero;            /* Its entry says so. */
};

/*
 * One I/O. The caller's memory until done has run: later, on the loop, never inside qcow2_submit,
 * exactly once. res as of image_io_done. READ, WRITE, FLUSH, UNMAP, ZERO, MAP and PULL with the
 * flags of lun_io, PUSH for qcow2_push alone; offsets and lengths of READ and WRITE are multiples
 * of io_align_bytes, and lie inside the image. Zero-initialise once; it may be submitted again from
 * inside done.
 */
struct qcow2_request {
	/* Set by the caller before submit. */
	enum lun_op op;
	uint32_t flags;
	uint64_t offset, length;
	struct iovec *iov; /* READ, WRITE. Not changed; kept until done. */
	uint32_t iov_count;
	struct map_builder *map; /* MAP: begun by the caller. */
	const struct qcow2
		*base; /* PULL: below the image (-ESTALE); NULL: all that is there is pulled. */
	uint64_t below_bytes; /* PULL: as of lun_pull. */
	qcow2_done_fn *done;
	/* A result, of LUN_IO_ZEROES_SUFFICE. */
	bool zeroes;
	uint64_t moved; /* PULL: bytes that were copied. */
	/* PUSH: what is found, and for whom. */
	struct qcow2_own own;
	struct qcow2_push *push;
	/* The engine's from here on. */
	enum qcow2_stage stage;
	struct qcow2 *image;
	struct list_node link;      /* Of who makes it wait, of the runnable, or of the ended. */
	struct list_node in_flight; /* The image's list, by `group`, while transfers run. */
	uint64_t group;             /* The open one when the round's mapping was looked up. */
	uint64_t at;                /* All before it is done. */
	uint64_t round_end;         /* What the round covers ends here. */
	uint64_t part_end;          /* ZERO: what has to be written ends here. */
	int res;
	bool waiting;     /* On somebody's list; runs again when that wakes it. */
	bool needs_flush; /* Something of it is durable only with the next group. */
	bool all_zero;    /* So far; nothing has been filled with zeroes. */
	bool counted;     /* In the image's `active`. */
	uint32_t transfer_count, transfers_running, vector_count;
	uint32_t link_count, links_done;
	uint32_t iov_at;   /* `at` lies in this element of iov, */
	uint64_t iov_skip; /* behind so many of its bytes. */
	struct copy *copy; /* What a partial write leaves. */
	struct inflate *inflate;
	struct qcow2_transfer transfers[QCOW2_TRANSFERS];
	struct qcow2_link links[QCOW2_LINKS];
	struct iovec vector[QCOW2_IOV_MAX + QCOW2_TRANSFERS];
};

/* Open what the file holds. Negative errno and a sentence in `why`. The slices that it may use come
 * from the cache. */
int MUST_CHECK qcow2_open(const struct qcow2_spec *spec, struct qcow2 **out, char *why,
			  size_t why_bytes);
/* A raw file as the last of a chain: it has data up to its end. Read-only. */
int MUST_CHECK qcow2_open_raw(const struct qcow2_spec *spec, struct qcow2 **out);
const struct qcow2_header *qcow2_header(const struct qcow2 *image);
/* It is in use, if only for what it, or one below it, does by itself; requests say the same. True:
 * there is something, and it ends with qcow2_stop. */
LOOP_ONLY bool qcow2_begin(struct qcow2 *image);
LOOP_ONLY void qcow2_submit(struct qcow2 *image, struct qcow2_request *request);
/*
 * A READ or WRITE, not a durable one, that is nothing but a copy: its bytes are in one place of one
 * file, the cache knows where, and the kernel has them in memory. Then all is done here, and
 * nothing is under way afterwards. -EBUSY: nothing of it was done, because this turn of the loop
 * has had its share of copies; a later one may do it. -EAGAIN: it has to be submitted; a part of it
 * may have been done.
 */
LOOP_ONLY int MUST_CHECK qcow2_copy(struct qcow2 *image, enum lun_op op, struct byte_range range,
				    struct iovec *iov, uint32_t iov_count);
/*
 * What `from` has of its own in the range goes into the image below it, which was opened for
 * writing before, with holds_frees: then that shows there what `from` does. What went down since
 * `from` was opened, and has not changed, is passed by. With LUN_IO_DURABLE all that ever went down
 * is durable then. Where `from` is written meanwhile, what goes down is of some moment; it is in
 * `left`, and to be pushed once more. Who reads `from` sees no difference in any case. The
 * caller's, and `request` and `buffer`, until `done` has run: later, on the loop. -ESTALE: `to` is
 * not below it, or NULL; -EROFS: it is not open for that; -ENOTSUP: it ends before, or is written
 * in units larger than parts of `from`.
 */
struct qcow2_push {
	struct qcow2 *from, *to;
	uint64_t offset, length;
	uint32_t flags;
	void *buffer; /* Aligned as for READ; of a multiple of the alignment. */
	uint64_t buffer_bytes;
	struct qcow2_request *request; /* Zeroed once, or ended. */
	void (*done)(struct qcow2_push *push, int res);
	/* Results: bytes that were copied; what of `from` is to be pushed, all of it counted. */
	uint64_t moved, left;
	/* Private to push.c. */
	uint64_t at, end;
	struct byte_range run, piece;
	struct iovec iov;
};
LOOP_ONLY void qcow2_push(struct qcow2_push *push);
/* Whether its pool is guarded (lun/space.h), as far as the next request knows: then writes have
 * what is reserved and has space behind it, and no more. */
LOOP_ONLY void qcow2_guard(struct qcow2 *image, bool guarded);
/* Commit everything, give the reservation back; done runs when nothing of the image is under way
 * any more. It may be used again afterwards. What is below it is stopped after it. */
LOOP_ONLY void qcow2_stop(struct qcow2 *image, void (*done)(void *arg, int res), void *arg);
/* After qcow2_stop, or when the loop does not run any more. Control thread. */
void qcow2_close(struct qcow2 *image);
/* Clusters may be leaked even when it is closed now: after qcow2_stop, before qcow2_close. */
bool qcow2_may_leak(const struct qcow2 *image);
/* A flush, or a change of the mapping, failed for good: nothing is written any more. Loop. */
bool qcow2_has_failed(const struct qcow2 *image);

/*
 * How one bound for all slices is divided: so many loops own images, and each has so many bytes of
 * slices. As many loops as there are, but none with less than 64 MiB, which map 512 GiB in clusters
 * of 128 KiB; it depends on nothing that a reload changes. Any thread.
 */
#define QCOW2_CACHE_BYTES (UINT64_C(1) << 30) /* Where nobody says otherwise. */
#define QCOW2_CACHE_SHARE_MIN (UINT64_C(64) << 20)
struct qcow2_share {
	unsigned owners;
	uint64_t bytes;
};
struct qcow2_share qcow2_share(uint64_t bytes, unsigned loops);
/* What a cache of so many bytes of slices becomes when all of it is in use. */
uint64_t qcow2_cache_memory(uint64_t bytes);

/* One loop's slices: 4 KiB each, LRU over all its images. -ENOMEM. */
int MUST_CHECK qcow2_cache_create(uint64_t bytes, struct qcow2_cache **out);
void qcow2_cache_free(struct qcow2_cache *cache);

#endif
