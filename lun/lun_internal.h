/*
 * What the files of the membrane share: the LUN, its part on each loop (a lane), and the set of
 * ranges. Not for image types, which see image.h, nor for anyone above, who sees lun.h.
 *
 * Threads: a lane belongs to its loop. Of the LUN, `ranges.current`, `ranges.overrun`, `failed` and
 * `states.current` are read by all loops at every I/O and written under the mutex; what is marked
 * "mutex" is touched under it only. There is one lock per LUN and nothing is locked inside it.
 *
 * Read next: README.md, then io.c, range.c, exclusive.c, state.c, drain.c.
 */
#ifndef LUN_LUN_INTERNAL_H
#define LUN_LUN_INTERNAL_H

#include "base/group.h"
#include "lun/image.h"
#include "lun/lun.h"
#include "lun/space.h"

#include <pthread.h>
#include <stdatomic.h>

/* How many abandoned I/Os the kernel may hold before the LUN answers -EBUSY. It bounds the buffers
 * that a stuck disk can take from the pool, and the size of a set. */
#define LUN_ORPHANS_MAX 128u
/* Exclusive requests that stand in the set at once; the rest wait in the queue. */
#define LUN_EXCLUSIVES_MAX 32u
#define LUN_ENTRIES_MAX (LUN_ORPHANS_MAX + LUN_EXCLUSIVES_MAX)
/* One is published, one is kept for orphans (range.c), two are on their way back. */
#define LUN_SETS 4u
/* Versions of the state: the published one, and one that is on its way back or free. */
#define LUN_STATES 2u
/* Read-modify-writes that run at once on a lane; each has a bounce buffer of its own. */
#define LUN_RMW_PER_LANE 8u
/* One more is for the holders of ranges: the others may all be waiting for such a range. */
#define LUN_RMW_RECORDS (LUN_RMW_PER_LANE + 1u)

/* The digits of a NAA designator. */
#define LUN_NAA_DIGITS ((size_t)2 * LUN_NAA_BYTES)
#define LUN_WHY_BYTES sizeof(((struct lun_state *)0)->offline_reason)

static inline bool byte_range_overlaps(struct byte_range a, struct byte_range b)
{
	return a.begin < b.end && b.begin < a.end;
}

enum range_kind {
	RANGE_EXCLUSIVE, /* Writes with a later ticket wait. */
	RANGE_ORPHAN,    /* Everything waits. */
};

struct range_entry {
	struct byte_range range;
	uint64_t ticket; /* Its place in line, and its name. */
	enum range_kind kind;
};

/*
 * The published set. Readers: `count` (acquire), then that many entries, which never change while
 * the set is published; entries are only added at the end. The rest is under the mutex.
 */
struct range_set {
	atomic_uint count;
	struct range_entry entries[LUN_ENTRIES_MAX];
	bool gone[LUN_ENTRIES_MAX]; /* Ended; left out of the next set. */
	unsigned gone_count;
	unsigned used[2]; /* Entries of each kind, those that are gone included. */
	struct lun *lun;
	struct range_set *next;  /* In the list of free sets. */
	struct loop_round round; /* Its way back. */
};

struct ranges {
	/* Read at every I/O, so they share a cache line. */
	_Atomic(const struct range_set *) current; /* Release; normally NULL. */
	atomic_bool overrun;
	/* Tickets are taken when something waits. */
	_Atomic uint64_t next_ticket;
	/* mutex */
	struct range_set *newest; /* What `current` points to. */
	struct range_set *free;
	unsigned free_count;       /* Those that were never used included. */
	unsigned fresh;            /* Sets from there on were never used: memory not touched yet. */
	unsigned orphans;          /* In the account. */
	unsigned unlisted_orphans; /* Of them, writes that found no entry; the LUN is closed
				      meanwhile. */
	unsigned orphan_writes;    /* Of them, all writes. */
	struct list_node waits;    /* lun_orphan_wait.link */
	struct list_node queue;    /* lun_exclusive.link of those not in the set yet. */
	uint32_t slots_used;
	struct lun_exclusive *slots[LUN_EXCLUSIVES_MAX]; /* Those in the set; read by lanes. */
	struct range_set *sets; /* LUN_SETS, mapped: an idle LUN touches none. */
};

