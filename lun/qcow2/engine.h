/*
 * What the files of the engine share: an open image, its loop's cache, and what each file offers to
 * the others. Not for anyone else: qcow2.h is the way in.
 *
 * All of it belongs to the image's loop. Nothing here allocates memory once an image is open: where
 * something is used up, the request waits on a list of those that give it back (request_wait), and
 * looks everything up again when it is woken.
 *
 * Read next: README.md and ORDER.md, then request.c.
 */
#ifndef LUN_QCOW2_ENGINE_H
#define LUN_QCOW2_ENGINE_H

#include "base/checked.h"
#include "base/pool.h"
#include "base/reach.h"
#include "lun/nowait.h"
#include "lun/qcow2/metadata.h"
#include "lun/qcow2/qcow2.h"
#include "lun/qcow2/recover.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Beside 0 and negative errno: it waits, or would if it had been asked to. */
#define QCOW2_WAIT 1
/* A chain is not longer. */
#define QCOW2_CHAIN_MAX 32u
#define BUSY_MAX 128u
#define BUSY_HEADS 64u
#define COMMIT_IOS 8u
#define DIRTY_SEAL 64u /* Slices; fewer where the cache is small. */
#define COMMIT_MS 1000u
#define LOADS_MAX 32u
/* A ZERO that has to write does it in such parts. */
#define ZERO_WRITE_BYTES (1u << 20)
#define ZERO_BYTES (1u << 16)
#define HOSTS_MAX SCARCE(28u, 512u)
#define COPIES_MAX SCARCE(2u, 16u)
#define INFLATES_MAX SCARCE(2u, 16u)

/* Of what the images of a loop share, one that has `mine` may have another: as loop_punt_begin
 * grants workers, so that one that is stuck leaves half of the rest to the next. */
static inline bool may_have_another(uint32_t mine, uint32_t left)
{
	return mine < left;
}

/* -- slice.c: parts of L2 tables -- */

enum slice_state {
	SLICE_FREE,
	SLICE_LOADING,
	SLICE_CLEAN,  /* On the cache's list, oldest first. */
	SLICE_DIRTY,  /* Changed in the open group; on the image's list `dirty`. */
	SLICE_SEALED, /* Of the group on its way; on `sealed`. Not changed any more. */
};

struct slice {
	struct list_node link;    /* By state. */
	struct list_node waiting; /* LOADING: requests. */
	struct list_node of_image;
	struct qcow2 *image;
	uint64_t file_offset;
	uint8_t *bytes;
	struct slice *next; /* Of its hash chain. */
	uint32_t l1_index;
	enum slice_state state;
	bool hashed; /* What a lookup finds. A sealed one may have been replaced. */
	bool early;  /* SEALED: of a table to which no durable L1 entry leads. */
};

struct load {
	struct qcow2_op op;
	struct list_node link;
	struct iovec iov;
	struct slice *slice; /* NULL: it is free. */
};

/* Of one loop. */
struct qcow2_cache {
	struct pool pool; /* The slices' bytes. */
	struct slice *slices;
	struct slice **heads;
	uint32_t head_count; /* A power of two. */
	uint32_t next_image;
	struct list_node clean;
	struct list_node images;
	struct list_node no_slice; /* Requests that wait for one, or for a load. */
	struct load loads[LOADS_MAX];
	struct list_node free_loads;
	/* request.c */
	struct list_node runnable, ended;
	struct list_node later;  /* Runnable in the next turn. */
	struct list_node kicked; /* Images. */
	bool running;            /* Somebody up the stack empties `runnable`. */
	bool submitting;         /* And somebody is inside qcow2_submit. */
	struct loop_msg msg;
	struct loop *loop; /* Where msg is posted. */
	bool posted;
	/* cow.c, deflated.c */
	struct copy *copies;
	struct inflate *inflates;
	struct pool copy_buffers, inflate_buffers;
	struct list_node free_copies, no_copy, free_inflates, no_inflate;
	/* How many of what all images share are free: may_have_another. */
	uint32_t loads_left, copies_left, inflates_left;
	struct recovery recovery;
};

