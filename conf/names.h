/*
 * What a name may look like: iSCSI names, patterns for them, serial numbers, and so on. Each check
 * answers NULL or a constant reason, "what is wrong; what would be right". Pure functions on
 * NUL-terminated text; any thread.
 */
#ifndef CONF_NAMES_H
#define CONF_NAMES_H

#include <stdbool.h>

/* RFC 7143 4.2.7. Expects lower case. Of the letters that the standard's stringprep profile leaves
 * (RFC 3722) the ASCII ones are accepted: no initiator in view uses others. */
const char *conf_check_iscsi_name(const char *name);
/* A pattern with * and ? that can match an iSCSI name. Expects lower case. */
const char *conf_check_pattern(const char *pattern);
/* "naa.6" and 31 hexadecimal digits in lower case: SPC-5 7.7.6.6.5, NAA IEEE Registered Extended.
 */
const char *conf_check_identity(const char *identity);
/* A unit serial number: letters, digits, '-', '.', '_'. */
const char *conf_check_serial(const char *serial);
/* The name of a file in a folder that is known: of one that another file may name. */
const char *conf_check_file_name(const char *name);
/* Printable ASCII, no blank at either end: the left-aligned fields of INQUIRY data (SPC-5 4.3.1).
 */
const char *conf_check_inquiry_text(const char *text);
/* A CHAP name: printable ASCII without blanks. */
const char *conf_check_user(const char *user);
/* UTF-8 (RFC 7143 13.7 lets an alias be any). */
const char *conf_check_utf8(const char *text);
/* A host name by RFC 1123 2.1. */
bool conf_host_name_is_valid(const char *name);

/* True if `name`, its ASCII letters folded to lower case, matches the lower-case pattern. */
bool conf_pattern_matches(const char *pattern, const char *name);

#endif
