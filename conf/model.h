/*
 * The plain parsed form of the configuration: what the file says, checked and with every default
 * filled in. It holds no run-time state: no descriptor, no resolved host name, no pointer into the
 * parser. target/ctl reads it once and builds the daemon from it.
 *
 * All of it belongs to one struct conf: strings and arrays live as long as that, and conf_free
 * (parse.h) releases them together. It is immutable once the parser has returned it, so the
 * functions below may be called on any thread.
 *
 * Times are in milliseconds, sizes in bytes. `line` is the line of the file where a thing begins,
 * for messages such as "ringsan.conf:12: image is locked".
 *
 * Read next: options.h (the one table of names, defaults and ranges), parse.h (how to get one).
 */
#ifndef CONF_MODEL_H
#define CONF_MODEL_H

#include "base/log.h"
#include "base/loop.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	CONF_PORT_DEFAULT = 3260,        /* RFC 7143 13.1: the well-known port of iSCSI. */
	CONF_ISCSI_NAME_BYTES_MAX = 223, /* RFC 7143 4.2.7.1. */
	CONF_LUN_NUMBER_MAX = 16383,     /* SAM-5 4.7.4: what flat space addressing can say. */
	CONF_SECRET_BYTES_MIN = 12,      /* RFC 7143 9.2.1: 96 bits, where no IPsec protects. */
	CONF_SECRET_BYTES_MAX = 255,
	CONF_TARGETS_MAX = 4096,
	CONF_LUNS_PER_TARGET_MAX = 8191, /* What one REPORT LUNS answers in 64 KiB. */
	CONF_PORTALS_MAX = 64,
	CONF_POOLS_MAX = 64,
	CONF_POOL_NAME_BYTES_MAX = 64,
	CONF_ACCESS_RULES_MAX = 256, /* Per target. */
	CONF_LIST_MAX = 256,         /* Items in one { list }. */
};

#define CONF_CONTROL_SOCKET "/run/ringsan/ringsand.sock"
#define CONF_CONTROL_SOCKET_BYTES_MAX 107 /* unix(7): what an address holds. */

enum conf_lun_type {
	CONF_LUN_RAW,   /* A sparse file or a block device. */
	CONF_LUN_NULL,  /* No storage: for measuring the protocol. */
	CONF_LUN_FAULT, /* For tests and drills: delays, fails or sticks on command. */
	CONF_LUN_QCOW2, /* A file of that format, with what is below it. */
};

enum conf_cache {
	CONF_CACHE_DIRECT, /* O_DIRECT where the file system has it. */
	CONF_CACHE_PAGE,   /* Through the page cache. */
};

struct conf_strings {
	char **items;
	size_t count;
};

/* A numeric address. `bytes` is in network order; IPv4 uses the first four. */
struct conf_address {
	int family; /* AF_INET or AF_INET6. */
	uint8_t bytes[16];
	uint16_t port;          /* 0: the kernel chooses, for tests. */
	char zone[IF_NAMESIZE]; /* Interface of a link-local IPv6 address, else "". */
};

/* All bits beyond the prefix are zero. */
struct conf_network {
	int family; /* AF_INET or AF_INET6. */
	uint8_t bytes[16];
	uint8_t prefix_bits;
};

struct conf_networks {
	struct conf_network *items;
	size_t count;
};

struct conf_tags {
	uint16_t *items;
	size_t count;
};

/* A host to announce: a numeric address (IPv6 without brackets) or a name. */
struct conf_host {
	char *name;    /* NULL: not given. */
	uint16_t port; /* 0: the portal's. */
};

/* One listening socket. Portals of equal tag form one portal group (RFC 7143 4.2.2). */
struct conf_portal {
	struct conf_address address;
	uint16_t tag; /* Portal group tag, 1 .. 65535. */
	/* Announced in place of the address. Without it a wildcard portal announces the address
	 * that the initiator came to. */
	struct conf_host advertise;
	int line;
};

