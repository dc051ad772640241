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
export BUDDYMALLOC_LIB=.libs/libbuddymalloc.so.0
run sh -c "$show"
is 'a relative name' "$out" "$PWD/.libs/libbuddymalloc.so.0|unset"
export BUDDYMALLOC_LIB="$scratch/none.so"
run true
is 'no library: status' "$status" 125
is 'no library: message' "$err" \
	"buddymalloc: library '$scratch/none.so' of BUDDYMALLOC_LIB: No such file or directory"
echo 'no library' >"$scratch/text"
for file in "$scratch" "$scratch/text" /dev/null; do
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

names=$(def_names options OPTION_ | tr '\n' ',' | sed 's/,$//; s/,/, /g')
run -o nonsense:1 true
is 'unknown name: status' "$status" 125
is 'unknown name: message' "$err" \
	"buddymalloc: -o 'nonsense:1': there is no option 'nonsense'; there are: $names"
for bad in '' verbose :true verbose:true, verbose:true,,decay_ms:1; do
	run -o "$bad" true
	is "-o '$bad': status" "$status" 125
	case $err in
	"buddymalloc: -o '$bad': "*" is not NAME:VALUE (several are joined with commas)") ;;
	*) is "-o '$bad'" "$err" 'a line naming NAME:VALUE' ;;
	esac
done

finish