struct lun_states {
	struct published current; /* const struct lun_state */
	/* mutex */
	struct lun_state wanted; /* What the next version will be. */
	struct lun_state versions[LUN_STATES];
	unsigned newest;
	bool swapping; /* An old version is on its way back; the next publication waits. */
	bool dirty;    /* `wanted` is not published yet. */
	struct loop *origin;
	struct loop_round round;
};

enum drain_stage {
	DRAIN_IDLE,
	DRAIN_CLOSING,  /* The closed gate is not published yet. */
	DRAIN_WAITING,  /* For the lanes. */
	DRAIN_SETTLING, /* All lanes are empty; their loops come to rest. */
	DRAIN_RESTING,  /* The image ends what it does by itself. */
	DRAIN_LATE,     /* It still does, but the gate is open again. */
	DRAIN_CLOSED,   /* Until lun_resume. */
	DRAIN_EXPIRED,  /* The gate opens again; lanes give their acknowledgements back. */
};

struct lun_drain {
	/* The control loop's. */
	struct loop *control;
	struct loop_timer timer;
	lun_drain_done_fn *done;
	void *arg;
	uint64_t deadline_ms;
	unsigned settle_rounds;
	struct loop_round round;
	struct image_rest rest;
	/* mutex */
	enum drain_stage stage;
	/* Read by lanes. */
	atomic_bool canceled;
};

/* The part of a LUN that belongs to one loop. */
struct lun_lane {
	struct lun *lun;
	struct loop *loop;
	struct list_node waiting; /* Order of arrival: gate closed or range taken. */
	struct list_node writes;  /* The image's: WRITE, UNMAP, ZERO. */
	struct list_node others;  /* The image's: READ, FLUSH. */
	uint32_t in_flight;       /* Both lists. */
	uint32_t acks_owed;       /* Bit per slot of ranges.slots. */
	bool drain_ack_owed;
	bool ending_posted;
	unsigned rmw_fresh; /* The lane's records from there on were never used. */
	struct list_node
		granting;        /* lun_exclusive.link: acknowledged by all, behind earlier ones. */
	struct list_node ending; /* Never were the image's. */
	struct list_node late;   /* lun_io.image_link: image_io_done_later. */
	struct loop_msg ending_msg;
	struct list_node rmw_free;
	struct list_node rmw_waiting; /* lun_io.link: no record free. */
	struct lun_ahead *ahead;      /* NULL: no look-ahead. */
} __attribute__((aligned(64)));

struct lun {
	/* Read at every I/O. */
	struct ranges ranges __attribute__((aligned(64)));
	struct lun_states states __attribute__((aligned(64)));
	atomic_bool failed; /* A flush failed: set before anything else is told of it. */
	/* Fixed while open. */
	char *name;
	const struct loop_group *group;
	const struct image_ops *ops;
	struct image *image; /* NULL: offline since open. */
	struct image_info info;
	uint32_t io_align_bytes;
	struct lun_limits limits;
	struct lun_identity identity;
	struct lun_lane *lanes;   /* By loop_index. */
	struct lun_rmw *rmws;     /* All lanes'; NULL where the image takes every block. */
	uint8_t *bounces;         /* Their buffers. Both are mapped and touched when used. */
	struct lun_ahead *aheads; /* All lanes'; NULL: no look-ahead. Mapped, touched when used. */
	uint32_t look_ahead_bytes;
	uint32_t ahead_rest_ms;
	struct lun_spec spec; /* Its own copy, to open the image again by (switch.c). */
	/* Of helper threads: the switch's has it for writing while the image may be closed. */
	pthread_rwlock_t image_lock;
	struct lun_switch *switching; /* Control loop: it has drained the LUN. */
	bool claimed;                 /* Control loop: lun_claim. */
	unsigned openings;            /* Of the image; changed behind a closed gate only. */
	struct lun_pool *pool;        /* NULL: none. Set before the loops run. */
	_Atomic uint64_t used_bytes;  /* As of the last look. */
	struct job *job;              /* Control loop: job.h. */
	struct image_recovery recovery;
	/* Guards what says "mutex". */
	pthread_mutex_t mutex;
	struct lun_drain drain;
};

/* -- lun.c -- */

