/*
 * Shapes of SVG: see svg.h. Pure output, any thread.
 */
#include "target/bench/svg.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

/* A coordinate beyond any drawing is an error of arithmetic; it must not make the file unreadable.
 */
static double sane(double value)
{
	return isfinite(value) ? fmin(fmax(value, -1e6), 1e6) : 0;
}

struct escape {
	unsigned char character;
	const char *text;
};

static const struct escape escapes[] = {
	{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"},
};

static void put_ascii(FILE *to, unsigned char c)
{
	for (size_t i = 0; i < ARRAY_SIZE(escapes); i++) {
		if (escapes[i].character == c) {
			(void)fputs(escapes[i].text, to);
			return;
		}
	}
	(void)fputc(c < 0x20 || c == 0x7f ? '?' : c, to);
}

/* Bytes of the UTF-8 sequence at `text`, from 2 to 4; 0: it is none that XML allows. Surrogates,
 * overlong forms and U+FFFE and above of each plane are refused by their ranges. */
static unsigned sequence_bytes(const unsigned char *text)
{
	unsigned count = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
	uint32_t code = text[0] & (0x7fu >> count);
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	for (unsigned i = 1; i < count; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3fu);
	}
	if (code < least[count] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ||
	    (code & 0xfffe) == 0xfffe || code < 0xa0)
		return 0;
	return count;
}

void svg_escape(FILE *to, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	while (*at != '\0') {
		unsigned count = *at < 0x80 ? 1 : sequence_bytes(at);

		if (*at < 0x80) {
			put_ascii(to, *at);
		} else if (count == 0) {
			(void)fputc('?', to);
			count = 1;
		} else {
			(void)fwrite(at, 1, count, to);
		}
		at += count;
	}
}

void svg_begin(FILE *to, const struct svg_box *size, const char *title, const char *style)
{
	(void)fprintf(to,
		      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
		      "viewBox=\"%.0f %.0f %.0f %.0f\" role=\"img\">\n<title>",
		      size->width, size->height, size->x, size->y, size->width, size->height);
	svg_escape(to, title);
	(void)fprintf(to, "</title>\n<style>\n%s</style>\n", style);
}

void svg_end(FILE *to)
{
	(void)fputs("</svg>\n", to);
}

void svg_text(FILE *to, struct svg_point at, const char *class, const char *text)
{
	(void)fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", sane(at.x), sane(at.y),
		      class);
	svg_escape(to, text);
	(void)fputs("</text>\n", to);
}

void svg_text_upright(FILE *to, struct svg_point at, const char *class, const char *text)
{
	(void)fprintf(to, "<text transform=\"translate(%.1f %.1f) rotate(-90)\" class=\"%s\">",
		      sane(at.x), sane(at.y), class);
	svg_escape(to, text);
	(void)fputs("</text>\n", to);
}

void svg_line(FILE *to, struct svg_point from, struct svg_point to_point, const char *class)
{
	(void)fprintf(to, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n",
		      sane(from.x), sane(from.y), sane(to_point.x), sane(to_point.y), class);
}

void svg_box(FILE *to, const struct svg_box *box, const char *class)
{
	(void)fprintf(to,
		      "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
		      "class=\"%s\"/>\n",
		      sane(box->x), sane(box->y), fmax(sane(box->width), 0),
		      fmax(sane(box->height), 0), class);
}

void svg_path_begin(FILE *to, const char *class)
{
	(void)fprintf(to, "<path class=\"%s\" d=\"", class);
}

void svg_path_point(FILE *to, struct svg_point point, bool first)
{
	(void)fprintf(to, "%c%.1f %.1f", first ? 'M' : 'L', sane(point.x), sane(point.y));
}

void svg_path_end(FILE *to)
{
	(void)fputs("\"/>\n", to);
}