/*
 * The slice at file_offset. QCOW2_WAIT: it is being loaded, or cannot be yet; `waiter`, if any, is
 * on a list. Negative errno.
 */
LOOP_ONLY int MUST_CHECK slice_get(struct qcow2 *image, uint64_t file_offset, uint32_t l1_index,
				   struct qcow2_request *waiter, struct slice **out);
/* The slice as it is in memory; NULL: it is not there, and on the disk as it is. */
const struct slice *slice_peek(const struct qcow2 *image, uint64_t file_offset);
/* Make it one that may be changed in this turn, and is dirty: perhaps a copy. QCOW2_WAIT. */
LOOP_ONLY int MUST_CHECK slice_modify(struct slice **slice, struct qcow2_request *waiter);
/* A group ended, or failed to. */
LOOP_ONLY void slice_settle(struct slice *slice);
/* Those of a list are thrown away, whatever has changed of them. */
LOOP_ONLY void slices_drop(struct qcow2_cache *cache, struct list_node *list);
/* The image, and what is below it, use the cache from now on; and not any more. On the loop, or
 * when it does not run. */
LOOP_ONLY void cache_enter(struct qcow2 *image);
void cache_leave(struct qcow2 *image);
/* Nothing of it is there: it may be freed beside the loop that runs. */
bool cache_is_left(const struct qcow2 *image);

/* -- busy.c: guest clusters under change -- */

struct busy {
	struct list_node link; /* Of its hash chain, or of the free ones. */
	struct list_node waiting;
	uint64_t cluster; /* Index, guest. */
	uint64_t host_offset;
	uint32_t subclusters; /* That its holders write. */
	uint32_t holders;
	bool fresh;   /* host_offset came from the reservation. */
	bool linked;  /* A durable or coming entry leads to host_offset. */
	bool spoiled; /* Writing to it failed: it is not all zeroes outside of what is linked. */
};

/* Empty, as it stays for images that are only read; and with its records, for one that is written.
 */
void busy_init(struct qcow2 *image);
void busy_make_room(struct qcow2 *image);
LOOP_ONLY struct busy *busy_find(struct qcow2 *image, uint64_t cluster);
/* NULL: all are in use. The caller is its holder. */
LOOP_ONLY struct busy *busy_begin(struct qcow2 *image, uint64_t cluster);
/* One holder less; who waited runs again when it was the last. */
LOOP_ONLY void busy_end(struct qcow2 *image, struct busy *busy);

/* -- reserve.c, run.c, counts.c: where clusters come from -- */

/* Consecutive host clusters. */
struct hosts {
	struct list_node link;
	uint64_t first, count; /* Clusters. */
	uint64_t group;        /* FREED: in this group. PUNCHED: clean with this fdatasync. */
	bool shared;           /* By compressed clusters: only their refcounts go down. */
	bool clean;            /* Zero, whether or not it can be punched once more. */
};

static inline struct hosts *hosts_first(const struct list_node *list)
{
	return list_is_empty(list) ? NULL : CONTAINER_OF(list_first(list), struct hosts, link);
}

enum reserve_stage {
	RESERVE_IDLE,
	RESERVE_SEARCH,   /* Refcounts are read, to find clusters that are free. */
	RESERVE_PUNCH,    /* They may hold anything. */
	RESERVE_ALLOCATE, /* The file's size covers them. */
	RESERVE_COVER,    /* The same by a block of zeroes at the end. */
	RESERVE_COUNT,    /* Their refcounts are written. */
	RESERVE_TABLE,    /* A larger refcount table is written. */
	RESERVE_SYNC,
	RESERVE_ENTRY, /* A new refcount block's entry, or the header that names the larger table.
			*/
	RESERVE_ENTRY_SYNC,
	RESERVE_LOWER_READ,  /* Clusters that go back: their refcounts are read, */
	RESERVE_LOWER_WRITE, /* lowered and written. */
	RESERVE_LOOK,        /* Refcounts are read for recovery. */
	RESERVE_STAGES
};