/* lun_open with an image type that is in no table; for tests. */
int MUST_CHECK lun_open_type(const struct lun_spec *spec, const struct loop_group *group,
			     const struct image_ops *ops, struct lun **out);
/* Write the sentence for the operator to `why` (LUN_WHY_BYTES) and answer `res`. */
int lun_refuse(char *why, int res, const char *format, ...) PRINTF_LIKE(3, 4);
struct lun_lane *lun_lane(const struct lun *lun, const struct loop *loop);
/* Hold the image open, for who looks at it beside the loops. False: there is none, or it is being
 * changed and closed meanwhile. Never waits. */
bool MUST_CHECK lun_image_hold(struct lun *lun);
void lun_image_release(struct lun *lun);
static inline bool lun_op_writes(enum lun_op op)
{
	return op == LUN_WRITE || op == LUN_UNMAP || op == LUN_ZERO;
}
/* FLUSH and what changes the image: not for one whose flush has failed. */
static inline bool lun_op_needs_sound_image(enum lun_op op)
{
	return op != LUN_READ && op != LUN_MAP;
}
/* What the io touches; empty for a FLUSH, a MAP, which looks at no data, and a PULL, which changes
 * none. I/O on its way to the image is in whole blocks of the image: what is not goes through
 * rmw.c, under an exclusive range of whole blocks. */
struct byte_range lun_io_range(const struct lun_io *io);

/* -- io.c -- */

/* Hand the io down or let it wait; the entry for what is aligned. */
LOOP_ONLY void io_start(struct lun_lane *lane, struct lun_io *io);
/* End an io that is not the image's, in the next turn. */
LOOP_ONLY void io_end_later(struct lun_lane *lane, struct lun_io *io, int res);
void io_set_stage(struct lun_io *io, enum lun_io_stage stage);
/* A holder of a range counts what it has on the way, so that release can insist on none. */
void io_leave_exclusive(struct lun_io *io);
/* Something was published or given back: look again at all that waits on this lane. */
LOOP_ONLY void lane_rescan(struct lun_lane *lane);
void lane_init(struct lun_lane *lane, struct lun *lun, struct loop *loop);
/* Its image has failed to make writes durable: no write and no flush is acknowledged from here on.
 * Any thread; `origin` is a loop that runs. */
void lun_note_failure(struct lun *lun, struct loop *origin, int res);

/* -- range.c -- */

/* -ENOMEM. */
int MUST_CHECK ranges_init(struct lun *lun);
void ranges_destroy(struct lun *lun);
/* True: something in the set stands before this io. */
bool range_set_blocks(const struct range_set *set, const struct lun_io *io);
static inline bool ranges_block(const struct lun *lun, const struct lun_io *io)
{
	const struct range_set *set =
		atomic_load_explicit(&lun->ranges.current, memory_order_acquire);

	return set && range_set_blocks(set, io);
}
/* Put the io in the account and publish the range of a write. */
LOOP_ONLY void ranges_add_orphan(struct lun *lun, struct lun_io *io);
LOOP_ONLY void ranges_end_orphan(struct lun *lun, struct lun_io *io);
/* False: no room now; ranges_settle_locked will look at the queue again. */
bool MUST_CHECK ranges_append_locked(struct lun *lun, struct range_entry entry,
				     struct loop *origin);
void ranges_end_locked(struct lun *lun, uint64_t ticket, struct loop *origin);
uint64_t ranges_take_ticket(struct lun *lun);

/* -- exclusive.c -- */

/* Publish what the queue holds while there is room. */
void exclusive_start_queued_locked(struct lun *lun, struct loop *origin);
/* Give the acknowledgements that this lane owes and can give. */
LOOP_ONLY void exclusive_pay_acks(struct lun_lane *lane);
LOOP_ONLY void exclusive_try_grants(struct lun_lane *lane);

/* -- spec.c -- */

/* A copy that owns its strings. -ENOMEM: nothing is in it. */
int MUST_CHECK lun_spec_copy(const struct lun_spec *from, struct lun_spec *to);
void lun_spec_clear(struct lun_spec *spec);

/* -- state.c -- */

void states_init(struct lun *lun, const struct lun_state *first);
/* Publish `wanted`, at once or when the last version has come back. */
void states_publish_locked(struct lun *lun, struct loop *origin);

