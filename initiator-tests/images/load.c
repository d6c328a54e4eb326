/*
 * The program of load.h.
 *
 * usage: load golden FILE BYTES
 *            write what a LUN with the base `golden` shows before it is written
 *        load run SEED BYTES OPERATIONS FOLDER BASE URL [BASE URL]...
 *            load on the first BYTES of each LUN; BASE is golden, or empty: zeroes
 *
 * The end is after OPERATIONS (0: never), or a line "stop": all is read, and FOLDER/N is what LUN N
 * must hold. When the daemon is gone it says "broken", and waits for a line "again": then it logs
 * in, compares all that it knows, takes what it finds for what there is, and goes on.
 *
 * Other lines, at any time, are about snapshots, and are answered:
 *
 *     mark NAME N[,N]...    "marked": one of these disks may be made from now on
 *     taken                 "taken": it has been made, or will not be
 *     check NAME N FILE     "checked": FILE has what disk N had when the snapshot was made
 *     forget NAME N         "forgotten": it has gone
 *     back NAME N           "rests": disk N may be rolled back to it from now on
 *     went N, stayed N      "goes on": it was, or was not
 *
 * Read next: ../clones.sh and ../kills.py, which run it.
 */
#include "initiator-tests/images/load.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	DISKS_MAX = 64,
	POLL_MS_MAX = 60000,
	LINE_BYTES = 1024,
};

uint64_t block_count;

static struct disk disks[DISKS_MAX];
static unsigned disk_count;
static uint64_t random_state, wanted;
static bool draining;
static bool nobody_speaks;

void die(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	printf("FAULT ");
	vprintf(format, list);
	printf("\n");
	va_end(list);
	exit(1);
}

void *allocate(size_t count, size_t bytes)
{
	void *memory = calloc(count, bytes);

	if (!memory)
		die("out of memory");
	return memory;
}

uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

struct disk *disk_number(unsigned long number)
{
	if (number >= disk_count)
		die("there is no disk %lu", number);
	return &disks[number];
}

/* One about the way back to a snapshot; false: another one. */
static bool is_about_back(const char *line, bool is_gone)
{
	char name[LINE_BYTES];
	unsigned number;

	if (sscanf(line, "back %1023s %u", name, &number) == 2) {
		back_begin(disk_number(number), name);
	} else if (sscanf(line, "went %u", &number) == 1) {
		back_end(disk_number(number), true, is_gone);
		printf("goes on\n");
	} else if (sscanf(line, "stayed %u", &number) == 1) {
		back_end(disk_number(number), false, is_gone);
		printf("goes on\n");
	} else {
		return false;
	}
	return true;
}

/* One about a snapshot, which is done and answered; false: another one. */
static bool is_about_snapshots(const char *line, bool is_gone)
{
	char name[LINE_BYTES];
	char rest[LINE_BYTES];
	unsigned number;

	if (sscanf(line, "mark %1023s %1023s", name, rest) == 2) {
		moment_begin(name, rest);
		printf("marked\n");
	} else if (sscanf(line, "check %1023s %u %1023s", name, &number, rest) == 3) {
		moment_check(name, disk_number(number), rest);
		printf("checked\n");
	} else if (sscanf(line, "forget %1023s %u", name, &number) == 2) {
		moment_forget(name, disk_number(number));
		printf("forgotten\n");
	} else if (strcmp(line, "taken\n") == 0) {
		moment_end();
		printf("taken\n");
	} else {
		return is_about_back(line, is_gone);
	}
	return true;
}

static void wait_for_again(void)
{
	char line[LINE_BYTES];

	do {
		if (!fgets(line, LINE_BYTES, stdin))
			die("the daemon is gone, and nobody says what to do");
	} while (is_about_snapshots(line, true));
}

/* One round of answers. False: the daemon is gone. */
static bool serve(void)
{
	struct pollfd fds[DISKS_MAX + 1];
	bool good = true;
	char line[LINE_BYTES];

	for (unsigned i = 0; i < disk_count; i++) {
		fds[i].fd = iscsi_get_fd(disks[i].iscsi);
		fds[i].events = (short)iscsi_which_events(disks[i].iscsi);
	}
	fds[disk_count] = (struct pollfd){.fd = draining || nobody_speaks ? -1 : STDIN_FILENO,
					  .events = POLLIN};
	if (poll(fds, disk_count + 1, POLL_MS_MAX) == 0)
		die("nothing happened for %d s", POLL_MS_MAX / 1000);
	for (unsigned i = 0; i < disk_count; i++) {
		if (fds[i].revents && iscsi_service(disks[i].iscsi, fds[i].revents) != 0)
			disks[i].broken = true;
		good = good && !disks[i].broken;
		back_tell(&disks[i]);
	}
	/* At its end nobody will say anything. */
	if (fds[disk_count].revents) {
		nobody_speaks = !fgets(line, sizeof(line), stdin);
		draining = !nobody_speaks && !is_about_snapshots(line, false);
	}
	return good;
}

