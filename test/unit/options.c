/* BUDDYMALLOC_CONF: every option, every kind of bad value, the exact complaints. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "base/report.h"

static const char *conf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *conf(const char *fmt, ...)
{
	static char text[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return text;
}

/* Bytes as `buddymalloc --help` has them. */
static const char *size_text(u64 bytes)
{
	static char texts[2][32];
	static unsigned turn;
	char *text = texts[turn++ % 2];
	unsigned unit = 0;

	for (; unit < 4 && bytes && bytes % 1024 == 0; unit++)
		bytes /= 1024;
	snprintf(text, 32, "%lu%.1s", (unsigned long)bytes, &"\0\0K\0M\0G\0T"[2 * unit]);
	return text;
}

static void defaults_are_those_of_the_table(void)
{
#define OPTION_BOOL(name, def, doc) assert_true(options.name == (def));
#define OPTION_INT(name, def, least, most, unit, doc) assert_true(options.name == (def));
#define OPTION_SIZE(name, def, least, most, doc) assert_true(options.name == (def));
#define OPTION_LIMIT(name, def, least, most, doc) assert_true(options.name == (def));
#define OPTION_STR(name, doc) assert_string_equal(options.name, "");
#define OPTION_ENUM(name, def, words, doc) assert_int_equal(options.name, option_##name##_##def);
#include "base/options.def"
}

static void check_bool(const char *name, const bool *field)
{
	static const char *const yes[] = { "true", "1", "yes", "on" };
	static const char *const no[] = { "false", "0", "no", "off" };
	static const char *const bad[] = { "", "TRUE", "tru", "truee", "2", " true", "-1" };
	size_t i;

	for (i = 0; i < 4; i++) {
		assert_int_equal(options_parse(conf("%s:%s", name, yes[i])), 0);
		assert_true(*field);
		assert_int_equal(options_parse(conf("%s:%s", name, no[i])), 0);
		assert_false(*field);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(options_parse(conf("%s:%s", name, bad[i])), 1);
		assert_false(*field);
		unit_said("buddymalloc: option %s: '%s' is not accepted; it takes true or false (or yes, no, on, off, 1, 0)\n",
			  name, bad[i]);
	}
}

static void bad_int(const char *name, const long *field, long least, long most, const char *unit,
		    const char *value)
{
	long before = *field;

	assert_int_equal(options_parse(conf("%s:%s", name, value)), 1);
	assert_int_equal(*field, before);
	unit_said("buddymalloc: option %s: '%s' is not accepted; it takes %ld to %ld%s%s\n", name,
		  value, least, most, *unit ? " " : "", unit);
}

static void check_int(const char *name, const long *field, long least, long most, const char *unit)
{
	static const char *const bad[] = { "",    "-",	   "+1",  "1 ",  " 1",	"1K",
					   "0x1", "1.5", "--1", "abc", "99999999999999999999",
					   "-99999999999999999999", "9223372036854775808",
					   "18446744073709551616" };
	char text[32];
	size_t i;

	assert_int_equal(options_parse(conf("%s:%ld", name, least)), 0);
	assert_int_equal(*field, least);
	assert_int_equal(options_parse(conf("%s:%ld", name, most)), 0);
	assert_int_equal(*field, most);
	assert_int_equal(options_parse(conf("%s:%ld", name, least + 1)), 0);
	assert_int_equal(*field, least + 1);
	snprintf(text, sizeof(text), "%ld", least - 1);
	bad_int(name, field, least, most, unit, text);
	snprintf(text, sizeof(text), "%ld", most + 1);
	bad_int(name, field, least, most, unit, text);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		bad_int(name, field, least, most, unit, bad[i]);
}

/* What a complaint says before and after the sizes. */
static const char *before_sizes = "", *after_sizes = "";

static void bad_size(const char *name, const u64 *field, u64 least, u64 most, const char *value)
{
	u64 before = *field;

	assert_int_equal(options_parse(conf("%s:%s", name, value)), 1);
	assert_true(*field == before);
	unit_said("buddymalloc: option %s: '%s' is not accepted; it takes bytes, %s%s to %s (K, M, G, T in either case)%s\n",
		  name, value, before_sizes, size_text(least), size_text(most), after_sizes);
}