/* An fdatasync's end, for those who asked for it before it began. */
struct sync_wait {
	struct list_node link;
	void (*done)(struct qcow2 *image, int res);
};

struct reserve {
	enum reserve_stage stage;
	struct list_node free;    /* struct hosts: zeroes, refcount 1, covered, all durable. */
	struct list_node lower;   /* Whose refcounts are to go down. */
	struct list_node waiting; /* Requests. */
	uint64_t free_clusters;
	uint32_t free_extents;
	uint64_t run_clusters; /* How many are asked for at once. */
	uint64_t search_from;  /* Cluster: all before it are taken, as far as is known. */
	/* What is under way. */
	uint64_t first, count; /* Clusters. */
	uint64_t block_offset; /* Of the refcount block that counts them. */
	uint64_t slice_offset; /* Of the part of it in `counts`. */
	uint64_t slice_first;  /* The cluster counted first there. */
	bool new_block;
	uint32_t new_table_clusters; /* 0: the table stays. */
	uint64_t new_table_offset, old_table_offset;
	uint32_t old_table_clusters;
	bool is_used;    /* Somebody has asked for clusters. */
	bool exhausted;  /* There was no space, and nobody has asked since. */
	uint8_t *counts; /* A slice of a refcount block. */
	struct qcow2_op op;
	struct iovec iov;
	struct sync_wait sync;
};

/* Take up to `want` clusters in a row: *count of them from *first on. False: none; `waiter`, if
 * any, is on a list. */
LOOP_ONLY bool MUST_CHECK reserve_take(struct qcow2 *image, uint64_t want,
				       struct qcow2_request *waiter, uint64_t *first,
				       uint64_t *count);
/* They are as reserve_take gives them out, and nobody's. */
LOOP_ONLY void reserve_give(struct qcow2 *image, struct hosts *hosts);
/* One that was given out, and that nobody has written. */
LOOP_ONLY void reserve_untake(struct qcow2 *image, uint64_t cluster);
/* Their refcounts are to go down by 1. */
LOOP_ONLY void reserve_lower(struct qcow2 *image, struct hosts *hosts);
/* What was punched comes back with the next fdatasync: begin one. */
LOOP_ONLY void reserve_hurry(struct qcow2 *image);
/* Begin what is due. */
LOOP_ONLY void reserve_run(struct qcow2 *image);
/* All that is free goes back, because the image is closed. */
LOOP_ONLY void reserve_give_back(struct qcow2 *image);
/* So many clusters are worth keeping. */
uint64_t reserve_keep(const struct qcow2 *image);
/* Ask for so many clusters at once, within what is sensible. */
void reserve_run_size(struct qcow2 *image, uint64_t clusters);
/* run.c, from RESERVE_IDLE: make a run ready; lower the refcounts of the first of `lower`; show
 * recovery those of a cluster and of what is counted with it. */
LOOP_ONLY void run_begin(struct qcow2 *image);
LOOP_ONLY void lower_begin(struct qcow2 *image);
LOOP_ONLY void look_begin(struct qcow2 *image, uint64_t cluster);
/* Where no block counts reserve.first: lay the run out around what its own refcounts need. -EAGAIN:
 * it went on to where there is a block. Other negative errno: the format ends. */
int MUST_CHECK counts_lay_out(struct qcow2 *image);
/* Look for clusters that are free in `counts`, which has been read. False: none. */
bool MUST_CHECK counts_find_run(struct qcow2 *image);
/* Of the clusters before `end` in the slice, go back over those that are free. */
uint64_t counts_end(const struct qcow2 *image, uint64_t end);
/* Put the refcounts of the run into `counts`, and a new block's entry into the table in memory. */
void counts_raise(struct qcow2 *image);
/* Where the refcounts of `cluster` are: slice_offset, slice_first. False: there is no block. */
bool MUST_CHECK counts_locate(struct qcow2 *image, uint64_t cluster);
/* Behind the last cluster that a block counts. */
uint64_t counts_covered(const struct qcow2 *image);
/* Clusters counted by the slice in `counts`. */
uint64_t counts_of_slice(const struct qcow2 *image);
/* Lower those of `hosts` that the slice counts, and shorten it. Negative errno: they are 0. */
int MUST_CHECK counts_lower(struct qcow2 *image, struct hosts *hosts);

