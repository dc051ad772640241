#!/bin/sh
# What the program finds in its environment.
. "${srcdir:-.}/test/command/lib.sh"

# Written by the shell's own echo, in a process that the library serves.
show='echo "$LD_PRELOAD|${BUDDYMALLOC_CONF-unset}"'
library=$(cd .libs && pwd)/libbuddymalloc.so.0

run sh -c "$show"
is 'no options' "$out" "$library|unset"
run -o verbose:false sh -c "$show"
is 'one -o' "$out" "$library|verbose:false"
run -o verbose:false,decay_ms:-1 -o hard_limit:1G sh -c "$show"
is 'two -o' "$out" "$library|verbose:false,decay_ms:-1,hard_limit:1G"
export BUDDYMALLOC_CONF=decay_ms:5
run -o verbose:false --stats -o decay_ms:7 sh -c "$show"
is '-o after the environment' "$out" \
	"$library|decay_ms:5,verbose:false,stats_print:true,decay_ms:7"
unset BUDDYMALLOC_CONF

# A second library to preload: a link, for the loader tells them apart by name only to
# find that they are one.
ln -s "$library" "$scratch/other.so"
LD_PRELOAD=$scratch/other.so
export LD_PRELOAD
run sh -c "$show"
is 'after the library' "$out" "$library:$scratch/other.so|unset"
unset LD_PRELOAD
run "$command_" sh -c "$show"
is 'one command under another' "$out" "$library|unset"

export BUDDYMALLOC_LIB="$scratch/other.so"
run sh -c "$show"
is 'another library' "$out" "$scratch/other.so|unset"
# Another one whose name begins like the library's is not the library.
ln -s "$library" "$scratch/other.so.old"
LD_PRELOAD=$scratch/other.so.old
export LD_PRELOAD
run sh -c "$show"
is 'after another version' "$out" "$scratch/other.so:$scratch/other.so.old|unset"
unset LD_PRELOAD
export BUDDYMALLOC_LIB=.libs/libbuddymalloc.so.0
run sh -c "$show"
is 'a relative name' "$out" "$PWD/.libs/libbuddymalloc.so.0|unset"
export BUDDYMALLOC_LIB="$scratch/none.so"
run true
is 'no library: status' "$status" 125
is 'no library: message' "$err" \
	"buddymalloc: library '$scratch/none.so' of BUDDYMALLOC_LIB: No such file or directory"
echo 'no library' >"$scratch/text"
# To open a FIFO would wait for its other end.
mkfifo "$scratch/fifo"
for file in "$scratch" "$scratch/text" "$scratch/fifo" /dev/null; do
	export BUDDYMALLOC_LIB="$file"
	run true
	is "$file as the library: status" "$status" 125
	is "$file as the library: message" "$err" \
		"buddymalloc: '$file' of BUDDYMALLOC_LIB is no library: not an ELF file"
done
unset BUDDYMALLOC_LIB

mkdir "$scratch/a b"
ln -s "$library" "$scratch/a b/lib.so"
export BUDDYMALLOC_LIB="$scratch/a b/lib.so"
run true
is 'a blank: status' "$status" 125
is 'a blank: message' "$err" \
	"buddymalloc: '$scratch/a b/lib.so' has a blank or a colon in it: it cannot be preloaded"
unset BUDDYMALLOC_LIB

# Away from the build tree, and moved as a whole: bin/ and lib/ side by side.
bindir=$(sed -n 's/^bindir = //p' Makefile)
libdir=$(sed -n 's/^libdir = //p' Makefile)
if [ "$bindir|$libdir" = '${exec_prefix}/bin|${exec_prefix}/lib' ]; then
	mkdir "$scratch/bin" "$scratch/lib"
	cp "$command_" "$scratch/bin/buddymalloc"
	cp -L "$library" "$scratch/lib/libbuddymalloc.so.0"
	moved=$("$scratch/bin/buddymalloc" sh -c "$show")
	is 'a moved installation' "$moved" "$scratch/lib/libbuddymalloc.so.0|unset"
fi

# The library says the same of what stands in the environment: test/unit/options.c.
names=$(def_names options OPTION_ | tr '\n' ' ' | sed 's/ $//')
for bad in nonsense:1 nonsense=1 nonsense :true =true verbose:true,:true; do
	name=${bad#verbose:true,}
	name=${name%%[:=]*}
	run -o "$bad" true
	is "-o '$bad': status" "$status" 125
	is "-o '$bad': message" "$err" \
		"buddymalloc: -o '$bad': option '$name' is unknown; known are: $names"
done
for bad in verbose decay_ms:1,,verbose; do
	run -o "$bad" true
	is "-o '$bad': status" "$status" 125
	is "-o '$bad': message" "$err" \
		"buddymalloc: -o '$bad': option verbose has no value; write verbose:VALUE"
done
run -o verbose=1:x,decay_ms:1 true
is "'=': status" "$status" 125
is "'=': message" "$err" \
	"buddymalloc: -o 'verbose=1:x,decay_ms:1': option verbose has '=' in place of a colon; write verbose:1:x"
for conf in '' , verbose:false, ,verbose:false,,decay_ms:1; do
	run -o "$conf" sh -c "$show"
	is "-o '$conf': status" "$status" 0
	is "-o '$conf': message" "$err" ''
	is "-o '$conf': environment" "$out" "$library|$conf"
done

# Each folder that was looked in is named, once.
prefix=$(sed -n 's/^prefix = //p' Makefile)
exec_prefix=$(eval "echo $(sed -n 's/^exec_prefix = //p' Makefile)")
configured=$(eval "echo $libdir")
if [ ! -e "$configured/libbuddymalloc.so.0" ]; then
	mkdir "$scratch/empty" "$scratch/moved" "$scratch/moved/bin"
	cp "$command_" "$scratch/empty/buddymalloc"
	"$scratch/empty/buddymalloc" true 2>"$scratch/err"
	is 'no library anywhere: status' $? 125
	is 'no library anywhere: message' "$(cat "$scratch/err")" \
		"buddymalloc: no libbuddymalloc.so.0 in $scratch/empty/.libs, $configured; set BUDDYMALLOC_LIB to its path"
	if [ "$bindir|$libdir" = '${exec_prefix}/bin|${exec_prefix}/lib' ]; then
		cp "$command_" "$scratch/moved/bin/buddymalloc"
		"$scratch/moved/bin/buddymalloc" true 2>"$scratch/err"
		is 'no library in a moved installation' "$(cat "$scratch/err")" \
			"buddymalloc: no libbuddymalloc.so.0 in $scratch/moved/bin/.libs, $scratch/moved/lib, $configured; set BUDDYMALLOC_LIB to its path"
	fi
fi

finish
