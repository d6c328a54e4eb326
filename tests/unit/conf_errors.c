/*
 * Every message that a wrong configuration can cause, with its line: a text, and the one error that
 * it must give. Also that several errors are all reported, in the order of their lines.
 */
#include "conf/parse.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"

/* A file that is right, to put the wrong thing behind. */
#define PORTAL "portal \"127.0.0.1:3260\" { }\n"
#define TARGET(body) PORTAL "target \"iqn.2026-11.io.ringsan:a\" {\n" body "\n}\n"
#define LUN(body) TARGET("lun 0 {\nimage = \"/a\"\n" body "\n}")
#define ACCESS(body) TARGET("access {\n" body "\n}")
#define LIMITS(body) PORTAL "limits {\n" body "\n}\n"
#define POOL(body) PORTAL "pool \"p\" {\npath = \"/p\"\n" body "\n}\n"
#define OTHER_NAME "iqn.2026-11.io.ringsan:b"
#define AUTH(body) "secrets = \"/s\"\n" TARGET("auth {\n" body "\n}")

struct error_case {
	const char *name;
	const char *text;
	const char *error;
};

static const struct error_case cases[] = {
	/* Pools. */
	{"no percentage", POOL("warn = 80"),
	 "f:4: warn \"80\": not a percentage; write a number and '%', such as 80%"},
	{"percentage and more", POOL("warn = \"80%%\""),
	 "f:4: warn \"80%%\": not a percentage; write a number and '%', such as 80%"},
	{"more than all", POOL("warn = 101%"),
	 "f:4: warn \"101%\": out of range; 0% to 100% is right"},
	{"all is reserve", POOL("reserve = 100%"),
	 "f:4: reserve \"100%\": not a share; write a percentage below 100%, or a size such as "
	 "10G"},
	{"no share", POOL("reserve = \"%5\""),
	 "f:4: reserve \"%5\": not a share; write a percentage below 100%, or a size such as 10G"},
	{"reserve without a unit", POOL("reserve = 5"),
	 "f:4: reserve \"5\": out of range; 1M to 8192T is right"},
	{"pool without a path", PORTAL "pool \"p\" { }\n",
	 "f:2: pool \"p\" has no path; add path = \"/folder/of/images\""},
	{"pool without a name", PORTAL "pool \"\" { path = \"/p\" }\n",
	 "f:2: an empty value; leave the option out where it has none"},
	{"pool twice", POOL("") "pool \"p\" { path = \"/q\" }\n",
	 "f:6: pool \"p\" is in line 2 already; rename one"},
	{"path twice", POOL("") "pool \"q\" { path = \"/p\" }\n",
	 "f:6: path \"/p\" is that of the pool in line 2; leave one pool for each file system"},
	/* Syntax, by libConfuse. */
	{"unknown option", PORTAL "state-dri = \"/a\"\n",
	 "f:2: unknown option 'state-dri'; did you mean 'state-dir'?"},
	{"unknown section", PORTAL "\nportals \"x\" { }\n",
	 "f:3: unknown option 'portals'; did you mean 'portal'?"},
	{"unlike anything", PORTAL "frobnicate = 1\n",
	 "f:2: unknown option 'frobnicate'; see ringsan.conf(5) for those there are"},
	{"include", "include(\"/etc/passwd\")\n",
	 "f:1: a character that has no meaning outside quotes; put the whole value in quotes"},
	{"belongs elsewhere", PORTAL "image = \"/a\"\n",
	 "f:2: 'image' does not belong here; it stands in section 'lun'"},
	{"belongs to the root", LIMITS("engine = auto"),
	 "f:3: 'engine' does not belong in section 'limits'; it stands outside all sections"},
	{"unknown inside", LUN("sizf = 1G"), "f:5: unknown option 'sizf'; did you mean 'size'?"},
	{"no equals sign", "loops 4\n", "f:1: no '=' after 'loops'; write NAME = VALUE"},
	{"no brace", "limits\nloops = 4\n",
	 "f:2: no '{' for section 'limits'; write it behind the section's name and title"},
	{"no title", PORTAL "target {\n}\n",
	 "f:2: no title for section 'target'; write it between the name and '{'"},
	{"list for one value", "loops = { 4 }\n",
	 "f:1: unexpected '{'; write NAME = VALUE, or NAME = { VALUE, VALUE } for a list"},
	{"comma missing", ACCESS("initiators = { \"iqn.*\" \"eui.*\" }"),
	 "f:4: unexpected 'eui.*'; write NAME = VALUE, or NAME = { VALUE, VALUE } for a list"},
	{"append to a value", "loops += 4\n",
	 "f:1: '+=' for 'loops', which takes one value; write '='"},
	{"brace too many", PORTAL "}\n", "f:2: a closing brace too many; remove it"},
	{"ends before value", PORTAL "loops =\n",
	 "f:3: the file ends before the value; write NAME = VALUE"},
	{"path through sections", PORTAL "\"limits|memory\" = 64M\n",
	 "f:2: the character '|'; leave it out, this file gives it no meaning"},
	{"index of a section", PORTAL "\"portal=0\" = 64M\n",
	 "f:2: not understood; see ringsan.conf(5)"},

	/* Syntax, by the scanner. */
	{"brace not closed", PORTAL "\nlimits {\nmemory = 64M\n",
	 "f:3: an opening brace that is never closed; add the '}'"},
	{"star outside quotes", ACCESS("initiators = iqn.*"),
	 "f:4: a character that has no meaning outside quotes; put the whole value in quotes"},
	{"dollar outside quotes", "state-dir = ${HOME}\n",
	 "f:1: a character that has no meaning outside quotes; put the whole value in quotes"},
	{"variable", "\nstate-dir = \"/a/${HOME}\"\n",
	 "f:2: a variable, but none are replaced in this file; write the value, or use single "
	 "quotes for the characters themselves"},
	{"string without end", PORTAL "state-dir = \"/a\nloops = 1\n",
	 "f:2: a string that does not end on its line; close the quote"},
	{"single quotes without end", PORTAL "state-dir = '/a\n",
	 "f:2: a string that does not end on its line; close the quote"},
	{"string up to the end", PORTAL "state-dir = \"/a",
	 "f:2: a string that does not end on its line; close the quote"},
	{"comment without end", PORTAL "\n/* state\nloops = 1\n",
	 "f:3: a comment that does not end; close it with */"},
	{"escape", "state-dir = \"/a\\n\"\n",
	 "f:1: an escape that is not \\\" or \\\\; use single quotes for a backslash itself"},
	{"control character", "state-dir = \"/a\001\"\n",
	 "f:1: a control character inside quotes; leave it out"},
	{"quote in a word", "state-dir = /a\"b\"\n",
	 "f:1: a quote inside a word; put the whole value in quotes"},
	{"empty value", PORTAL "state-dir = \"\"\n",
	 "f:2: an empty value; leave the option out where it has none"},
	{"empty value, single quotes", PORTAL "state-dir = ''\n",
	 "f:2: an empty value; leave the option out where it has none"},
	{"too deep", PORTAL "limits{limits{limits{limits{limits{limits{limits{limits{limits{",
	 "f:2: braces nested too deeply; sections stand inside a target at most"},
	{"braces too deep", "{{{{{{{{\n{",
	 "f:1: unexpected '{'; write NAME = VALUE, or NAME = { VALUE, VALUE } for a list"},

	/* Values. */
	{"number", PORTAL "loops = four\n",
	 "f:2: loops \"four\": not a number; write decimal digits alone"},
	{"negative", PORTAL "loops = -1\n",
	 "f:2: loops \"-1\": not a number; write decimal digits alone"},
	{"number overflow", PORTAL "loops = 18446744073709551616\n",
	 "f:2: loops \"18446744073709551616\": not a number; write decimal digits alone"},
	{"size", LIMITS("memory = lots"),
	 "f:3: memory \"lots\": not a size; write a number of bytes, or one with K, M, G or T, "
	 "such as "
	 "10G"},
	{"size unit", LIMITS("memory = 64MB"),
	 "f:3: memory \"64MB\": not a size; write a number of bytes, or one with K, M, G or T, "
	 "such as "
	 "10G"},
	{"size overflow", LIMITS("memory = 16777216T"),
	 "f:3: memory \"16777216T\": out of range; 8M to 1T is right"},
	{"duration", LIMITS("login-timeout = soon"),
	 "f:3: login-timeout \"soon\": not a duration; write seconds such as 15s, or milliseconds "
	 "such "
	 "as 500ms"},
	{"duration unit", LIMITS("login-timeout = 5m"),
	 "f:3: login-timeout \"5m\": not a duration; write seconds such as 15s, or milliseconds "
	 "such "
	 "as 500ms"},
	{"duration overflow", LIMITS("login-timeout = 18446744073709551615s"),
	 "f:3: login-timeout \"18446744073709551615s\": out of range; 1s to 300s is right"},
	{"switch", LUN("read-only = maybe"),
	 "f:5: read-only \"maybe\": not a switch; on or off (or yes, no, true, false) is right"},
	{"word", PORTAL "engine = fast\n",
	 "f:2: engine \"fast\": not known; auto, uring or aio is right"},
	{"company id", PORTAL "company-id = 525-3-4E\n",
	 "f:2: company-id \"525-3-4E\": not a company identifier; write three bytes in "
	 "hexadecimal, "
	 "such as 52-53-4E"},
	{"relative path", PORTAL "\nstate-dir = \"state\"\n",
	 "f:3: state-dir \"state\": not an absolute path; begin it with '/', since a daemon has no "
	 "folder of its own"},
	{"text too long", LUN("vendor = \"123456789\""),
	 "f:5: vendor \"123456789\": 9 bytes long; at most 8 are right"},
	{"inquiry text", LUN("product = \"Plattenger\303\244t\""),
	 "f:5: product \"Plattenger\303\244t\": not plain text; printable ASCII characters are "
	 "right"},
	{"inquiry blank", LUN("product = \" disk\""),
	 "f:5: product \" disk\": has a blank at one end; leave it out, the field is padded by "
	 "itself"},
	{"serial", LUN("serial = \"a b\""),
	 "f:5: serial \"a b\": not a serial number; letters, digits, '-', '.' and '_' are right"},
	{"identity", LUN("identity = \"naa.5001405aabbccdd\""),
	 "f:5: identity \"naa.5001405aabbccdd\": not an identity; write naa.6 and 31 hexadecimal "
	 "digits, "
	 "or leave it out to have one made"},
	{"block size", LUN("block-size = 1024"),
	 "f:5: block-size \"1024\": not a block size; 512 or 4096 is right"},
	{"allocation unit", LUN("allocation-unit = 12K"),
	 "f:5: allocation-unit \"12K\": not a power of two; 4K, 8K, 16K and so on are right"},
	{"alias", TARGET("alias = \"\377\""),
	 "f:3: alias \"\377\": not UTF-8; write the text in that encoding"},
	{"pattern characters", ACCESS("initiators = \"iqn.2026_*\""),
	 "f:4: initiators \"iqn.2026_*\": not a pattern of iSCSI names; letters, digits, '-', '.', "
	 "':', "
	 "'*' and '?' are right"},
	{"pattern without effect", ACCESS("initiators = \"kvm21\""),
	 "f:4: initiators \"kvm21\": matches no initiator, their names begin with iqn., eui. or "
	 "naa.; "
	 "write the whole name or a pattern such as \"iqn.1994-05.com.redhat:*\""},
	{"network", ACCESS("networks = \"storage\""),
	 "f:4: networks \"storage\": not a network; write one such as 192.0.2.0/24 or "
	 "2001:db8::/64"},
	{"prefix", ACCESS("networks = \"192.0.2.0/33\""),
	 "f:4: networks \"192.0.2.0/33\": not a prefix length; 0 to 32 is right for IPv4, 0 to 128 "
	 "for "
	 "IPv6"},
	{"host bits", ACCESS("networks = { \"10.0.0.0/8\",\n\"192.0.2.10/24\" }"),
	 "f:5: networks \"192.0.2.10/24\": has bits set behind the prefix; write the network's own "
	 "address, such as 192.0.2.0/24, or a single host without a prefix"},
	{"mapped network", ACCESS("networks = \"::ffff:192.0.2.0/120\""),
	 "f:4: networks \"::ffff:192.0.2.0/120\": an IPv4 address in the form of IPv6; write the "
	 "IPv4 "
	 "address itself"},
	{"user", AUTH("users = \"a b\""),
	 "f:5: users \"a b\": not a user name; printable ASCII characters without blanks are "
	 "right"},
	{"tag", PORTAL "portal \"127.0.0.2\" {\ntag = 0\n}\n",
	 "f:3: tag \"0\": out of range; 1 to 65535 is right"},
	{"advertised wildcard", "portal \"127.0.0.1\" {\nadvertise = \"0.0.0.0\"\n}\n",
	 "f:2: advertise \"0.0.0.0\": a wildcard address cannot be announced; write the one that "
	 "hosts "
	 "connect to"},
	{"advertised link-local", "portal \"127.0.0.1\" {\nadvertise = \"[fe80::1%eth0]\"\n}\n",
	 "f:2: advertise \"[fe80::1%eth0]\": a link-local address means nothing to other hosts; "
	 "write "
	 "one they can reach"},
	{"advertised nonsense", "portal \"127.0.0.1\" {\nadvertise = \"-san-\"\n}\n",
	 "f:2: advertise \"-san-\": not a host; write an address or a name"},
	{"advertised port", "portal \"127.0.0.1\" {\nadvertise = \"san:0\"\n}\n",
	 "f:2: advertise \"san:0\": not a port; 1 to 65535 is right"},
	{"twice", PORTAL "loops = 1\nengine = aio\nloops = 2\n",
	 "f:4: loops is given twice, first in line 2; leave one"},
	{"list twice", ACCESS("initiators = { \"iqn.*\" }\ninitiators = { \"eui.*\", \"naa.*\" }"),
	 "f:5: initiators is given twice, first in line 4; leave one"},
	{"section twice", LIMITS("memory = 64M") "limits {\nsessions = 4\n}\n",
	 "f:5: section 'limits' is given twice, first in line 2; join them"},

	/* Titles. */
	{"portal name", "portal \"localhost:3260\" { }\n",
	 "f:1: \"localhost:3260\": not an address; write a numeric one such as 192.0.2.1:3260 or "
	 "[2001:db8::1]:3260"},
	{"portal port", "portal \"127.0.0.1:65536\" { }\n",
	 "f:1: \"127.0.0.1:65536\": not a port; 1 to 65535 is right"},
	{"portal brackets", "portal \"2001:db8::1\" { }\n",
	 "f:1: \"2001:db8::1\": an IPv6 address without brackets; write it as [ADDRESS]:PORT"},
	{"portal zone missing", "portal \"[fe80::1]\" { }\n",
	 "f:1: \"[fe80::1]\": a link-local address without its interface; write it as "
	 "[fe80::1%eth0]"},
	{"portal zone", "portal \"[fe80::1%]\" { }\n",
	 "f:1: \"[fe80::1%]\": not an interface after '%'; write its name, such as [fe80::1%eth0]"},
	{"portal zone too much", "portal \"[::1%lo]\" { }\n",
	 "f:1: \"[::1%lo]\": an interface after an address that is not link-local; leave it out"},
	{"portal mapped", "portal \"[::ffff:127.0.0.1]\" { }\n",
	 "f:1: \"[::ffff:127.0.0.1]\": an IPv4 address in the form of IPv6; write the IPv4 address "
	 "itself"},
	{"target name", PORTAL "target \"disk1\" { }\n",
	 "f:2: \"disk1\": not an iSCSI name; write iqn.YYYY-MM.DOMAIN:NAME, such as "
	 "iqn.2026-11.io.ringsan:disk1"},
	{"target characters", PORTAL "target \"iqn.2026-11.io.ringsan:a_b\" { }\n",
	 "f:2: \"iqn.2026-11.io.ringsan:a_b\": not an iSCSI name; letters, digits, '-', '.' and "
	 "':' are "
	 "right"},
	{"target date", PORTAL "target \"iqn.2026-13.io.ringsan\" { }\n",
	 "f:2: \"iqn.2026-13.io.ringsan\": no date after iqn.; write iqn.YYYY-MM.DOMAIN:NAME, such "
	 "as "
	 "iqn.2026-11.io.ringsan:disk1"},
	{"target domain", PORTAL "target \"iqn.2026-11.io..ringsan:a\" { }\n",
	 "f:2: \"iqn.2026-11.io..ringsan:a\": no reversed domain name after the date; write "
	 "iqn.YYYY-MM.DOMAIN:NAME, such as iqn.2026-11.io.ringsan:disk1"},
	{"target eui", PORTAL "target \"eui.02004567a425678\" { }\n",
	 "f:2: \"eui.02004567a425678\": not an eui. name; write eui. and 16 hexadecimal digits"},
	{"target naa", PORTAL "target \"naa.62004567\" { }\n",
	 "f:2: \"naa.62004567\": not a naa. name; write naa. and 16 or 32 hexadecimal digits"},
	{"lun number", TARGET("lun 16384 {\nimage = \"/a\"\n}"),
	 "f:3: \"16384\": not a LUN number; 0 to 16383 is right"},
	{"lun name", TARGET("lun first {\nimage = \"/a\"\n}"),
	 "f:3: \"first\": not a LUN number; 0 to 16383 is right"},

	/* What is missing, or at odds. */
	{"no portal", "loops = 1\n",
	 "f: no portal to listen on; add portal \"127.0.0.1:3260\" { } or the address of the "
	 "storage "
	 "network"},
	{"portal twice", PORTAL "portal \"127.0.0.1\" { }\n",
	 "f:2: address and port are those of the portal in line 1; leave one, or give one another "
	 "port"},
	{"portal and wildcard", PORTAL "portal \"0.0.0.0:3260\" { }\n",
	 "f:2: address and port are those of the portal in line 1; leave one, or give one another "
	 "port"},
	{"limits at odds", LIMITS("connections-before-login = 8"),
	 "f: limits: connections-before-login-per-source is 64, above connections-before-login, "
	 "which is "
	 "8; lower the one or raise the other"},
	{"target twice", TARGET("") "target \"iqn.2026-11.IO.ringsan:A\" { }\n",
	 "f:5: target \"iqn.2026-11.io.ringsan:a\" is that of line 2, too; join the two or rename "
	 "one"},
	{"lun twice",
	 TARGET("lun 0 { image = \"/a\" }\nlun 1 { image = \"/b\" }\nlun 0 { image = \"/c\" }"),
	 "f:5: lun 0 is in line 3 already; give one another number"},
	{"image twice", LUN("read-only = yes\n}\nlun 1 {\nimage = \"//a/.\""),
	 "f:7: image \"/a\" is that of line 3, too; give each LUN its own, or make both read-only"},
	{"identity twice",
	 LUN("identity = \"naa.652534e0123456789abcdef012345678\"\n}\nlun 1 {\nimage = \"/b\"\n"
	     "identity = \"NAA.652534E0123456789ABCDEF012345678\""),
	 "f:7: identity \"naa.652534e0123456789abcdef012345678\" is that of line 3, too; give each "
	 "LUN "
	 "its own, or hosts take two disks for one"},
	{"serial twice", LUN("serial = a\n}\nlun 1 {\nimage = \"/b\"\nserial = a"),
	 "f:7: serial \"a\" is that of line 3, too; give each LUN its own, or hosts take two disks "
	 "for "
	 "one"},
	{"raw without image", TARGET("lun 7 { }"),
	 "f:3: lun 7 has no image; add image = \"/path/to/file\""},
	{"null with image", LUN("type = null\nsize = 1G"),
	 "f:3: lun 0 of type null has an image; leave it out, it would not be used"},
	{"null without size", TARGET("lun 0 { type = null }"),
	 "f:3: lun 0 has no size; add one, such as size = 10G"},
	{"fault without control", LUN("type = fault"),
	 "f:3: lun 0 of type fault has no fault-control; add the file that commands it"},
	{"control without fault", LUN("fault-control = \"/f\""),
	 "f:3: lun 0 has a fault-control, which belongs to type fault; leave it out"},
	{"odd size", LUN("size = 10485761"),
	 "f:3: lun 0: size is not a multiple of block-size; round it to one"},
	{"physical below logical", LUN("block-size = 4K\nphysical-block-size = 512"),
	 "f:3: lun 0: physical-block-size is below block-size; make them equal"},
	{"clusters of a raw image", LUN("cluster-size = 64K"),
	 "f:3: lun 0 has a cluster-size, which belongs to type qcow2; leave it out"},
	{"a clone that is raw", LUN("backing = \"golden.qcow2\""),
	 "f:3: lun 0 has a backing file, which belongs to type qcow2; leave it out"},
	{"a clone of what lies elsewhere", LUN("type = qcow2\nbacking = \"../golden.qcow2\""),
	 "f:6: backing \"../golden.qcow2\": not the name of a file beside the image; a plain name "
	 "without '/' and ':' is right"},
	{"clusters that are none", LUN("type = qcow2\ncluster-size = 12K"),
	 "f:6: cluster-size \"12K\": not a power of two; 4K, 8K, 16K and so on are right"},
	{"more than qcow2 has", LUN("type = qcow2\nsize = 65T"),
	 "f:3: lun 0: a disk of type qcow2 has at most 64T; make it smaller, or of type raw"},
	{"no cache for hosts", LUN("write-cache = off\nwrite-cache-by-hosts = yes"),
	 "f:3: lun 0: write-cache is off, so hosts cannot turn it on; leave write-cache-by-hosts "
	 "out"},
	{"group without portal", TARGET("portal-groups = { 1, 7 }"),
	 "f:2: portal-groups names tag 7, which no portal has; give a portal tag = 7"},
	{"state of a group that is not there", TARGET("standby-groups = { 7 }"),
	 "f:2: standby-groups names tag 7, through which nothing leads to the target; correct it, "
	 "or add it to portal-groups and give a portal that tag"},
	{"preferred group that does not lead here",
	 "portal \"127.0.0.1\" { tag = 1 }\nportal \"127.0.0.2\" { tag = 2 }\n"
	 "target \"iqn.2026-11.io.ringsan:a\" { portal-groups = { 1 } preferred-groups = { 2 } }\n",
	 "f:3: preferred-groups names tag 2, through which nothing leads to the target; correct "
	 "it, or add it to portal-groups and give a portal that tag"},
	{"group in two states", TARGET("non-optimized-groups = { 1 } offline-groups = { 1 }"),
	 "f:2: offline-groups names tag 1, and so does non-optimized-groups; leave one"},
	{"states by hosts, one group", TARGET("states-by-hosts = yes"),
	 "f:2: states-by-hosts, but one portal group at most leads to the target, so there is no "
	 "other to turn to; leave it out, or give portals different tags"},
	{"transition in half seconds", TARGET("transition-time = 1500ms"),
	 "f:3: transition-time \"1500ms\": not a number of whole seconds; 0s to 255s is right"},
	{"open target", "portal \"192.0.2.1\" { }\ntarget \"iqn.2026-11.io.ringsan:a\" { }\n",
	 "f:2: target is open to every host that reaches portal 192.0.2.1:3260; add access { "
	 "initiators "
	 "= { ... } networks = { ... } }"},
	{"open target, IPv6 wildcard",
	 "portal \"[::]\" { }\ntarget \"iqn.2026-11.io.ringsan:a\" { }\n",
	 "f:2: target is open to every host that reaches portal [::]:3260; add access { initiators "
	 "= { "
	 "... } networks = { ... } }"},
	{"empty rule", ACCESS(""),
	 "f:3: access rule names nobody; add initiators or networks (initiators = \"*\" admits "
	 "every "
	 "host)"},
	{"auth without users", AUTH(""),
	 "f:4: auth names no users, so nobody need prove anything; add users = { ... }"},
	{"mutual without users", AUTH("mutual = \"ringsan\""),
	 "f:4: auth names no users, so nobody need prove anything; add users = { ... }"},
	{"discovery-auth without users", PORTAL "discovery-auth { }\n",
	 "f:2: discovery-auth names no users, so nobody need prove anything; add users = { ... }"},
	{"algorithm that nobody knows", AUTH("users = a algorithms = { sha256, sha512 }"),
	 "f:5: algorithms \"sha512\": not known; md5, sha1, sha256 or sha3-256 is right"},
	{"permanent without redirect", TARGET("redirect-permanent = yes"),
	 "f:2: redirect-permanent, but no redirect; add redirect = \"ADDRESS:PORT\", or leave it "
	 "out"},
	{"no secrets file", TARGET("auth {\nusers = \"kvm\"\n}"),
	 "f:3: auth names users, but there is no secrets file; add secrets = "
	 "\"/etc/ringsan/secrets\""},
};

