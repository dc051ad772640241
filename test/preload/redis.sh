#!/bin/sh
# redis-server under redis-benchmark, which then must hold the same data as one without
# the library. (Debian's is linked with another malloc: the report says who served.)
. "${srcdir:-.}/test/lib/preload.sh"
need redis-server redis-benchmark redis-cli

# For a longer run: BM_REDIS_REQUESTS=200000 make check TESTS=test/preload/redis.sh
requests=${BM_REDIS_REQUESTS:-20000}
# Paths of sockets are short, and $work may be long: relative to it.
socket=redis.sock
server=
at_exit=stop_server

ask() {
	redis-cli -s "$socket" "$@"
}

stop_server() {
	[ -n "$server" ] || return 0
	# Started by this script and not yet waited for: the number is still its own.
	kill -KILL "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	server=
}

# start_server [VARIABLE=VALUE...]
start_server() {
	env "$@" redis-server --port 0 --unixsocket "$PWD/$socket" --save '' --appendonly no \
		--daemonize no --dir "$work" --loglevel warning >server.out 2>&1 </dev/null &
	server=$!
	tries=0
	until [ "$(ask ping 2>/dev/null)" = PONG ]; do
		kill -0 "$server" 2>/dev/null || { cat server.out; fail 'redis-server ended'; }
		tries=$((tries + 1))
		[ $tries -lt 300 ] || { cat server.out; fail 'redis-server does not answer'; }
		sleep 0.1
	done
}

end_server() {
	ask shutdown nosave
	wait "$server"
	status=$?
	server=
	[ $status = 0 ] || { cat server.out; fail "redis-server ended with status $status"; }
}

# Commands whose answers are the same every time.
fixed_commands() {
	awk 'BEGIN {
		for (i = 0; i < 3000; i++) {
			printf "SET string:%d %0*d\n", i, 1 + i % 300, i
			printf "RPUSH list:%d a%d b%d c%d\n", i % 100, i, i * 7, i * 31
			printf "HSET hash:%d f%d %d g%d x%d\n", i % 50, i, i * 3, i, i
			printf "ZADD sorted %d m%d\n", i * 7919 % 1000, i
			printf "SADD set:%d %d\n", i % 20, i * 104729 % 5000
			if (i % 5 == 0) printf "APPEND grown %0*d\n", i % 900 + 1, i
			if (i % 7 == 0) printf "DEL string:%d\n", int(i / 2)
			if (i % 11 == 0) printf "LTRIM list:%d 2 -2\n", i % 100
		}
		print "DBSIZE\nSTRLEN grown\nZRANGE sorted 0 -1 WITHSCORES\nSORT set:3"
		for (i = 0; i < 100; i += 9) printf "LRANGE list:%d 0 -1\n", i
		for (i = 0; i < 50; i += 7) printf "HGET hash:%d f%d\n", i, i
		for (i = 0; i < 3000; i += 97) printf "GET string:%d\n", i
	}'
}

# session WHO: the benchmark, then the fixed commands
session() {
	redis-benchmark -s "$socket" -t set,get,lpush,lrange_100 -n "$requests" -c 20 -d 100 -r 10000 \
		-q >"$1.benchmark" 2>&1 || { cat "$1.benchmark"; fail "redis-benchmark: status $?"; }
	grep -qi error "$1.benchmark" && { cat "$1.benchmark"; fail 'redis-benchmark reports errors'; }
	ask flushall >/dev/null
	fixed_commands | ask --no-auth-warning >"$1.out" 2>"$1.err"
	echo $? >"$1.status"
}

start_server
session plain
end_server
start_server LD_PRELOAD="$BM_LIB" BUDDYMALLOC_CONF="$conf"
pid=$server
session preloaded
end_server
same
served redis-server
[ -f "reports/$pid" ] || fail "the report is not the server's"
tr '\r' '\n' <preloaded.benchmark | grep 'requests per second'
