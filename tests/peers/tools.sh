#!/bin/sh
# The command line tools of libmemcached, against the server at 127.0.0.1:$1: memcping, memccp, memccat, memcexist,
# memctouch, memcstat, memcdump, memcrm, memcflush. It holds for memcached itself and for tallyd.
set -eu
server=--servers=127.0.0.1:$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "$*" >&2
    exit 1
}

printf 'line one\nline two' > "$dir/letter"
head -c 100000 /dev/urandom | od -A n -t x1 > "$dir/long"
memcping "$server"
memccp "$server" "$dir/letter" "$dir/long"
[ "$(memccat "$server" letter)" = "$(cat "$dir/letter")" ] || fail "memccat letter"
[ "$(memccat "$server" long)" = "$(cat "$dir/long")" ] || fail "memccat long"
memcexist "$server" letter || fail "memcexist letter"
memctouch "$server" --expire=100 letter || fail "memctouch letter"
memcstat "$server" | grep -q 'curr_items: 2' || fail "memcstat: $(memcstat "$server")"
memcrm "$server" letter || fail "memcrm letter"
[ -z "$(memccat "$server" letter 2> /dev/null)" ] || fail "memccat of what is gone"
memcflush "$server" || fail "memcflush"
[ -z "$(memccat "$server" long 2> /dev/null)" ] || fail "memccat after memcflush"