/* With a secrets file. */
static const struct secrets_case {
	struct error_case it;
	const char *secrets;
} secrets_cases[] = {
	{{"unknown user", AUTH("users = { \"kvm\", \"other\" }"),
	  "f:4: user other is not in /s; add the line there"},
	 "kvm secret-of-kvm\n"},
	{{"unknown mutual", AUTH("users = \"kvm\"\nmutual = \"me\""),
	  "f:4: mutual user me is not in /s; add the line there"},
	 "kvm secret-of-kvm\n"},
	{{"same secret both ways", AUTH("users = \"kvm\"\nmutual = \"me\""),
	  "secrets:1: user kvm, who logs in, has the secret of mutual user me; give each its own"},
	 "kvm the-same-secret\nme   the-same-secret \r\n"},
	{{"same secret both ways, of two targets",
	  "secrets = \"/s\"\n" TARGET(
		  "auth { users = a mutual = m }") "target \"" OTHER_NAME
						   "\" { auth { users = b mutual = n } }\n",
	  "secrets:3: user b, who logs in, has the secret of mutual user m; give each its own"},
	 "a secret-of-aaaa\nm secret-of-mmmm\nb secret-of-mmmm\nn secret-of-nnnn\n"},
	{{"one user in both directions",
	  "secrets = \"/s\"\n" TARGET(
		  "auth { users = a mutual = m }") "target \"" OTHER_NAME
						   "\" { auth { users = m } }\n",
	  "secrets:2: user m, who logs in, has the secret of mutual user m; give each its own"},
	 "a secret-of-aaaa\nm secret-of-mmmm\n"},
	{{"short secret", "secrets = \"/s\"\n" PORTAL,
	  "secrets:3: user b has a secret shorter than 12 bytes; make it longer (RFC 7143 9.2.1)"},
	 "# users\na 123456789012\nb 12345678901\n"},
	{{"secret alone", "secrets = \"/s\"\n" PORTAL,
	  "secrets:1: not a user; write NAME SECRET, the name without blanks"},
	 "hush-hush-hush\n"},
	{{"user twice", "secrets = \"/s\"\n" PORTAL,
	  "secrets:3: user a is in line 1 already; leave one"},
	 "a 123456789012\n\na 210987654321"},
	{{"control character in secret", "secrets = \"/s\"\n" PORTAL,
	  "secrets:1: user a has a control character in the secret; leave it out"},
	 "a 1234567890\t12\n"},
};

