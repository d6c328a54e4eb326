/*
 * Images of mode pages and their publication. Not the commands: mode_sense.c, mode_select.c.
 *
 * Threads: the control thread makes them, loops read them, switches replace them. Read next:
 * mode_table.c.
 */
#include "target/scsi/mode.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "target/scsi/device.h"

#define D_SENSE 0x04u
#define SWP 0x08u
#define TAS 0x40u
#define WCE 0x04u
#define SPF 0x40u

/* What a reset writes back that has turned the write cache off. */
struct scsi_mode_flush {
	struct lun_io io;
	struct scsi_lu *lu;
};

bool scsi_mode_can_save(const struct scsi_lu *lu)
{
	return lu->state_dir != NULL && lun_identity(lu->lun)->naa[0] != 0;
}

unsigned scsi_mode_offset(enum scsi_mode_page_index index)
{
	unsigned offset = 0;

	for (unsigned i = 0; i < index; i++)
		offset += scsi_mode_pages[i].bytes;
	return offset;
}

static void write_header(const struct scsi_mode_page *page, uint8_t *out)
{
	unsigned header = scsi_mode_header_bytes(page);

	out[0] = page->code;
	out[1] = (uint8_t)(page->bytes - header);
	if (page->subpage == 0)
		return;
	out[0] |= SPF;
	out[1] = page->subpage;
	out[2] = 0;
	out[3] = (uint8_t)(page->bytes - header);
}

void scsi_mode_read(const struct scsi_lu *lu, const struct scsi_mode *mode,
		    enum scsi_mode_page_index index, enum scsi_page_control control, uint8_t *out)
{
	const struct scsi_mode_page *page = &scsi_mode_pages[index];
	const uint8_t *stored = control == MODE_SAVED ? mode->saved : mode->current;
	uint8_t changeable[SCSI_MODE_PAGE_BYTES_MAX];

	stored += scsi_mode_offset(index);
	memcpy(out, page->values, page->bytes);
	memcpy(changeable, page->changeable, page->bytes);
	if (page->follow != NULL)
		page->follow(lu, out, changeable);
	if (control == MODE_CHANGEABLE)
		memcpy(out, changeable, page->bytes);
	for (unsigned i = 0; i < page->bytes && control != MODE_CHANGEABLE; i++) {
		if (control != MODE_DEFAULT)
			out[i] = (uint8_t)((out[i] & ~changeable[i]) | (stored[i] & changeable[i]));
	}
	write_header(page, out);
}

/* All pages of one kind, one behind the other. */
static void read_all(const struct scsi_lu *lu, const struct scsi_mode *mode,
		     enum scsi_page_control control, uint8_t image[SCSI_MODE_BYTES_MAX])
{
	unsigned offset = 0;

	memset(image, 0, SCSI_MODE_BYTES_MAX);
	for (unsigned i = 0; i < SCSI_MODE_PAGE_COUNT; i++) {
		scsi_mode_read(lu, mode, i, control, image + offset);
		offset += scsi_mode_pages[i].bytes;
	}
}

void scsi_mode_defaults(const struct scsi_lu *lu, uint8_t image[SCSI_MODE_BYTES_MAX])
{
	static const struct scsi_mode none;

	read_all(lu, &none, MODE_DEFAULT, image);
}

/* What commands look at, out of the images. */
static void decode(const struct scsi_lu *lu, struct scsi_mode *mode)
{
	uint8_t page[SCSI_MODE_PAGE_BYTES_MAX];

	scsi_mode_read(lu, mode, MODE_PAGE_CONTROL, MODE_CURRENT, page);
	mode->descriptor_sense = (page[2] & D_SENSE) != 0;
	mode->write_protect = (page[4] & SWP) != 0;
	mode->tells_aborted = (page[5] & TAS) != 0;
	scsi_mode_read(lu, mode, MODE_PAGE_CACHING, MODE_CURRENT, page);
	mode->write_through = lu->limits->write_cache && (page[2] & WCE) == 0;
}

void scsi_mode_publish(struct scsi_lu *lu, const struct scsi_mode *next)
{
	struct scsi_modes *modes = &lu->modes;
	struct scsi_mode *spare = &modes->versions[scsi_lu_mode(lu) == &modes->versions[0]];

	*spare = *next;
	decode(lu, spare);
	atomic_store_explicit(&modes->now.current, spare, memory_order_release);
}

int scsi_mode_init(struct scsi_lu *lu)
{
	struct scsi_mode *mode = &lu->modes.versions[0];

	if (lu->write_cache_by_hosts && lu->limits->write_cache) {
		lu->modes.flush = calloc(1, sizeof(*lu->modes.flush));
		if (lu->modes.flush == NULL)
			return -ENOMEM;
		lu->modes.flush->lu = lu;
	}
	assert(scsi_mode_offset(SCSI_MODE_PAGE_COUNT) <= SCSI_MODE_BYTES_MAX);
	scsi_mode_defaults(lu, lu->modes.defaults);
	memcpy(mode->saved, lu->modes.defaults, sizeof(mode->saved));
	if (scsi_mode_can_save(lu))
		scsi_mode_load(lu, mode->saved);
	/* Whatever the file says of bits that may not change is left out. */
	read_all(lu, mode, MODE_SAVED, mode->current);
	memcpy(mode->saved, mode->current, sizeof(mode->saved));
	decode(lu, mode);
	atomic_store_explicit(&lu->modes.now.current, mode, memory_order_release);
	return 0;
}