/* -- quarantine.c: how clusters come back -- */

enum quarantine_stage {
	QUARANTINE_IDLE,
	QUARANTINE_PUNCH,
	QUARANTINE_ZERO,     /* Punching was refused. */
	QUARANTINE_ALLOCATE, /* Space is taken again, for the reservation. */
};

struct quarantine {
	struct hosts *hosts; /* HOSTS_MAX, of all lists of the image. */
	struct list_node unused;
	struct list_node freed;    /* In order of groups. */
	struct list_node unlinked; /* To be punched, one at a time. */
	struct list_node punched;  /* In order of fdatasyncs. */
	struct list_node waiting;  /* Requests that need a struct hosts. */
	uint32_t used;             /* Of `hosts`. */
	enum quarantine_stage stage;
	struct hosts *punching; /* Of the stage. */
	struct qcow2_op op;
};

/* Empty, as those of images that are only read stay; and with records, for one that is written. */
void quarantine_init(struct qcow2 *image);
void quarantine_make_room(struct qcow2 *image);
/* True when clusters may be freed in this turn. Else `waiter` is on a list. */
LOOP_ONLY bool MUST_CHECK quarantine_has_room(struct qcow2 *image, struct qcow2_request *waiter);
/* No entry in memory leads to them any more; the change is of the open group. */
LOOP_ONLY void quarantine_free(struct qcow2 *image, uint64_t first, uint64_t count, bool shared);
/* A group, a request's transfers, or an fdatasync ended. */
LOOP_ONLY void quarantine_advance(struct qcow2 *image);
LOOP_ONLY struct hosts *hosts_take(struct qcow2 *image);
/* More than what is kept for those whom somebody waits for. */
LOOP_ONLY bool hosts_are_plenty(const struct qcow2 *image);
LOOP_ONLY void hosts_drop(struct qcow2 *image, struct hosts *hosts);

/* -- commit.c: groups -- */

enum commit_stage {
	COMMIT_IDLE,
	COMMIT_PRE,
	COMMIT_F1,
	COMMIT_MAP,
	COMMIT_F2,
	COMMIT_STAGES
};

struct commit_io {
	struct qcow2_op op;
	struct list_node link; /* Of free_ios. */
	struct iovec iov;
	struct qcow2 *image;
};

struct commit {
	enum commit_stage stage;
	uint64_t open;          /* Number of the open group. Those before it are sealed or done. */
	uint64_t done;          /* Number of the last that is durable. */
	struct list_node dirty; /* Slices of the open one, */
	uint32_t dirty_count;
	struct list_node sealed;        /* and of the one on its way. */
	struct list_node written;       /* Those of them that are. */
	struct list_node flushing;      /* Requests that the next group answers, */
	struct list_node answered;      /* and those that the one on its way answers. */
	struct list_node waiting;       /* Requests that go on when it has ended. */
	bool needs_f1, sealed_needs_f1; /* Rule O1 */
	bool wanted;                    /* The open one is to be sealed as soon as may be. */
	bool changed;                   /* There is something in the open one. */
	uint32_t l1_at;                 /* The next unit of the L1 table to be looked at. */
	uint32_t ios_running;
	int res;
	struct commit_io ios[COMMIT_IOS];
	struct list_node free_ios;
	struct sync_wait sync;
	struct loop_timer timer;
};

struct syncer {
	bool running;
	uint64_t begun, ended; /* fdatasyncs. */
	struct list_node waiting, riding;
	struct qcow2_op op;
};

void commit_init(struct qcow2 *image);
/* Something of the open group has changed. */
LOOP_ONLY void commit_note(struct qcow2 *image);
/* Seal the open group as soon as no other is on its way. */
LOOP_ONLY void commit_want(struct qcow2 *image);
/* Begin the group that is wanted, if it can be. */
LOOP_ONLY void commit_run(struct qcow2 *image);
/* The request is ended when all that was done before is durable. */
LOOP_ONLY void commit_flush(struct qcow2_request *request);
/* How many dirty slices make a group. */
uint32_t commit_seal_count(const struct qcow2 *image);
/* An fdatasync that begins after this call; `wait` is the caller's until it is called. */
LOOP_ONLY void sync_add(struct qcow2 *image, struct sync_wait *wait);