/* -- drain.c -- */

/* The state with the closed gate is out. */
void drain_on_published_locked(struct lun *lun);
LOOP_ONLY void drain_pay_ack(struct lun_lane *lane);

/* -- identity.c -- */

/* What is kept with an image and outlives every configuration. */
struct lun_record {
	uint8_t naa[LUN_NAA_BYTES];
	uint32_t logical_block_bytes;
	uint32_t allocation_unit_bytes;
};

/*
 * Find or make the record of the LUN's image and put identity, block size and allocation unit of
 * the LUN in force. On failure negative errno and a sentence in `why`. Control thread, blocks.
 */
int MUST_CHECK identity_settle(struct lun *lun, const struct lun_spec *spec, char *why);
/* The image was opened anew: it has the record of the LUN, or gets it; that of another is refused.
 * Blocks. */
int MUST_CHECK identity_confirm(struct lun *lun, const struct lun_spec *spec, char *why);
/* As far as it can be found without opening the image, for a LUN that is offline. */
void identity_peek(struct lun *lun, const struct lun_spec *spec);

/* -- identity_store.c -- */

/* A NAA designator as 32 lower-case digits and a terminator, and back from exactly 32 digits. */
void naa_print(const uint8_t naa[LUN_NAA_BYTES], char out[LUN_NAA_DIGITS + 1]);
int MUST_CHECK naa_scan(const char *digits, uint8_t naa[LUN_NAA_BYTES]);

/* Where a record may lie: the image's descriptor or its path, and a file in the state directory. */
struct identity_place {
	int fd;         /* Of the image, or -1. */
	bool read_only; /* Nothing is written to the image, attributes neither. */
	const char *path;
	const char *name;
	const char *state_dir;
};

/* False: the file could have an identity with it, and has none. */
bool identity_is_on(int fd);
/* 0, -ENOENT, or another error with a sentence in `why`. */
int MUST_CHECK identity_load(const struct identity_place *place, struct lun_record *out, char *why);
/* Durable when it returns. */
int MUST_CHECK identity_save(const struct identity_place *place, const struct lun_record *record,
			     char *why);
/* The attribute of an image, for those who put another file in its place: given to that too (not
 * durably; 0 where there is none), compared, taken away (durably). */
int MUST_CHECK identity_hand_over(int from, int to);
bool identity_is_shared(int one, int other);
int MUST_CHECK identity_remove(int fd);

/* -- space.c -- */

/* On its way to the image: say whether it may take new space. */
LOOP_ONLY void space_mark(struct lun_io *io);
/* It has ended: tell who watches the pool, where that is news. */
LOOP_ONLY void space_note_end(const struct lun_io *io, int res);

/* -- ahead.c -- */

/* Where the image can and the configuration wants it. -ENOMEM. */
int MUST_CHECK ahead_init(struct lun *lun, uint32_t look_ahead_bytes);
/* Give back what is left, blocking; no I/O is under way, and the image will be another. */
void ahead_release(struct lun *lun);
/* The same, and no more of it. Control thread. */
void ahead_close(struct lun *lun);
/* A write goes to the image of a lane that has look-ahead. */
LOOP_ONLY void ahead_note_write(struct lun_lane *lane, const struct lun_io *io);
/* A ZERO, with look-ahead on the LUN, has ended, however: what it has is the hosts'. Any loop. */
void ahead_note_zeroed(struct lun *lun, const struct lun_io *io);
/* A write found no space. */
LOOP_ONLY void ahead_note_full(struct lun_lane *lane);
/* The gate is closed: nothing starts by itself any more. It may be open again: go on. */
LOOP_ONLY void ahead_pause(struct lun_lane *lane);
LOOP_ONLY void ahead_resume(struct lun_lane *lane);

/* -- rmw.c -- */

int MUST_CHECK rmw_init(struct lun *lun);
void rmw_destroy(struct lun *lun);
bool rmw_is_needed(const struct lun *lun, const struct lun_io *io);
LOOP_ONLY void rmw_start(struct lun_lane *lane, struct lun_io *io);
/* The command behind an io that went this way was aborted. */
LOOP_ONLY void rmw_abandon(struct lun_io *io);

#endif