static void keep_busy(struct disk *disk)
{
	for (unsigned i = 0; i < DEPTH; i++) {
		if (!disk->operations[i].running && !disk->broken && !draining && !disk->way_back &&
		    (wanted == 0 || operations_started() < wanted))
			operation_start_random(&disk->operations[i]);
	}
}

static unsigned in_flight(void)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < disk_count; i++)
		sum += disks[i].in_flight;
	return sum;
}

/* Until all is done (true), or the daemon is gone. */
static bool load(void)
{
	for (;;) {
		for (unsigned i = 0; i < disk_count; i++)
			keep_busy(&disks[i]);
		if (in_flight() == 0)
			return true;
		if (!serve())
			return false;
	}
}

static void take_each(struct disk *disk, uint64_t number, const struct stamp *found, void *context)
{
	model_take(disk, number, found, context);
}

static void after_kill(void)
{
	struct tally tally = {0};

	for (unsigned i = 0; i < disk_count; i++) {
		disk_disconnect(&disks[i]);
		back_tell(&disks[i]);
	}
	moment_cut();
	printf("broken operations=%" PRIu64 "\n", operations_started());
	wait_for_again();
	for (unsigned i = 0; i < disk_count; i++) {
		disk_connect(&disks[i]);
		if (!back_take(&disks[i])) {
			disks[i].way_back = NULL;
			disk_sweep_all(&disks[i], take_each, &tally);
			model_taken(&disks[i]);
		}
		moment_take(&disks[i]);
	}
	printf("compared durable=%" PRIu64 " lost=%" PRIu64 "\n", tally.durable, tally.lost);
}

static FILE *create(const char *path)
{
	FILE *out = fopen(path, "we");

	if (!out)
		die("%s: %s", path, strerrordesc_np(errno));
	return out;
}

static void finish_file(FILE *out, const char *path)
{
	if (fclose(out) != 0)
		die("%s: %s", path, strerrordesc_np(errno));
}

static void compare_and_keep(struct disk *disk, uint64_t number, const struct stamp *found,
			     void *context)
{
	model_expect(disk, number, found);
	if (fwrite(found, BLOCK, 1, context) != 1)
		die("the expected content cannot be written: %s", strerrordesc_np(errno));
}

static void finish(const char *folder)
{
	for (unsigned i = 0; i < disk_count; i++) {
		char path[1024];
		FILE *out;

		(void)snprintf(path, sizeof(path), "%s/%u", folder, i);
		out = create(path);
		disk_sweep_all(&disks[i], compare_and_keep, out);
		finish_file(out, path);
		(void)iscsi_logout_sync(disks[i].iscsi);
		disk_disconnect(&disks[i]);
	}
	printf("ended ");
	operations_print();
}

static int write_golden(const char *path, uint64_t bytes)
{
	FILE *out = create(path);
	struct stamp stamp;

	for (uint64_t number = 0; number < bytes / BLOCK; number++) {
		model_base(&stamp, true, number);
		if (fwrite(&stamp, BLOCK, 1, out) != 1)
			die("%s: %s", path, strerrordesc_np(errno));
	}
	finish_file(out, path);
	return 0;
}

int main(int argc, char **argv)
{
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)setvbuf(stdin, NULL, _IONBF, 0);
	/* libiscsi writes to a daemon that may be gone. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc == 4 && strcmp(argv[1], "golden") == 0)
		return write_golden(argv[2], strtoull(argv[3], NULL, 10));
	if (argc < 8 || argc % 2 != 0 || strcmp(argv[1], "run") != 0) {
		(void)fprintf(stderr, "usage: load golden FILE BYTES\n"
				      "       load run SEED BYTES OPERATIONS FOLDER "
				      "BASE URL [BASE URL]...\n");
		return 2;
	}
	random_state = strtoull(argv[2], NULL, 10) | 1;
	model_begin(random_state);
	block_count = strtoull(argv[3], NULL, 10) / BLOCK;
	wanted = strtoull(argv[4], NULL, 10);
	for (int i = 6; i < argc; i += 2) {
		if (disk_count == DISKS_MAX)
			die("more than %d LUNs", DISKS_MAX);
		disk_make(&disks[disk_count], disk_count, argv[i + 1],
			  strcmp(argv[i], "golden") == 0);
		disk_count++;
	}
	printf("begun seed=%s\n", argv[2]);
	while (!load())
		after_kill();
	finish(argv[5]);
	return 0;
}