static int parse(const char *text, const char *secrets, struct conf_errors *errors)
{
	struct conf_text input = {
		.name = "f",
		.text = text,
		.length = strlen(text),
		.secrets = secrets,
		.secrets_length = secrets == NULL ? 0 : strlen(secrets),
	};
	struct conf *conf = NULL;
	int result = conf_parse_text(&input, &conf, errors);

	cr_expect((result == 0) == (conf != NULL));
	conf_free(conf);
	return result;
}

static void expect(const struct error_case *it, const char *secrets)
{
	static struct conf_errors errors;

	memset(&errors, 0, sizeof(errors));
	cr_expect_eq(parse(it->text, secrets, &errors), -EINVAL, "%s: accepted", it->name);
	cr_expect_eq(errors.count, 1, "%s: %zu errors, last: %s", it->name, errors.count,
		     errors.count == 0 ? "" : errors.items[errors.count - 1].text);
	cr_expect_str_eq(errors.items[0].text, it->error, "%s:\n is %s\nnot %s", it->name,
			 errors.items[0].text, it->error);
	/* Each message says what is wrong and, behind a semicolon, what would be right. */
	cr_expect(strstr(it->error, "; ") != NULL, "%s", it->error);
}

Test(conf_errors, each_error_is_told_with_its_line)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		expect(&cases[i], NULL);
}

