/*
 * The secrets file: one CHAP user a line, "NAME SECRET", apart from the configuration so that the
 * latter may be shown to people. The file is read straight into secret memory and cut up there, so
 * no copy of a secret exists elsewhere; no message contains one. Control thread.
 *
 * Read next: memory.c.
 */
#include "conf/build.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/memory.h"
#include "conf/names.h"

/* More would make the search for names that occur twice slow. */
#define USERS_MAX 4096u

struct secrets {
	struct conf *conf;
	struct conf_errors *errors;
	const char *file;
	int line;
};

static const char *check_file(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "not a regular file; name one";
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return "belongs to another user; make it root's or that of the daemon with chown";
	if ((st->st_mode & 077) != 0)
		return "others than its owner may use it; run chmod 600 on it";
	if (st->st_size > CONF_SECRETS_BYTES_MAX)
		return "larger than 1 MiB; this is no secrets file";
	return NULL;
}

/* Read `size` bytes, or what there is. */
static ssize_t read_all(int fd, char *text, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = read(fd, text + got, size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

char *conf_secrets_read(struct conf *conf, size_t *length, struct conf_errors *errors)
{
	const struct conf_place place = {.file = conf->secrets_file};
	/* Not blocking: a FIFO would otherwise hold the daemon up before it can be refused. */
	int fd = open(conf->secrets_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const char *reason = NULL;
	char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0) {
		conf_errors_add(errors, place, "cannot be read: %s; create it with mode 600",
				strerrordesc_np(errno));
		goto out;
	}
	reason = check_file(&st);
	if (reason != NULL) {
		conf_errors_add(errors, place, "%s", reason);
		goto out;
	}
	text = conf_memory_take_secret(conf->memory, (size_t)st.st_size + 1);
	if (text == NULL)
		goto out;
	n = read_all(fd, text, (size_t)st.st_size);
	if (n < 0) {
		conf_errors_add(errors, place, "cannot be read: %s; check the disk",
				strerrordesc_np((int)-n));
		text = NULL;
		goto out;
	}
	*length = (size_t)n;
out:
	if (fd >= 0)
		close(fd);
	return text;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static const char *check_secret(const char *secret, size_t length)
{
	if (length < CONF_SECRET_BYTES_MIN)
		return "has a secret shorter than 12 bytes; make it longer (RFC 7143 9.2.1)";
	if (length > CONF_SECRET_BYTES_MAX)
		return "has a secret longer than 255 bytes; shorten it";
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)secret[i];

		if (c < ' ' || c == 0x7f)
			return "has a control character in the secret; leave it out";
	}
	return NULL;
}

static void add_user(const struct secrets *s, const struct conf_user *user)
{
	const struct conf_place place = {.file = s->file, .line = s->line};
	const struct conf_user *earlier = conf_user_find(s->conf, user->name);
	const char *reason = check_secret((const char *)user->secret, user->secret_bytes);

	if (reason != NULL)
		conf_errors_add(s->errors, place, "user %s %s", user->name, reason);
	if (earlier != NULL) {
		conf_errors_add(s->errors, place, "user %s is in line %d already; leave one",
				user->name, earlier->line);
	} else {
		s->conf->users[s->conf->user_count++] = *user;
	}
}

/* One line without its end. Nothing of it is shown before it is known to be a name: it may be a
 * secret that somebody wrote alone. */
static void parse_line(const struct secrets *s, char *line, char *end)
{
	const struct conf_place place = {.file = s->file, .line = s->line};
	struct conf_user user = {.line = s->line};
	char *secret;

	while (end > line && is_blank(end[-1]))
		end--;
	*end = '\0';
	while (is_blank(*line))
		line++;
	if (line == end || *line == '#')
		return;
	secret = line + strcspn(line, " \t");
	if (is_blank(*secret))
		*secret++ = '\0';
	while (is_blank(*secret))
		secret++;
	if (secret == end || strlen(line) > 255 || conf_check_user(line) != NULL) {
		conf_errors_add(s->errors, place,
				"not a user; write NAME SECRET, the name without blanks");
		return;
	}
	user.name = line;
	user.secret = (const uint8_t *)secret;
	user.secret_bytes = (size_t)(end - secret);
	if (s->conf->user_count == USERS_MAX) {
		conf_errors_add(s->errors, place, "more than 4096 users; remove some");
	} else {
		add_user(s, &user);
	}
}

void conf_secrets_parse(struct conf *conf, char *text, size_t length, const char *file,
			struct conf_errors *errors)
{
	struct secrets s = {.conf = conf, .errors = errors, .file = file};
	char *end = text + length;

	conf->users = conf_memory_take(conf->memory, USERS_MAX, sizeof(*conf->users));
	if (conf->users == NULL)
		return;
	while (text < end) {
		char *newline = memchr(text, '\n', (size_t)(end - text));
		char *stop = newline == NULL ? end : newline;

		s.line++;
		parse_line(&s, text, stop);
		text = stop + 1;
	}
}

static bool same_secret(const struct conf_user *a, const struct conf_user *b)
{
	return a->secret_bytes == b->secret_bytes &&
	       memcmp(a->secret, b->secret, a->secret_bytes) == 0;
}

/* The user of that name, as `what` in the section. NULL: there is none, which is told. */
static struct conf_user *find_user(struct conf *conf, const struct conf_auth *auth,
				   const char *name, const char *what, struct conf_errors *errors)
{
	const struct conf_user *user = conf_user_find(conf, name);

	if (user != NULL)
		return &conf->users[user - conf->users];
	conf_errors_add(errors, (struct conf_place){.file = conf->file, .line = auth->line},
			"%s %s is not in %s; add the line there", what, name, conf->secrets_file);
	return NULL;
}

static void check_auth_users(struct conf *conf, const struct conf_auth *auth,
			     struct conf_errors *errors)
{
	struct conf_user *user;

	if (auth->mutual != NULL) {
		user = find_user(conf, auth, auth->mutual, "mutual user", errors);
		if (user != NULL)
			user->proves_us = true;
	}
	for (size_t i = 0; i < auth->users.count; i++) {
		user = find_user(conf, auth, auth->users.items[i], "user", errors);
		if (user != NULL)
			user->logs_in = true;
	}
}

/* RFC 7143 9.2.1: with one secret in both directions a peer could have us answer our own challenge,
 * be it that of another target. */
static void check_directions(const struct conf *conf, const char *file,
			     const struct conf_user *ours, struct conf_errors *errors)
{
	for (size_t i = 0; i < conf->user_count; i++) {
		const struct conf_user *user = &conf->users[i];
		const struct conf_place place = {.file = file, .line = user->line};

		if (!user->logs_in || !same_secret(user, ours))
			continue;
		conf_errors_add(errors, place,
				"user %s, who logs in, has the secret of mutual user %s; give each "
				"its own",
				user->name, ours->name);
	}
}

void conf_check_users(struct conf *conf, const char *secrets_name, struct conf_errors *errors)
{
	check_auth_users(conf, &conf->discovery_auth, errors);
	for (size_t i = 0; i < conf->target_count; i++)
		check_auth_users(conf, &conf->targets[i].auth, errors);
	for (size_t i = 0; i < conf->user_count; i++) {
		if (conf->users[i].proves_us)
			check_directions(conf, secrets_name, &conf->users[i], errors);
	}
}
