/*
 * What requests on images of LUNs that are served have in common: from paths to LUNs, claims, files
 * made ready beside running LUNs, the switch (lun/switch.h), hosts told what is new, the answer.
 *
 *     resolve (helper thread) -> claim -> prepare (helper thread) -> switch: nobody logged in whose
 *       disk is replaced, commit, undo -> end (helper thread) -> hosts are told -> answer
 *
 * Whatever fails, what was begun is undone, and the sender is told in a sentence. A generation is
 * held meanwhile, so that no LUN is closed; the daemon's end waits for the answer.
 *
 * Threads: the control loop's, but for the functions of image_work. Read next: order_image.c,
 * order_snapshot.c.
 */
#ifndef TARGET_CTL_ORDER_IMAGE_H
#define TARGET_CTL_ORDER_IMAGE_H

#include "lun/family.h"
#include "lun/switch.h"
#include "target/ctl/served.h"
#include "target/scsi/lun_change.h"

/* At one instant. */
#define ORDER_IMAGES_MAX 32u

struct family_change;
struct image_order;

struct image_work {
	/* Helper thread, LUNs are served. 0, or negative errno and a sentence in order->why. */
	int (*prepare)(struct image_order *order);
	/* As in struct lun_switch; commit leaves its sentence in order->why. */
	int (*commit)(struct image_order *order);
	void (*undo)(struct image_order *order);
	/* Helper thread, whether it went well or not, as long as resolve did; NULL: nothing. */
	void (*end)(struct image_order *order);
	json_t *(*answer)(const struct image_order *order);
	/* Hosts would see other data beneath their caches. */
	bool replaces;
	/* LUNs have the sizes of their images then. */
	bool grows;
};

struct image_order {
	/* Set by the handler. */
	struct control_request *request;
	const struct image_work *work;
	unsigned count;
	const char *paths[ORDER_IMAGES_MAX]; /* The request's. */
	char snapshot[FAMILY_SNAPSHOT_MAX + 1];
	const char *keep;
	uint64_t size_bytes;
	bool force;
	/* For image_work. */
	struct named_lun luns[ORDER_IMAGES_MAX];
	struct family_change *changes[ORDER_IMAGES_MAX]; /* NULL from `prepared` on. */
	unsigned prepared;
	char kept[ORDER_IMAGES_MAX][FAMILY_NAME_BYTES]; /* Names of snapshots' files. */
	char why[CONTROL_TEXT_BYTES / 2];
	bool stuck; /* By undo: not all is as it was before. */
	struct lun_switch change;
	/* Private to order_image.c. */
	struct runtime *runtime;
	struct generation *generation; /* Held. */
	struct lun *switched[ORDER_IMAGES_MAX];
	uint64_t sizes[ORDER_IMAGES_MAX]; /* Before. */
	unsigned claimed;
	int res;
	unsigned failed; /* The image that `why` speaks of, or `count`. */
	struct loop_op op;
	unsigned telling;
	struct image_news {
		struct image_order *order;
		struct scsi_lu_news news;
	} news[ORDER_IMAGES_MAX];
};

/* NULL: memory is short, and that has been answered. */
LOOP_ONLY struct image_order *image_order_make(struct control_request *request,
					       const struct image_work *work);
/* It is answered, and freed, later. */
LOOP_ONLY void image_order_begin(struct image_order *order);
/* What a negative errno of a change of files is to the sender. */
enum control_error_code image_error_code(int res);
/* {"image", "target", "lun"} of one, for answers; more may be added. */
json_t *image_order_json(const struct image_order *order, unsigned at);
/* How long I/O waited. */
double image_order_paused_ms(const struct image_order *order);
/* The sentence, and the error to answer with. */
int image_order_refuse(struct image_order *order, int res, const char *format, ...)
	PRINTF_LIKE(3, 4);

#endif
