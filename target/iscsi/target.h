/*
 * iSCSI targets, the portals they are reached through, and who may use them, as one configuration
 * says it. All of that is a view: built by target/ctl, constant, published, and replaced by the
 * next one when the configuration is read again. So nobody keeps a struct iscsi_target across
 * turns, but for logins, which are closed when the view changes; what stays is the struct
 * scsi_target.
 *
 * Threads: any loop, and the control loop, which publishes.
 *
 * Not here: logical units (scsi.h), sockets (net/portal.h), sessions (registry.h).
 */
#ifndef TARGET_ISCSI_TARGET_H
#define TARGET_ISCSI_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct scsi_target;

/* A network portal as initiators see it (RFC 7143 4.2.2). */
struct iscsi_portal {
	struct sockaddr_storage address; /* As bound: port set, perhaps a wildcard address. */
	const char *advertise;   /* A host, announced in place of the address; NULL: none. */
	uint16_t advertise_port; /* With `advertise`. */
	uint16_t tag;            /* Portal group tag, 1 .. 65535. */
};

/* A CHAP user. The secret is borrowed from the configuration's locked memory. */
struct iscsi_user {
	const char *name;
	const uint8_t *secret;
	uint32_t secret_bytes;
};

/* Who must prove what at login. No users: nobody must. */
struct iscsi_auth {
	const struct iscsi_user *users;
	size_t user_count;
	const struct iscsi_user *mutual; /* As whom the target proves itself, or NULL. */
	uint32_t chap_algorithms;        /* CHAP_ALGORITHM_BIT of each that is allowed; 0: all. */
};

/*
 * Whether a host of this name and address may use the target. The rules belong to the
 * configuration, which knows how to match them. Any thread, allocates nothing.
 */
typedef bool iscsi_permits_fn(const void *rules, const char *initiator_name,
			      const struct sockaddr_storage *peer);

struct iscsi_target {
	const char *name;         /* Lower case, valid by RFC 7143 4.2.7. */
	const char *alias;        /* NULL: none. */
	struct scsi_target *scsi; /* The target itself, the same in every view that has it. */
	struct iscsi_auth auth;
	iscsi_permits_fn *permits; /* NULL: everybody. */
	const void *rules;
	const uint16_t *tags; /* The portal groups it is reached through. */
	size_t tag_count;     /* 0: all. */
	/* A host to which logins are sent (RFC 7143 11.13.5), unless they came there; or NULL. */
	const char *redirect;
	uint16_t redirect_port;
	bool redirect_permanent;
	bool offline;     /* Logins are told to come again: its disks are not in place. */
	bool scsi_events; /* Hosts hear of changed LUNs by Async Messages, too (async.c). */
};

/* A target that was there, and that hosts are to forget (RFC 7143 11.13.5: status 02/04). */
struct iscsi_removed {
	const char *name;
	uint64_t until_ns; /* CLOCK_MONOTONIC; from then on it is as if it had never been. */
};

struct iscsi_view {
	uint64_t generation;           /* No other view has it. */
	struct iscsi_target **targets; /* In the order of the configuration. */
	unsigned target_count;
	struct iscsi_auth discovery_auth;
	const struct iscsi_removed *removed;
	unsigned removed_count;
};

/* The target of that name, or NULL. Letter case does not count (RFC 7143 4.2.7.1: names are
 * compared after being made lower case). */
struct iscsi_target *iscsi_target_find(const struct iscsi_view *view, const char *name);
/* The one that is this struct scsi_target, or NULL. */
struct iscsi_target *iscsi_target_of(const struct iscsi_view *view, const struct scsi_target *scsi);
/* It was removed a short while ago. */
bool iscsi_target_was_removed(const struct iscsi_view *view, const char *name, uint64_t now_ns);
bool iscsi_target_in_group(const struct iscsi_target *target, uint16_t tag);
bool iscsi_target_permits(const struct iscsi_target *target, const char *initiator_name,
			  const struct sockaddr_storage *peer);
/* The user of exactly that name, or NULL. The time it takes does not tell which names there are. */
const struct iscsi_user *iscsi_auth_find(const struct iscsi_auth *auth, const char *name);

#endif