Test(conf_errors, each_error_of_the_secrets_is_told_with_its_line)
{
	for (size_t i = 0; i < ARRAY_SIZE(secrets_cases); i++)
		expect(&secrets_cases[i].it, secrets_cases[i].secrets);
}

Test(conf_errors, all_errors_of_meaning_are_told_in_order)
{
	static struct conf_errors errors;
	const char *text = "loops = many\n"
			   "target \"x\" {\n"
			   "lun 0 {\n"
			   "type = null\n"
			   "size = 1\n"
			   "}\n"
			   "}\n"
			   "engine = warp\n";

	cr_assert_eq(parse(text, NULL, &errors), -EINVAL);
	cr_expect_eq(errors.count, 5);
	cr_expect_eq(errors.items[0].line, 0, "no portal");
	cr_expect_eq(errors.items[1].line, 1);
	cr_expect_eq(errors.items[2].line, 2);
	cr_expect_eq(errors.items[3].line, 5);
	cr_expect_eq(errors.items[4].line, 8);
}

Test(conf_errors, values_before_the_first_error_of_syntax_are_checked)
{
	static struct conf_errors errors;
	const char *text = "loops = many\n"
			   "engine = \"auto\n"
			   "loops = lots\n";

	cr_assert_eq(parse(text, NULL, &errors), -EINVAL);
	cr_assert_eq(errors.count, 2);
	cr_expect_eq(errors.items[0].line, 1);
	cr_expect_eq(errors.items[1].line, 2);
}