/* -- An image -- */

enum start_stage {
	START_NEEDED, /* The header has bits that a writer must clear first. */
	START_RUNNING,
	START_DONE,
};

struct qcow2 {
	char name[64];
	struct loop *loop;
	struct qcow2_cache *cache;
	struct qcow2 *backing;
	int fd, sync_fd;
	struct nowait nowait[2]; /* Of fd: reads, writes. */
	struct workers workers;
	uint32_t id; /* In the cache: the same in every run; 0 until it is first there. */
	struct list_node slices; /* slice.of_image: of the cache those that are its own. */
	bool raw, read_only, holds_frees, direct, in_memory;
	bool guarded;        /* Nothing new is reserved, and what is freed goes back. */
	uint32_t unit_bytes; /* Of the smallest write. */
	struct qcow2_header header;
	struct qcow2_geometry geometry;
	uint64_t size_bytes;
	uint64_t file_bytes; /* All of it covered by the file's size. */
	struct list_node link;
	/* Why nothing is written any more, or 0. */
	int failed;
	/* The header's first unit, as it stands in the file. */
	uint8_t *header_bytes;
	bool header_writing;
	struct sync_wait *header_wait;
	struct qcow2_op header_op;
	struct iovec header_iov;
	enum start_stage start;
	struct sync_wait start_sync;
	struct list_node start_waiting;
	/* The L1 table: as it is, and the bytes of its last sealed state. */
	uint64_t *l1;
	uint8_t *l1_bytes;
	uint32_t l1_count;
	uint32_t l1_unit_entries, l1_words;
	uint64_t *l1_dirty, *l1_sealed; /* A bit for each unit. */
	/* The refcount table: its bytes, with room for a larger one. */
	uint8_t *table_bytes;
	uint32_t table_room; /* Entries. */
	struct metadata metadata;
	struct list_node in_flight; /* Requests with transfers, in order of their groups. */
	uint32_t active;            /* Requests between submission and end. */
	struct load own_load;
	uint32_t loads, copies, inflates; /* Of those that all share. */
	uint32_t loading;                 /* Slices on their way, perhaps for nobody any more. */
	struct list_node busy_heads[BUSY_HEADS];
	struct busy *busy;
	struct list_node busy_unused, busy_waiting;
	struct reserve reserve;
	struct quarantine quarantine;
	struct commit commit;
	struct syncer syncer;
	struct sync_wait hurry_sync;
	struct list_node kick_link;
	struct unpushed {
		uint64_t *words; /* NULL: the image below is not written. */
		uint64_t pieces, set;
		unsigned piece_bits;
	} unpushed;
	bool recovers; /* Clusters may have leaked before it was opened. */
	bool leaked;   /* Some have since. */
	struct image_recovery *recovery;
	struct list_node recover_link;
	/* stop.c */
	void (*stop_done)(void *arg, int res);
	void *stop_arg;
	bool stopping, stop_synced;
	struct sync_wait stop_sync;
	struct loop_msg stop_msg;
};

static inline uint64_t cluster_of(const struct qcow2 *image, uint64_t offset)
{
	return offset >> image->geometry.cluster_bits;
}

static inline uint64_t offset_of(const struct qcow2 *image, uint64_t cluster)
{
	return cluster << image->geometry.cluster_bits;
}

