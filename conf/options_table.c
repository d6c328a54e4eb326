/*
 * Every option of the configuration file: name, type, default, range, effect and where its value
 * goes. Constant data. ringsan.conf.5 says in words what stands here in rows; a test compares them.
 *
 * Read next: options.c (looking rows up), value.c (what the types accept), build.c (their reader).
 */
#include "conf/options.h"

#include "base/attr.h"
#include "conf/model.h"
#include "conf/names.h"

/* Read again by `ringsan reload`; all others take a start (changes.c). */
#define LIVE .effect = CONF_EFFECT_LIVE
#define KIB 1024ull
#define MIB (1024ull * KIB)
#define TIB (1024ull * 1024ull * MIB)
#define SECONDS 1000ull
#define FIELD(type, member) .offset = offsetof(type, member), .width = sizeof(((type *)0)->member)
#define LIST(type, member) \
	.list = true, .offset = offsetof(type, member), .width = sizeof(*((type *)0)->member.items)
#define SECTION(rows) .options = (rows), .option_count = ARRAY_SIZE(rows)

/* In the order of enum loop_engine, enum log_level, enum conf_lun_type, enum conf_cache and enum
 * conf_chap_algorithm. */
static const char *const engine_words[] = {"auto", "uring", "aio", NULL};
static const char *const level_words[] = {"error", "warn", "info", "debug", NULL};
static const char *const lun_type_words[] = {"raw", "null", "fault", "qcow2", NULL};
static const char *const cache_words[] = {"direct", "page", NULL};
static const char *const chap_words[] = {"md5", "sha1", "sha256", "sha3-256", NULL};
_Static_assert(LOOP_ENGINE_AUTO == 0 && LOOP_ENGINE_AIO == 2, "order of engine_words");
_Static_assert(LOG_LEVEL_ERROR == 0 && LOG_LEVEL_COUNT == 4, "order of level_words");
_Static_assert(CONF_LUN_RAW == 0 && CONF_LUN_QCOW2 == 3, "order of lun_type_words");
_Static_assert(CONF_CACHE_DIRECT == 0 && CONF_CACHE_PAGE == 1, "order of cache_words");
_Static_assert(CONF_CHAP_MD5 == 0 && CONF_CHAP_SHA3_256 == 3, "order of chap_words");

static const char *check_block_size(uint64_t bytes)
{
	return bytes == 512 || bytes == 4096 ? NULL : "not a block size; 512 or 4096 is right";
}

static const char *check_power_of_two(uint64_t bytes)
{
	return (bytes & (bytes - 1)) == 0 ? NULL
					  : "not a power of two; 4K, 8K, 16K and so on are right";
}

/* RTPG counts in seconds, in a byte. */
static const char *check_whole_seconds(uint64_t ms)
{
	return ms % SECONDS == 0 ? NULL : "not a number of whole seconds; 0s to 255s is right";
}

/* clang-format off */

static const struct conf_option root_options[] = {
	{ .name = "state-dir", .type = CONF_PATH, FIELD(struct conf, state_dir),
	  .initial = "/var/lib/ringsan", .min = 1, .max = 4095 },
	/* What a socket's name may be, unix(7). */
	{ .name = "control-socket", .type = CONF_PATH, FIELD(struct conf, control_socket),
	  .initial = CONF_CONTROL_SOCKET, .min = 1, .max = CONF_CONTROL_SOCKET_BYTES_MAX },
	{ .name = "secrets", .type = CONF_PATH, LIVE, FIELD(struct conf, secrets_file),
	  .min = 1, .max = 4095 },
	{ .name = "engine", .type = CONF_WORD, FIELD(struct conf, engine),
	  .initial = "auto", .words = engine_words },
	{ .name = "loops", .type = CONF_NUMBER, FIELD(struct conf, loops),
	  .initial = "0", .min = 0, .max = LOOPS_MAX },
	{ .name = "log-level", .type = CONF_WORD, FIELD(struct conf, log_level),
	  .initial = "info", .words = level_words },
	/* A locally assigned value, not a registered identifier; the manual says so, too. */
	{ .name = "company-id", .type = CONF_COMPANY_ID, FIELD(struct conf, company_id),
	  .initial = "52-53-4E" },
};