/* A host is admitted by a rule that matches its name and its address, both. */
struct conf_access {
	struct conf_strings initiators; /* Lower-case patterns with * and ?; none: any name. */
	struct conf_networks networks;  /* None: any address. */
	int line;
};

/* What a host may compute its answer with (RFC 7143 12.1.3). */
enum conf_chap_algorithm {
	CONF_CHAP_MD5,
	CONF_CHAP_SHA1,
	CONF_CHAP_SHA256,
	CONF_CHAP_SHA3_256,
	CONF_CHAP_ALGORITHM_COUNT
};

struct conf_algorithms {
	enum conf_chap_algorithm *items;
	size_t count;
};

/* CHAP. No users: no authentication. Names are those of the secrets file: see conf_user_find. */
struct conf_auth {
	struct conf_strings users;         /* Who may log in. */
	char *mutual;                      /* The user as whom the target proves itself, or NULL. */
	struct conf_algorithms algorithms; /* None: all of them. */
	int line;
};

/* What a pool is that no section describes. */
#define CONF_POOL_RESERVE_DEFAULT "256M"
#define CONF_POOL_WARN_DEFAULT "80%"
/* Up to this many a share counts percent, above it bytes. */
#define CONF_SHARE_PERCENT_MAX 100u

/* A file system that images lie on. */
struct conf_pool {
	char *name;
	char *path;            /* Something on it. */
	uint64_t reserve;      /* A share: what writes that need new space leave. */
	uint32_t warn_percent; /* Used, when hosts are told; 0: never. */
	int line;
};

/* Of a disk in a qcow2 image. */
#define CONF_QCOW2_SIZE_MAX (UINT64_C(64) << 40)

struct conf_lun {
	uint16_t number;
	enum conf_lun_type type;
	enum conf_cache cache;
	uint32_t look_ahead;       /* Bytes allocated before a stream of writes; 0: none. */
	bool write_cache;          /* false: every write is durable before it is answered. */
	bool write_cache_by_hosts; /* Hosts may turn it off and on again. */
	bool read_only;
	uint32_t block_size;
	uint32_t physical_block_size;
	uint32_t cluster_size;    /* CONF_LUN_QCOW2: of an image that is created; 0: 128 KiB. */
	uint32_t allocation_unit; /* 0: chosen when the image is created. */
	uint32_t warn_percent;    /* Used of size_bytes, when hosts are told; 0: never. */
	uint64_t size_bytes;      /* 0: what the image has. */
	char *image;              /* NULL where the type needs none. */
	char *backing;            /* CONF_LUN_QCOW2: what one that is created shows; or NULL. */
	char *fault_control;      /* CONF_LUN_FAULT: the file that commands it; else NULL. */
	char *identity; /* "naa.6" and 31 lower-case hexadecimal digits; NULL: made once. */
	char *serial;   /* NULL: derived from the identity. */
	char *vendor;   /* At most 8, 16 and 4 printable ASCII characters, not padded. */
	char *product;
	char *revision;
	int line;
};

/* The state in which a portal group begins: active/optimized, unless it is in one of these. */
enum conf_group_state {
	CONF_GROUP_NON_OPTIMIZED,
	CONF_GROUP_STANDBY,
	CONF_GROUP_UNAVAILABLE,
	CONF_GROUP_OFFLINE,
	CONF_GROUP_STATE_COUNT
};

struct conf_target {
	char *name;                     /* Lower case, valid by RFC 7143 4.2.7. */
	char *alias;                    /* NULL: none. */
	struct conf_tags portal_groups; /* None: every group. Use conf_target_in_group. */
	/* Of these groups, all of which lead here, none is in two states. */
	struct conf_tags groups_in[CONF_GROUP_STATE_COUNT];
	struct conf_tags preferred_groups;
	bool states_by_hosts;        /* Hosts may change states. */
	bool online;                 /* false: logins are told to come again. */
	bool redirect_permanent;     /* Hosts may remember where they were sent. */
	bool scsi_events;            /* Async Messages tell of changed LUNs. */
	struct conf_host redirect;   /* Where hosts are sent that want to log in; or none. */
	uint32_t transition_time_ms; /* Whole seconds; 0: hosts are told nothing of it. */
	struct conf_lun *luns;       /* Ascending by number. */
	size_t lun_count;
	struct conf_access *access; /* None: anybody (the parser allows it on loopback alone). */
	size_t access_count;
	struct conf_auth auth;
	int line;
};

