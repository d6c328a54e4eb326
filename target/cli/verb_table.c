/*
 * Every verb of `ringsan` that asks the daemon: words, request, arguments, how its answer is shown.
 * ringsan.1 says in words what stands here in rows; a test compares them.
 */
#include "target/cli/cli.h"

/* clang-format off */

#define TARGET { "target", CLI_TEXT, false, "name of the target" }
#define ANY_TARGET { "target", CLI_TEXT, true, "only this target" }
#define LUN { "lun", CLI_NUMBER, false, "number of the LUN" }

const struct cli_verb cli_verbs[] = {
	{ .words = { "status" }, .request = "status", .show = cli_show_status,
	  .help = "how the daemon is: version, engine, memory, loops" },
	{ .words = { "sessions" }, .request = "sessions", .show = cli_show_sessions,
	  .help = "who is logged in",
	  .arguments = { ANY_TARGET } },
	{ .words = { "luns" }, .request = "luns", .show = cli_show_luns,
	  .help = "disks: identity, size, space, state, reservation",
	  .arguments = { ANY_TARGET,
			 { "quick", CLI_FLAG, true, "leave out reservations, wait for nothing" } } },
	{ .words = { "alua", "show" }, .request = "alua-show", .show = cli_show_alua,
	  .help = "target port groups and their states",
	  .arguments = { ANY_TARGET } },
	{ .words = { "alua", "set" }, .request = "alua-set", .show = cli_show_alua_set,
	  .help = "change state and preference of a target port group",
	  .arguments = { TARGET,
			 { "group", CLI_NUMBER, false, "tag of the portal group" },
			 { "state", CLI_TEXT, false, "optimized, non-optimized, standby, "
						     "unavailable, offline or transitioning" },
			 { "preferred", CLI_FLAG, true, "and prefer it to others in that state" },
			 { "not-preferred", CLI_FLAG_OFF, true, "and do not" } } },
	{ .words = { "reload" }, .request = "reload", .show = cli_show_reload,
	  .help = "read the configuration again and carry out what is different",
	  .arguments = { { "dry-run", CLI_FLAG, true, "only say what is different" } } },
	{ .words = { "reservations", "show" }, .request = "reservations-show",
	  .show = cli_show_reservations,
	  .help = "who is registered with a disk, and what is reserved",
	  .arguments = { TARGET, LUN } },
	{ .words = { "reservations", "clear" }, .request = "reservations-clear",
	  .show = cli_show_cleared,
	  .help = "free a disk of all reservations: only when its hosts are down",
	  .arguments = { TARGET, LUN } },
};

const size_t cli_verb_count = ARRAY_SIZE(cli_verbs);
