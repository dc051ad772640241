#!/bin/sh
# PHP opens its extensions with RTLD_DEEPBIND: without dlopen's help they would free
# with the C library's free what this library handed out.
. "${srcdir:-.}/test/lib/preload.sh"
need php
# Its own allocator asks for 2 MiB at a time; without it each value is a malloc.
USE_ZEND_ALLOC=0
export USE_ZEND_ALLOC

plain php -d memory_limit=-1 "$tests/preload/php.php"
preloaded php -d memory_limit=-1 "$tests/preload/php.php"
same
served 'php[0-9.]*'