static const struct conf_option limits_options[] = {
	/* 8 MiB hold one session's floor on each of a few loops. */
	{ .name = "memory", .type = CONF_SIZE, FIELD(struct conf_limits, memory_bytes),
	  .initial = "512M", .min = 8 * MIB, .max = TIB },
	{ .name = "qcow2-cache", .type = CONF_SIZE,
	  FIELD(struct conf_limits, qcow2_cache_bytes),
	  .initial = "1G", .min = 16 * MIB, .max = TIB },
	{ .name = "sessions", .type = CONF_NUMBER, FIELD(struct conf_limits, sessions),
	  .initial = "256", .min = 1, .max = 65535 },
	/* A session starts with a floor of eight commands. */
	{ .name = "queue-depth", .type = CONF_NUMBER, FIELD(struct conf_limits, queue_depth),
	  .initial = "256", .min = 8, .max = 4096 },
	/* A host that has booted comes through all its paths to all its targets at once. */
	{ .name = "connections-before-login", .type = CONF_NUMBER,
	  FIELD(struct conf_limits, connections_before_login),
	  .initial = "256", .min = 1, .max = 4096 },
	{ .name = "connections-before-login-per-source", .type = CONF_NUMBER,
	  FIELD(struct conf_limits, connections_before_login_per_source),
	  .initial = "64", .min = 1, .max = 4096 },
	{ .name = "login-timeout", .type = CONF_DURATION,
	  FIELD(struct conf_limits, login_timeout_ms),
	  .initial = "15s", .min = 1 * SECONDS, .max = 300 * SECONDS },
	{ .name = "refusal-delay", .type = CONF_DURATION,
	  FIELD(struct conf_limits, refusal_delay_ms),
	  .initial = "1s", .min = 0, .max = 10 * SECONDS },
	{ .name = "write-stall-timeout", .type = CONF_DURATION,
	  FIELD(struct conf_limits, write_stall_timeout_ms),
	  .initial = "30s", .min = 1 * SECONDS, .max = 3600 * SECONDS },
	{ .name = "nop-interval", .type = CONF_DURATION,
	  FIELD(struct conf_limits, nop_interval_ms),
	  .initial = "30s", .min = 0, .max = 3600 * SECONDS },
	{ .name = "nop-timeout", .type = CONF_DURATION,
	  FIELD(struct conf_limits, nop_timeout_ms),
	  .initial = "30s", .min = 1 * SECONDS, .max = 3600 * SECONDS },
	{ .name = "data-out-timeout", .type = CONF_DURATION,
	  FIELD(struct conf_limits, data_out_timeout_ms),
	  .initial = "30s", .min = 1 * SECONDS, .max = 3600 * SECONDS },
};

static const struct conf_option auth_options[] = {
	{ .name = "users", .type = CONF_TEXT, LIVE, LIST(struct conf_auth, users),
	  .min = 1, .max = 255, .check_text = conf_check_user },
	{ .name = "mutual", .type = CONF_TEXT, LIVE, FIELD(struct conf_auth, mutual),
	  .min = 1, .max = 255, .check_text = conf_check_user },
	{ .name = "algorithms", .type = CONF_WORD, LIVE, LIST(struct conf_auth, algorithms),
	  .words = chap_words },
};

static const struct conf_option portal_options[] = {
	{ .name = "tag", .type = CONF_NUMBER, FIELD(struct conf_portal, tag),
	  .initial = "1", .min = 1, .max = 65535 },
	{ .name = "advertise", .type = CONF_HOST, FIELD(struct conf_portal, advertise),
	  .min = 1, .max = 300 },
};

static const struct conf_option pool_options[] = {
	{ .name = "path", .type = CONF_PATH, FIELD(struct conf_pool, path),
	  .min = 1, .max = 4095 },
	{ .name = "reserve", .type = CONF_SHARE, FIELD(struct conf_pool, reserve),
	  .initial = CONF_POOL_RESERVE_DEFAULT, .min = MIB, .max = 8192 * TIB },
	{ .name = "warn", .type = CONF_PERCENT, LIVE, FIELD(struct conf_pool, warn_percent),
	  .initial = CONF_POOL_WARN_DEFAULT, .min = 0, .max = 100 },
};