static void check_size(const char *name, const u64 *field, u64 least, u64 most)
{
	static const char suffixes[] = "KMGTkmgt";
	static const char *const bad[] = { "",	  "K",	 "-1",	 "1KK", "1KB", "1P",
					   "1B",  "1.5M", "1 M", "M1",	"{",   "1{",
					   "0x10", "99999999999999999999", "16777216T",
					   "18446744073709551616", "18014398509481984K" };
	char text[32];
	size_t i;

	for (i = 0; suffixes[i]; i++) {
		u64 want = (u64)3 << 10 * (i % 4 + 1);

		if (want < least || want > most)
			continue;
		assert_int_equal(options_parse(conf("%s:3%c", name, suffixes[i])), 0);
		assert_true(*field == want);
	}
	assert_int_equal(options_parse(conf("%s:%lu", name, (unsigned long)most)), 0);
	assert_true(*field == most);
	assert_int_equal(options_parse(conf("%s:%lu", name, (unsigned long)least)), 0);
	assert_true(*field == least);
	snprintf(text, sizeof(text), "%lu", (unsigned long)most + 1);
	bad_size(name, field, least, most, text);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		bad_size(name, field, least, most, bad[i]);
}

static void check_limit(const char *name, const u64 *field, u64 least, u64 most)
{
	static const char *const bad[] = { "0%",   "101%", "%",	    "abc%", "-1%",  "50%%", "%50",
					   "1.5%", "5 %",  "1K%",   "5%K",  "50 %", "50%x",
					   "4294967297%", "18446744073709551617%" };
	static const char *const none[] = { "0", "00", "0K", "0t" };
	unsigned percent;
	size_t i;

	before_sizes = "0 or ";
	after_sizes = ", or 1% to 100% of memory";
	check_size(name, field, least, most);
	/* What would be no page is not taken for no limit. */
	bad_size(name, field, least, most, "1");
	bad_size(name, field, least, most, "3k");
	bad_size(name, field, least, most, "4095");
	for (i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		assert_int_equal(options_parse(conf("%s:4K,%s:%s", name, name, none[i])), 0);
		assert_true(*field == 0);
	}
	for (percent = 1; percent <= 100; percent++) {
		assert_int_equal(options_parse(conf("%s:%u%%", name, percent)), 0);
		assert_true(*field == (OPTION_PERCENT | percent));
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		bad_size(name, field, least, most, bad[i]);
	before_sizes = after_sizes = "";
}

static void check_str(const char *name, const char *field)
{
	char longest[OPTION_STR_MAX + 1];

	assert_int_equal(options_parse(conf("%s:/tmp/a:b %%p", name)), 0);
	assert_string_equal(field, "/tmp/a:b %p");
	memset(longest, 'x', sizeof(longest));
	longest[OPTION_STR_MAX - 1] = '\0';
	assert_int_equal(options_parse(conf("%s:%s", name, longest)), 0);
	assert_string_equal(field, longest);
	assert_int_equal(options_parse(conf("%s:short", name)), 0);
	longest[OPTION_STR_MAX - 1] = 'x';
	longest[OPTION_STR_MAX] = '\0';
	assert_int_equal(options_parse(conf("%s:%s", name, longest)), 1);
	assert_string_equal(field, "short");
	unit_said("buddymalloc: option %s: '%.64s' is not accepted; it takes 1 to %d characters, no comma\n",
		  name, longest, OPTION_STR_MAX - 1);
	assert_int_equal(options_parse(conf("%s:", name)), 1);
	assert_string_equal(field, "short");
	unit_said("buddymalloc: option %s: '' is not accepted; it takes 1 to %d characters, no comma\n",
		  name, OPTION_STR_MAX - 1);
}

/* Every word has its number, in the order of the entry; nothing near a word is one. */
static void check_enum(const char *name, const unsigned *field, const char *words)
{
	static const char *const near[] = { "%.*sx", "x%.*s", "%.*s|", "|%.*s", " %.*s" };
	static const char *const bad[] = { "", "|", "0", "1", "true", "nosuch" };
	const char *word = words;
	unsigned number = 0;
	size_t i;

	while (*word) {
		int len = (int)strcspn(word, "|");
		char text[64];

		assert_int_equal(options_parse(conf("%s:%.*s", name, len, word)), 0);
		assert_int_equal(*field, number);
		for (i = 0; i < sizeof(near) / sizeof(near[0]) + 3; i++) {
			if (i == 0)
				snprintf(text, sizeof(text), "%.*s", len - 1, word);
			else if (i == 1)
				snprintf(text, sizeof(text), "%c%.*s", word[0] - 32, len - 1,
					 word + 1);
			else if (i == 2)
				snprintf(text, sizeof(text), "%s", words);
			else
				snprintf(text, sizeof(text), near[i - 3], len, word);
			assert_int_equal(options_parse(conf("%s:%s", name, text)), 1);
			assert_int_equal(*field, number);
			unit_said("buddymalloc: option %s: '%s' is not accepted; it takes one of %s\n",
				  name, text, words);
		}
		number++;
		word += len + (word[len] == '|');
	}
	assert_true(number >= 2);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(options_parse(conf("%s:%s", name, bad[i])), 1);
		assert_int_equal(*field, number - 1);
		unit_said("buddymalloc: option %s: '%s' is not accepted; it takes one of %s\n",
			  name, bad[i], words);
	}
}

