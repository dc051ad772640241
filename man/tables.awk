# Writes a manual page from its .in file, so that it can never say other than the code. A line
# @OPTIONS@ becomes the table of src/base/options.def, @FIGURES@ that of src/base/figures.def,
# @COUNTERS@ that of src/base/stats.def, @CTLS@ that of src/malloc/mallctl.def, @EXAMPLE FILE@ the
# program of that name in the folder of examples. @VERSION@ is the version, @DATE@ its date.
#
#   awk -v version=V -v date=D -v options=FILE -v stats=FILE -v figures=FILE \
#       -v ctls=FILE -v examples=FOLDER -f tables.awk PAGE.in >PAGE
#
# A table line that is not understood stops the build: the forms are at the head of
# those files, and a new one needs its line here.

function fail(file, line) {
	print "tables.awk: " file ": not understood: " line >"/dev/stderr"
	failed = 1
	exit 1
}

# A sentence as roff wants it: escapes of C undone, a backslash printed as itself, the
# minus sign of a number told from a hyphen, no control character at the beginning.
function sentence(text) {
	gsub(/\\"/, "\"", text)
	gsub(/\\/, "\\e", text)
	gsub(/ -/, " \\-", text)
	text = toupper(substr(text, 1, 1)) substr(text, 2) "."
	if (text ~ /^[.']/)
		text = "\\&" text
	return text
}

function minus(value) {
	return sprintf("%s%.0f", value < 0 ? "\\-" : "", value < 0 ? -value : value)
}

# A C integer constant, or one shifted left.
function number(text,   part, value, i) {
	gsub(/[ \t]/, "", text)
	gsub(/[UuLl]+/, "", text)
	if (text ~ /^-?[0-9]+$/)
		return text + 0
	if (text ~ /^[0-9]+<<[0-9]+$/) {
		split(text, part, "<<")
		# By hand: some small awks have no powers.
		value = part[1]
		for (i = 0; i < part[2]; i++)
			value *= 2
		return value
	}
	fail(options, text)
}

function size(text,   value, unit) {
	value = number(text)
	for (unit = 0; unit < 4 && value != 0 && value % 1024 == 0; unit++)
		value /= 1024
	return sprintf("%.0f%s", value, substr("KMGT", unit, unit ? 1 : 0))
}

# "a|b|c" as "a, b or c".
function words(text,   part, nr, i, list) {
	nr = split(text, part, "|")
	if (nr < 2)
		fail(options, text)
	list = part[1]
	for (i = 2; i <= nr; i++)
		list = list (i < nr ? ", " : " or ") part[i]
	return list
}

# The last quoted string of a line; RSTART is where it begins.
function last_string(file, line,   text) {
	if (!match(line, /"([^"\\]|\\.)*"\)[ \t\r]*$/))
		fail(file, line)
	text = substr(line, RSTART + 1)
	sub(/"\)[ \t\r]*$/, "", text)
	return text
}

# Splits what stands in front of the last string into fields; the word before them.
function entry(line, field,   kind) {
	kind = line
	sub(/[ \t]*\(.*/, "", kind)
	sub(/^[^(]*\(/, "", line)
	gsub(/[ \t"]/, "", line)
	split(line, field, ",")
	return kind
}

function print_option(line,   what, kind, field, accepted, default_) {
	what = last_string(options, line)
	kind = entry(substr(line, 1, RSTART - 1), field)
	if (kind == "OPTION_BOOL") {
		accepted = "true or false"
		default_ = field[2]
	} else if (kind == "OPTION_INT") {
		accepted = minus(number(field[3])) " to " minus(number(field[4])) (field[5] == "" ? "" : " " field[5])
		default_ = minus(number(field[2]))
	} else if (kind == "OPTION_SIZE") {
		accepted = "bytes, " size(field[3]) " to " size(field[4])
		default_ = size(field[2])
	} else if (kind == "OPTION_LIMIT") {
		accepted = "bytes, 0 or " size(field[3]) " to " size(field[4]) ", or 1% to 100%"
		default_ = size(field[2])
	} else if (kind == "OPTION_STR") {
		accepted = "text"
		default_ = "empty"
	} else if (kind == "OPTION_ENUM") {
		accepted = words(field[3])
		default_ = field[2]
	} else
		fail(options, line)
	print ".TP\n\\fB" field[1] "\\fP: " accepted " (default " default_ ")"
	print sentence(what)
}

# Of a counter or a figure.
function print_name(file, line,   what) {
	what = last_string(file, line)
	line = substr(line, 1, RSTART - 1)
	sub(/^[^(]*\(/, "", line)
	gsub(/[ \t,]/, "", line)
	print ".TP\n.B " line "\n" sentence(what)
}

# What it is, its type in C, and whether it is read, set or both.
function print_ctl(line,   what, kind, field, type, access) {
	what = last_string(ctls, line)
	kind = entry(substr(line, 1, RSTART - 1), field)
	type = kind == "CTL_DO" ? "void" : tolower(field[2])
	if (type == "u32" || type == "u64")
		type = "uint" substr(type, 2) "_t"
	else if (type == "size" || type == "ssize")
		type = type "_t"
	else if (type == "string")
		type = "const char *"
	else if (type != "bool" && type != "unsigned" && type != "void")
		fail(ctls, field[2])
	access = kind == "CTL_W" ? "to set" : kind == "CTL_R" ? "to read" : "to read and set"
	print ".TP\n\\fB" field[1] "\\fP" (type == "void" ? "" : ": " type ", " access)
	print sentence(what)
}

function print_table(file, start, kind,   line, nr) {
	while ((getline line <file) > 0) {
		if (line !~ start)
			continue
		nr++
		if (kind == "option")
			print_option(line)
		else if (kind == "ctl")
			print_ctl(line)
		else
			print_name(file, line)
	}
	close(file)
	if (!nr)
		fail(file, "no line begins with " start)
}

# A line of a program as roff wants it between .nf and .fi.
function code(text) {
	gsub(/\\/, "\\e", text)
	gsub(/-/, "\\-", text)
	if (text == "" || text ~ /^[.']/)
		text = "\\&" text
	return text
}

function print_example(file,   line, nr) {
	while ((getline line <file) > 0) {
		nr++
		print code(line)
	}
	close(file)
	if (!nr)
		fail(file, "no such program")
}

$0 == "@OPTIONS@" { print_table(options, "^OPTION_", "option"); next }
$0 == "@FIGURES@" { print_table(figures, "^FIGURE\\(", "name"); next }
$0 == "@COUNTERS@" { print_table(stats, "^STAT\\(", "name"); next }
$0 == "@CTLS@" { print_table(ctls, "^CTL_", "ctl"); next }
/^@EXAMPLE .*@$/ { print_example(examples "/" substr($2, 1, length($2) - 1)); next }
{ gsub(/@VERSION@/, version); gsub(/@DATE@/, date); print }
END { if (failed) exit 1 }