/* No writes, flushes or changes of the mapping any more. Logged once. */
LOOP_ONLY void image_fail(struct qcow2 *image, int res, const char *what);
/* An inconsistency was found: the corrupt bit is set, then as image_fail. Answers -EIO. */
LOOP_ONLY int image_corrupt(struct qcow2 *image, const char *what, uint64_t offset);
/* Write the header's first unit and flush it, for `wait`. */
LOOP_ONLY void header_write(struct qcow2 *image, struct sync_wait *wait);
/* The bits that only a writer may clear. True: writing may begin; else `waiter` waits. */
LOOP_ONLY bool MUST_CHECK image_started(struct qcow2 *image, struct qcow2_request *waiter);
/* Groups, the reservation and the stopping of the image look whether they can go on: soon. */
LOOP_ONLY void image_kick(struct qcow2 *image);
/* See whether qcow2_stop has ended. */
LOOP_ONLY void stop_run(struct qcow2 *image);
/* The header's bytes get the refcount table of `header`. */
void header_set_refcount_table(struct qcow2 *image);

/* -- mapping.c -- */

enum extent_kind {
	EXTENT_BELOW, /* Of one image only: what is below shows. */
	EXTENT_ZERO,
	EXTENT_DATA,
	EXTENT_DEFLATED,
};

/* What a guest range shows, from its beginning on, as far as that is one thing. */
struct extent {
	enum extent_kind kind;
	struct qcow2 *image; /* DATA, DEFLATED: whose file has it. */
	uint64_t host_offset;
	uint64_t length;
	uint32_t deflated_bytes;
	uint32_t inside; /* DEFLATED: it begins so far inside its cluster. */
	bool anchored;   /* ZERO: there is a host cluster. */
};

/* Look `range` up in the image and what is below it. QCOW2_WAIT as slice_get. */
LOOP_ONLY int MUST_CHECK mapping_find(struct qcow2 *image, struct byte_range range,
				      struct qcow2_request *waiter, struct extent *out);
/* The same without `base` and what is below that: EXTENT_BELOW where it is theirs to say, and, with
 * no base, where nobody has anything. ZERO: extent.image says so, or NULL where one that is shorter
 * ends. */
LOOP_ONLY int MUST_CHECK mapping_find_above(struct qcow2 *image, const struct qcow2 *base,
					    struct byte_range range, struct qcow2_request *waiter,
					    struct extent *out);
/* The entry of a guest offset, for who may change it. *slice is NULL where there is no L2 table. */
LOOP_ONLY int MUST_CHECK mapping_entry(struct qcow2 *image, uint64_t offset,
				       struct qcow2_request *waiter, struct slice **slice,
				       struct qcow2_l2_entry *out);
/* Let there be an L2 table for a guest offset. QCOW2_WAIT. */
LOOP_ONLY int MUST_CHECK mapping_need_table(struct qcow2 *image, uint64_t offset,
					    struct qcow2_request *waiter);
/* Change an entry, free what it led to and does not any more. QCOW2_WAIT: nothing is changed. */
LOOP_ONLY int MUST_CHECK mapping_change(struct qcow2 *image, uint64_t offset, struct slice *slice,
					const struct qcow2_l2_entry *entry,
					struct qcow2_request *waiter);
/* Data may be written there: not metadata, not beyond the end. */
LOOP_ONLY bool MUST_CHECK mapping_may_write(const struct qcow2 *image, uint64_t host_offset,
					    uint64_t length);
/* The busy cluster's data are written: let the entry lead to them. */
LOOP_ONLY int MUST_CHECK mapping_link(struct qcow2 *image, const struct qcow2_link *link,
				      struct qcow2_request *waiter);
/* Where the guest's cluster, or where extended subcluster, bits of [begin, end) in one cluster. */
uint32_t mapping_subclusters(const struct qcow2 *image, struct byte_range range);

/* -- request.c -- */