Test(conf_errors, too_many_errors_are_counted)
{
	static struct conf_errors errors;
	static char text[CONF_ERRORS_MAX * 64];

	strcpy(text, PORTAL);
	for (int i = 0; i < CONF_ERRORS_MAX + 3; i++)
		strcat(text, "target \"iqn.2026-11.io.ringsan:a\" { }\n");
	cr_assert_eq(parse(text, NULL, &errors), -EINVAL);
	cr_expect_eq(errors.count, CONF_ERRORS_MAX);
	cr_expect_eq(errors.dropped, 2);
}

/* libConfuse's lexer is static: what one text leaves in it would meet the next one. */
Test(conf_errors, an_error_leaves_nothing_behind)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		static struct conf_errors errors;

		memset(&errors, 0, sizeof(errors));
		(void)parse(cases[i].text, NULL, &errors);
		memset(&errors, 0, sizeof(errors));
		cr_expect_eq(parse(PORTAL, NULL, &errors), 0, "after %s: %s", cases[i].name,
			     errors.items[0].text);
	}
}

Test(conf_errors, long_lists_are_refused)
{
	static struct conf_errors errors;
	static char text[CONF_LIST_MAX * 16 + 256];
	char *at = stpcpy(text, PORTAL "target \"iqn.2026-11.io.ringsan:a\" {\naccess {\n"
				       "networks = { \"10.0.0.1\"");

	for (int i = 0; i < CONF_LIST_MAX; i++)
		at = stpcpy(at, ", \"10.0.0.1\"");
	strcpy(at, "\n}}}\n");
	cr_expect_eq(parse(text, NULL, &errors), -EINVAL);
	cr_expect_str_eq(errors.items[0].text,
			 "f:4: networks has more than 256 values; use patterns or networks that "
			 "cover several");
}