void scsi_mode_release(struct scsi_lu *lu)
{
	free(lu->modes.flush);
}

/* -- Defaults that change -- */

/* True: some page was as it was by default, and is so again. */
static bool follow(uint8_t *image, const uint8_t *before, const uint8_t *defaults)
{
	bool follows = false;

	for (unsigned i = 0; i < SCSI_MODE_PAGE_COUNT; i++) {
		unsigned at = scsi_mode_offset(i);
		unsigned bytes = scsi_mode_pages[i].bytes;

		if (memcmp(image + at, before + at, bytes) != 0 ||
		    memcmp(image + at, defaults + at, bytes) == 0)
			continue;
		memcpy(image + at, defaults + at, bytes);
		follows = true;
	}
	return follows;
}

bool scsi_mode_follow(struct scsi_lu *lu, bool *current)
{
	struct scsi_mode next = *scsi_lu_mode(lu);
	uint8_t defaults[SCSI_MODE_BYTES_MAX];
	bool saved;

	scsi_mode_defaults(lu, defaults);
	*current = follow(next.current, lu->modes.defaults, defaults);
	saved = follow(next.saved, lu->modes.defaults, defaults);
	memcpy(lu->modes.defaults, defaults, sizeof(defaults));
	if (*current || saved)
		scsi_mode_publish(lu, &next);
	return *current || saved;
}

/* -- Reset -- */

/* WCE = 0 speaks of what was written before, too. */
static bool turns_cache_off(const struct scsi_lu *lu, const struct scsi_mode *before)
{
	const struct lun_state *state = lun_state(lu->lun);

	return lu->modes.flush != NULL && !before->write_through &&
	       scsi_lu_mode(lu)->write_through && state->online && !state->read_only;
}

static enum scsi_switch_step begin_reset(struct scsi_switch *change)
{
	const struct scsi_mode *before = scsi_lu_mode(change->lu);
	struct scsi_mode next = *before;
	struct scsi_modes *modes = &change->lu->modes;

	modes->resets_seen = atomic_load_explicit(&modes->resets, memory_order_acquire);
	if (memcmp(next.current, next.saved, sizeof(next.current)) == 0)
		return SCSI_SWITCH_END;
	memcpy(next.current, next.saved, sizeof(next.current));
	scsi_mode_publish(change->lu, &next);
	modes->reset_flushes = turns_cache_off(change->lu, before);
	return SCSI_SWITCH_PUBLISH;
}

static void on_reset_done(struct scsi_switch *change);

LOOP_ONLY static void start_reset(struct scsi_lu *lu, struct loop *loop)
{
	struct scsi_modes *modes = &lu->modes;

	modes->reset = (struct scsi_switch){
		.lu = lu, .loop = loop, .begin = begin_reset, .done = on_reset_done};
	if (scsi_switch_start(&modes->reset) == 0)
		return;
	log_error("scsi", "%s: memory is short, mode parameters outlive a reset",
		  lun_name(lu->lun));
	atomic_store_explicit(&modes->resets, 0, memory_order_release);
}

/* Parameters may have been changed, and a reset been asked for again, since this one began. A
 * logical unit that is removed begins nothing more. */
LOOP_ONLY static void reset_ended(struct scsi_lu *lu)
{
	struct scsi_modes *modes = &lu->modes;
	unsigned seen = modes->resets_seen;

	modes->reset_flushes = false;
	if (atomic_fetch_sub_explicit(&modes->resets, seen, memory_order_acq_rel) != seen &&
	    atomic_load_explicit(&lu->removed_by, memory_order_relaxed) == NULL)
		start_reset(lu, modes->reset.loop);
}

static int admit_flush(struct lun_io *io)
{
	const struct scsi_lu *lu = CONTAINER_OF(io, struct scsi_mode_flush, io)->lu;

	return lun_state(lu->lun)->online ? 0 : -ENODEV;
}

static void on_reset_flushed(struct lun_io *io, int res)
{
	struct scsi_lu *lu = CONTAINER_OF(io, struct scsi_mode_flush, io)->lu;

	loop_role_assume();
	if (res < 0)
		log_error("scsi",
			  "%s: what was written before a reset turned the write cache off "
			  "may not be durable",
			  lun_name(lu->lun));
	reset_ended(lu);
}

static void on_reset_done(struct scsi_switch *change)
{
	struct scsi_modes *modes = &change->lu->modes;

	loop_role_assume();
	if (!modes->reset_flushes) {
		reset_ended(change->lu);
		return;
	}
	lun_io_init(&modes->flush->io);
	modes->flush->io.op = LUN_FLUSH;
	modes->flush->io.admit = admit_flush;
	modes->flush->io.done = on_reset_flushed;
	lun_io_submit(change->lu->lun, change->loop, &modes->flush->io);
}

/* Nobody is told: whoever hears of a reset takes no parameter for granted. One that has been asked
 * for and has not begun does for this one, too. */
void scsi_mode_reset(struct scsi_lu *lu, struct loop *loop)
{
	struct scsi_modes *modes = &lu->modes;
	const struct scsi_mode *now = scsi_lu_mode(lu);

	if (memcmp(now->current, now->saved, sizeof(now->current)) != 0 &&
	    atomic_fetch_add_explicit(&modes->resets, 1, memory_order_acq_rel) == 0)
		start_reset(lu, loop);
}
