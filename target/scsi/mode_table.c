/*
 * The mode pages, a row each: SPC-4 7.5, SBC-3 6.5. Data only, but for what follows the logical
 * unit. What may change is what the LUN then really does; README.md says why the rest may not.
 *
 * Constant; any thread. Read next: mode.c.
 */
#include "target/scsi/device.h"

#define WCE 0x04u

/*
 * WCE is the truth about the LUN's cache. Hosts may turn it off and on again where the
 * administrator lets them, and never on where he has turned it off.
 */
static void follow_caching(const struct scsi_lu *lu, uint8_t *values, uint8_t *changeable)
{
	if (!lu->limits->write_cache)
		return;
	values[2] |= WCE;
	if (lu->write_cache_by_hosts)
		changeable[2] |= WCE;
}

/* clang-format off */
const struct scsi_mode_page scsi_mode_pages[SCSI_MODE_PAGE_COUNT] = {
	/* SBC-3 6.5.7. No recovery of our own, so none to be tuned: what the image reports is told. */
	[MODE_PAGE_ERROR_RECOVERY] = {
		.code = 0x01, .bytes = 12,
		.fields = { [2] = 0xFF, 0x80, 0x80, 0x80, 0x80, 0xC0, 0x80, 0x80, 0x80, 0x00 },
	},
	/* SBC-3 6.5.5 */
	[MODE_PAGE_CACHING] = {
		.code = 0x08, .bytes = 20,
		.fields = { [2] = 0xFF, 0x88, 0x80, 0x00, 0x80, 0x00, 0x80, 0x00, 0x80, 0x00, 0xF5,
			    0x80, 0x80, 0x00, 0x80, 0x80, 0x00, 0x00 },
		.follow = follow_caching,
	},
	/* SPC-4 7.5.8. TST 001b: a task set per I_T nexus. D_SENSE, SWP and TAS may change. GLTSD: no log
	 * parameter is saved. QUEUE ALGORITHM MODIFIER 1: commands in any order. No limit of the time
	 * that a host may meet BUSY. */
	[MODE_PAGE_CONTROL] = {
		.code = 0x0A, .bytes = 12,
		.values = { [2] = 0x22, 0x10, [5] = 0x40, [8] = 0xFF, 0xFF },
		.changeable = { [2] = 0x04, [4] = 0x08, 0x40 },
		.fields = { [2] = 0x9F, 0x8D, 0xEC, 0xFC, 0x80, 0x00, 0x80, 0x00, 0x80, 0x00 },
	},
	/* SPC-4 7.5.9. No limit of the length of sense data. */
	[MODE_PAGE_CONTROL_EXTENSION] = {
		.code = 0x0A, .subpage = 0x01, .bytes = 32,
		.fields = { [4] = 0x87, 0x88, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
			    0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
			    0x80, 0x80, 0x80, 0x80, 0x80 },
	},
	/* SPC-4 7.5.12. DEXCPT: there are no informational exceptions. */
	[MODE_PAGE_EXCEPTIONS] = {
		.code = 0x1C, .bytes = 12,
		.values = { [2] = 0x08 },
		.fields = { [2] = 0xFF, 0x88, 0x80, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00 },
	},
};
/* clang-format on */
