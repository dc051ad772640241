/* rank 1: the parser of BUDDYMALLOC_CONF; see options.h. */
#include "base/options.h"

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
	u64 least, most; /* two's complement for KIND_INT */
	const char *unit; /* KIND_ENUM: the words */
};

static const struct option table[] = {
#define OPTION_BOOL(name, def, doc) { #name, KIND_BOOL, offsetof(struct options, name), 0, 0, "" },
#define OPTION_INT(name, def, least, most, unit, doc) \
	{ #name, KIND_INT, offsetof(struct options, name), (u64)(least), (u64)(most), unit },
#define OPTION_SIZE(name, def, least, most, doc) \
	{ #name, KIND_SIZE, offsetof(struct options, name), least, most, "bytes" },
#define OPTION_LIMIT(name, def, least, most, doc) \
	{ #name, KIND_LIMIT, offsetof(struct options, name), least, most, "bytes" },
#define OPTION_STR(name, doc) { #name, KIND_STR, offsetof(struct options, name), 0, 0, "" },
#define OPTION_ENUM(name, def, words, doc) \
	{ #name, KIND_ENUM, offsetof(struct options, name), 0, 0, words },
#include "base/options.def"
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

static bool parse_size(struct span v, const struct option *o, u64 *out)
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
	n <<= shift;
	if (n < o->least || n > o->most)
		return false;
	*out = n;
	return true;
}

static bool parse_limit(struct span v, const struct option *o, u64 *out)
{
	u64 n;

	if (!v.len || v.at[v.len - 1] != '%')
		return parse_size(v, o, out);
	v.len--;
	if (!parse_digits(v, &n) || n < 1 || n > 100)
		return false;
	*out = OPTION_PERCENT | n;
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

static bool apply(const struct option *o, struct span v)
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
		ok = parse_enum(v, o->unit, field);
		break;
	}
	return ok;
}

static void complain_value(const struct option *o, struct span v)
{
	int len = (int)MIN(v.len, (size_t)64);

	switch (o->kind) {
	case KIND_BOOL:
		report("option %s: '%.*s' is not accepted; it takes true or false", o->name, len,
		       v.at);
		break;
	case KIND_INT:
		report("option %s: '%.*s' is not accepted; it takes %ld to %ld (%s)", o->name, len,
		       v.at, (long)o->least, (long)o->most, o->unit);
		break;
	case KIND_SIZE:
		report("option %s: '%.*s' is not accepted; it takes %lu to %lu bytes, K, M, G or T may follow",
		       o->name, len, v.at, (unsigned long)o->least, (unsigned long)o->most);
		break;
	case KIND_LIMIT:
		report("option %s: '%.*s' is not accepted; it takes %lu to %lu bytes, K, M, G or T may follow, or 1%% to 100%% of memory",
		       o->name, len, v.at, (unsigned long)o->least, (unsigned long)o->most);
		break;
	case KIND_STR:
		report("option %s: '%.*s' is not accepted; it takes 1 to %d characters, no comma",
		       o->name, len, v.at, OPTION_STR_MAX - 1);
		break;
	case KIND_ENUM:
		report("option %s: '%.*s' is not accepted; it takes one of %s", o->name, len,
		       v.at, o->unit);
		break;
	}
}

static void complain_name(struct span name)
{
	char names[REPORT_LINE / 2];
	size_t len = 0, i;

	for (i = 0; i < ARRAY_SIZE(table); i++) {
		size_t n = strlen(table[i].name);

		if (len + n + 2 >= sizeof(names))
			break;
		memcpy(names + len, table[i].name, n);
		len += n;
		names[len++] = ' ';
	}
	names[len ? len - 1 : 0] = '\0';
	report("option '%.*s' is unknown; known are: %s", (int)MIN(name.len, (size_t)64), name.at,
	       names);
}

static bool parse_entry(struct span entry)
{
	const char *colon = memchr(entry.at, ':', entry.len);
	struct span name = entry, value = { "", 0 };
	size_t i;

	if (colon) {
		name.len = (size_t)(colon - entry.at);
		value = (struct span){ colon + 1, entry.len - name.len - 1 };
	}
	for (i = 0; i < ARRAY_SIZE(table); i++) {
		if (!span_is(name, table[i].name))
			continue;
		if (colon && apply(&table[i], value))
			return true;
		complain_value(&table[i], value);
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