static void every_option_takes_what_it_says(void)
{
#define OPTION_BOOL(name, def, doc) check_bool(#name, &options.name);
#define OPTION_INT(name, def, least, most, unit, doc) \
	check_int(#name, &options.name, least, most, unit);
#define OPTION_SIZE(name, def, least, most, doc) check_size(#name, &options.name, least, most);
#define OPTION_LIMIT(name, def, least, most, doc) check_limit(#name, &options.name, least, most);
#define OPTION_STR(name, doc) check_str(#name, options.name);
#define OPTION_ENUM(name, def, words, doc) check_enum(#name, &options.name, words);
#include "base/options.def"
	assert_string_equal(fake_output(), "");
}

/* A name alone says what is missing, one with '=' what it should be; nothing changes. */
static void name_without_colon(void)
{
	assert_int_equal(options_parse("verbose"), 1);
	unit_said("buddymalloc: option verbose has no value; write verbose:VALUE; "
		  "it takes true or false (or yes, no, on, off, 1, 0)\n");
	assert_int_equal(options_parse("decay_ms"), 1);
	unit_said("buddymalloc: option decay_ms has no value; write decay_ms:VALUE; "
		  "it takes -1 to 3600000 ms\n");
	assert_int_equal(options_parse("hard_limit"), 1);
	unit_said("buddymalloc: option hard_limit has no value; write hard_limit:VALUE; "
		  "it takes bytes, 0 or 4K to 64T (K, M, G, T in either case), or 1%% to 100%% of memory\n");
	assert_int_equal(options_parse("numa_node"), 1);
	unit_said("buddymalloc: option numa_node has no value; write numa_node:VALUE; "
		  "it takes -1 to 63\n");
	assert_int_equal(options_parse("verbose=1,decay_ms=7:8,stats_file="), 3);
	unit_said("buddymalloc: option verbose has '=' in place of a colon; write verbose:1; "
		  "it takes true or false (or yes, no, on, off, 1, 0)\n"
		  "buddymalloc: option decay_ms has '=' in place of a colon; write decay_ms:7:8; "
		  "it takes -1 to 3600000 ms\n"
		  "buddymalloc: option stats_file has '=' in place of a colon; write stats_file:; "
		  "it takes 1 to %d characters, no comma\n", OPTION_STR_MAX - 1);
	assert_false(options.verbose);
	assert_int_equal(options.decay_ms, 1000);
	/* Behind the colon it is part of the value. */
	assert_int_equal(options_parse("stats_file:a=b"), 0);
	assert_string_equal(options.stats_file, "a=b");
}

static unsigned count_words(const char *words)
{
	unsigned nr = 1;

	while ((words = strchr(words, '|'))) {
		nr++;
		words++;
	}
	return nr;
}

/* The enumerators are in the order of the words, and every word has its own. */
static void words_have_their_numbers(void)
{
	static const struct {
		const char *conf;
		const unsigned *field;
		unsigned number;
	} words[] = {
		{ "free:now", &options.free, option_free_now },
		{ "free:lazy", &options.free, option_free_lazy },
		{ "pressure:off", &options.pressure, option_pressure_off },
		{ "pressure:auto", &options.pressure, option_pressure_auto },
		{ "thp:auto", &options.thp, option_thp_auto },
		{ "thp:always", &options.thp, option_thp_always },
		{ "thp:never", &options.thp, option_thp_never },
		{ "cgroup:auto", &options.cgroup, option_cgroup_auto },
		{ "cgroup:off", &options.cgroup, option_cgroup_off },
		{ "cgroup:any", &options.cgroup, option_cgroup_any },
	};
	const size_t nr_rows = sizeof(words) / sizeof(words[0]);
	unsigned nr_words = 0;
	size_t i;

	for (i = 0; i < nr_rows; i++) {
		assert_int_equal(options_parse(words[i].conf), 0);
		assert_int_equal(*words[i].field, words[i].number);
	}
	/* A new word needs a row. */
#define OPTION_BOOL(name, def, doc)
#define OPTION_INT(name, def, least, most, unit, doc)
#define OPTION_SIZE(name, def, least, most, doc)
#define OPTION_LIMIT(name, def, least, most, doc)
#define OPTION_STR(name, doc)
#define OPTION_ENUM(name, def, words, doc) nr_words += count_words(words);
#include "base/options.def"
	assert_int_equal(nr_rows, nr_words);
}

static void unknown_names_are_told_all_others(void)
{
	static const char known[] =
#define OPTION_BOOL(name, def, doc) " " #name
#define OPTION_INT(name, def, least, most, unit, doc) " " #name
#define OPTION_SIZE(name, def, least, most, doc) " " #name
#define OPTION_LIMIT(name, def, least, most, doc) " " #name
#define OPTION_STR(name, doc) " " #name
#define OPTION_ENUM(name, def, words, doc) " " #name
#include "base/options.def"
		;
	static const char *const bad[] = { "verbos:1", "verbosee:1", "Verbose:1", " verbose:1",
					   "nonsense", "nonsense=1:2", ":1", ":", "=", "=1" };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(options_parse(bad[i]), 1);
		unit_said("buddymalloc: option '%.*s' is unknown; known are:%s\n",
			  (int)strcspn(bad[i], ":="), bad[i], known);
	}
	/* A name of any length does not push the known ones out of the line. */
	assert_int_equal(options_parse(conf("%0300d:1", 0)), 1);
	unit_said("buddymalloc: option '%064d' is unknown; known are:%s\n", 0, known);
}

