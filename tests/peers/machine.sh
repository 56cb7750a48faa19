#!/bin/bash
# A machine with systemd to try things on: runs the script $2 there, with the directory $1, which is /run/package there. What
# the script says goes into the file `output` of that directory; the exit code is the script's.
#
# To be run as root in namespaces of its own (`unshare` with --mount --net --pid --fork --kill-child --mount-proc --cgroup
# --uts --ipc): the machine's /etc, /usr and /var are seen through overlays, its /run and /tmp are empty ones, and
# the systemd that is booted is init of these namespaces alone. All of it ends with this process.
set -Eeuo pipefail

boot() {
    local work=$1 script=$2 dir
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
    cp "$script" /run/script
    # Debian's way to say that nothing may be started; here something may.
    rm -f /usr/sbin/policy-rc.d
    units
    exec env -i container=try PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system \
        --unit=try.target --show-status=no --log-target=null
}

# Nothing starts but the script, whose end ends systemd with its exit code.
units() {
    cat > /etc/systemd/system/try.target << END
[Unit]
DefaultDependencies=no
Wants=try.service
END
    cat > /etc/systemd/system/try.service << END
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
ExecStart=/bin/bash /run/script
TimeoutStartSec=600
END
    # No service brings up what a whole machine would have: devices, mounts, settings of the kernel.
    mkdir -p /etc/systemd/system/service.d
    printf '[Unit]\nDefaultDependencies=no\n' > /etc/systemd/system/service.d/try.conf
}

boot "$1" "$2"
