#!/bin/bash
# The life of the Debian package on a machine with systemd (`machine.sh`): installed, started, reloaded, hung, upgraded with its
# history kept, removed and purged. /run/package has first.deb, and second.deb, the same with a higher version.
set -Eeuo pipefail

life() {
    trap 'echo "FAILED in line $LINENO: $BASH_COMMAND"; systemctl status --no-pager tallyd || true' ERR
    # So that nobody waits half a minute for what hangs.
    mkdir -p /etc/systemd/system/tallyd.service.d
    printf '[Service]\nWatchdogSec=6s\n' > /etc/systemd/system/tallyd.service.d/try.conf

    step 'install, which starts it'
    dpkg -i /run/package/first.deb
    systemctl is-active tallyd
    systemctl is-enabled tallyd
    [[ $(stat -c '%U:%G %a' /var/lib/tallyd) == 'tallyd:tallyd 700' ]]
    [[ $(stat -c '%U:%G %a' /etc/tallyd/tallyd.toml) == 'root:tallyd 640' ]]
    man -w tallyd tallyd-rules-backtest
    setpriv --reuid=tallyd --regid=tallyd --init-groups tallyd doctor --config /etc/tallyd/tallyd.toml

    step 'count'
    [[ $(ask 'incr orders 5') == 5 ]]
    eventually counted

    step 'reload'
    cp /etc/tallyd/tallyd.toml /run/good
    printf '%s\n' '[[rule]]' 'name = "none"' 'series = "orders"' 'measure = "sum"' 'critical = { above = 9 }' \
        >> /etc/tallyd/tallyd.toml
    systemctl reload tallyd
    eventually rule_is_there
    cp /etc/tallyd/tallyd.toml /run/edited
    echo 'nonsense' >> /etc/tallyd/tallyd.toml
    if systemctl reload tallyd; then false; fi
    systemctl is-active tallyd
    cp /run/edited /etc/tallyd/tallyd.toml

    step 'hang: no sign of life, so systemd starts it anew'
    local before
    before=$(systemctl show --property=MainPID --value tallyd)
    kill -STOP "$before"
    eventually is_another "$before"
    eventually counted
    [[ $(ask 'get orders' 2) == *5 ]]

    step 'upgrade'
    dpkg -i /run/package/second.deb
    systemctl is-active tallyd
    cmp /etc/tallyd/tallyd.toml /run/edited
    [[ $(ask 'get orders' 2) == *5 ]]
    eventually counted
    rule_is_there

    step 'remove, which keeps what was counted'
    dpkg -r tallyd
    if systemctl is-active tallyd; then false; fi
    [[ -f /var/lib/tallyd/tallyd.redb && -f /etc/tallyd/tallyd.toml ]]

    step 'install again'
    dpkg -i /run/package/second.deb
    [[ $(ask 'get orders' 2) == *5 ]]

    step 'purge'
    dpkg -P tallyd
    [[ ! -e /var/lib/tallyd && ! -e /etc/tallyd && ! -e /usr/bin/tallyd ]]
    if getent passwd tallyd; then false; fi
    echo 'ALL WELL'
}

step() {
    printf '\n== %s\n' "$1"
}

# The first lines of the answer to a command of the memcached protocol; one unless told otherwise.
ask() {
    exec 3<> /dev/tcp/127.0.0.1/11311
    printf '%s\r\n' "$1" >&3
    timeout 5 head -n "${2-1}" <&3 | tr -d '\r' | tail -n 1
    exec 3>&-
}

# History knows of the orders.
counted() {
    tallyd query orders --measure sum --from -10m --step 1s --format csv | grep -E ',orders,5(,|$)'
}

rule_is_there() {
    tallyd rules list | grep -w none
}

is_another() {
    local now
    now=$(systemctl show --property=MainPID --value tallyd)
    ((now != 0 && now != $1)) && systemctl is-active tallyd
}

eventually() {
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        if "$@"; then return; fi
        sleep 0.2
    done
    echo "it did not come to: $*"
    return 1
}

life
