/* rank 1: the parser of BUDDYMALLOC_CONF; see options.h. */
#include "base/options.h"

#include <stdio.h>
#include <string.h>

#include "base/report.h"

struct options options = {
#define OPTION_BOOL(name, def, doc) .name = def,
#define OPTION_INT(name, def, least, most, unit, doc) .name = def,
#define OPTION_SIZE(name, def, least, most, doc) .name = def,
#define OPTION_LIMIT(name, def, least, most, doc) .name = def,
#define OPTION_STR(name, doc)
#define OPTION_ENUM(name, def, words, doc) .name = option_##name##_##def,
#include "base/options.def"
};

enum kind { KIND_BOOL, KIND_INT, KIND_SIZE, KIND_LIMIT, KIND_STR, KIND_ENUM };

struct option {
	const char *name;
	enum kind kind;
	size_t offset;
	u64 least, most;	/* two's complement for KIND_INT */
	const char *unit;	/* of a KIND_INT; "": it has none */
	const char *words;	/* of a KIND_ENUM: "word|word|word" */
};

static const struct option option_table[] = {
#define OPTION(name, kind, ...) { #name, kind, offsetof(struct options, name), __VA_ARGS__ },
#define OPTION_BOOL(name, def, doc) OPTION(name, KIND_BOOL, 0, 0, NULL, NULL)
#define OPTION_INT(name, def, least, most, unit, doc) \
	OPTION(name, KIND_INT, (u64)(least), (u64)(most), unit, NULL)
#define OPTION_SIZE(name, def, least, most, doc) OPTION(name, KIND_SIZE, least, most, NULL, NULL)
#define OPTION_LIMIT(name, def, least, most, doc) OPTION(name, KIND_LIMIT, least, most, NULL, NULL)
#define OPTION_STR(name, doc) OPTION(name, KIND_STR, 0, 0, NULL, NULL)
#define OPTION_ENUM(name, def, words, doc) OPTION(name, KIND_ENUM, 0, 0, NULL, words)
#include "base/options.def"
#undef OPTION
};

/* A piece of the configuration string; not terminated. */
struct span {
	const char *at;
	size_t len;
};

static bool span_is(struct span s, const char *word)
{
	return strlen(word) == s.len && memcmp(s.at, word, s.len) == 0;
}

static bool parse_bool(struct span v, bool *out)
{
	if (span_is(v, "true") || span_is(v, "1") || span_is(v, "yes") || span_is(v, "on"))
		*out = true;
	else if (span_is(v, "false") || span_is(v, "0") || span_is(v, "no") || span_is(v, "off"))
		*out = false;
	else
		return false;
	return true;
}

/* Digits to the end of the span; false on anything else or overflow. */
static bool parse_digits(struct span v, u64 *out)
{
	u64 n = 0;
	size_t i;

	if (!v.len)
		return false;
	for (i = 0; i < v.len; i++) {
		if (v.at[i] < '0' || v.at[i] > '9')
			return false;
		if (__builtin_mul_overflow(n, 10u, &n) ||
		    __builtin_add_overflow(n, (u64)(v.at[i] - '0'), &n))
			return false;
	}
	*out = n;
	return true;
}

static bool parse_int(struct span v, const struct option *o, long *out)
{
	bool minus = v.len && v.at[0] == '-';
	long n;
	u64 u;

	if (minus)
		v = (struct span){ v.at + 1, v.len - 1 };
	if (!parse_digits(v, &u) || u > INT64_MAX)
		return false;
	n = minus ? -(long)u : (long)u;
	if (n < (long)o->least || n > (long)o->most)
		return false;
	*out = n;
	return true;
}

/* Digits and a suffix, if any. */
static bool parse_bytes(struct span v, u64 *out)
{
	static const char suffixes[] = "KMGT";
	unsigned shift = 0;
	u64 n;

	if (v.len) {
		char last = v.at[v.len - 1];
		const char *s = strchr(suffixes, last >= 'a' ? last - 32 : last);

		if (s && *s) {
			shift = 10 * (unsigned)(s - suffixes + 1);
			v.len--;
		}
	}
	if (!parse_digits(v, &n) || n > UINT64_MAX >> shift)
		return false;
	*out = n << shift;
	return true;
}

static bool parse_size(struct span v, const struct option *o, u64 *out)
{
	u64 n;

	if (!parse_bytes(v, &n) || n < o->least || n > o->most)
		return false;
	*out = n;
	return true;
}

static bool parse_limit(struct span v, const struct option *o, u64 *out)
{
	u64 n;

	if (v.len && v.at[v.len - 1] == '%') {
		v.len--;
		if (!parse_digits(v, &n) || n < 1 || n > 100)
			return false;
		*out = OPTION_PERCENT | n;
		return true;
	}
	/* Less than a page would be taken for 0, which is no limit. */
	if (!parse_bytes(v, &n) || (n && n < o->least) || n > o->most)
		return false;
	*out = n;
	return true;
}