static void many_entries_at_once(void)
{
	assert_int_equal(options_parse(""), 0);
	assert_int_equal(options_parse(","), 0);
	assert_int_equal(options_parse(",,,verbose:1,,decay_ms:5,"), 0);
	assert_true(options.verbose);
	assert_int_equal(options.decay_ms, 5);
	/* The last one counts; a bad one does not stop the others. */
	assert_int_equal(options_parse("decay_ms:6,decay_ms:x,hard_limit:1M,decay_ms:7,y:1"), 2);
	assert_int_equal(options.decay_ms, 7);
	assert_true(options.hard_limit == 1 << 20);
	assert_string_equal(options.stats_file, "");
}

/* No string, however broken, may do more than complain: every byte, every cut. */
static void any_bytes_are_survived(void)
{
	static const char model[] = "verbose:1,decay_ms:-1,hard_limit:12G,stats_file:/a/%p,x";
	char text[sizeof(model)];
	size_t at, len;
	int byte;

	for (len = 0; len < sizeof(model); len++)
		for (at = 0; at < len; at++) {
			memcpy(text, model, sizeof(model));
			text[len] = '\0';
			text[at] = (char)(at * 37 + len);
			options_parse(text);
			fake_clear_output();
		}
	for (at = 0; at < sizeof(model) - 1; at++)
		for (byte = 1; byte < 256; byte++) {
			memcpy(text, model, sizeof(model));
			text[at] = (char)byte;
			options_parse(text);
			fake_clear_output();
		}
	assert_true(options.decay_ms >= -1 && options.decay_ms <= 3600000);
}

UNIT_MAIN(CASE(defaults_are_those_of_the_table),
	  CASE(every_option_takes_what_it_says),
	  CASE(name_without_colon),
	  CASE(words_have_their_numbers),
	  CASE(unknown_names_are_told_all_others),
	  CASE(many_entries_at_once),
	  CASE(any_bytes_are_survived))
