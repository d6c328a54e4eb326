/*
 * iscsi:// addresses: see url.h. A cursor walks the text once; the first wrong part is the reason.
 */
#include "target/bench/url.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/units.h"

#define PORT_DEFAULT 3260u /* RFC 7143 13.1 */

/* A piece of the text, not terminated. */
struct piece {
	const char *text;
	size_t len_bytes;
};

/* True if it fits, is not empty and has no control character or space. */
static bool piece_copy(struct piece piece, char *out, size_t out_bytes)
{
	if (piece.len_bytes == 0 || piece.len_bytes >= out_bytes)
		return false;
	for (size_t i = 0; i < piece.len_bytes; i++) {
		if ((unsigned char)piece.text[i] <= ' ' || piece.text[i] == 0x7f)
			return false;
	}
	memcpy(out, piece.text, piece.len_bytes);
	out[piece.len_bytes] = '\0';
	return true;
}

/* Cut `whole` at the first `separator`: the part before it; *rest is what follows, or empty with a
 * null text where there is none. */
static struct piece piece_cut(struct piece whole, char separator, struct piece *rest)
{
	const char *at = memchr(whole.text, separator, whole.len_bytes);
	struct piece head = whole;

	*rest = (struct piece){0};
	if (at) {
		head.len_bytes = (size_t)(at - whole.text);
		rest->text = at + 1;
		rest->len_bytes = whole.len_bytes - head.len_bytes - 1;
	}
	return head;
}

static bool parse_bounded(struct piece piece, uint64_t limit, uint64_t *out)
{
	char digits[8];

	return piece_copy(piece, digits, sizeof(digits)) && units_parse_number(digits, out) == 0 &&
	       *out <= limit;
}

static const char *parse_login(struct piece piece, struct bench_url *url)
{
	struct piece secret;
	struct piece user = piece_cut(piece, '%', &secret);

	if (!piece_copy(user, url->user, sizeof(url->user)))
		return "the user before @ must have 1 to 255 visible characters";
	if (secret.text && !piece_copy(secret, url->secret, sizeof(url->secret)))
		return "the secret between % and @ must have 1 to 255 visible characters";
	return NULL;
}

/* The host, with brackets around IPv6; *port gets what follows its colon. */
static struct piece cut_host(struct piece piece, struct piece *port)
{
	struct piece after;
	struct piece host;

	if (piece.len_bytes == 0 || piece.text[0] != '[')
		return piece_cut(piece, ':', port);
	piece.text++;
	piece.len_bytes--;
	host = piece_cut(piece, ']', &after);
	*port = (struct piece){0};
	if (!after.text || (after.len_bytes > 0 && after.text[0] != ':'))
		return (struct piece){0};
	if (after.len_bytes > 0)
		*port = (struct piece){after.text + 1, after.len_bytes - 1};
	return host;
}

static const char *parse_portal(struct piece piece, struct bench_url *url)
{
	struct piece port;
	struct piece host = cut_host(piece, &port);
	uint64_t number = PORT_DEFAULT;

	if (!host.text || !piece_copy(host, url->host, sizeof(url->host)))
		return "a host is needed after iscsi:// (IPv6 in brackets)";
	if (port.text && (!parse_bounded(port, UINT16_MAX, &number) || number == 0))
		return "the port must be a number from 1 to 65535";
	url->port = (uint16_t)number;
	return NULL;
}

static const char *parse_path(struct piece path, struct bench_url *url)
{
	struct piece lun;
	struct piece target = piece_cut(path, '/', &lun);
	uint64_t number;

	if (!piece_copy(target, url->target, sizeof(url->target)))
		return "a target name of at most 223 bytes is needed after the host";
	if (!lun.text || !parse_bounded(lun, BENCH_LUN_MAX, &number))
		return "a LUN from 0 to 16383 is needed after the target name";
	url->lun = (uint16_t)number;
	return NULL;
}

/* What stands before the first slash. A secret may hold an @, a host cannot: the last one counts.
 */
static const char *parse_authority(struct piece piece, struct bench_url *url)
{
	const char *at = memrchr(piece.text, '@', piece.len_bytes);
	struct piece login = piece;
	const char *reason = NULL;

	if (at) {
		login.len_bytes = (size_t)(at - piece.text);
		piece.text = at + 1;
		piece.len_bytes -= login.len_bytes + 1;
		reason = parse_login(login, url);
	}
	return reason ? reason : parse_portal(piece, url);
}

static const char *parse(const char *text, struct bench_url *url)
{
	static const char scheme[] = "iscsi://";
	struct piece whole = {text, strlen(text)};
	const char *reason;
	struct piece path;
	struct piece authority;

	if (strncmp(text, scheme, sizeof(scheme) - 1) != 0)
		return "it must begin with iscsi://";
	whole.text += sizeof(scheme) - 1;
	whole.len_bytes -= sizeof(scheme) - 1;
	authority = piece_cut(whole, '/', &path);
	reason = parse_authority(authority, url);
	if (!reason && !path.text)
		reason = "a target name is needed after the host";
	return reason ? reason : parse_path(path, url);
}

int bench_url_parse(const char *text, struct bench_url *out, const char **out_reason)
{
	struct bench_url url = {.port = PORT_DEFAULT};

	*out_reason = parse(text, &url);
	if (*out_reason)
		return -EINVAL;
	*out = url;
	return 0;
}

uint64_t bench_lun_field(uint16_t lun)
{
	uint64_t flat = lun < 256 ? 0 : 0x4000u;

	return (flat | lun) << 48;
}