static const struct conf_option target_options[] = {
	{ .name = "alias", .type = CONF_TEXT, LIVE, FIELD(struct conf_target, alias),
	  .min = 1, .max = 255, .check_text = conf_check_utf8 },
	{ .name = "portal-groups", .type = CONF_NUMBER, LIST(struct conf_target, portal_groups),
	  .min = 1, .max = 65535 },
	{ .name = "preferred-groups", .type = CONF_NUMBER,
	  LIST(struct conf_target, preferred_groups), .min = 1, .max = 65535 },
	/* In the order of enum conf_group_state. */
	{ .name = "non-optimized-groups", .type = CONF_NUMBER,
	  LIST(struct conf_target, groups_in[CONF_GROUP_NON_OPTIMIZED]), .min = 1, .max = 65535 },
	{ .name = "standby-groups", .type = CONF_NUMBER,
	  LIST(struct conf_target, groups_in[CONF_GROUP_STANDBY]), .min = 1, .max = 65535 },
	{ .name = "unavailable-groups", .type = CONF_NUMBER,
	  LIST(struct conf_target, groups_in[CONF_GROUP_UNAVAILABLE]), .min = 1, .max = 65535 },
	{ .name = "offline-groups", .type = CONF_NUMBER,
	  LIST(struct conf_target, groups_in[CONF_GROUP_OFFLINE]), .min = 1, .max = 65535 },
	{ .name = "states-by-hosts", .type = CONF_SWITCH,
	  FIELD(struct conf_target, states_by_hosts), .initial = "no" },
	{ .name = "online", .type = CONF_SWITCH, LIVE, FIELD(struct conf_target, online),
	  .initial = "yes" },
	{ .name = "redirect", .type = CONF_HOST, LIVE, FIELD(struct conf_target, redirect),
	  .min = 1, .max = 300 },
	{ .name = "redirect-permanent", .type = CONF_SWITCH, LIVE,
	  FIELD(struct conf_target, redirect_permanent), .initial = "no" },
	{ .name = "scsi-events", .type = CONF_SWITCH, LIVE,
	  FIELD(struct conf_target, scsi_events), .initial = "no" },
	{ .name = "transition-time", .type = CONF_DURATION,
	  FIELD(struct conf_target, transition_time_ms), .initial = "0s",
	  .min = 0, .max = 255 * SECONDS, .check_number = check_whole_seconds },
};