static bool parse_str(struct span v, char *out)
{
	if (!v.len || v.len >= OPTION_STR_MAX)
		return false;
	memcpy(out, v.at, v.len);
	out[v.len] = '\0';
	return true;
}

/* The number of the word in "word|word|word". */
static bool parse_enum(struct span v, const char *words, unsigned *out)
{
	unsigned number = 0;

	for (;;) {
		size_t len = strcspn(words, "|");

		if (v.len == len && !memcmp(v.at, words, len)) {
			*out = number;
			return true;
		}
		if (!words[len])
			return false;
		words += len + 1;
		number++;
	}
}

static bool apply_value(const struct option *o, struct span v)
{
	void *field = (char *)&options + o->offset;
	bool ok = false;

	switch (o->kind) {
	case KIND_BOOL:
		ok = parse_bool(v, field);
		break;
	case KIND_INT:
		ok = parse_int(v, o, field);
		break;
	case KIND_SIZE:
		ok = parse_size(v, o, field);
		break;
	case KIND_LIMIT:
		ok = parse_limit(v, o, field);
		break;
	case KIND_STR:
		ok = parse_str(v, field);
		break;
	case KIND_ENUM:
		ok = parse_enum(v, o->words, field);
		break;
	}
	return ok;
}

/* Bytes as options.def writes them: 64T. */
static const char *size_text(u64 bytes, char text[24])
{
	static const char units[] = "KMGT";
	unsigned unit = 0;

	while (unit < 4 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, 24, "%lu%.*s", (unsigned long)bytes, unit != 0, &units[unit ? unit - 1 : 0]);
	return text;
}

/* What the option takes, behind "it takes". */
static const char *accepted_text(const struct option *o, char *text, size_t room)
{
	char least[24], most[24];

	switch (o->kind) {
	case KIND_BOOL:
		snprintf(text, room, "true or false (or yes, no, on, off, 1, 0)");
		break;
	case KIND_INT:
		snprintf(text, room, "%ld to %ld%s%s", (long)o->least, (long)o->most,
			 *o->unit ? " " : "", o->unit);
		break;
	case KIND_SIZE:
		snprintf(text, room, "bytes, %s to %s (K, M, G, T in either case)",
			 size_text(o->least, least), size_text(o->most, most));
		break;
	case KIND_LIMIT:
		snprintf(text, room,
			 "bytes, 0 or %s to %s (K, M, G, T in either case), or 1%% to 100%% of memory",
			 size_text(o->least, least), size_text(o->most, most));
		break;
	case KIND_STR:
		snprintf(text, room, "1 to %d characters, no comma", OPTION_STR_MAX - 1);
		break;
	case KIND_ENUM:
		snprintf(text, room, "one of %s", o->words);
		break;
	}
	return text;
}

/* More of a word would push the rest out of the line. */
static int word_length(struct span s)
{
	return (int)MIN(s.len, (size_t)64);
}

static void complain_value(const struct option *o, char separator, struct span v)
{
	char takes[REPORT_LINE / 2];

	accepted_text(o, takes, sizeof(takes));
	if (separator == '=')
		report(OPTION_NO_COLON "; it takes %s", o->name, o->name, word_length(v), v.at, takes);
	else if (!separator)
		report(OPTION_NO_VALUE "; it takes %s", o->name, o->name, takes);
	else
		report("option %s: '%.*s' is not accepted; it takes %s", o->name, word_length(v),
		       v.at, takes);
}

static void complain_name(struct span name)
{
	char names[REPORT_LINE / 2];
	size_t len = 0, i;

	for (i = 0; i < ARRAY_SIZE(option_table); i++) {
		size_t n = strlen(option_table[i].name);

		if (len + n + 2 >= sizeof(names))
			break;
		memcpy(names + len, option_table[i].name, n);
		len += n;
		names[len++] = ' ';
	}
	names[len ? len - 1 : 0] = '\0';
	report(OPTION_UNKNOWN, word_length(name), name.at, names);
}

static bool parse_entry(struct span entry)
{
	struct span name = entry, value = { "", 0 };
	char separator = '\0';
	size_t i;

	for (i = 0; i < entry.len; i++) {
		if (entry.at[i] != ':' && entry.at[i] != '=')
			continue;
		separator = entry.at[i];
		name.len = i;
		value = (struct span){ entry.at + i + 1, entry.len - i - 1 };
		break;
	}
	for (i = 0; i < ARRAY_SIZE(option_table); i++) {
		if (!span_is(name, option_table[i].name))
			continue;
		if (separator == ':' && apply_value(&option_table[i], value))
			return true;
		complain_value(&option_table[i], separator, value);
		return false;
	}
	complain_name(name);
	return false;
}

unsigned options_parse(const char *conf)
{
	unsigned bad = 0;

	while (*conf) {
		const char *end = strchr(conf, ',');
		size_t len = end ? (size_t)(end - conf) : strlen(conf);

		if (len)
			bad += !parse_entry((struct span){ conf, len });
		conf += len + (end != NULL);
	}
	return bad;
}
