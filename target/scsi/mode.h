/*
 * Mode pages of a logical unit: what its parameters are now, what was saved, and what may change.
 * All nexuses share them (Mode Page Policy page). A page is a row of mode_table.c; its images are
 * kept one behind the other in the order of the rows.
 *
 * What loops share is a published struct scsi_mode, replaced by a switch (switch.h), so reading a
 * parameter on the way of a command is one load of a pointer. Stored images decide only the bits
 * that may change; all others follow table and LUN whenever they are asked for, so that neither an
 * old file nor an old image can contradict the configuration.
 *
 * Read next: mode_table.c, mode.c, mode_select.c.
 */
#ifndef TARGET_SCSI_MODE_H
#define TARGET_SCSI_MODE_H

#include "base/group.h"
#include "target/scsi/scsi.h"
#include "target/scsi/switch.h"

/* Pages and headers count their lengths in a byte in MODE SENSE(6): all pages with a header of four
 * bytes and a block descriptor of eight. */
#define SCSI_MODE_BYTES_MAX (255u - 3u - 8u)
#define SCSI_MODE_PAGE_BYTES_MAX 64u

/* Rows of mode_table.c, in order of page code and subpage code. */
enum scsi_mode_page_index {
	MODE_PAGE_ERROR_RECOVERY,
	MODE_PAGE_CACHING,
	MODE_PAGE_CONTROL,
	MODE_PAGE_CONTROL_EXTENSION,
	MODE_PAGE_EXCEPTIONS,
	MODE_PAGE_PROVISIONING,
	SCSI_MODE_PAGE_COUNT
};

/* PC, SPC-4 6.11.1 */
enum scsi_page_control {
	MODE_CURRENT = 0,
	MODE_CHANGEABLE = 1,
	MODE_DEFAULT = 2,
	MODE_SAVED = 3,
};

/* Bytes count from the beginning of the page; those of its header are left out. */
struct scsi_mode_page {
	uint8_t code;
	uint8_t subpage; /* Not 0: in the SUB_PAGE format, with a header of four bytes. */
	uint8_t bytes;   /* With the header. */
	uint8_t values[SCSI_MODE_PAGE_BYTES_MAX];
	uint8_t changeable[SCSI_MODE_PAGE_BYTES_MAX];
	/* Where fields begin, a bit each: field pointers name the first bit of a field. */
	uint8_t fields[SCSI_MODE_PAGE_BYTES_MAX];
	/* What depends on the logical unit: default values, and what may change. NULL: nothing. */
	void (*follow)(const struct scsi_lu *lu, uint8_t *values, uint8_t *changeable);
};

extern const struct scsi_mode_page scsi_mode_pages[SCSI_MODE_PAGE_COUNT];

/* Published: immutable, one turn's use. */
struct scsi_mode {
	bool descriptor_sense; /* D_SENSE */
	bool tells_aborted;    /* TAS */
	bool write_protect;    /* SWP */
	bool write_through;    /* WCE is off, though the LUN has a volatile cache. */
	uint8_t current[SCSI_MODE_BYTES_MAX];
	uint8_t saved[SCSI_MODE_BYTES_MAX];
};

struct scsi_mode_flush; /* mode.c */

/* Of a logical unit. */
struct scsi_modes {
	struct published now;
	/* A switch has gone round before the next one begins, so two are enough. */
	struct scsi_mode versions[2];
	uint8_t defaults[SCSI_MODE_BYTES_MAX]; /* As of scsi_mode_follow. */
	/* Asked for and not ended: then `reset` is switch.c's, or `flush` the LUN's. */
	atomic_uint resets;
	struct scsi_switch reset;
	unsigned resets_seen; /* `reset` does for those. */
	bool reset_flushes;   /* It has turned the write cache off. */
	/* Where hosts may turn the write cache off and on; else NULL. */
	struct scsi_mode_flush *flush;
};

/* -- mode.c -- */

/* Default or saved values, published. The control thread, before the logical unit is used. -ENOMEM.
 */
int MUST_CHECK scsi_mode_init(struct scsi_lu *lu);
void scsi_mode_release(struct scsi_lu *lu);
/* True when there is a place for saved values. */
bool scsi_mode_can_save(const struct scsi_lu *lu);
/* Where a page stands in an image. */
unsigned scsi_mode_offset(enum scsi_mode_page_index index);
static inline unsigned scsi_mode_header_bytes(const struct scsi_mode_page *page)
{
	return page->subpage != 0 ? 4 : 2;
}
/* A page whole, with its header, into page->bytes bytes. PS is not set. */
void scsi_mode_read(const struct scsi_lu *lu, const struct scsi_mode *mode,
		    enum scsi_mode_page_index index, enum scsi_page_control control, uint8_t *out);
/* All pages' default values. */
void scsi_mode_defaults(const struct scsi_lu *lu, uint8_t image[SCSI_MODE_BYTES_MAX]);
/* Publish; the caller is a switch of the logical unit that now begins, or goes on. */
void scsi_mode_publish(struct scsi_lu *lu, const struct scsi_mode *next);
/*
 * What default values depend on has changed: pages that no host has changed follow. From `begin` of
 * a switch of the logical unit, on a loop of its target. `current`: values are others now. True: it
 * is published, and the switch has to go round.
 */
LOOP_ONLY bool MUST_CHECK scsi_mode_follow(struct scsi_lu *lu, bool *current);
/* A reset takes the parameters back to the saved ones (SPC-4 6.9.1), some time later. */
LOOP_ONLY void scsi_mode_reset(struct scsi_lu *lu, struct loop *loop);

/* -- mode_file.c -- */

#define SCSI_MODE_PATH_MAX 2048u
#define SCSI_MODE_TEXT_MAX 1024u

/* What is to be written to which file so that `image` is saved. False: there is no place. */
bool MUST_CHECK scsi_mode_file(const struct scsi_lu *lu, const uint8_t image[SCSI_MODE_BYTES_MAX],
			       char path[SCSI_MODE_PATH_MAX], char text[SCSI_MODE_TEXT_MAX]);
/* Replace what is saved in the image; without a file it stays as it is. Blocks. */
void scsi_mode_load(const struct scsi_lu *lu, uint8_t image[SCSI_MODE_BYTES_MAX]);

#endif
