#!/bin/sh
# tallyd for Cacti: one value of what was counted. It needs curl and nothing of tallyd's.
#
# Data Collection -> Data Input Methods -> Add:
#   Input Type    Script/Command
#   Input String  sh <path_cacti>/scripts/tallyd.sh <url> <series> <measure> <window> <per>
#   Input Fields  url, series, measure, window, per
#   Output Field  value
# and a data template on it: data source type GAUGE, step 300; url is http://127.0.0.1:8311, series orders.placed (or a
# glob, or with tags: orders{region="eu"}), measure rate, window 5m, per minute.
#
# Where tallyd asks for a token (a role of read is enough) and has a certificate of your own authority, the url is
# https://… and the Input String begins with files that the poller alone may read:
#   env TALLYD_TOKEN_FILE=/etc/cacti/tallyd.token TALLYD_CA_FILE=/etc/cacti/tallyd-ca.pem sh <path_cacti>/…
# The token itself stands on no command line, where everybody on the machine would see it.
#
# It prints the number, or U where there is none; a lower bound, known since tallyd was not running for part of the
# window, is no value either. What is wrong is said on standard error.
set -eu
if [ $# -lt 3 ]; then
    echo "usage: $0 URL SERIES MEASURE [WINDOW [PER]]" >&2
    exit 2
fi
# What curl reads from its standard input. In the file the token is alone, or has its role before it; it holds nothing
# that would have to be quoted.
settings() {
    token=
    if [ -n "${TALLYD_TOKEN_FILE-}" ]; then
        token=$(sed -n '/^ *#/d; s/^ *//; s/ *$//; s/.*://; /./{p;q;}' "$TALLYD_TOKEN_FILE")
    fi
    if [ -n "$token" ]; then
        printf 'header = "Authorization: Bearer %s"\n' "$token"
    fi
    if [ -n "${TALLYD_CA_FILE-}" ]; then
        printf 'cacert = "%s"\n' "$TALLYD_CA_FILE"
    fi
}
answer=$(settings | curl -K - -sS -m 10 -G "$1/api/v1/measure" --data-urlencode "series=$2" --data-urlencode "measure=$3" \
    --data-urlencode "window=${4:-5m}" --data-urlencode "per=${5:-second}") || answer=
case $answer in
*'"at_least"'* | *'"data":[]'*) value= ;;
*'"status":"success"'*) value=$(printf '%s\n' "$answer" | sed -n 's/.*"points":\[\[[0-9]*,\([-0-9.e+]*\)\]\].*/\1/p') ;;
*)
    value=
    printf 'tallyd: %s\n' "${answer:-no answer}" >&2
    ;;
esac
echo "${value:-U}"