LOOP_ONLY void request_stage(struct qcow2_request *request, enum qcow2_stage to);
/* Put it on a list of those who wait, until request_wake. */
LOOP_ONLY void request_wait(struct qcow2_request *request, struct list_node *list);
/* It runs again; with a negative `res` it ends. */
LOOP_ONLY void request_wake(struct qcow2_request *request, int res);
LOOP_ONLY void request_wake_all(struct list_node *list, int res);
LOOP_ONLY void request_end(struct qcow2_request *request, int res);
/* It has done enough for one turn. */
LOOP_ONLY void request_yield(struct qcow2_request *request);
/* As qcow2_submit, for requests of the engine's own. */
LOOP_ONLY void request_begin(struct qcow2 *image, struct qcow2_request *request);
/* All that could run runs: at the end of every callback of the loop. */
LOOP_ONLY void requests_run(struct qcow2_cache *cache, struct loop *loop);
/* A round: empty it; add a transfer; the kernel gets it. */
LOOP_ONLY void round_begin(struct qcow2_request *request);
/* The request's next bytes, which are those of the extent. False: no room in the round. */
LOOP_ONLY bool MUST_CHECK round_add(struct qcow2_request *request, const struct extent *extent);
LOOP_ONLY void round_submit(struct qcow2_request *request);
/* Who is to wait: nobody while there is something in the round. */
static inline struct qcow2_request *round_waiter(struct qcow2_request *request)
{
	return request->transfer_count == 0 && request->link_count == 0 ? request : NULL;
}
/* A transfer whose vector its caller fills. */
LOOP_ONLY struct qcow2_transfer *round_add_transfer(struct qcow2_request *request,
						    const struct extent *extent);
/* Put elements for the request's next `length` bytes behind its vector. */
LOOP_ONLY void vector_take(struct qcow2_request *request, uint64_t length);
LOOP_ONLY void vector_push(struct qcow2_request *request, void *bytes, uint64_t length);
extern uint8_t zero_bytes[ZERO_BYTES]; /* Only read, and written to files. */
/* The next bytes become zero, or those of `bytes`. */
LOOP_ONLY void vector_clear(struct qcow2_request *request, uint64_t length);
LOOP_ONLY void vector_fill(struct qcow2_request *request, const uint8_t *bytes, uint64_t length);
void vector_zero(struct iovec *iov, uint32_t count);

/* One for each op and stage: a step that runs until it waits. */
LOOP_ONLY void read_plan(struct qcow2_request *request);
LOOP_ONLY void write_plan(struct qcow2_request *request);
LOOP_ONLY void write_finish(struct qcow2_request *request);
LOOP_ONLY void write_fail(struct qcow2_request *request, int res);
/* As write_plan, for the part of a ZERO that lies in one cluster. */
LOOP_ONLY void write_plan_piece(struct qcow2_request *request);
LOOP_ONLY void write_link(struct qcow2_request *request);
/* All of a range is written where it is, with no change of the mapping, as far as is known without
 * waiting. What is not in the cache is being loaded afterwards. */
LOOP_ONLY bool MUST_CHECK write_is_in_place(struct qcow2 *image, struct byte_range range,
					    uint64_t *host_offset);
/* Copy what the image shows in `around`, whole subclusters of one cluster that have nothing, to
 * where it will have that. QCOW2_WAIT where it is under way, too. */
LOOP_ONLY int MUST_CHECK write_pulled(struct qcow2_request *request, struct byte_range around);
LOOP_ONLY void zero_plan(struct qcow2_request *request);
LOOP_ONLY void map_plan(struct qcow2_request *request);
LOOP_ONLY void pull_plan(struct qcow2_request *request);
/* Find the first piece that the image has of its own. */
LOOP_ONLY void push_plan(struct qcow2_request *request);
LOOP_ONLY void flush_plan(struct qcow2_request *request);
/* The round's transfers have ended. */
LOOP_ONLY void read_round_done(struct qcow2_request *request);
LOOP_ONLY void write_round_done(struct qcow2_request *request);

/* -- unpushed.c -- */

/* All of the image. -ENOMEM. */
int MUST_CHECK unpushed_open(struct qcow2 *image);
/* It may have changed. Without a map nothing is noted. */
void unpushed_add(struct qcow2 *image, uint64_t offset, uint64_t length);
/* The first run of pieces that touch `in` and have not gone down; they have from now on. Whole
 * pieces, cut at the image's end. False: there are none. */
LOOP_ONLY bool unpushed_take(struct qcow2 *image, struct byte_range in, struct byte_range *out);
uint64_t unpushed_bytes(const struct qcow2 *image);

#endif
