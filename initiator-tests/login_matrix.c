/*
 * Every login that libiscsi can ask for: header digests x InitialR2T x immediate data x no CHAP,
 * one-way and mutual; in each, writes of sizes around the burst lengths, read back in another
 * session.
 *
 * usage: login_matrix URL [URL-WITH-CHAP...]
 */
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOCK = 512,
	SIZE_MAX_BYTES = 1 << 20
};

static const uint32_t sizes[] = {512,         4096,         65536 - 512,   65536,
				 65536 + 512, 262144 + 512, SIZE_MAX_BYTES};

static unsigned char data[SIZE_MAX_BYTES];

struct way {
	enum iscsi_header_digest digest;
	enum iscsi_initial_r2t initial_r2t;
	enum iscsi_immediate_data immediate;
};

/* NULL: the login failed, and why was printed. */
static struct iscsi_context *log_in(const char *text, const struct way *way, int *lun)
{
	struct iscsi_context *iscsi = iscsi_create_context("iqn.2026-11.io.ringsan:matrix");
	struct iscsi_url *url = iscsi ? iscsi_parse_full_url(iscsi, text) : NULL;

	if (!url)
		exit(2);
	iscsi_set_targetname(iscsi, url->target);
	iscsi_set_session_type(iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_noautoreconnect(iscsi, 1);
	iscsi_set_timeout(iscsi, 30);
	iscsi_set_header_digest(iscsi, way->digest);
	iscsi_set_initial_r2t(iscsi, way->initial_r2t);
	iscsi_set_immediate_data(iscsi, way->immediate);
	if (url->user[0])
		iscsi_set_initiator_username_pwd(iscsi, url->user, url->passwd);
	if (url->target_user[0])
		iscsi_set_target_username_pwd(iscsi, url->target_user, url->target_passwd);
	*lun = url->lun;
	if (iscsi_full_connect_sync(iscsi, url->portal, url->lun) != 0) {
		printf("login: %s\n", iscsi_get_error(iscsi));
		iscsi_destroy_context(iscsi);
		iscsi = NULL;
	}
	iscsi_destroy_url(url);
	return iscsi;
}

static void fill(uint32_t bytes)
{
	static unsigned char turn;

	turn++;
	for (uint32_t i = 0; i < bytes; i++)
		data[i] = (unsigned char)(turn + i / BLOCK + i % 7);
}

static bool write_and_read(struct iscsi_context *writer, int lun, struct iscsi_context *reader,
			   uint32_t bytes)
{
	struct scsi_task *task;
	bool good;

	fill(bytes);
	task = iscsi_write16_sync(writer, lun, 16, data, bytes, BLOCK, 0, 0, 0, 0, 0);
	good = task && task->status == SCSI_STATUS_GOOD;
	scsi_free_scsi_task(task);
	task = iscsi_read16_sync(reader, lun, 16, bytes, BLOCK, 0, 0, 0, 0, 0);
	good = good && task && task->status == SCSI_STATUS_GOOD &&
	       (uint32_t)task->datain.size == bytes && memcmp(task->datain.data, data, bytes) == 0;
	scsi_free_scsi_task(task);
	if (!good)
		printf("%u bytes: %s\n", bytes, iscsi_get_error(writer));
	return good;
}

static bool use(const char *url, const struct way *way)
{
	/* The reader's way is the opposite of the writer's. */
	const struct way opposite = {ISCSI_HEADER_DIGEST_LAST - way->digest, !way->initial_r2t,
				     !way->immediate};
	int lun;
	struct iscsi_context *writer = log_in(url, way, &lun);
	struct iscsi_context *reader = log_in(url, &opposite, &lun);
	bool good = writer && reader;

	for (unsigned i = 0; good && i < sizeof(sizes) / sizeof(sizes[0]); i++)
		good = write_and_read(writer, lun, reader, sizes[i]);
	good = good && iscsi_logout_sync(writer) == 0 && iscsi_logout_sync(reader) == 0;
	if (writer)
		iscsi_destroy_context(writer);
	if (reader)
		iscsi_destroy_context(reader);
	return good;
}

int main(int argc, char **argv)
{
	static const char *const digests[] = {"None", "None,CRC32C", "CRC32C,None", "CRC32C"};
	int failed = 0;

	for (int i = 1; i < argc; i++) {
		for (unsigned way = 0; way < 16; way++) {
			const struct way chosen = {
				(enum iscsi_header_digest)(way / 4),
				way & 1 ? ISCSI_INITIAL_R2T_YES : ISCSI_INITIAL_R2T_NO,
				way & 2 ? ISCSI_IMMEDIATE_DATA_YES : ISCSI_IMMEDIATE_DATA_NO};
			bool good = use(argv[i], &chosen);

			printf("%s libiscsi, URL %d: HeaderDigest=%s InitialR2T=%s "
			       "ImmediateData=%s\n",
			       good ? "PASS" : "FAIL", i, digests[way / 4], way & 1 ? "Yes" : "No",
			       way & 2 ? "Yes" : "No");
			failed += !good;
		}
	}
	return argc < 2 ? 2 : failed != 0;
}
