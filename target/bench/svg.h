/*
 * The few shapes of SVG 1.1 that a plot needs. Numbers and text come out well-formed whatever they
 * are: text is escaped, and what is not UTF-8 or not allowed in XML is replaced.
 *
 * Looks come from classes, whose styles stand once at the head of the document; nothing refers to
 * anything outside of it. Errors of the stream stay with the stream (ferror). Pure output, any
 * thread. Read next: plot.c.
 */
#ifndef TARGET_BENCH_SVG_H
#define TARGET_BENCH_SVG_H

#include <stdbool.h>
#include <stdio.h>

struct svg_point {
	double x;
	double y;
};

struct svg_box {
	double x;
	double y;
	double width;
	double height;
};

/* `title` is what a reader's screen reader or tooltip says. */
void svg_begin(FILE *to, const struct svg_box *size, const char *title, const char *style);
void svg_end(FILE *to);

/* `class` is a constant of the caller: letters, digits, spaces. */
void svg_text(FILE *to, struct svg_point at, const char *class, const char *text);
/* Turned by 90 degrees to the left, for the name of an upright axis. */
void svg_text_upright(FILE *to, struct svg_point at, const char *class, const char *text);
void svg_line(FILE *to, struct svg_point from, struct svg_point to_point, const char *class);
void svg_box(FILE *to, const struct svg_box *box, const char *class);

/* A line through any number of points: begin, points, end. Between begin and end nothing else is
 * drawn. */
void svg_path_begin(FILE *to, const char *class);
void svg_path_point(FILE *to, struct svg_point point, bool first);
void svg_path_end(FILE *to);

/* Text as XML; for attributes in double quotes, too. */
void svg_escape(FILE *to, const char *text);

#endif