static const struct conf_option lun_options[] = {
	{ .name = "type", .type = CONF_WORD, FIELD(struct conf_lun, type),
	  .initial = "raw", .words = lun_type_words },
	{ .name = "image", .type = CONF_PATH, FIELD(struct conf_lun, image),
	  .min = 1, .max = 4095 },
	/* The largest: 64 times what VMFS takes, and 2^44 blocks of 512 bytes. */
	{ .name = "size", .type = CONF_SIZE, LIVE, FIELD(struct conf_lun, size_bytes),
	  .min = MIB, .max = 8192 * TIB },
	{ .name = "cache", .type = CONF_WORD, FIELD(struct conf_lun, cache),
	  .initial = "direct", .words = cache_words },
	{ .name = "look-ahead", .type = CONF_SIZE, FIELD(struct conf_lun, look_ahead),
	  .initial = "16M", .min = 0, .max = 16 * MIB },
	{ .name = "write-cache", .type = CONF_SWITCH, FIELD(struct conf_lun, write_cache),
	  .initial = "on" },
	{ .name = "write-cache-by-hosts", .type = CONF_SWITCH,
	  FIELD(struct conf_lun, write_cache_by_hosts), .initial = "no" },
	{ .name = "read-only", .type = CONF_SWITCH, FIELD(struct conf_lun, read_only),
	  .initial = "no" },
	{ .name = "block-size", .type = CONF_SIZE, FIELD(struct conf_lun, block_size),
	  .initial = "512", .min = 512, .max = 4096, .check_number = check_block_size },
	{ .name = "physical-block-size", .type = CONF_SIZE,
	  FIELD(struct conf_lun, physical_block_size),
	  .initial = "4096", .min = 512, .max = 4096, .check_number = check_block_size },
	/* It must divide 1 MiB, or VMFS6 does not unmap by itself. */
	{ .name = "allocation-unit", .type = CONF_SIZE, FIELD(struct conf_lun, allocation_unit),
	  .min = 4 * KIB, .max = MIB, .check_number = check_power_of_two },
	{ .name = "backing", .type = CONF_TEXT, FIELD(struct conf_lun, backing),
	  .min = 1, .max = 255, .check_text = conf_check_file_name },
	{ .name = "cluster-size", .type = CONF_SIZE, FIELD(struct conf_lun, cluster_size),
	  .min = 4 * KIB, .max = 2 * MIB, .check_number = check_power_of_two },
	{ .name = "warn", .type = CONF_PERCENT, LIVE, FIELD(struct conf_lun, warn_percent),
	  .initial = "0%", .min = 0, .max = 100 },
	{ .name = "identity", .type = CONF_TEXT, FIELD(struct conf_lun, identity),
	  .min = 1, .max = 36, .lower_case = true, .check_text = conf_check_identity },
	{ .name = "serial", .type = CONF_TEXT, FIELD(struct conf_lun, serial),
	  .min = 1, .max = 64, .check_text = conf_check_serial },
	{ .name = "vendor", .type = CONF_TEXT, FIELD(struct conf_lun, vendor),
	  .initial = "RINGSAN", .min = 1, .max = 8, .check_text = conf_check_inquiry_text },
	{ .name = "product", .type = CONF_TEXT, FIELD(struct conf_lun, product),
	  .initial = "VIRTUAL-DISK", .min = 1, .max = 16, .check_text = conf_check_inquiry_text },
	{ .name = "revision", .type = CONF_TEXT, FIELD(struct conf_lun, revision),
	  .initial = "0001", .min = 1, .max = 4, .check_text = conf_check_inquiry_text },
	{ .name = "fault-control", .type = CONF_PATH, FIELD(struct conf_lun, fault_control),
	  .min = 1, .max = 4095 },
};

static const struct conf_option access_options[] = {
	{ .name = "initiators", .type = CONF_TEXT, LIVE, LIST(struct conf_access, initiators),
	  .min = 1, .max = CONF_ISCSI_NAME_BYTES_MAX, .lower_case = true,
	  .check_text = conf_check_pattern },
	{ .name = "networks", .type = CONF_NETWORK, LIVE, LIST(struct conf_access, networks) },
};

const struct conf_section conf_sections[CONF_SECTION_COUNT] = {
	[CONF_SECTION_ROOT] = { .name = "", SECTION(root_options) },
	[CONF_SECTION_LIMITS] = { .name = "limits", SECTION(limits_options) },
	[CONF_SECTION_DISCOVERY_AUTH] = { .name = "discovery-auth", SECTION(auth_options) },
	[CONF_SECTION_PORTAL] = { .name = "portal", .title = "\"ADDRESS:PORT\"", .many = true,
				  SECTION(portal_options) },
	[CONF_SECTION_POOL] = { .name = "pool", .title = "\"NAME\"", .many = true,
				SECTION(pool_options) },
	[CONF_SECTION_TARGET] = { .name = "target", .title = "\"NAME\"", .many = true,
				  SECTION(target_options) },
	[CONF_SECTION_LUN] = { .name = "lun", .title = "NUMBER", .many = true,
			       .parent = CONF_SECTION_TARGET, SECTION(lun_options) },
	[CONF_SECTION_ACCESS] = { .name = "access", .many = true,
				  .parent = CONF_SECTION_TARGET, SECTION(access_options) },
	[CONF_SECTION_AUTH] = { .name = "auth", .parent = CONF_SECTION_TARGET,
				SECTION(auth_options) },
};