/* What bounds the daemon, whatever its peers do. */
struct conf_limits {
	uint64_t memory_bytes;      /* I/O buffers, over all loops. */
	uint64_t qcow2_cache_bytes; /* L2 tables of all qcow2 images. */
	uint32_t sessions;
	uint32_t queue_depth; /* Largest command window of a session. */
	uint32_t connections_before_login;
	uint32_t connections_before_login_per_source;
	uint32_t login_timeout_ms;
	uint32_t refusal_delay_ms; /* 0: logins are refused at once. */
	uint32_t write_stall_timeout_ms;
	uint32_t nop_interval_ms; /* 0: no NOP-In of our own. */
	uint32_t nop_timeout_ms;
	uint32_t data_out_timeout_ms;
};

/* A CHAP user. The secret lies in locked memory that is left out of core dumps and zeroised by
 * conf_free; do not copy it elsewhere, never log it. */
struct conf_user {
	const char *name;
	const uint8_t *secret;
	size_t secret_bytes;
	int line;       /* In the secrets file. */
	bool logs_in;   /* Some section has it among its users, */
	bool proves_us; /* and some as its mutual user: only ever one of the two. */
};

struct conf_memory; /* Where the strings and arrays live; private to conf/. */

struct conf {
	char *file; /* Name of the configuration file, for messages. */
	char *state_dir;
	char *control_socket;
	char *secrets_file; /* NULL: none. */
	enum loop_engine engine;
	enum log_level log_level;
	uint32_t loops;      /* 0: one per CPU. */
	uint32_t company_id; /* 24 bits. */
	struct conf_limits limits;
	struct conf_auth discovery_auth;
	struct conf_portal *portals;
	size_t portal_count;
	struct conf_pool *pools;
	size_t pool_count;
	/* That of images on other file systems: the defaults. */
	struct conf_pool pool_default;
	struct conf_target *targets;
	size_t target_count;
	struct conf_user *users; /* From the secrets file, in its order. */
	size_t user_count;
	struct conf_memory *memory;
};

/* The user of that exact name, or NULL. */
const struct conf_user *conf_user_find(const struct conf *conf, const char *name);

/* True if the target is to be reached through portals of this tag. */
bool conf_target_in_group(const struct conf_target *target, uint16_t tag);
bool conf_tags_have(const struct conf_tags *tags, uint16_t tag);

/*
 * True if a host of this name and address may log in to the target: no rules, or one that matches
 * both. Upper-case letters in `initiator_name` match as lower-case ones; an IPv4-mapped IPv6
 * address counts as IPv4. Any thread; allocates nothing; time is bounded by the size of the rules
 * times the length of the name.
 */
bool conf_access_permits(const struct conf_target *target, const char *initiator_name,
			 const struct sockaddr *address);

bool conf_address_is_wildcard(const struct conf_address *address);
bool conf_address_is_loopback(const struct conf_address *address);

/*
 * Fill `out` for bind(2). Returns its length, or -ENODEV if the zone's interface does not exist
 * (the only part that looks at the machine).
 */
int MUST_CHECK conf_address_to_sockaddr(const struct conf_address *address,
					struct sockaddr_storage *out);

/* The address as text, "192.0.2.1:3260" or "[2001:db8::1]:3260". */
#define CONF_ADDRESS_TEXT_MAX 80u
void conf_address_to_text(const struct conf_address *address, char out[CONF_ADDRESS_TEXT_MAX]);

#endif
