#!/bin/bash
# The life of the Debian package on a machine with systemd: installed, started, reloaded, hung, upgraded with its history
# kept, removed and purged. $1 is a directory with first.deb and second.deb, the same with a higher version; what is said
# goes into the file `output` there.
#
# To be run as root in namespaces of its own (`unshare` with --mount --net --pid --fork --kill-child --mount-proc --cgroup
# --uts --ipc): the machine's /etc, /usr and /var are seen through overlays, its /run and /tmp are empty ones, and
# the systemd that is booted is init of these namespaces alone. All of it ends with this process.
set -Eeuo pipefail

boot() {
    local work=$1 dir
    mount --make-rprivate /
    ip link set lo up
    mkdir "$work/over"
    mount -t tmpfs -o size=1g tmpfs "$work/over"
    for dir in etc usr var; do
        mkdir -p "$work/over/$dir/upper" "$work/over/$dir/work"
        mount -t overlay overlay "/$dir" \
            -o "lowerdir=/$dir,upperdir=$work/over/$dir/upper,workdir=$work/over/$dir/work"
    done
    mount -t tmpfs -o size=64m tmpfs /run
    mkdir -p /run/lock /run/package
    mount --bind "$work" /run/package
    mount -t tmpfs -o size=64m tmpfs /tmp
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    cp "$0" /run/script
    # Debian's way to say that nothing may be started; here something may.
    rm -f /usr/sbin/policy-rc.d
    units
    exec env -i container=package PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system \
        --unit=package-test.target --show-status=no --log-target=null
}

# Nothing starts but what goes through the package's life, and ends systemd with its exit code.
units() {
    cat > /etc/systemd/system/package-test.target << END
[Unit]
DefaultDependencies=no
Wants=package-test.service
END
    cat > /etc/systemd/system/package-test.service << END
[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force
FailureActionExitStatus=1
[Service]
Type=oneshot
Environment=DEBIAN_FRONTEND=noninteractive HOME=/root LC_ALL=C
StandardOutput=file:/run/package/output
StandardError=inherit
ExecStart=/bin/bash /run/script life
TimeoutStartSec=240
END
    mkdir -p /etc/systemd/system/tallyd.service.d
    # So that nobody waits half a minute, and no other target of this machine is started along.
    printf '[Unit]\nWants=\nAfter=\nDefaultDependencies=no\n[Service]\nWatchdogSec=4s\n' \
        > /etc/systemd/system/tallyd.service.d/test.conf
}

life() {
    trap 'echo "FAILED in line $LINENO: $BASH_COMMAND"; systemctl status --no-pager tallyd || true' ERR
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

case $1 in
    life) life ;;
    *) boot "$1" ;;
esac
