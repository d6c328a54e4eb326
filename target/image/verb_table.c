/*
 * Every verb of `ringsan image`, and every option. ringsan.1 says in words what stands here in
 * rows; a test compares them.
 */
#include "target/image/verb.h"

/* clang-format off */

const struct image_option_row image_options[IMAGE_OPTIONS] = {
	[IMAGE_FORMAT] = { "format", "raw|qcow2", "what FILE is, where its name does not tell" },
	[IMAGE_OUTPUT_FORMAT] = { "output-format", "raw|qcow2",
				  "what NEW is to be, where its name does not tell" },
	[IMAGE_SIZE] = { "size", "SIZE", "of the disk: bytes, or with K, M, G, T" },
	[IMAGE_CLUSTER_SIZE] = { "cluster-size", "SIZE", "of a new qcow2 image (128K)" },
	[IMAGE_EXTENDED_L2] = { "extended-l2", "on|off",
				"subclusters (on from clusters of 128K on)" },
	[IMAGE_BACKING] = { "backing", "NAME", "the backing file, by its name beside FILE" },
	[IMAGE_BACKING_FORMAT] = { "backing-format", "raw|qcow2",
				   "what it is, where its name does not tell" },
	[IMAGE_PREALLOCATION] = { "preallocation", "off|metadata|falloc",
				  "what of a new image is allocated at once (off)" },
	[IMAGE_BACKING_CHAIN] = { "backing-chain", NULL, "and all that is below it" },
	[IMAGE_NAME] = { "name", "S", "of the snapshot (when it is made, in UTC)" },
	[IMAGE_KEEP] = { "keep", "S", "what is rolled back becomes snapshot S" },
	[IMAGE_FORCE] = { "force", NULL, "also while hosts are logged in" },
	[IMAGE_UNSAFE] = { "unsafe", NULL, "change the name in the header, and copy nothing" },
	[IMAGE_REPAIR] = { "repair", NULL, "mend refcounts and return what leaks" },
};

const struct image_verb image_verbs[] = {
	{ .name = "create", .operands = "FILE", .operands_min = 1, .operands_max = 1,
	  .options = IMAGE_OPTION(FORMAT) | IMAGE_OPTION(SIZE) | IMAGE_OPTION(CLUSTER_SIZE) |
		     IMAGE_OPTION(EXTENDED_L2) | IMAGE_OPTION(BACKING) |
		     IMAGE_OPTION(BACKING_FORMAT) | IMAGE_OPTION(PREALLOCATION),
	  .help = "make a new image, thin if not told otherwise",
	  .run = image_run_create, .show = image_show_create },
	{ .name = "info", .operands = "FILE", .operands_min = 1, .operands_max = 1,
	  .options = IMAGE_OPTION(FORMAT) | IMAGE_OPTION(BACKING_CHAIN),
	  .help = "what an image is, also one that is in use",
	  .run = image_run_info, .show = image_show_info },
	{ .name = "check", .operands = "FILE", .operands_min = 1, .operands_max = 1,
	  .options = IMAGE_OPTION(FORMAT) | IMAGE_OPTION(REPAIR),
	  .help = "is a qcow2 image consistent, and what does it leak",
	  .run = image_run_check, .show = image_show_check },
	{ .name = "map", .operands = "FILE", .operands_min = 1, .operands_max = 1,
	  .options = IMAGE_OPTION(FORMAT),
	  .help = "where the data of the disk lie, in which file of the chain",
	  .run = image_run_map, .show = image_show_map },
	{ .name = "du", .operands = "FILE...", .operands_min = 1,
	  .operands_max = IMAGE_OPERANDS_MAX, .options = IMAGE_OPTION(FORMAT),
	  .help = "what images occupy, alone and together with others",
	  .run = image_run_du, .show = image_show_du },
	{ .name = "convert", .operands = "FILE NEW", .operands_min = 2, .operands_max = 2,
	  .options = IMAGE_OPTION(FORMAT) | IMAGE_OPTION(OUTPUT_FORMAT) |
		     IMAGE_OPTION(CLUSTER_SIZE) | IMAGE_OPTION(EXTENDED_L2),
	  .help = "copy what a disk shows into one new file",
	  .run = image_run_convert, .show = image_show_create },
	{ .name = "resize", .operands = "FILE [+]SIZE", .operands_min = 2, .operands_max = 2,
	  .options = IMAGE_OPTION(FORMAT),
	  .help = "make a disk larger",
	  .run = image_run_resize, .show = image_show_create },
	{ .name = "rebase", .operands = "FILE", .operands_min = 1, .operands_max = 1,
	  .options = IMAGE_OPTION(FORMAT) | IMAGE_OPTION(BACKING) |
		     IMAGE_OPTION(BACKING_FORMAT) | IMAGE_OPTION(UNSAFE),
	  .help = "name another backing file in the header",
	  .run = image_run_rebase, .show = image_show_create },
	{ .name = "snapshot", .operands = "FILE...", .operands_min = 1,
	  .operands_max = IMAGE_OPERANDS_MAX, .options = IMAGE_OPTION(NAME),
	  .help = "keep what images hold now, all at one instant",
	  .run = image_run_snapshot, .show = image_show_family },
	{ .name = "rollback", .operands = "FILE S", .operands_min = 2, .operands_max = 2,
	  .options = IMAGE_OPTION(KEEP) | IMAGE_OPTION(FORCE),
	  .help = "give an image the content of its snapshot S",
	  .run = image_run_rollback, .show = image_show_family },
	{ .name = "clone", .operands = "BASE NEW", .operands_min = 2, .operands_max = 2,
	  .options = IMAGE_OPTION(FORMAT) | IMAGE_OPTION(SIZE),
	  .help = "make an image that begins as BASE, which nobody writes any more",
	  .run = image_run_clone, .show = image_show_create },
	{ .name = "remove", .operands = "FILE", .operands_min = 1, .operands_max = 1,
	  .help = "remove an image or a snapshot on which nothing is based",
	  .run = image_run_remove, .show = image_show_create },
	{ .name = "list", .operands = "FOLDER|FILE", .operands_min = 1, .operands_max = 1,
	  .help = "which images there are, and which is based on which",
	  .run = image_run_list, .show = image_show_list },
};

const size_t image_verb_count = ARRAY_SIZE(image_verbs);
